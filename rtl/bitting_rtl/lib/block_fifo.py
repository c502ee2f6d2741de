"""A FIFO in a block RAM: no LUT but for its addresses."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bitting_rtl.lib.layouts import UNCHECKED
from bitting_rtl.lib.ports import Port, Ports


class BlockFifo(wiring.Component):
    """First in, first out; a word can leave two clocks after it came.

    Args:
        width: bits of a word.
        depth: words it holds, a power of two.

    Raises:
        ValueError: for another depth.
    """

    def __init__(self, width: int, depth: int):
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"a FIFO's depth must be a power of two from 2 on, not {depth}")
        self._depth = depth
        word = unsigned(width)
        super().__init__(
            Ports(
                {
                    "w_data": Port(In(word), "a word", "with `w_en`"),
                    "w_en": Port(In(1), "take it", "while `w_rdy`"),
                    "w_rdy": Port(Out(1), "there is room"),
                    "r_data": Port(Out(word), "the oldest word", "while `r_rdy`"),
                    "r_rdy": Port(Out(1), "there is a word"),
                    "r_en": Port(In(1), "drop it"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        attrs = {"ram_style": "block", **UNCHECKED}
        m.submodules.storage = storage = Memory(shape=self.w_data.shape(), depth=self._depth, init=[], attrs=attrs)
        read, write = storage.read_port(), storage.write_port()
        # One bit more than an address: all words are in use where only that differs.
        written, gone, gone_next = (Signal(range(2 * self._depth), name=name) for name in ("written", "gone", "gone_next"))
        m.d.comb += [
            write.addr.eq(written),
            write.data.eq(self.w_data),
            write.en.eq(self.w_en & self.w_rdy),
            self.w_rdy.eq((written ^ gone) != self._depth),
            gone_next.eq(gone + (self.r_en & self.r_rdy)),
            read.addr.eq(gone_next),
            self.r_data.eq(read.data),
        ]
        m.d.sync += [written.eq(written + write.en), gone.eq(gone_next), self.r_rdy.eq(written != gone_next)]
        return m
