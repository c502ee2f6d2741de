"""The top of a board of amaranth-boards: its serial line, its clock, two lamps, and its flash if it plays a program."""

from typing import Any

from amaranth import Const, Elaboratable, Instance, Module
from amaranth.build import Attrs, Pins, PinsN, Resource, Subsignal

from bitting.unit.puf_key import PufDesign
from bitting.unit.serial_protocol import BAUD
from bitting.unit.spec import UnitSpec
from bitting_rtl.board.serial_engine import SerialEngine

#: The resource of the flash, with `cs`, four pins `dq`, and `clk` where the FPGA has a pin for it.
FLASH = "program_flash"


def flash_resource(family: str, cs: str, dq: str, clk: str) -> Resource:
    """A board's flash on its pins.

    Args:
        family: of the FPGA, "ecp5" or "ice40".
        cs: pin of its chip select.
        dq: pins of IO0 to IO3.
        clk: pin of its clock; empty if no design reaches that by name.
    """
    ecp5 = family == "ecp5"
    # Pulled up where the FPGA can, so that a flash that is not there reads as an erased one.
    electric = Attrs(IO_TYPE="LVCMOS33", PULLMODE="UP") if ecp5 else Attrs(IO_STANDARD="SB_LVCMOS")
    pins = [Subsignal("cs", PinsN(cs, dir="o")), Subsignal("dq", Pins(dq, dir="io"))]
    pins += [Subsignal("clk", Pins(clk, dir="o"))] if clk else []
    return Resource(FLASH, 0, *pins, electric)


class BoardTop(Elaboratable):
    """`SerialEngine` on the resources `uart` 0, `led` 0 (busy) and `led` 1 (failed), clocked by the board's own crystal."""

    def __init__(
        self,
        root: bytes | None,
        sealed: bool = False,
        puf: PufDesign | None = None,
        family: str | None = None,
        flash: UnitSpec | None = None,
    ):
        """See `SerialEngine`; without recorded frequencies: a PUF wants a family."""
        self._device = root, sealed, puf, family, flash
        self._flash = flash is not None

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.engine = engine = SerialEngine(round(platform.default_clk_frequency / BAUD), *self._device)
        uart, busy, failed = platform.request("uart"), platform.request("led", 0), platform.request("led", 1)
        m.d.comb += [
            engine.rx.eq(uart.rx.i),
            uart.tx.o.eq(engine.tx),
            busy.o.eq(engine.busy),
            failed.o.eq(engine.failed),
        ]
        if self._flash:
            pins = platform.request(FLASH)
            m.d.comb += [
                pins.cs.o.eq(~engine.flash_cs_n),
                pins.dq.o.eq(engine.flash_o),
                pins.dq.oe.eq(engine.flash_oe),
                engine.flash_i.eq(pins.dq.i),
            ]
            if hasattr(pins, "clk"):
                m.d.comb += pins.clk.o.eq(engine.flash_sck)
            else:  # of an ECP5 the pin that clocked its configuration, which only this primitive reaches
                m.submodules.clock = Instance("USRMCLK", i_USRMCLKI=engine.flash_sck, i_USRMCLKTS=Const(0, 1))
        return m
