"""The adder of a lane: for any device, or as carry cells of the ECP5, which have room for the choice before it."""

from amaranth import C, Cat, Instance, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.spec import UnitSpec
from bitting_rtl.lib.ports import Port, Ports

#: Both look-up tables of a CCU2C, bit `8 D + 4 C + 2 B + A`: A is a bit of the term, B of the accumulator, C is `load`, D of
#: `origin`. The sum is A xor (C ? D : B); D is 1 while C is 0. So C and D are never both 0, and there the cell's second table
#: has its place: what is carried if the sum without carry is 0, which is A.
_LOOKUP = sum(
    bool(a ^ (d if c else b) if c | d else a) << (8 * d + 4 * c + 2 * b + a)
    for a in (0, 1) for b in (0, 1) for c in (0, 1) for d in (0, 1)
)  # fmt: skip


class Accumulate(wiring.Component):
    """`sum = (load ? origin : acc) + term + carry  mod 2^W`. Combinational.

    `origin` must be all ones while `load` is low.
    """

    def __init__(self, spec: UnitSpec, ecp5: bool = False):
        """`ecp5`: see `BuildOptions`. Yosys would spend a LUT a bit on the choice, in front of the adder."""
        self._ecp5 = ecp5
        acc = unsigned(spec.acc_bits)
        super().__init__(
            Ports(
                {
                    "acc": Port(In(acc), "the sum so far"),
                    "origin": Port(In(acc), "what to begin from instead, with `load`; all ones without"),
                    "load": Port(In(1), "begin from `origin`"),
                    "term": Port(In(signed(spec.act_bits + spec.max_exponent)), "what is added"),
                    "carry": Port(In(1), "one more is added"),
                    "sum": Port(Out(acc), "the new sum, modulo 2^W", "the same clock"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self._ecp5:
            self._cells(m)
        else:
            m.d.comb += self.sum.eq(Mux(self.load, self.origin, self.acc) + self.term + self.carry)
        return m

    def _cells(self, m: Module) -> None:
        """A chain of CCU2C cells, each of which adds two bits."""
        width = len(self.acc)
        term = Signal(signed(width))
        m.d.comb += term.eq(self.term)
        carry: Value = self.carry
        sums = []
        for low in range(0, width, 2):
            pair, onward = Signal(2, name=f"sum{low}"), Signal(name=f"carry{low}")
            pairs = [(term[i], self.acc[i], self.origin[i]) if i < width else (C(0), C(0), C(0)) for i in (low, low + 1)]
            ends = {
                f"i_{pin}{half}": value
                for half, (a, b, d) in enumerate(pairs)
                for pin, value in zip("ABCD", (a, b, self.load, d), strict=True)
            }
            m.submodules[f"cell{low}"] = Instance(
                "CCU2C",
                p_INIT0=C(_LOOKUP, 16), p_INIT1=C(_LOOKUP, 16), p_INJECT1_0="NO", p_INJECT1_1="NO",
                i_CIN=carry, o_S0=pair[0], o_S1=pair[1], o_COUT=onward, **ends,
            )  # fmt: skip
            carry = onward
            sums.append(pair)
        m.d.comb += self.sum.eq(Cat(sums))
