"""Which activation each lane multiplies, where lanes share samples: its own, or one of a neighbouring lane's."""

from amaranth import Module, Mux, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.spec import UnitSpec
from bitting_rtl.lib.ports import Port, Ports


class Neighbours(wiring.Component):
    """A choice of three for every lane, the same for all: the lanes of a sample lie side by side, each with a band of its rows.

    It stands after the register that the scratch memory's answer goes into: a block RAM is slow by itself.

    The first lane of a sample has none before it, the last none after it: there is `edge`.

    Latency: none.
    """

    def __init__(self, spec: UnitSpec):
        self._lanes, self._stripes = spec.lanes, spec.stripes
        word = data.ArrayLayout(unsigned(spec.act_bits), spec.lanes)
        super().__init__(
            Ports(
                {
                    "read": Port(In(word), "what each lane's own scratch held"),
                    "before": Port(In(1), "the address lies in the lane before"),
                    "after": Port(In(1), "the address lies in the next lane; not with `before`"),
                    "edge": Port(In(signed(spec.act_bits)), "what lies beyond a sample's first and last lane"),
                    "word": Port(Out(word), "what each lane multiplies"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for lane in range(self._lanes):
            place = lane % self._stripes
            before: Value = self.read[lane - 1] if place else self.edge
            after: Value = self.read[lane + 1] if place + 1 < self._stripes else self.edge
            m.d.comb += self.word[lane].eq(Mux(self.before, before, Mux(self.after, after, self.read[lane])))
        return m
