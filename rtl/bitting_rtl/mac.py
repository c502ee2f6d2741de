"""One lane: the digit-serial, multiplier-free multiply-accumulate unit."""

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.hdl import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitting.spec import UnitSpec


class Lane(wiring.Component):
    """`acc <- (load ? bias : acc) + (negative ? -1 : 1) * (x << exponent)  mod 2^W`, one signed digit a clock.

    The digit (`x`, `exponent`, `negative`, `zero`) enters a term register on every clock; `load` and `accumulate` belong to
    the digit of the clock before, the one the term register holds. `zero` makes the term 0.

    Latency: a digit is in `acc` two clocks after it was presented. Throughput: one digit a clock.
    Range: x is a signed bx-bit integer, exponent 0..E; every pair is allowed. `acc` wraps.
    """

    def __init__(self, spec: UnitSpec):
        self.spec = spec
        super().__init__(
            {
                "x": In(signed(spec.act_bits)),
                "exponent": In(Shape.cast(range(spec.max_exponent + 1))),
                "negative": In(1),
                "zero": In(1),
                "load": In(1),
                "accumulate": In(1),
                "bias": In(unsigned(spec.acc_bits)),
                "acc": Out(unsigned(spec.acc_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # -t = ~t + 1: the inversion is registered with the term, the +1 is the carry of the accumulator's adder.
        # Nothing here needs a reset: `load` starts every position afresh.
        term = Signal(signed(self.spec.act_bits + self.spec.max_exponent), reset_less=True)
        carry = Signal(reset_less=True)
        accumulator = Signal(self.spec.acc_bits, reset_less=True)
        shifted = Signal(term.shape())
        m.d.comb += [shifted.eq(self.x << self.exponent), self.acc.eq(accumulator)]
        m.d.sync += [
            term.eq(Mux(self.zero, 0, Mux(self.negative, ~shifted, shifted))),
            carry.eq(self.negative & ~self.zero),
        ]
        with m.If(self.accumulate):
            m.d.sync += accumulator.eq(Mux(self.load, self.bias, accumulator) + term + carry)
        return m
