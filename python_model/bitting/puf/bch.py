"""BCH codes at work: encoding, syndromes, and the decoder, many words at once. `bitting.unit.bch` says which codes there are.

Words are rows of bits; bit i of a row is the coefficient of x^i. The decoder goes the steps of `bitting_rtl.puf.bch_decoder`,
with the same number of them for every word: nothing but what is chosen bit by bit depends on what is decoded.
"""

from __future__ import annotations

import functools

import numpy as np

from bitting.errors import PufError
from bitting.unit.bch import BchCode, powers, remainder
from bitting.unit.protocol import WORD_BITS

WORDS = np.dtype("<u4")


def checked(bits: np.ndarray, width: int, what: str) -> np.ndarray:
    """(count, width) uint8 of zeros and ones.

    Args:
        bits: integers or booleans.
        width: bits of a row.
        what: what a row is, for the error.

    Raises:
        PufError: if they are anything else.
    """
    bits = np.asarray(bits)
    if bits.ndim != 2 or bits.shape[1] != width:
        raise PufError(f"{what} has {width} bits, so an array of them has the shape (count, {width}); found {bits.shape}")
    if bits.dtype.kind not in "bui" or (bits.size and (bits.min() < 0 or bits.max() > 1)):
        reach = f" from {bits.min()} to {bits.max()}" if bits.size else ""
        raise PufError(f"{what} consists of zeros and ones, integers or booleans; found {bits.dtype}{reach}")
    return bits.astype(np.uint8)


def packed(bits: np.ndarray) -> np.ndarray:
    """(count, width) bits to (count, words) uint32: bit i of a row is bit i % 32 of its word i // 32; the rest are zeros."""
    rows = np.zeros((len(bits), -(-bits.shape[1] // WORD_BITS) * WORD_BITS), np.uint8)
    rows[:, : bits.shape[1]] = bits
    return np.packbits(rows, axis=1, bitorder="little").view(WORDS)


def unpacked(words: np.ndarray, width: int) -> np.ndarray:
    """The (count, width) bits that `packed` made (count, words) uint32 of; what follows them in the last word is left out."""
    return np.unpackbits(np.ascontiguousarray(words, WORDS).view(np.uint8), axis=1, bitorder="little")[:, :width]


def syndromes(code: BchCode, words: np.ndarray) -> np.ndarray:
    """(count, n) bits to (count, n - k): each word's remainder by the generator polynomial, zeros for words of the code.

    This is the secure sketch of the syndrome construction (Dodis, Ostrovsky, Reyzin, Smith 2008, section 5): it tells n - k
    bits of a word and no more. The syndrome of a sum is the sum of syndromes.
    """
    words = checked(words, code.n, "a word")
    return (words.astype(np.int64) @ _syndrome_matrix(code) & 1).astype(np.uint8)


def encode(code: BchCode, messages: np.ndarray) -> np.ndarray:
    """(count, k) bits to (count, n) words of the code, systematic: the message in the upper k bits, its check in the others."""
    messages = checked(messages, code.k, "a message")
    words = np.concatenate([np.zeros((len(messages), code.check_bits), np.uint8), messages], axis=1)
    words[:, : code.check_bits] = syndromes(code, words)
    return words


@functools.cache
def _syndrome_matrix(code: BchCode) -> np.ndarray:
    """(n, n - k): row i is the syndrome of x^i."""
    rows = [remainder(1 << place, code.generator) for place in range(code.n)]
    return np.array([[row >> bit & 1 for bit in range(code.check_bits)] for row in rows])


def decode(code: BchCode, words: np.ndarray, sketch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The words within t bits of what was measured that have the syndromes that were kept.

    Each noisy word and its kept syndrome, added, are a polynomial whose values at the roots of the code are those of the
    errors alone. Power sums of the errors' places come first, then their locator, by the inversionless form (Burton 1971) of
    Berlekamp's algorithm for binary codes, t rounds; then every position is tried (Chien 1964). The locator of position i is
    alpha^(i + 1), so that hardware multiplies once before it looks.

    A word more than t bits away from all such words fails, and so does nearly every other that is too far from its own: see
    docs/decisions/0046-a-syndrome-and-a-check.md for how often one does not.

    Args:
        code: which code.
        words: (count, n) bits, as measured.
        sketch: (count, n - k) bits, `syndromes` of what was measured at enrolment.

    Returns:
        (count, n) corrected bits, and (count,) whether it failed; of what failed, use no bit.

    Raises:
        PufError: if a shape is wrong, or something is no bit.
    """
    noisy = checked(words, code.n, "a word")
    sketch = checked(sketch, code.check_bits, "a syndrome")
    if len(noisy) != len(sketch):
        raise PufError(f"{len(noisy)} words and {len(sketch)} syndromes; a word has one syndrome")
    summed = noisy.copy()
    summed[:, : code.check_bits] ^= sketch
    locator, degree = _locator(code, _power_sums(code, summed))
    wrong = _roots(code, locator)
    return noisy ^ wrong, wrong.sum(axis=1, dtype=np.int64) != degree


@functools.cache
def _products(m: int) -> np.ndarray:
    """(2^m, 2^m) uint8: the multiplication table of the field."""
    n = (1 << m) - 1
    elements = np.array(powers(m))
    table = np.zeros((n + 1, n + 1), np.uint8)
    exponents = np.arange(n)
    table[elements[:, None], elements] = elements[(exponents[:, None] + exponents) % n]
    return table


def _power_sums(code: BchCode, summed: np.ndarray) -> np.ndarray:
    """(2t, count) uint8: for j from 1 to 2t the sum of alpha^(j (i + 1)) over the places i of ones."""
    elements = np.array(powers(code.m), np.uint8)
    places = np.arange(1, code.n + 1)
    sums = [np.bitwise_xor.reduce(summed * elements[power * places % code.n], axis=1) for power in range(1, 2 * code.t + 1)]
    return np.array(sums, np.uint8)


def _locator(code: BchCode, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(t + 1, count) coefficients of the locators, which need not begin with 1, and (count,) the degrees they should have.

    Should: a degree above t is told, but coefficients above t are left out, so too few roots are found.
    """
    product, count = _products(code.m), sums.shape[1]
    locator = np.zeros((code.t + 1, count), np.uint8)
    previous = np.zeros_like(locator)  # times x: the locator before the degree grew last, times x for every step since
    locator[0], previous[1] = 1, 1
    scale, degree = np.ones(count, np.uint8), np.zeros(count, np.int64)
    for step in range(code.t):
        discrepancy = np.zeros(count, np.uint8)
        for i in range(min(2 * step, code.t) + 1):
            discrepancy ^= product[locator[i], sums[2 * step - i]]
        grows = (discrepancy != 0) & (degree <= step)
        kept = np.where(grows, locator, previous)
        locator = product[scale, locator] ^ product[discrepancy, previous]
        # The step after this one has no discrepancy in a binary code, so both are taken at once.
        previous = np.concatenate([np.zeros((2, count), np.uint8), kept[:-2]]) if code.t > 1 else np.zeros_like(kept)
        scale = np.where(grows, discrepancy, scale)
        degree = np.where(grows, 2 * step + 1 - degree, degree)
    return locator, degree


def _roots(code: BchCode, locator: np.ndarray) -> np.ndarray:
    """(count, n) uint8: 1 where the locator is 0 at alpha^-(i + 1)."""
    product = _products(code.m)
    elements = np.array(powers(code.m), np.uint8)
    places = np.arange(1, code.n + 1)
    values = np.zeros((locator.shape[1], code.n), np.uint8)
    for power, coefficients in enumerate(locator):
        values ^= product[coefficients[:, None], elements[-power * places % code.n]]
    return (values == 0).astype(np.uint8)
