"""Clocks of a PUF's boot: from helper data to root secret, measured, corrected, hashed, compared.

Measurement, decoder and hash run beside each other, and each waits for the others where it must; so there is no sum of theirs,
but a schedule that is followed here, event by event. All of it is public: design and mask.
"""

from __future__ import annotations

from collections.abc import Iterable

from bitting.unit.bch import LOOP_OVERHEAD, DecoderClocks
from bitting.unit.cxof import BLOCK_BITS, COLUMN_CLOCKS, DIGEST_BITS, ROUNDS, CxofClocks
from bitting.unit.protocol import WORD_BITS
from bitting.unit.puf_key import PufDesign

#: Clocks from one word of a public part to the next one that is offered to the hash: it is fetched.
_FETCH = 2
#: From a bit that is taken to the next one: a word of the mask is read, and a bit of it chosen.
_SELECT = 3
#: From reset to the first clock of clearing, from its last one to the order, from the root secret to the answer's last word.
_AROUND = 7


class _Hash:
    """When `bitting_rtl.puf.small_cxof` takes words and gives them: in the last round of a permutation only."""

    _COLUMNS = WORD_BITS * COLUMN_CLOCKS
    _PERMUTATION = ROUNDS * BLOCK_BITS * COLUMN_CLOCKS

    def __init__(self) -> None:
        self._moved = 0  # the clock in which the last word did
        self._words = 0

    def take(self, offered: int) -> int:
        """The clock in which a word of a message moves that is offered from this clock on: its bits go into a column each."""
        return self._move(offered + self._COLUMNS - COLUMN_CLOCKS)

    def give(self, asked: int) -> int:
        """The clock in which a word of the digest moves that is asked for from this clock on."""
        return self._move(asked)

    def _move(self, earliest: int) -> int:
        first_of_block = self._words % (BLOCK_BITS // WORD_BITS) == 0
        ready = self._moved + (self._PERMUTATION - self._COLUMNS if first_of_block else self._COLUMNS)
        self._moved, self._words = max(ready, earliest), self._words + 1
        return self._moved

    def pad(self) -> None:
        """The message has ended."""
        left = self._words % (BLOCK_BITS // WORD_BITS)
        self._moved += self._COLUMNS if left else self._PERMUTATION
        self._words = 0


def boot_clocks(design: PufDesign, mask: Iterable[int]) -> int:
    """From reset to the last word of the answer to helper data, if those are sent at once: before, the hash clears its state.

    Of the exported engine with registers at its ports, for a host that sends and takes a word in every clock.
    """
    return CxofClocks.of(1).clear + make_clocks(design, mask) + _AROUND


def make_clocks(design: PufDesign, mask: Iterable[int]) -> int:
    """From the clock in which `bitting_rtl.puf.root_maker` is told to make the root secret to that in which it is made.

    Nothing of it depends on the response, or on whether it can be corrected.

    Args:
        design: of the PUF.
        mask: 0 or 1 for each pair: whether it is kept. More or fewer than the key has are allowed, as on the chip.
    """
    key, measured, code = design.key, design.measured, design.key.code
    decoder, load = DecoderClocks.of(code), 2 * (code.t + 1) + LOOP_OVERHEAD
    search = code.t + 1 + LOOP_OVERHEAD
    hashed = _Hash()
    clock = 0
    for _ in range(key.mask_words + key.syndrome_words):
        clock = hashed.take(clock + _FETCH)
    kept = list(mask)
    pair, bit_there = 0, measured.bit_clocks  # the pair whose bit comes next, and from when on it is there
    decoder_ready = 0
    for _ in range(key.blocks):
        position = 0
        while position < code.n:
            clock += _SELECT
            if position < key.kept and pair < key.pairs:
                clock = max(clock, bit_there, decoder_ready if kept[pair] else 0)
                fed = bool(kept[pair])
                pair, bit_there = pair + 1, clock + measured.bit_clocks
            else:
                clock, fed = max(clock, decoder_ready), True
            if fed:
                position, decoder_ready = position + 1, clock + load
        clock, corrected = clock + 1, clock + load + decoder.locate
        for position in range(WORD_BITS * code.word_words):
            if position < code.n:
                corrected = max(clock, corrected + search - (position == 0))
                clock = corrected
            clock += 1 + (position == code.n)  # that the word has ended is known a clock late
            if position % WORD_BITS == WORD_BITS - 1:
                clock = hashed.take(clock) + 1
        decoder_ready = corrected + 1 + decoder.clear
        clock -= 1
    clock += 1
    if pair < key.pairs:
        clock = max(clock, bit_there) + (key.pairs - 1 - pair) * measured.bit_clocks + 1
    hashed.pad()
    for _ in range(DIGEST_BITS // WORD_BITS):
        clock = hashed.give(clock + _FETCH)
    return clock + 1
