"""Ascon-CXOF128 (NIST SP 800-232, section 5.3), small and slow: a column of the state is read in a clock, one written in 16.

The memory has a word of five bits for each column, of two states and of a constant one. A round reads one state and writes
the other. Columns are written in order; for each of them an address walks over the eleven columns that its bits depend on,
which go through the S-boxes on their way from the memory:

    new bit of x_i = bit of x_i in this column, and in those two that the linear layer's rotations of x_i lead to

So of each column that is read, the sum (a register of five bits) takes the one bit that is meant, or all five of the column
itself. The address is where the last one was plus a step from a table: no number of a column is kept beside it.

The constant state is that of the customisation string, which the first round of a message reads. In the last round of a
permutation, bits of x0 come by in order: there a block is added to them, or they are the digest's.
Decision 46 compares this with a memory of single bits.
"""

from collections.abc import Sequence

from amaranth import C, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bitting.unit.cxof import BLOCK_BITS, COLUMN_CLOCKS, DIGEST_BITS, ROUNDS, check_label
from bitting.unit.protocol import WORD_BITS
from bitting_rtl.lib.layouts import UNCHECKED
from bitting_rtl.lib.one_hot import OneHot
from bitting_rtl.lib.ports import Port, Ports
from bitting_rtl.unlock.ascon import ROTATIONS, WORDS, labelled, permuted

#: A word of a message.
MESSAGE = data.StructLayout({"data": WORD_BITS, "last": 1})

_STATES = ("CLEAR", "IDLE", "WORDS", "PAD", "PADDED", "GIVE")
#: (columns from the one that is written, word of the state) of each read in a column's clocks; word `WORDS` means all of them.
_READS = [(0, WORDS), *((turn, index) for index, turns in enumerate(ROTATIONS) for turn in turns)]


def _chosen(at: Value, bits: Sequence[int]) -> Value:
    """The bit in that place of a table."""
    return C(sum(bit << place for place, bit in enumerate(bits)), len(bits)).bit_select(at, 1)


def _initial(label: bytes, prefix: Sequence[int]) -> list[int]:
    """The state before the permutation that every message begins with."""
    state = labelled(check_label(label))
    for low, high in zip(prefix[::2], prefix[1::2], strict=True):
        state = permuted(state)
        state[0] ^= low | high << WORD_BITS
    return state


class SmallCxof(wiring.Component):
    """Hashes one message after another, under one customisation string: whole words in, eight words out.

    How many clocks a message takes depends on the number of its words only (`bitting.unit.cxof.CxofClocks`), as long as words
    are offered and taken in clocks that do not depend on secrets.

    The state is overwritten with zeros behind each digest, after reset and after `wipe`, which may come in any clock: what was
    in registers is gone in that one, and the memory is zeros when `busy` is low again.

    Args:
        label: the customisation string, up to seven bytes.
        prefix: words that every message begins with, an even number: it costs nothing, for the constant state follows them.

    Raises:
        bitting.errors.BittingError: if it is longer.
    """

    def __init__(self, label: bytes, prefix: Sequence[int] = ()):
        state = _initial(label, prefix)
        columns = [sum((word >> bit & 1) << index for index, word in enumerate(state)) for bit in range(BLOCK_BITS)]
        #: Columns: of the state that even rounds read, of that which odd ones read, and of the constant one.
        self.memory = Memory(
            shape=unsigned(WORDS),
            depth=4 * BLOCK_BITS,
            init=[0] * (2 * BLOCK_BITS) + columns,
            attrs={"ram_style": "block", **UNCHECKED},
        )
        super().__init__(
            Ports(
                {
                    "start": Port(In(1), "begin a message", "one clock, while `busy` is low"),
                    "wipe": Port(In(1), "stop, and forget the message"),
                    "busy": Port(Out(1), "there is a message, or the state is being overwritten"),
                    "words": Port(In(stream.Signature(MESSAGE)), "the message"),
                    "digest": Port(
                        Out(stream.Signature(unsigned(WORD_BITS))), f"its {DIGEST_BITS // WORD_BITS} words, lowest byte first"
                    ),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._states = OneHot(m, _STATES)
        self._step = Signal(range(COLUMN_CLOCKS))  # clock of a column
        self._address = Signal(range(BLOCK_BITS))  # of the column that is read; in the last step, of the one that is written
        self._round = Signal(range(ROUNDS))
        self._sum = Signal(WORDS)
        self._last_round = Signal()
        self._ends = Signal()  # a column does
        self._permuted = Signal()  # a permutation ends
        self._forgets = Signal()
        m.d.comb += [self.busy.eq(~self._states.at["IDLE"]), self._forgets.eq(self.wipe | self._states.at["CLEAR"])]
        self._count(m)
        self._permute(m)
        self._follow(m)
        self._states.connect(forced=self.wipe, there="CLEAR")
        return m

    def _count(self, m: Module) -> None:
        """Steps, columns, rounds; and when they wait."""
        at, step, address = self._states.at, self._step, self._address
        written, half, waits, round_ends = (Signal(name=name) for name in ("written", "half", "waits", "round_ends"))
        # Where the address stands in each step, counted from the column that is written; then how far it goes.
        places = [turn for turn, _ in _READS] + [0] * (COLUMN_CLOCKS - len(_READS))
        strides = [after - before for before, after in zip(places, [*places[1:], 1], strict=True)]
        stride = Cat(_chosen(step, [way >> bit & 1 for way in strides]) for bit in range(len(address)))
        m.d.comb += [
            written.eq(step.all()),
            half.eq(address[: (WORD_BITS - 1).bit_length()].all()),
            self._last_round.eq(self._round == ROUNDS - 1),
            self.words.ready.eq(at["WORDS"] & self._last_round & written & half),
            self.digest.valid.eq(at["GIVE"] & self._last_round & written & half),
            waits.eq((at["WORDS"] & self._last_round & written & ~self.words.valid) | (self.digest.valid & ~self.digest.ready)),
            self._ends.eq(written & ~waits),
            round_ends.eq(self._ends & half & address[-1]),
            self._permuted.eq(round_ends & self._last_round),
        ]
        with m.If(~waits & self.busy):
            m.d.sync += [step.eq(step + 1), address.eq(address + stride)]
        with m.If(round_ends):
            m.d.sync += self._round.eq(Mux(self._last_round, 0, self._round + 1))
        self._fresh = Signal()  # what is read is the constant state
        with m.If(round_ends):
            m.d.sync += self._fresh.eq(0)
        with m.If(at["CLEAR"]):
            m.d.sync += self._fresh.eq(1)
        with m.If(self.wipe):
            m.d.sync += [step.eq(0), address.eq(0), self._round.eq(0)]

    def _permute(self, m: Module) -> None:
        """A column in, a bit of it into the sum; the sum out, with a bit of a block."""
        at, step, address = self._states.at, self._step, self._address
        m.submodules.memory = memory = self.memory
        read, write = memory.read_port(), memory.write_port()
        bank = self._round[0]
        # In the clock of a wipe the constant state is read, so that what was read last is gone with the registers.
        m.d.comb += [read.addr.eq(Cat(address, bank, self._fresh | self.wipe)), write.addr.eq(Cat(address, ~bank, C(0, 1)))]
        constant = Signal()  # that of the round, in the column that comes: 15 - i and i, in four bits each
        low = self._round.bit_select(address[:2], 1)
        m.d.sync += constant.eq((low ^ address[2]) & ~address[3:].any())
        self._column = Signal(WORDS)
        m.d.sync += self._column.eq(read.data ^ Cat(C(0, 2), constant))
        with m.If(self._forgets):
            m.d.sync += self._column.eq(0)
        box = self._box(m, *self._column)
        # What is asked for in one step is in that register two steps later.
        met = [[0, 0] + [word in (index, WORDS) for _, word in _READS] for index in range(WORDS)]
        meant = Cat(_chosen(step, [*bits, *[0] * (COLUMN_CLOCKS - len(bits))]) for bits in met)
        m.d.sync += self._sum.eq(self._sum ^ (box & meant))
        with m.If(self._ends | self._forgets):
            m.d.sync += self._sum.eq(0)
        bit = self.words.payload.data.bit_select(address[: (WORD_BITS - 1).bit_length()], 1)
        added = self._last_round & (at["PAD"] | (at["WORDS"] & bit))
        m.d.comb += [write.data.eq(self._sum ^ added), write.en.eq(self._ends)]
        taken = Signal(WORD_BITS - 1)  # bits of the digest's word, but for its last one
        m.d.comb += self.digest.payload.eq(Cat(taken, self._sum[0]))
        with m.If(self._ends):
            m.d.sync += taken.eq(self.digest.payload >> 1)
        with m.If(self._forgets):
            m.d.sync += taken.eq(0)
        self._taken, self._read = taken, read.data

    def _box(self, m: Module, x0: Value, x1: Value, x2: Value, x3: Value, x4: Value) -> Value:
        """The S-box, as in `bitting_rtl.unlock.ascon`."""
        u0, last, first, second = (Signal(name=name) for name in ("u0", "last", "first", "second"))
        m.d.comb += [
            u0.eq(x0 ^ x4),
            last.eq(x4 ^ x3 ^ (~u0 & x1)),
            first.eq(u0 ^ (~x1 & x2)),
            second.eq(x1 ^ x2 ^ (~x3 & x4)),
        ]
        return Cat(first ^ last, x1 ^ (~(x1 ^ x2) & x3) ^ first, ~second, x3 ^ (~(x4 ^ x3) & u0) ^ second, last)

    def _follow(self, m: Module) -> None:
        """States: the words of a message, a one behind them, zeros to the end of its block, the blocks of the digest."""
        states, at = self._states, self._states.at
        blocks = Signal(range(DIGEST_BITS // BLOCK_BITS))
        with m.If(at["CLEAR"] & self._permuted):
            states.go("CLEAR", "IDLE")
        with m.If(at["IDLE"] & self.start):
            states.go("IDLE", "WORDS")
        with m.If(self.words.ready & self.words.valid & self.words.payload.last):
            states.go("WORDS", "PAD")
        with m.If(at["PAD"] & self._last_round & self._ends):
            states.go("PAD", "PADDED")
        with m.If(at["PADDED"] & self._permuted):
            states.go("PADDED", "GIVE")
        with m.If(at["GIVE"] & self._permuted):
            m.d.sync += blocks.eq(blocks + 1)
            with m.If(blocks.all()):
                states.go("GIVE", "CLEAR")
        with m.If(self.wipe):
            m.d.sync += blocks.eq(0)
