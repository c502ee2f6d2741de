"""What the lock key does to each code on its way from the packet to the tile buffer."""

from amaranth import Module, unsigned
from amaranth.hdl import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.spec import UnitSpec
from bitting_rtl.lib.ports import Port, Ports


class Unlocker(wiring.Component):
    """Combine a code with the keystream. Combinational.

    While `keyed` is low, codes pass as they are. Otherwise a byte of keystream is added to each modulo 2; or, with `shuffles`,
    the code goes to the place `draw`, and what was there to its own: a step of the inside-out form of Fisher and Yates, which
    the tile buffer carries out.

    A code is taken in a clock in which both `valid` and `ready` are high.
    """

    def __init__(self, spec: UnitSpec):
        index = Shape.cast(range(spec.tile_codes))
        code = unsigned(spec.slot_bits)
        super().__init__(
            Ports(
                {
                    "keyed": Port(In(1), "codes are locked"),
                    "shuffles": Port(In(1), "they are shuffled; else a keystream is added"),
                    "valid": Port(In(1), "the packet has a code", "until `ready`"),
                    "code": Port(In(code), "the code, as sent", "with `valid`"),
                    "index": Port(In(index), "its number in the tile", "with `valid`"),
                    "ready": Port(Out(1), "the code is taken", "the same clock as `available`"),
                    "available": Port(In(1), "the vault has a byte or a draw"),
                    "byte": Port(In(8), "a byte of keystream", "with `available`"),
                    "draw": Port(In(index), "a place from 0 to `index`", "with `available`"),
                    "take": Port(Out(1), "the byte or the draw is used up", "the same clock as the code is taken"),
                    "write": Port(Out(1), "a code for the tile buffer", "the same clock as it is taken"),
                    "write_code": Port(Out(code), "the unlocked code", "with `write`"),
                    "place": Port(Out(index), "where it goes", "with `write`"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [
            self.ready.eq(~self.keyed | self.available),
            self.write.eq(self.valid & self.ready),
            self.write_code.eq(self.code),
            self.place.eq(self.index),
            self.take.eq(self.write & self.keyed),
        ]
        with m.If(self.keyed & self.shuffles):
            m.d.comb += self.place.eq(self.draw)
        with m.Elif(self.keyed):
            m.d.comb += self.write_code.eq(self.code ^ self.byte)
        return m
