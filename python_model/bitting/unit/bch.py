"""Binary BCH codes, as both sides know them: field, generator polynomial, sizes, how bits lie in words, clocks of the decoder.

Primitive, narrow-sense codes of length n = 2^m - 1 (Bose and Ray-Chaudhuri 1960, Hocquenghem 1959; Lin and Costello, Error
Control Coding, chapter 6): the generator polynomial is the product of the minimal polynomials of alpha, alpha^3 ...
alpha^(2t-1), so every word of the code has alpha^1 ... alpha^2t among its roots, and any two differ in 2t + 1 bits or more.
A polynomial over GF(2) is an integer, of which bit i is the coefficient of x^i; so is an element of GF(2^m), in alpha.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from bitting.errors import BittingError
from bitting.unit.protocol import WORD_BITS

#: m -> the primitive polynomial that alpha is a root of: those of Lin and Costello, table 2.7, which Linux' lib/bch.c has too.
PRIMITIVE_POLYNOMIALS = {4: 0b10011, 5: 0b100101, 6: 0b1000011, 7: 0b10001001, 8: 0b100011101}
#: m of the codes that a key is made with, and their length, which is the pairs of oscillators in a block of a response.
BLOCK_M = 8
BLOCK_BITS = (1 << BLOCK_M) - 1


def times_alpha(m: int, element: int) -> int:
    """An element of GF(2^m) times alpha."""
    doubled = element << 1
    return doubled ^ PRIMITIVE_POLYNOMIALS[m] if doubled >> m else doubled


@functools.cache
def powers(m: int) -> tuple[int, ...]:
    """alpha^0 ... alpha^(2^m - 2): every element of GF(2^m) but 0, once."""
    elements = [1]
    while len(elements) < (1 << m) - 1:
        elements.append(times_alpha(m, elements[-1]))
    return tuple(elements)


def multiply(m: int, a: int, b: int) -> int:
    """Product of two elements of GF(2^m)."""
    product = 0
    for bit in range(m):
        product ^= a if b >> bit & 1 else 0
        a = times_alpha(m, a)
    return product


def conjugates(m: int, exponent: int) -> frozenset[int]:
    """Exponents of the roots that the minimal polynomial of alpha^exponent has: e, 2e, 4e ... modulo 2^m - 1."""
    n = (1 << m) - 1
    return frozenset(exponent * (1 << step) % n for step in range(m))


def remainder(dividend: int, divisor: int) -> int:
    """Of two polynomials over GF(2)."""
    degree = divisor.bit_length() - 1
    for shift in range(dividend.bit_length() - 1 - degree, -1, -1):
        if dividend >> (shift + degree) & 1:
            dividend ^= divisor << shift
    return dividend


@dataclass(frozen=True)
class BchCode:
    """A code that corrects any t errors in n = 2^m - 1 bits.

    Attributes:
        m: 4 to 8.
        t: 1 or more. One generator polynomial can serve several t: only the largest of them is allowed.

    Raises:
        BittingError: if there is no such code.

    Example:
        >>> code = BchCode(m=4, t=2)
        >>> code.n, code.k, bin(code.generator)
        (15, 7, '0b111010001')
    """

    m: int
    t: int

    def __post_init__(self) -> None:
        if self.m not in PRIMITIVE_POLYNOMIALS:
            allowed = ", ".join(map(str, PRIMITIVE_POLYNOMIALS))
            raise BittingError(f"a BCH code of length 2^m - 1 with m = {self.m}; allowed m: {allowed}")
        if self.t not in (allowed_t := correctable(self.m)):
            raise BittingError(
                f"no BCH code of length {self.n} corrects exactly {self.t} errors; allowed t: {', '.join(map(str, allowed_t))}"
            )

    @property
    def n(self) -> int:
        """Bits of a word."""
        return (1 << self.m) - 1

    @property
    def check_bits(self) -> int:
        """Bits of a syndrome, n - k, which is the degree of the generator polynomial."""
        return len(_roots(self.m, self.t))

    @property
    def k(self) -> int:
        """Bits of a message."""
        return self.n - self.check_bits

    @property
    def generator(self) -> int:
        """The generator polynomial."""
        return _generator(self.m, self.t)

    @property
    def word_words(self) -> int:
        """32-bit words that a word of the code takes. Bit i of it is bit i % 32 of word i // 32; the rest are zeros."""
        return -(-self.n // WORD_BITS)

    @property
    def syndrome_words(self) -> int:
        """32-bit words that a syndrome takes, in the same way."""
        return -(-self.check_bits // WORD_BITS)


def _roots(m: int, t: int) -> frozenset[int]:
    return frozenset().union(*(conjugates(m, exponent) for exponent in range(1, 2 * t, 2)))


@functools.cache
def _generator(m: int, t: int) -> int:
    """The product of (x + alpha^e) over all roots, whose coefficients are all 0 or 1."""
    product = [1]  # coefficients in GF(2^m), lowest first
    for exponent in sorted(_roots(m, t)):
        root = powers(m)[exponent]
        shifted, scaled = [0, *product], [*(multiply(m, root, element) for element in product), 0]
        product = [a ^ b for a, b in zip(shifted, scaled, strict=True)]
    return sum(coefficient << place for place, coefficient in enumerate(product))


@functools.cache
def correctable(m: int) -> tuple[int, ...]:
    """Every t for which there is a code of length 2^m - 1 that keeps one message bit or more, and that corrects no more."""
    n = (1 << m) - 1
    best: dict[int, int] = {}
    for t in range(1, n // 2 + 1):
        if (bits := len(_roots(m, t))) < n:
            best[bits] = t
    return tuple(best.values())


#: An example of the decoder's size, and no code of a key: of a response of recorded boards one word of it leaves less than a
#: key's bits, and fails often (docs/puf.md, which says which code is chosen).
DEFAULT_CODE = BchCode(BLOCK_M, t=11)

#: Clocks of a loop of the decoder beyond its coefficients: two from an address to what is written, and one to go on.
LOOP_OVERHEAD = 3


@dataclass(frozen=True)
class DecoderClocks:
    """Clocks of `bitting_rtl.puf.bch_decoder`, exactly, if all bits come and go as soon as they may.

    Attributes:
        clear: all memory is written with what a word begins with.
        load: the noisy word comes, and its power sums are made.
        locate: the locator is made.
        search: every position is tried, and the corrected word goes.
    """

    clear: int
    load: int
    locate: int
    search: int

    @classmethod
    def of(cls, code: BchCode) -> DecoderClocks:
        """Of a code; nothing of it depends on the word or on the syndrome."""
        pairs = 2 * (code.t + 1)
        return cls(
            clear=1 << clear_bits(code),
            load=code.n * (pairs + LOOP_OVERHEAD),
            locate=code.t * 2 * (pairs + LOOP_OVERHEAD),
            search=code.n * (code.t + 1 + LOOP_OVERHEAD),
        )

    @property
    def word(self) -> int:
        """From the clock that takes a word's first bit to the one that says `done`, both counted."""
        return self.load + self.locate + self.search + 1


def region_bits(code: BchCode) -> int:
    """Address bits of the t + 1 coefficients of a polynomial in the decoder's memory, which has four such regions."""
    return code.t.bit_length()


def clear_bits(code: BchCode) -> int:
    """Bits of the address that sweeps both of the decoder's memories: the word's, and that of the coefficients."""
    return max(code.m, region_bits(code) + 2)
