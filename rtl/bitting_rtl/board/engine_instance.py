"""The exported engine as an instance of its Verilog module."""

from amaranth import ClockSignal, Elaboratable, Instance, Module, ResetSignal, Shape, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from bitting.unit.puf_key import PufDesign
from bitting_rtl.engine.top import TOP, ports
from bitting_rtl.puf.counting import recorded_ports


class EngineInstance(Elaboratable):
    """`bitting_engine` with a signal for each port, in the domain `sync`.

    Args:
        fused: it has ports for the fuses.
        puf: it has this PUF instead.
        family: of FPGAs, whose ring oscillators the PUF has; None: recorded frequencies, with ports for their memory.
    """

    def __init__(self, fused: bool, puf: PufDesign | None = None, family: str | None = None):
        #: Ports of recorded frequencies.
        self.recorded = recorded_ports(puf.measured) if puf and family is None else {}
        has = ports(fused, puf is not None) | self.recorded
        self._members: dict[str, wiring.Member] = {
            name: port.member for name, port in has.items() if name not in ("clk", "rst")
        }
        self.ports = {name: Signal(Shape.cast(member.shape), name=name) for name, member in self._members.items()}

    def __getattr__(self, name: str) -> Signal:
        try:
            return self.__dict__["ports"][name]
        except KeyError:
            raise AttributeError(name) from None

    def elaborate(self, platform: object) -> Module:
        m = Module()
        wires = {("i_" if member.flow == In else "o_") + name: self.ports[name] for name, member in self._members.items()}
        m.submodules.netlist = Instance(TOP, i_clk=ClockSignal(), i_rst=ResetSignal(), **wires)
        return m
