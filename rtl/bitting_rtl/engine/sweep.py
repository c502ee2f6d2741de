"""Overwriting what a user left in the memories."""

from amaranth import Module
from amaranth.hdl import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.spec import UnitSpec
from bitting_rtl.lib.ports import Port, Ports


class Sweep(wiring.Component):
    """Count through every address of the largest memory once after reset, and again for every `start`."""

    def __init__(self, spec: UnitSpec):
        self._words = max(spec.scratch_words, spec.tile_codes)
        super().__init__(
            Ports(
                {
                    "start": Port(In(1), "begin at address 0 again", "one clock is enough"),
                    "active": Port(Out(1, init=1), "overwrite `address` in every memory that has it"),
                    "address": Port(Out(Shape.cast(range(self._words))), "the address", "while `active`"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        with m.If(self.active):
            m.d.sync += [self.address.eq(self.address + 1), self.active.eq(self.address != self._words - 1)]
        with m.If(self.start):
            m.d.sync += [self.address.eq(0), self.active.eq(1)]
        return m
