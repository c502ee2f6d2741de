"""The one memory of activations: a word holds one for each lane."""

from amaranth import Cat, Module, unsigned
from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bitting.unit.spec import UnitSpec
from bitting_rtl.lib.layouts import UNCHECKED

#: Widths of an ECP5 block RAM, and the words it then has.
_ECP5_WORDS = {18: 1024, 9: 2048, 4: 4096, 2: 8192, 1: 16384}


class Scratch(wiring.Component):
    """`read_data` is the word at `read_addr`, a clock after `read` was high; it stays while `read` is low. `write` stores.

    Reading what is written in the same clock may give anything: a layer's outputs are no inputs of the same tile, but in place,
    and then they are read before.
    """

    def __init__(self, spec: UnitSpec, ecp5: bool = False):
        """`ecp5`: block RAMs as deep as the memory, a tenth more of them. Yosys would take wide and few, and choose between
        their answers, which come late enough (see `bitting_rtl.lib.build_options.BuildOptions`)."""
        self._depth = spec.scratch_words
        word = data.ArrayLayout(unsigned(spec.act_bits), spec.lanes)
        whole = Shape.cast(word).width
        deep_enough = (width for width, words in _ECP5_WORDS.items() if words >= self._depth)
        self._width = next(deep_enough, 1) if ecp5 else whole
        address = Shape.cast(range(self._depth))
        super().__init__(
            {
                "read_addr": In(address),
                "read": In(1),
                "read_data": Out(word),
                "write_addr": In(address),
                "write_data": In(word),
                "write": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        written = self.write_data.as_value()
        read = []
        for low in range(0, len(written), self._width):
            part = written[low : low + self._width]
            m.submodules[f"part{low}"] = memory = Memory(shape=len(part), depth=self._depth, init=[], attrs=UNCHECKED)
            read_port, write_port = memory.read_port(), memory.write_port()
            m.d.comb += [
                read_port.addr.eq(self.read_addr),
                read_port.en.eq(self.read),
                write_port.addr.eq(self.write_addr),
                write_port.data.eq(part),
                write_port.en.eq(self.write),
            ]
            read.append(read_port.data)
        m.d.comb += self.read_data.eq(Cat(read))
        return m
