"""The one memory of activations: a word holds one for each lane."""

from amaranth import Cat, Module, unsigned
from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bitting.unit.spec import UnitSpec
from bitting_rtl.lib.layouts import UNCHECKED
from bitting_rtl.lib.ports import Port, Ports

#: Widths of an ECP5 block RAM, and the words it then has.
_ECP5_WORDS = {18: 1024, 9: 2048, 4: 4096, 2: 8192, 1: 16384}


class Scratch(wiring.Component):
    """A read port and a write port, each of a word a clock.

    Reading a word in the clock in which it is written may give anything. That does not happen: a tile writes only where it
    reads nothing, or where it has read already.

    Args:
        spec: of the unit.
        ecp5: block RAMs as deep as the memory, a tenth more of them. Yosys would take wide and few, and choose between their
            answers, which come late enough (see `bitting_rtl.lib.build_options.BuildOptions`).
    """

    def __init__(self, spec: UnitSpec, ecp5: bool = False):
        self._depth = spec.scratch_words
        word = data.ArrayLayout(unsigned(spec.act_bits), spec.lanes)
        whole = Shape.cast(word).width
        deep_enough = (width for width, words in _ECP5_WORDS.items() if words >= self._depth)
        self._width = next(deep_enough, 1) if ecp5 else whole
        address = Shape.cast(range(self._depth))
        super().__init__(
            Ports(
                {
                    "read_addr": Port(In(address), "address to read", "with `read`"),
                    "read": Port(In(1), "read a word"),
                    "read_data": Port(Out(word), "the word that was read last", "a clock after `read`, until the next"),
                    "write_addr": Port(In(address), "address to write", "with `write`"),
                    "write_data": Port(In(word), "the word to write", "with `write`"),
                    "write": Port(In(1), "write a word"),
                }
            )
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
