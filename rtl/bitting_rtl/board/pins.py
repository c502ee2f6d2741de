"""The engine behind a few pins, for measuring it on a device with fewer pins than it has ports."""

from amaranth import Array, Cat, ClockDomain, Module, Mux, Signal
from amaranth.hdl import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.protocol import FUSE_WORDS, WORD_BITS, ErrorCode
from bitting.unit.puf_key import PufDesign
from bitting_rtl.board.engine_instance import EngineInstance
from bitting_rtl.lib.ports import Port, Ports
from bitting_rtl.lib.verilog import to_verilog

#: Name of the wrapper's module.
TOP = "bitting_pins"
#: Clocks that it takes to shift the fuses in.
FUSE_BITS = FUSE_WORDS * WORD_BITS


class Pins(wiring.Component):
    """Streams as bytes, lowest first; the words of the fuses a bit a clock, from the last bit of the last word on, in reset.

    `puf` and `family`: see `EngineInstance`; the fuse `sealed` of an engine with ring oscillators is a pin.
    """

    def __init__(self, fused: bool, puf: PufDesign | None = None, family: str | None = None):
        self._fused = fused
        self._engine = EngineInstance(fused, puf, family)
        sealed = {"sealed": Port(In(1), "as of the engine", "constant")} if puf else {}
        super().__init__(
            Ports(
                {
                    "clk": Port(In(1), "clock"),
                    "rst": Port(In(1), "synchronous reset, active high"),
                    "fuse_bit": Port(In(1), "the fuses, a bit a clock, last bit first", f"last {FUSE_BITS} clocks of reset"),
                    "lock_now": Port(In(1), "as of the engine"),
                    "cmd": Port(In(8), "a byte of a command word, lowest first", "with `cmd_valid`"),
                    "cmd_valid": Port(In(1), "the byte is there", "until `cmd_ready`"),
                    "cmd_ready": Port(Out(1), "the byte is taken", "with `cmd_valid`"),
                    "result": Port(Out(8), "a byte of a result word, lowest first", "with `result_valid`"),
                    "result_last": Port(Out(1), "the last byte of a packet", "with `result_valid`"),
                    "result_valid": Port(Out(1), "the byte is there", "until `result_ready`"),
                    "result_ready": Port(In(1), "the byte is taken", "with `result_valid`"),
                    "error": Port(Out(Shape.cast(ErrorCode)), "as of the engine", "until reset"),
                    "busy": Port(Out(1), "as of the engine"),
                    **sealed,
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = domain = ClockDomain(local=True)
        m.d.comb += [domain.clk.eq(self.clk), domain.rst.eq(self.rst)]
        m.submodules.unit = engine = self._engine
        if "sealed" in engine.ports:
            m.d.comb += engine.sealed.eq(self.sealed)
        if self._fused:
            root = Array(Signal(WORD_BITS, name=f"root{number}", reset_less=True) for number in range(FUSE_WORDS - 1))
            sealed = Signal(reset_less=True)  # the lowest flag; those above it, which are 0, fall out
            word = Signal(WORD_BITS, reset_less=True)
            with m.If(self.rst):
                m.d.sync += Cat(*root, sealed).eq(Cat(self.fuse_bit, *root))
            m.d.sync += word.eq(Mux(engine.fuse_address[2], sealed, root[engine.fuse_address[:2]]))  # a clock late: it may be
            m.d.comb += engine.fuse_data.eq(word)
        word = Signal(WORD_BITS)
        have = Signal(range(5))
        result = Signal(WORD_BITS)
        left = Signal(range(5))
        last = Signal()
        m.d.comb += [
            engine.lock_now.eq(self.lock_now),
            engine.cmd_data.eq(word),
            engine.cmd_valid.eq(have == 4),
            self.cmd_ready.eq(have != 4),
            self.result.eq(result[:8]),
            self.result_valid.eq(left != 0),
            self.result_last.eq(last & (left == 1)),
            engine.result_ready.eq(left == 0),
            self.error.eq(engine.error),
            self.busy.eq(engine.busy),
        ]
        with m.If(self.cmd_valid & self.cmd_ready):
            m.d.sync += [word.eq(Cat(word[8:], self.cmd)), have.eq(have + 1)]
        with m.Elif(engine.cmd_valid & engine.cmd_ready):
            m.d.sync += have.eq(0)
        with m.If(engine.result_valid & engine.result_ready):
            m.d.sync += [result.eq(engine.result_data), last.eq(engine.result_last), left.eq(4)]
        with m.Elif(self.result_valid & self.result_ready):
            m.d.sync += [result.eq(result >> 8), left.eq(left - 1)]
        return m


def pins_verilog(fused: bool, puf: PufDesign | None = None, family: str | None = None) -> str:
    """The wrapper without the engine's own module; see `Pins`."""
    return to_verilog(Pins(fused, puf, family), TOP)
