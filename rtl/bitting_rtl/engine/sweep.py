"""Overwriting what a user left in the memories."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.spec import UnitSpec
from bitting_rtl.lib.ports import Port, Ports


class Sweep(wiring.Component):
    """Tells when all addresses are counted through: once after reset, and again for every `start`.

    What counts are the parser's registers, which count from 0 on while `active`; both stand at 0 again after it. So no address
    needs a multiplexer of its own.
    """

    def __init__(self, spec: UnitSpec):
        item, word = range(spec.tile_codes), range(spec.scratch_words)
        super().__init__(
            Ports(
                {
                    "start": Port(In(1), "begin at address 0 again", "one clock is enough"),
                    "active": Port(Out(1, init=1), "overwrite every memory at these addresses"),
                    "item": Port(In(item), "address of a code or an offset", "while `active`"),
                    "word": Port(In(word), "address in the scratch memory", "while `active`"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        last = max(self.item, self.word, key=len).all()  # the shorter one comes to its end with it
        with m.If(self.start):
            m.d.sync += self.active.eq(1)
        with m.Elif(last):
            m.d.sync += self.active.eq(0)
        return m
