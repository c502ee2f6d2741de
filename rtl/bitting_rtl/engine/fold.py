"""The activation function: the triangular wave of the accumulator."""

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.hdl import Shape, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.spec import UnitSpec
from bitting_rtl.lib.build_options import PORTABLE, BuildOptions
from bitting_rtl.lib.ports import Port, Ports


class Fold(wiring.Component):
    """`act = top bx bits of (low W-1 bits, inverted if the two top bits differ)` of `acc << shift`, floor.

    Inversion and truncation commute, so only the top bx + 1 bits of the shifted accumulator are ever formed.
    Combinational: latency 0. Range: any accumulator, shift 0..max_shift.
    """

    def __init__(self, spec: UnitSpec, options: BuildOptions = PORTABLE):
        self.spec = spec
        self._options = options
        super().__init__(
            Ports(
                {
                    "acc": Port(In(unsigned(spec.acc_bits)), "the accumulator"),
                    "shift": Port(In(Shape.cast(range(spec.max_shift + 1))), "left shift of the layer"),
                    "act": Port(Out(signed(spec.act_bits)), "the folded activation", "the same clock"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        kept = self.spec.act_bits + 1
        top = Signal(kept)
        m.d.comb += top.eq(self._in_words(kept) if self._options.words else self._in_stages(kept))
        m.d.comb += self.act.eq(Mux(top[-1] ^ top[-2], ~top[:-1], top[:-1]))
        return m

    def _in_words(self, kept: int) -> Value:
        """The top bits of the shifted accumulator, by one shift, which simulators compute as such."""
        return (self.acc << self.shift)[self.spec.acc_bits - kept : self.spec.acc_bits]

    def _in_stages(self, kept: int) -> Value:
        """The same, each stage as wide as the later ones can still reach: a third of the logic of one wide multiplexer."""
        window: Value = self.acc[-(kept + self.spec.max_shift) :]
        for stage in reversed(range(len(self.shift))):
            width = kept + min(self.spec.max_shift, (1 << stage) - 1)
            shifted = (window << (1 << stage))[: len(window)]
            window = Mux(self.shift[stage], shifted, window)[-width:]
        return window
