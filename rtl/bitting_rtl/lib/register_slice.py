"""A register slice: cuts every path of a stream, so that the engine's edge, not its neighbour, sets the clock."""

from amaranth import Module, Signal
from amaranth.hdl import ShapeLike
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from bitting_rtl.lib.ports import Port, Ports


class RegisterSlice(wiring.Component):
    """Two-entry buffer; `i.ready`, `o.valid` and `o.payload` come straight from registers.

    Latency: one clock. Throughput: one word a clock.
    """

    def __init__(self, shape: ShapeLike):
        super().__init__(
            Ports(
                {
                    "i": Port(In(stream.Signature(shape)), "words in", "`i.ready` comes from a register"),
                    "o": Port(Out(stream.Signature(shape)), "the same words out", "a clock later, from registers"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spare = Signal.like(self.i.payload, reset_less=True)
        spare_valid = Signal()
        payload = Signal.like(self.o.payload, reset_less=True)
        valid = Signal()
        awake = Signal()  # refuses words that would be lost in the last clock of a reset
        m.d.sync += awake.eq(1)
        m.d.comb += [self.i.ready.eq(awake & ~spare_valid), self.o.payload.eq(payload), self.o.valid.eq(valid)]
        with m.If(self.i.ready):  # whether the word is wanted there shows late
            m.d.sync += spare.eq(self.i.payload)
        with m.If(self.o.ready | ~valid):
            # The outgoing register is free: refill it, from the spare first.
            with m.If(spare_valid):
                m.d.sync += [payload.eq(spare), valid.eq(1), spare_valid.eq(0)]
            with m.Else():
                m.d.sync += [payload.eq(self.i.payload), valid.eq(self.i.valid & self.i.ready)]
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += spare_valid.eq(1)
        return m
