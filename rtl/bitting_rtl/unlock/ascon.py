"""Ascon-p (NIST SP 800-232), one round a clock: the only cipher of an engine with the vault `ascon`.

What is kept between clocks is what the S-boxes gave last. The linear layer follows it, and to what comes out, the state, words
are added that wait in registers of their own. So to add a word takes no multiplexer at any bit of the state: the exclusive or
fits into the linear layer's LUTs, and the words that wait are zeros in all other clocks.

Ten LUT4 a column make a round, and another one x0 ^ x4, which three bits of the S-box take; all else of it is a function of at
most four bits of the state, or of three and another output. Synthesis does not find that by itself, so an engine that is built
for an ECP5 names the LUTs.
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
#: Rounds of the permutation at both ends of a computation, and between blocks of AEAD128.
OUTER_ROUNDS, INNER_ROUNDS = 12, 8
#: Rotations of the linear layer, word by word (section 3.4).
ROTATIONS = ((19, 28), (61, 39), (1, 6), (10, 17), (7, 41))
#: Initial values of x0 (appendix B).
AEAD_IV = 0x00001000808C0001
CXOF_IV = 0x0000080000CC0004

_ONES = (1 << WORD) - 1


def lut4(m: Module, name: str, function: Callable[..., int], *inputs: Value) -> Signal:
    """A LUT4 of the ECP5 that computes a function of up to four bits."""
    table = sum((function(*(row >> pin & 1 for pin in range(len(inputs)))) & 1) << row for row in range(16))
    output = Signal(name=name)
    pins = [*inputs, *[C(0)] * (4 - len(inputs))]
    m.submodules[name] = Instance(
        "LUT4", p_INIT=C(table, 16), o_Z=output, **{f"i_{pin}": value for pin, value in zip("ABCD", pins, strict=True)}
    )
    return output


def _linear_layer(index: int, word: int) -> int:
    """Word `index` of a state after the linear layer."""
    turned = [word >> turn | word << (WORD - turn) for turn in ROTATIONS[index]]
    return (word ^ turned[0] ^ turned[1]) & _ONES


def before_linear_layer(index: int, word: int) -> int:
    """What the linear layer turns into `word`, as word `index` of the state.

    The layer is multiplication by a polynomial of three terms modulo z^64 - 1. Its 64th power is 1, so its 63rd is its inverse.
    """
    for _ in range(WORD - 1):
        word = _linear_layer(index, word)
    return word


def permuted(state: list[int]) -> list[int]:
    """Ascon-p[12] of five words."""
    for step in range(OUTER_ROUNDS):
        x0, x1, x2, x3, x4 = state
        x0, x2, x4 = x0 ^ x4, x2 ^ x1 ^ (0xF0 - 0x0F * step), x4 ^ x3
        t = [x ^ (~y & z) for x, y, z in ((x0, x1, x2), (x1, x2, x3), (x2, x3, x4), (x3, x4, x0), (x4, x0, x1))]
        state = [_linear_layer(at, x & _ONES) for at, x in enumerate((t[0] ^ t[4], t[1] ^ t[0], ~t[2], t[3] ^ t[2], t[4]))]
    return state


def labelled(label: bytes) -> list[int]:
    """State of CXOF128 (section 5.3) with a customisation string of up to seven bytes, before the permutation that follows."""
    state = permuted([CXOF_IV, 0, 0, 0, 0])
    state[0] ^= 8 * len(label)
    state = permuted(state)
    state[0] ^= int.from_bytes(label + b"\x01", "little")
    return state


class AsconCore(wiring.Component):
    """A state of 320 bits and the two things that happen to it: words are added to it, then rounds follow.

    A word for one half of the state may be given once between two permutations; what is given again replaces it.
    """

    def __init__(self, ecp5: bool = False):
        """`ecp5`: name the LUTs (`BuildOptions.ecp5`)."""
        self._ecp5 = ecp5
        super().__init__(
            Ports(
                {
                    "clear": Port(In(1), "begin anew: x0 is AEAD128's initial value, all else zeros", "not with `start`"),
                    "start": Port(In(1), "run the permutation from the next clock on", "one clock, while nothing runs"),
                    "inner": Port(In(1), "its last eight rounds, else all twelve", "with `start`"),
                    "runs": Port(Out(1), "a round happens in this clock"),
                    "last": Port(Out(1), "it is the last one", "with `runs`"),
                    "ends": Port(Out(1), "the next one is the last one", "with `runs`"),
                    "load": Port(
                        In(2 * WORDS), "which half `word` is added to: bit 2 i is the low half of x_i", "while nothing runs"
                    ),
                    "word": Port(In(HALF), "what is added", "with `load`"),
                    "select": Port(In(2), "which half `rate` is: x0 low, x0 high, x1 low, x1 high"),
                    "reads": Port(In(1), "`rate` becomes that half, else zeros"),
                    "holds": Port(In(1), "`rate` stays as it is", "with `reads`"),
                    "rate": Port(Out(HALF), "that half", "a clock after `select`"),
                    "zero": Port(Out(1), "x3 and x4 were zero", "a clock late, while nothing runs"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        initial = [before_linear_layer(0, AEAD_IV), 0, 0, 0, 0]
        boxes = [Signal(WORD, name=f"box{index}", init=word, reset_less=True) for index, word in enumerate(initial)]
        added = [Signal(HALF, name=f"added{half}", reset_less=True) for half in range(2 * WORDS)]
        words = [Cat(*added[2 * index : 2 * index + 2]) for index in range(WORDS)]
        step = self._count(m)
        # The round constant of step i is 15 - i and i, in four bits each.
        constant = Signal(8)
        m.d.comb += constant.eq(Cat(step, ~step))
        state = (self._linear_tables if self._ecp5 else self._linear)(m, boxes, words)
        x0, x1, x2, x3, x4 = state
        following = (self._box_tables if self._ecp5 else self._box)(m, x0, x1, x2 ^ constant, x3, x4)
        with m.If(self.runs):
            m.d.sync += [box.eq(after) for box, after in zip(boxes, following, strict=True)]
        with m.If(self.clear):
            m.d.sync += [box.eq(word) for box, word in zip(boxes, initial, strict=True)]
        for half, word in enumerate(added):
            with m.If(self.load[half]):
                m.d.sync += word.eq(self.word)
            with m.If(self.clear | self.runs):
                m.d.sync += word.eq(0)
        halves = Cat(x0, x1)
        rate = self._rate_tables(m, halves) if self._ecp5 else halves.word_select(self.select, HALF)
        m.d.sync += self.zero.eq(~(x3.any() | x4.any()))
        with m.If(~self.holds):
            m.d.sync += self.rate.eq(rate)
        with m.If(~self.reads):
            m.d.sync += self.rate.eq(0)
        return m

    def _count(self, m: Module) -> Signal:
        """The number of the round that happens in this clock, 0..11."""
        step = Signal(range(OUTER_ROUNDS))
        m.d.comb += self.ends.eq(step == OUTER_ROUNDS - 2)
        with m.If(self.runs):
            # `last` is a register: much follows from it in its clock.
            m.d.sync += [step.eq(step + 1), self.runs.eq(~self.last), self.last.eq(self.ends)]
        with m.If(self.start):
            m.d.sync += [step.eq(Mux(self.inner, OUTER_ROUNDS - INNER_ROUNDS, 0)), self.runs.eq(1)]
        with m.If(self.clear):
            m.d.sync += [self.runs.eq(0), self.last.eq(0)]
        return step

    def _linear(self, m: Module, boxes: list[Signal], words: list[Value]) -> list[Value]:
        """The linear layer and what is added, in words: what simulators compute fast, and every tool understands."""
        state = [Signal(WORD, name=f"x{index}") for index in range(WORDS)]
        for word, source, added, (a, b) in zip(state, boxes, words, ROTATIONS, strict=True):
            m.d.comb += word.eq(source ^ source.rotate_right(a) ^ source.rotate_right(b) ^ added)
        return list(state)

    def _box(self, m: Module, x0: Value, x1: Value, x2: Value, x3: Value, x4: Value) -> list[Value]:
        """The S-boxes, in words."""
        u0, last = Signal(WORD), Signal(WORD)
        m.d.comb += [u0.eq(x0 ^ x4), last.eq(x4 ^ x3 ^ (~u0 & x1))]
        first, second = u0 ^ (~x1 & x2), x1 ^ x2 ^ (~x3 & x4)
        return [first ^ last, x1 ^ (~(x1 ^ x2) & x3) ^ first, ~second, x3 ^ (~(x4 ^ x3) & u0) ^ second, last]

    def _linear_tables(self, m: Module, boxes: list[Signal], words: list[Value]) -> list[Value]:
        """The linear layer and what is added, five LUT4 a column."""
        state: list[Value] = []
        for index, (box, word) in enumerate(zip(boxes, words, strict=True)):
            distances = (0, *ROTATIONS[index])
            columns = ([*(box[(bit + distance) % WORD] for distance in distances), word[bit]] for bit in range(WORD))
            state.append(Cat(lut4(m, f"x{index}_{bit}", lambda *bits: sum(bits), *terms) for bit, terms in enumerate(columns)))
        return state

    def _box_tables(self, m: Module, x0: Value, x1: Value, x2: Value, x3: Value, x4: Value) -> list[Value]:
        """The S-boxes, six LUT4 a column."""
        box: list[list[Signal]] = [[] for _ in range(WORDS)]
        for bit in range(WORD):
            b, c, d, e = (word[bit] for word in (x1, x2, x3, x4))
            a = lut4(m, f"sum_{bit}", lambda x0, x4: x0 ^ x4, x0[bit], e)
            last = lut4(m, f"next4_{bit}", lambda x4, x3, u0, x1: x4 ^ x3 ^ (~u0 & x1), e, d, a, b)
            box[4].append(last)
            box[0].append(lut4(m, f"next0_{bit}", lambda u0, x1, x2, last: u0 ^ (~x1 & x2) ^ last, a, b, c, last))
            box[1].append(lut4(m, f"next1_{bit}", lambda u0, x1, x2, x3: x1 ^ (~(x1 ^ x2) & x3) ^ u0 ^ (~x1 & x2), a, b, c, d))
            second = lut4(m, f"next2_{bit}", lambda x1, x2, x3, x4: ~(x1 ^ x2 ^ (~x3 & x4)), b, c, d, e)
            box[2].append(second)
            box[3].append(lut4(m, f"next3_{bit}", lambda u0, x3, x4, next2: x3 ^ (~(x4 ^ x3) & u0) ^ ~next2, a, d, e, second))
        return [Cat(word) for word in box]

    def _rate_tables(self, m: Module, halves: Value) -> Value:
        """One of four halves, two LUT4 a bit and the multiplexer that a slice has behind them."""
        rate: list[Signal] = []
        for bit in range(HALF):
            low, high = (
                lut4(m, f"rate{half}_{bit}", lambda x1, a, b: b if x1 else a, self.select[1], halves[at], halves[at + WORD])
                for half, at in enumerate((bit, bit + HALF))
            )
            rate.append(chosen := Signal(name=f"rate_{bit}"))
            m.submodules[f"rate_{bit}"] = Instance("PFUMX", i_BLUT=low, i_ALUT=high, i_C0=self.select[0], o_Z=chosen)
        return Cat(rate)
