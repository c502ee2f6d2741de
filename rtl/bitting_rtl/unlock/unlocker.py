"""What the lock key does to each code on its way from the packet to the tile buffer."""

from amaranth import Module, unsigned
from amaranth.hdl import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.spec import UnitSpec


class Unlocker(wiring.Component):
    """Combine a code with the keystream; combinational.

    While `keyed` is low, codes pass. Else a keystream byte is added modulo 2, or, with `shuffles`, the code goes to the place
    `draw` below its own index, and what was there to its own: the inside-out form of Fisher-Yates, done by the tile buffer.

    A code is taken in a clock in which both `valid` and `ready` are high.
    """

    def __init__(self, spec: UnitSpec):
        index = Shape.cast(range(spec.tile_codes))
        code = unsigned(spec.slot_bits)
        super().__init__(
            {
                "keyed": In(1),
                "shuffles": In(1),
                # from the packet
                "valid": In(1),
                "code": In(code),
                "index": In(index),
                "ready": Out(1),
                # keystream
                "available": In(1),
                "byte": In(8),
                "draw": In(index),
                "take": Out(1),
                # to the tile buffer
                "write": Out(1),
                "write_code": Out(code),
                "place": Out(index),
            }
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
