"""What a device counts, and the bits that come of it, to the bit: oscillators of given frequencies, in pure integers.

The same as `bitting_rtl.puf.measurement.Response` with recorded frequencies. A frequency is an increment: it stands in
frequencies of the system clock, with `FRACTION_BITS` bits behind the point. Every oscillator starts at phase 0, so a count is
the whole periods in the window. The window of a real ring begins anywhere in a period: it may count one more.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from bitting.errors import SpecError
from bitting.unit.puf_spec import FRACTION_BITS, PufSpec

#: Increments of the two oscillators of a pair in one read.
Read = tuple[int, int]


def increment(puf: PufSpec, frequency_hz: float | Fraction, clock_hz: float | Fraction) -> int:
    """A frequency as the simulation's memory holds it, rounded to the nearest.

    Raises:
        SpecError: for a frequency that the pauses are too short for, or that the counters do not hold.
    """
    ratio = Fraction(frequency_hz) / Fraction(clock_hz)
    if not puf.slowest <= ratio <= puf.fastest:
        speed = "slow" if ratio < puf.slowest else "fast"
        raise SpecError(
            f"an oscillator is too {speed} for a clock of {float(clock_hz):.6g} Hz; allowed is "
            f"from {float(puf.slowest):.3g} (more pauses: settle) to {puf.fastest} (wider counters: fastest) times the clock"
        )
    return round(ratio * (1 << FRACTION_BITS))


def count(puf: PufSpec, advance: int) -> int:
    """Whole periods in a window, of an oscillator with this increment."""
    return puf.window * advance >> FRACTION_BITS


def total(puf: PufSpec, reads: Sequence[Read]) -> int:
    """Sum of the differences, first less second, of all reads of a pair.

    Raises:
        SpecError: if there are not as many as the PUF takes.
    """
    if len(reads) != puf.reads:
        raise SpecError(f"{len(reads)} reads of a pair; this PUF takes {puf.reads}")
    return sum(count(puf, first) - count(puf, second) for first, second in reads)


def response(puf: PufSpec, pairs: Sequence[Sequence[Read]], constants: Sequence[int] = ()) -> list[int]:
    """A bit for each pair: 1 where the sum of its differences is above its constant.

    Args:
        puf: what is measured.
        pairs: for each pair, its reads.
        constants: of each pair, in counts of all reads; without any, zeros.

    Raises:
        SpecError: if pairs, reads or constants are not as many as the PUF has, or a constant does not fit.
    """
    if len(pairs) != puf.pairs:
        raise SpecError(f"{len(pairs)} pairs of oscillators; this PUF has {puf.pairs}")
    thresholds = puf.check_constants(constants or [0] * puf.pairs)
    return [int(total(puf, reads) > threshold) for reads, threshold in zip(pairs, thresholds, strict=True)]


def constant(puf: PufSpec, difference_hz: float | Fraction, clock_hz: float | Fraction) -> int:
    """A difference of frequencies as a sum of differences of counts, rounded to the nearest.

    Absolute, as hardware compares so far: of a constant that is relative (`bitting.puf.pairing`) it takes the product with the
    pair's frequency, and is right at that frequency only.
    """
    return round(Fraction(difference_hz) / Fraction(clock_hz) * puf.window * puf.reads)
