"""Decoder of a binary BCH code, small and of constant time: one multiplier, one memory of coefficients, one of the word's bits.

`bitting.puf.bch` is the same in Python, step by step, and `bitting.unit.bch.DecoderClocks` says how long it takes. All it does
are loops over coefficients in a memory. In each clock of a loop an address is issued; a clock later its word is there, and goes
into the register x; in the clock after that it has met y in the multiplier, and what comes out is written or added to a sum.

    LOAD         for each bit that comes: every power sum times its power of alpha, plus the bit
    DISCREPANCY  the sum of the locator's coefficients times power sums
    UPDATE       locator times scale, plus previous locator times discrepancy; what the previous one becomes, written two
                 places up. Scale and discrepancy take turns in y
    SEARCH       for each position: every coefficient of the locator times its power of alpha; their sum is 0 at an error
"""

from functools import reduce
from itertools import pairwise
from operator import xor

from amaranth import C, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bitting.unit.bch import DEFAULT_CODE, LOOP_OVERHEAD, PRIMITIVE_POLYNOMIALS, BchCode, clear_bits, region_bits
from bitting.unit.protocol import WORD_BITS
from bitting_rtl.lib.layouts import UNCHECKED
from bitting_rtl.lib.one_hot import OneHot
from bitting_rtl.lib.ports import Port, Ports

_STATES = ("CLEAR", "LOAD", "DISCREPANCY", "UPDATE", "SEARCH")


def _times_alpha(m: int, element: Value) -> Value:
    """An element of GF(2^m) times alpha."""
    polynomial = PRIMITIVE_POLYNOMIALS[m] & ((1 << m) - 1)
    return Cat(C(0, 1), element[:-1]) ^ (element[-1].replicate(m) & polynomial)


def _over_alpha(m: int, element: Value) -> Value:
    """An element of GF(2^m) divided by alpha."""
    return Cat(element[1:], C(0, 1)) ^ (element[0].replicate(m) & (PRIMITIVE_POLYNOMIALS[m] >> 1))


class BchDecoder(wiring.Component):
    """Corrects one noisy word after another, each with the syndrome that was kept of it.

    How many clocks a word takes depends on the code only, as long as bits are offered and taken in clocks that do not depend on
    secrets. So whoever watches can not tell how many errors there were, where, or whether it failed.

    Both memories are cleared behind each word, after reset and after `wipe`, which may come in any clock: what was in registers
    is gone in that one, and the memories are zeros when a bit is taken again.

    Args:
        code: which one.
    """

    def __init__(self, code: BchCode = DEFAULT_CODE):
        self.code = code
        self._pairs = 2 * (code.t + 1)
        block = {"ram_style": "block", **UNCHECKED}
        #: Coefficients, and bits of the word.
        self.memories = (
            Memory(shape=unsigned(code.m), depth=4 << region_bits(code), init=[], attrs=block),
            Memory(shape=unsigned(1), depth=1 << code.m, init=[], attrs=block),
        )
        bit, word = stream.Signature(unsigned(1)), stream.Signature(unsigned(WORD_BITS))
        super().__init__(
            Ports(
                {
                    "wipe": Port(In(1), "forget the word and begin anew"),
                    "word": Port(In(bit), "bits of a word as they were measured, from bit 0 on"),
                    "sketch": Port(
                        In(word), "words of its kept syndrome, bit 0 of word 0 first", "beside the first bits of `word`"
                    ),
                    "corrected": Port(Out(bit), "bits of the corrected word, from bit 0 on; use none before `done`"),
                    "done": Port(Out(1), "all bits have left", "one clock"),
                    "failed": Port(Out(1), "it could not be corrected, so use none of its bits", "with `done`"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._states = OneHot(m, _STATES)
        self._count = Signal(range(self._pairs + LOOP_OVERHEAD))  # clocks of a loop
        self._position = Signal(clear_bits(self.code))  # of a bit in the word, or an address to be cleared
        self._round = Signal(range(self.code.t))
        self._x, self._y, self._sum, self._product = (Signal(self.code.m, name=name) for name in ("x", "y", "sum", "product"))
        self._added = Signal()  # the bit that power sums get, in LOAD
        self._grows = Signal()  # the locator's degree does, in this round
        self._ended = Signal()  # a loop has, and its last clock is not waiting
        self._forgets = Signal()
        m.d.comb += self._forgets.eq(self.wipe | self._states.at["CLEAR"])
        self._loops(m)
        self._memory(m)
        self._multiply(m)
        self._rounds(m)
        self._words(m)
        self._states.connect(forced=self.wipe, there="CLEAR")
        with m.If(self.wipe):
            m.d.sync += self._position.eq(0)
        return m

    def _loops(self, m: Module) -> None:
        """Which clock of a loop this is, and whether what was issued two clocks ago is in the multiplier now."""
        at, count = self._states.at, self._count
        issued = Signal.like(count)
        ends, waits, before = Signal(), Signal(), Signal()
        self._enters = Signal()  # the first clock of LOAD, in which a bit is taken
        self._valid = Signal()
        m.d.comb += [
            issued.eq(Mux(at["SEARCH"], self.code.t + 1, self._pairs)),
            ends.eq(~at["CLEAR"] & (count == issued + LOOP_OVERHEAD - 1)),
            self._enters.eq(at["LOAD"] & ~count.any()),
            self.corrected.valid.eq(at["SEARCH"] & ends),
            waits.eq((self._enters & ~(self.word.valid & self.word.ready)) | (self.corrected.valid & ~self.corrected.ready)),
            self._ended.eq(ends & ~waits),
        ]
        m.d.sync += [before.eq(~waits & (count < issued)), self._valid.eq(before)]
        with m.If(~waits):
            m.d.sync += count.eq(Mux(ends, 0, count + 1))
        with m.If(self._forgets):
            m.d.sync += [count.eq(0), before.eq(0), self._valid.eq(0)]

    def _memory(self, m: Module) -> None:
        """Of coefficients: 2t power sums, from the second on; the locator at 2 R, the one before it at 3 R, where R > t."""
        at, code, count, bits = self._states.at, self.code, self._count, region_bits(self.code)
        m.submodules.coefficients = memory = self.memories[0]
        read, write = memory.read_port(), memory.write_port()
        pair, odd = count[1:], count[0]
        sums = Signal(signed(bits + 3))  # place of the power sum that the pair's coefficient meets; none below 0
        below = [Signal(name=f"below{clock}") for clock in range(2)]
        wants_sums = at["LOAD"] | (at["DISCREPANCY"] & odd)
        place = Mux(at["LOAD"] | at["SEARCH"], count, Mux(at["DISCREPANCY"] & odd, sums.as_unsigned(), pair))
        region = Mux(wants_sums, place[bits], at["UPDATE"] & odd)
        issued, taken = Signal.like(read.addr), Signal.like(read.addr)
        m.d.comb += [sums.eq(Cat(C(0, 1), self._round) - pair), read.addr.eq(Cat(place[:bits], region, ~wants_sums))]
        m.d.sync += [
            issued.eq(read.addr),
            taken.eq(issued),
            below[0].eq(sums < 0),
            below[1].eq(below[0]),
            self._x.eq(read.data),
        ]
        with m.If(self._forgets):
            m.d.sync += self._x.eq(0)
        # What the previous locator becomes: two places up, what it was, or what the locator was. So it passes two registers.
        self._up = up = [Signal(code.m, name=f"up{place}") for place in range(1, 3)]
        with m.If(at["UPDATE"] & self._valid & (odd ^ self._grows)):
            m.d.sync += [up[0].eq(self._x), up[1].eq(up[0])]
        with m.If(~at["UPDATE"] | self._forgets):
            m.d.sync += [register.eq(0) for register in up]
        moves = at["UPDATE"] & ~odd
        clears = self._position[: bits + 2]
        begins = (clears == 2 << bits) | (clears == (3 << bits) + 1)  # locator 1, previous locator x
        result = self._product ^ (self._sum & at["UPDATE"].replicate(code.m)) ^ self._added
        m.d.comb += [
            # While the locator's coefficient is in the multiplier, its pair's other one is written, and the other way round.
            write.addr.eq(Mux(at["CLEAR"], clears, taken ^ (at["UPDATE"] << bits))),
            write.data.eq(Mux(at["CLEAR"], begins, Mux(moves, up[1], result))),
            write.en.eq(at["CLEAR"] | (self._valid & ~at["DISCREPANCY"])),
        ]
        self._meets_none = below[1]

    def _multiply(self, m: Module) -> None:
        """Multiplier, its second factor, and the sum of what comes out."""
        at, code, odd = self._states.at, self.code, self._count[0]
        self._scale, self._discrepancy = Signal(code.m, name="scale"), Signal(code.m, name="discrepancy")
        # Signals: as one nested expression, each row would be written out anew in the next one, twice.
        rows = [Signal(code.m, name=f"y_times_alpha_{power}") for power in range(code.m)]
        m.d.comb += rows[0].eq(self._y)
        m.d.comb += [after.eq(_times_alpha(code.m, before)) for before, after in pairwise(rows)]
        terms = (row & self._x[place].replicate(code.m) for place, row in enumerate(rows))
        m.d.comb += self._product.eq(reduce(xor, terms))
        turns = Mux(odd, self._scale, self._discrepancy)
        m.d.sync += self._y.eq(Mux(at["UPDATE"], turns, Mux(at["DISCREPANCY"], self._x, _over_alpha(code.m, self._y))))
        # Powers begin with 1/alpha for power sums, with 1 for the locator, in the clock that the first coefficient is in x.
        with m.If(self._enters | (at["SEARCH"] & ~self._count[1:].any())):
            m.d.sync += self._y.eq(1)
        adds = (at["DISCREPANCY"] & odd & ~self._meets_none) | (at["UPDATE"] & ~odd) | at["SEARCH"]
        with m.If(adds & self._valid):
            m.d.sync += self._sum.eq(self._sum ^ self._product)
        with m.If((at["UPDATE"] & odd) | self._ended | self._forgets):
            m.d.sync += self._sum.eq(0)
        with m.If(self._forgets):
            m.d.sync += self._y.eq(0)

    def _rounds(self, m: Module) -> None:
        """What a round of Berlekamp's algorithm comes to."""
        at = self._states.at
        # The degree that the locator should have; in SEARCH, less the roots that were found.
        self._degree = degree = Signal(range(2 * self.code.t))
        with m.If(at["DISCREPANCY"] & self._ended):
            m.d.sync += [self._discrepancy.eq(self._sum), self._grows.eq(self._sum.any() & (degree <= self._round))]
            self._states.go("DISCREPANCY", "UPDATE")
        with m.If(at["UPDATE"] & self._ended):
            m.d.sync += self._round.eq(self._round + 1)
            with m.If(self._grows):
                m.d.sync += [self._scale.eq(self._discrepancy), degree.eq(Cat(C(1, 1), self._round) - degree)]
            self._states.go("UPDATE", "DISCREPANCY", self._round == self.code.t - 1, "SEARCH")
        with m.If(at["SEARCH"] & self._ended):
            m.d.sync += degree.eq(degree - ~self._sum.any())
        with m.If(self._forgets):
            m.d.sync += [
                self._scale.eq(1),
                *(register.eq(0) for register in (self._discrepancy, self._round, degree, self._grows)),
            ]

    def _words(self, m: Module) -> None:
        """The word's bits, in and out, and the positions that they are at."""
        at, code, position = self._states.at, self.code, self._position
        m.submodules.bits = memory = self.memories[1]
        read, write = memory.read_port(), memory.write_port()
        has_check, last = position < code.check_bits, position == code.n - 1
        last_of_word = position[: (WORD_BITS - 1).bit_length()].all() | (position == code.check_bits - 1)
        bit = self.sketch.payload.bit_select(position[: (WORD_BITS - 1).bit_length()], 1)
        took = self._enters & self.word.valid & self.word.ready
        m.d.comb += [
            self.word.ready.eq(self._enters & (~has_check | self.sketch.valid)),
            self.sketch.ready.eq(took & has_check & last_of_word),
            read.addr.eq(position),
            write.addr.eq(position),
            write.data.eq(self.word.payload & at["LOAD"]),
            write.en.eq(at["CLEAR"] | took),
            self.corrected.payload.eq(read.data ^ ~self._sum.any()),
            self.failed.eq(self.done & self._degree.any()),
        ]
        with m.If(took):
            m.d.sync += self._added.eq(self.word.payload ^ (bit & has_check))
        with m.If(self._ended | self._forgets):
            m.d.sync += self._added.eq(0)
        with m.If(at["CLEAR"]):
            m.d.sync += position.eq(position + 1)
            with m.If(position.all()):
                self._states.go("CLEAR", "LOAD")
        with m.If((at["LOAD"] | at["SEARCH"]) & self._ended):
            m.d.sync += position.eq(Mux(last, 0, position + 1))
        with m.If(at["LOAD"] & self._ended & last):
            self._states.go("LOAD", "DISCREPANCY")
        m.d.sync += self.done.eq(at["SEARCH"] & self._ended & last & ~self.wipe)
        with m.If(at["SEARCH"] & self._ended & last):
            self._states.go("SEARCH", "CLEAR")
