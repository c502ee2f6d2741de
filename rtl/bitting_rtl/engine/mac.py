"""One lane: the digit-serial, multiplier-free multiply-accumulate unit."""

from amaranth import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.hdl import Shape, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.spec import UnitSpec
from bitting_rtl.engine.accumulate import Accumulate
from bitting_rtl.lib.build_options import PORTABLE, BuildOptions
from bitting_rtl.lib.ports import Port, Ports


class Lane(wiring.Component):
    """`acc <- (load ? origin : acc) + (negative ? -1 : 1) * (x << exponent)  mod 2^W`, one signed digit a clock.

    The digit (`x`, `exponent`, `negative`, `zero`) enters a term register on every clock; `load` and `accumulate` belong to
    the digit of the clock before, the one the term register holds. `zero` makes the term 0.

    Latency: a digit is in `acc` two clocks after it was presented. Throughput: one digit a clock.
    Range: x is a signed bx-bit integer, exponent 0..E; every pair is allowed; `origin` is all ones while `load` is low. `acc`
    wraps.
    """

    def __init__(self, spec: UnitSpec, options: BuildOptions = PORTABLE):
        self.spec = spec
        self._options = options
        super().__init__(
            Ports(
                {
                    "x": Port(In(signed(spec.act_bits)), "the activation"),
                    "exponent": Port(In(Shape.cast(range(spec.max_exponent + 1))), "the digit is 2^exponent"),
                    "negative": Port(In(1), "the digit is -2^exponent"),
                    "zero": Port(In(1), "the digit is 0"),
                    "load": Port(In(1), "begin the sum from `origin`", "a clock after its digit"),
                    "accumulate": Port(In(1), "take the digit into the sum", "a clock after its digit"),
                    "origin": Port(
                        In(unsigned(spec.acc_bits)), "the bias with `load`, else all ones", "a clock after its digit"
                    ),
                    "acc": Port(Out(unsigned(spec.acc_bits)), "the sum, modulo 2^W", "two clocks after its digit"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # -t = ~t + 1: the inversion is registered with the term, the +1 is the carry of the accumulator's adder.
        # Nothing here needs a reset: `load` starts every position afresh.
        term = Signal(signed(self.spec.act_bits + self.spec.max_exponent), reset_less=True)
        carry = Signal(reset_less=True)
        accumulator = Signal(self.spec.acc_bits, reset_less=True)
        shifted = self._in_words(len(term)) if self._options.words else self._in_stages()
        m.d.comb += self.acc.eq(accumulator)
        m.d.sync += [term.eq(shifted), carry.eq(self.negative & ~self.zero)]
        with m.If(self.zero):  # by the flip-flops' own reset
            m.d.sync += term.eq(0)
        m.submodules.adder = adder = Accumulate(self.spec, self._options.ecp5)
        m.d.comb += [
            adder.acc.eq(accumulator),
            adder.origin.eq(self.origin),
            adder.load.eq(self.load),
            adder.term.eq(term),
            adder.carry.eq(carry),
        ]
        with m.If(self.accumulate):
            m.d.sync += accumulator.eq(adder.sum)
        return m

    def _in_words(self, width: int) -> Value:
        """`x << exponent`, inverted if `negative`: a shift and an exclusive or, which simulators compute as such."""
        return ((self.x << self.exponent)[:width] ^ self.negative.replicate(width)).as_signed()

    def _in_stages(self) -> Value:
        """The same, inverted first, then shifted stage by stage: less logic than the other way round, or one wide choice."""
        shifted: Value = (self.x.as_unsigned() ^ self.negative.replicate(len(self.x))).as_signed()
        for stage, chosen in enumerate(self.exponent):
            longer = Cat(self.negative.replicate(1 << stage), shifted).as_signed()
            shifted = Mux(chosen, longer, shifted)
        return shifted
