"""Ascon-p (NIST SP 800-232), one round a clock: the only cipher of an engine with the vault `ascon`.

All that ever happens to the state is a round, or the exclusive or of a 32-bit word into one of its ten halves. Hashing,
initialising, keying, deciphering and comparing tags are sequences of those two, which the vault runs.

The state is kept as (x0 ^ x4, x1, x2 ^ x1, x3, x4). In this form every bit of the S-box's output is a function of at most four
bits, and so is every bit after the linear layer: a LUT4 each, ten a column, where the form of the standard takes thirteen.
Synthesis does not find that by itself, so an engine that is built for an ECP5 names the LUTs.
"""

from __future__ import annotations

from collections.abc import Callable

from amaranth import C, Cat, Instance, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitting_rtl.lib.ports import Port, Ports

WORD = 64
HALF = 32
WORDS = 5
#: Rotations of the linear layer, word by word (section 3.4).
ROTATIONS = ((19, 28), (61, 39), (1, 6), (10, 17), (7, 41))
#: Initial values of x0 (appendix B).
AEAD_IV = 0x00001000808C0001
CXOF_IV = 0x0000080000CC0004


def lut4(m: Module, name: str, function: Callable[..., int], *inputs: Value) -> Signal:
    """A LUT4 of the ECP5 that computes a function of up to four bits."""
    table = sum((function(*(row >> pin & 1 for pin in range(len(inputs)))) & 1) << row for row in range(16))
    output = Signal(name=name)
    pins = [*inputs, *[C(0)] * (4 - len(inputs))]
    m.submodules[name] = Instance(
        "LUT4", p_INIT=C(table, 16), o_Z=output, **{f"i_{pin}": value for pin, value in zip("ABCD", pins, strict=True)}
    )
    return output


class AsconCore(wiring.Component):
    """A state of 320 bits and the two things that happen to it: rounds, and words added to it. Never both in one clock.

    A permutation takes twelve clocks, or eight with `inner`, the clock of `start` among them. A tag is compared by adding to
    the state what it must be.
    """

    def __init__(self, ecp5: bool = False):
        """`ecp5`: name the LUTs (`BuildOptions.ecp5`)."""
        self._ecp5 = ecp5
        super().__init__(
            Ports(
                {
                    "clear": Port(In(1), "begin with an initial value and zeros", "not with `start`"),
                    "hashes": Port(In(1), "the initial value is that of CXOF128, else of AEAD128", "with `clear`"),
                    "start": Port(In(1), "run the permutation", "one clock, while nothing runs"),
                    "inner": Port(In(1), "its last eight rounds, else all twelve", "with `start`"),
                    "last": Port(
                        Out(1), "the last round happens: after it nothing runs", "eleven (seven) clocks after `start`"
                    ),
                    "inject": Port(
                        In(2 * WORDS), "which halves `word` is added to: bit 2 i is the low half of x_i", "while nothing runs"
                    ),
                    "word": Port(In(HALF), "what is added", "with `inject`"),
                    "select": Port(In(2), "which half `rate` is: x0 low, x0 high, x1 low, x1 high"),
                    "rate": Port(Out(HALF), "that half", "while nothing runs"),
                    "zero": Port(Out(1), "x3 and x4 are zero", "while nothing runs"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        u0, x1, u2, x3, x4 = state = [Signal(WORD, name=name, reset_less=True) for name in ("u0", "x1", "u2", "x3", "x4")]
        round_now = Signal()
        step = self._count(m, round_now)
        # The round constant of step i is 15 - i and i, in four bits each.
        constant = Signal(8)
        m.d.comb += constant.eq(Cat(step, ~step))
        after = (self._lookup_tables if self._ecp5 else self._words)(m, u0, x1, u2 ^ constant, x3, x4)
        for index, (word, following) in enumerate(zip(state, after, strict=True)):
            for half in range(2):
                part = slice(HALF * half, HALF * (half + 1))
                touched = self._touched(index, half)
                with m.If(round_now | touched):
                    m.d.sync += word[part].eq(self._choice(m, f"next{index}_{half}", round_now, following[part], word[part]))
        with m.If(self.clear):
            m.d.sync += [word.eq(0) for word in (x1, u2, x3, x4)]
            m.d.sync += u0.eq(Mux(self.hashes, CXOF_IV, AEAD_IV))
        m.d.comb += [
            self.rate.eq(Cat(u0 ^ x4, x1).word_select(self.select, HALF)),
            self.zero.eq(~(x3.any() | x4.any())),
        ]
        return m

    def _touched(self, index: int, half: int) -> Value:
        """Whether a half of the state as it is kept changes: x4 is part of the first word too, x1 of the third."""
        partner = {0: 4, 2: 1}.get(index)
        touched = self.inject[2 * index + half]
        return touched if partner is None else touched ^ self.inject[2 * partner + half]

    def _count(self, m: Module, round_now: Signal) -> Signal:
        """The number of the round that happens in this clock, 0..11."""
        step, following = Signal(4), Signal(4)
        runs = Signal()
        m.d.comb += [
            round_now.eq(self.start | runs),
            step.eq(Mux(self.start, Mux(self.inner, 4, 0), following)),
            self.last.eq(runs & (following == 11)),
        ]
        with m.If(round_now):
            m.d.sync += [following.eq(step + 1), runs.eq(~self.last)]
        with m.If(self.clear):
            m.d.sync += runs.eq(0)
        return step

    def _words(self, m: Module, u0: Value, x1: Value, u2: Value, x3: Value, x4: Value) -> list[Value]:
        """A round, in words: what simulators compute fast, and every tool understands."""
        box = [Signal(WORD, name=f"box{index}") for index in range(WORDS)]
        mixed = [Signal(WORD, name=f"mixed{index}") for index in range(WORDS)]
        first, second = u0 ^ (~x1 & u2), u2 ^ (~x3 & (x4 ^ x3))
        m.d.comb += [
            box[4].eq(x4 ^ x3 ^ (~u0 & x1)),
            box[0].eq(first ^ box[4]),
            box[1].eq(x1 ^ (~u2 & x3) ^ first),
            box[2].eq(~second),
            box[3].eq(x3 ^ (~(x4 ^ x3) & u0) ^ second),
        ]
        for word, source, (a, b) in zip(mixed, box, ROTATIONS, strict=True):
            m.d.comb += word.eq(source ^ source.rotate_right(a) ^ source.rotate_right(b))
        return [mixed[0] ^ mixed[4], mixed[1], mixed[2] ^ mixed[1], mixed[3], mixed[4]]

    def _lookup_tables(self, m: Module, u0: Value, x1: Value, u2: Value, x3: Value, x4: Value) -> list[Value]:
        """The same, ten LUT4 a column."""
        box: list[list[Signal]] = [[] for _ in range(WORDS)]
        for bit in range(WORD):
            a, b, c, d, e = (word[bit] for word in (u0, x1, u2, x3, x4))
            last = lut4(m, f"box4_{bit}", lambda x4, x3, u0, x1: x4 ^ x3 ^ (~u0 & x1), e, d, a, b)
            box[4].append(last)
            box[0].append(lut4(m, f"box0_{bit}", lambda u0, x1, u2, last: u0 ^ (~x1 & u2) ^ last, a, b, c, last))
            box[1].append(lut4(m, f"box1_{bit}", lambda u0, x1, u2, x3: x1 ^ (~u2 & x3) ^ u0 ^ (~x1 & u2), a, b, c, d))
            box[2].append(lut4(m, f"box2_{bit}", lambda u2, x3, x4: ~(u2 ^ (~x3 & (x4 ^ x3))), c, d, e))
            box[3].append(
                lut4(m, f"box3_{bit}", lambda u0, u2, x3, x4: x3 ^ (~(x4 ^ x3) & u0) ^ u2 ^ (~x3 & (x4 ^ x3)), a, c, d, e)
            )
        mixed: list[list[Signal]] = [[] for _ in range(WORDS)]
        for index, partner in ((1, None), (3, None), (4, None), (0, 4), (2, 1)):
            first, second = ROTATIONS[index]
            for bit in range(WORD):
                terms: list[Value] = [box[index][(bit + distance) % WORD] for distance in (0, first, second)]
                terms += [] if partner is None else [mixed[partner][bit]]
                mixed[index].append(lut4(m, f"mixed{index}_{bit}", lambda *bits: sum(bits), *terms))
        return [Cat(word) for word in mixed]

    def _choice(self, m: Module, name: str, round_now: Value, following: Value, present: Value) -> Value:
        """What a half becomes: the round's, or itself with `word` added."""
        if not self._ecp5:
            return Mux(round_now, following, present ^ self.word)
        return Cat(
            lut4(
                m,
                f"{name}_{bit}",
                lambda now, after, before, word: after if now else before ^ word,
                round_now,
                following[bit],
                present[bit],
                self.word[bit],
            )
            for bit in range(HALF)
        )
