"""A FIFO in a block RAM: no LUT but for its addresses."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bitting_rtl.lib.layouts import UNCHECKED
from bitting_rtl.lib.ports import Port, Ports


class BlockFifo(wiring.Component):
    """First in, first out; a word can leave three clocks after it came.

    What leaves comes from a register, for a block RAM is slow. It holds `BEHIND` words beside those in the memory. Whether
    there is room is a register too, for much depends on it. So room shows a clock after a word has made it.

    Args:
        width: bits of a word.
        depth: words in the memory, a power of two.

    Raises:
        ValueError: for another depth.
    """

    #: Words that have left the memory: in its output, and in the register.
    BEHIND = 2

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
        written, gone = (Signal(range(2 * self._depth), name=name) for name in ("written", "gone"))
        fetched = Signal()  # the memory's output is a word
        moves = Signal()  # it goes to the register
        full = Signal()
        following = Signal.like(written)
        m.d.comb += [
            write.addr.eq(written),
            write.data.eq(self.w_data),
            write.en.eq(self.w_en & self.w_rdy),
            self.w_rdy.eq(~full),
            following.eq(written + 1),
            moves.eq(~self.r_rdy | self.r_en),
            read.addr.eq(gone),
            read.en.eq((written != gone) & (moves | ~fetched)),
        ]
        with m.If(read.en):
            m.d.sync += gone.eq(gone + 1)
        with m.If(full):
            m.d.sync += full.eq((written ^ gone) == self._depth)
        with m.Elif(self.w_en):
            m.d.sync += [written.eq(following), full.eq((following ^ gone) == self._depth)]
        with m.If(moves):
            m.d.sync += [self.r_rdy.eq(fetched), self.r_data.eq(read.data)]
        with m.If(moves | ~fetched):
            m.d.sync += fetched.eq(read.en)
        return m
