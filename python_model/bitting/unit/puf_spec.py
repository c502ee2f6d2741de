"""What a PUF measures: pairs of ring oscillators, how long, how often; the widths and the clocks that follow from it.

Public, and the same on every device of a family. Two oscillators of a pair run alone, and two counters count their edges during
a window of the system clock. Of both counts only the difference counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from bitting.errors import SpecError
from bitting.unit.bch import BLOCK_BITS

#: Pairs of oscillators at most.
MAX_PAIRS = 4096
#: Standard deviation of a read, as a share of the frequency: real boards (150 Spartan-3E, at one temperature and voltage).
READ_NOISE = Fraction(3, 10_000)
#: Of frequencies in simulations, which are in frequencies of the system clock: bits behind the binary point.
FRACTION_BITS = 24
#: Periods of the slowest oscillator in which what it clocks has settled: two registers of a synchroniser, a count, up to five
#: carries within it, and two for the way between ring and counter.
_SETTLING_PERIODS = 10
#: Most bits of a sum: beyond them its comparison in a clock is slower than the rest of a design, and the noise has long gone.
_WIDEST = 32


@dataclass(frozen=True)
class PufSpec:
    """A measurement.

    Attributes:
        pairs: of oscillators, 2..4096; each gives one bit. the default is the length of a key's code.
        window: clocks in which edges are counted, 16..2^20. The default keeps to `window_for` for oscillators from 0.47 times
            the clock on; slower ones want a longer one, and from 0.94 times on half of it would do.
        reads: of each pair, added up; a power of two, 1..256.
        settle: clocks of each pause before and after the window, 4..4096: see `slowest`.
        fastest: the highest frequency of an oscillator that the counters hold, in frequencies of the system clock.

    Raises:
        SpecError: if one is out of range, or the sum of the differences too wide.
    """

    pairs: int = BLOCK_BITS
    window: int = 1 << 14
    reads: int = 1
    settle: int = 64
    fastest: int = 16

    def __post_init__(self) -> None:
        ranges = {"pairs": (2, MAX_PAIRS), "window": (16, 1 << 20), "reads": (1, 256), "settle": (4, 4096), "fastest": (1, 64)}
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise SpecError(f"{name} = {value!r} of a PUF; allowed is an integer from {low} to {high}")
        if self.reads & (self.reads - 1):
            raise SpecError(f"reads = {self.reads} of a PUF; allowed are powers of two, so that means need no division")
        if self.slowest >= self.fastest:
            raise SpecError(
                f"pauses of {self.settle} clocks suit oscillators from {float(self.slowest):.3g} times the clock on, and "
                f"counters those up to {self.fastest} times; wanted are longer pauses (settle) or wider counters (fastest)"
            )
        if self.sum_bits > _WIDEST:
            raise SpecError(
                f"sums take {self.sum_bits} bits with a window of {self.window} clocks, {self.reads} reads and oscillators "
                f"up to {self.fastest} times the clock; allowed are {_WIDEST}: shorten the window or read less often"
            )

    @classmethod
    def suited(cls, pairs: int, reads: int, lowest: Fraction, highest: Fraction) -> PufSpec:
        """The quickest measurement of oscillators between two frequencies, which are in frequencies of the system clock.

        Raises:
            SpecError: if there is none.

        Example:
            >>> PufSpec.suited(256, 16, Fraction(2), Fraction(20))
            PufSpec(pairs=256, window=4096, reads=16, settle=5, fastest=20)
        """
        settle = max(4, math.ceil(_SETTLING_PERIODS / lowest))
        return cls(pairs, window_for(lowest), reads, settle, fastest=math.ceil(highest))

    @property
    def highest_count(self) -> int:
        """Of an oscillator of the frequency `fastest`; one more for the edge at either end of the window."""
        return self.window * self.fastest + 1

    @property
    def count_bits(self) -> int:
        """Of a counter: it does not overflow below the frequency `fastest`."""
        return self.highest_count.bit_length()

    @property
    def sum_bits(self) -> int:
        """Of the signed sum of the differences of all reads of a pair, and of the constant it is compared with."""
        return (self.reads * self.highest_count).bit_length() + 1

    @property
    def slowest(self) -> Fraction:
        """The lowest frequency of an oscillator for which the pauses are long enough, in frequencies of the system clock."""
        return Fraction(_SETTLING_PERIODS, self.settle)

    @property
    def count_clocks(self) -> int:
        """From the clock in which a count is asked for to the one in which it is there, whatever comes out."""
        return self.window + 4 * self.settle + 1

    @property
    def bit_clocks(self) -> int:
        """From the first count of a pair to that of the next one, if the bit is taken at once."""
        return self.reads * (self.count_clocks + 1) + 1

    @property
    def clocks(self) -> int:
        """From `start` to the clock in which the last bit is taken, if every bit is taken at once."""
        return self.pairs * self.bit_clocks

    def check_constants(self, constants: Sequence[int]) -> tuple[int, ...]:
        """What sums are compared with, if there is one for each pair and each fits the sum.

        Raises:
            SpecError: if not.
        """
        if len(constants) != self.pairs:
            raise SpecError(f"{len(constants)} constants for {self.pairs} pairs of oscillators; give one for each")
        limit = self.reads * self.highest_count
        for pair, constant in enumerate(constants):
            if not isinstance(constant, int) or abs(constant) > limit:
                raise SpecError(f"the constant of pair {pair} is {constant!r}; allowed is an integer from -{limit} to {limit}")
        return tuple(constants)


def window_for(lowest: Fraction, share: Fraction = Fraction(1, 8), noise: Fraction = READ_NOISE) -> int:
    """The shortest window, a power of two of clocks, in which whole counts cost little.

    A count is the true number of periods less a fraction of one, spread evenly: its standard deviation is 1 / sqrt(12) counts
    (Bennett 1948). In n periods the oscillator's own noise is `noise` * n counts.

    Args:
        lowest: frequency of the slowest oscillator, in frequencies of the system clock.
        share: what the standard deviation of the fraction may be of that of the noise; they add as squares, so 1/8 is 0.8%.
        noise: standard deviation of a read, as a share of the frequency.

    Example:
        >>> window_for(Fraction(1))
        8192
    """
    window = 16
    while 12 * (share * noise * lowest * window) ** 2 < 1:
        window *= 2
    return window
