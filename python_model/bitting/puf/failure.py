"""How often a key does not come back: bits that err between enrolment and boot, and codes that correct them.

Enrolment averages the *first* reads of a board and boots average later ones, as in life. Taking every other read as
the reference would hide what reads close in time have in common: the noise of an oscillator has a slow part, which averaging
does not remove.

*So many times the worst board's rate* stands for what was not measured. It means more noise: a board's noise is scaled until
the mean error rate of *all* its pairs is so many times what it was; what that does to the pairs that it keeps is looked at.
Errors of kept pairs grow far more than so many times then; to triple their own small rate would be the milder reading.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from bitting.errors import MeasurementError
from bitting.puf import masks
from bitting.puf.measurements import Measurements
from bitting.puf.pairing import Pairing
from bitting.unit.bch import BLOCK_M, BchCode, correctable

#: The first reads, which enrolment averages. 64 of 100 remain, so that a boot of 64 reads can be looked at.
REFERENCE_READS = 36
#: Reads that a boot averages.
AVERAGED = (1, 4, 16, 64)
#: Confidence of intervals here.
CONFIDENCE = 0.99


@cache
def codes() -> tuple[BchCode, ...]:
    """Those of the length of a block that carry 2 bits or more, most bits first."""
    found = (BchCode(BLOCK_M, t) for t in correctable(BLOCK_M))
    return tuple(code for code in found if code.k > 1)


def binomial_tail(bits: int, corrects: int, rate: float) -> float:
    """Probability of more than `corrects` errors in `bits` that each err with `rate`; exact to many digits however small."""
    from scipy import stats

    return float(stats.binom.sf(corrects, bits, rate))


def poisson_binomial_tail(rates: np.ndarray, corrects: int) -> float:
    """Probability of more than `corrects` errors if bit i errs with rates[i], independently.

    The distribution of the number of errors is built bit by bit. All terms are positive, so small ones lose no digits. Of all
    rates with the same mean, equal ones give the heaviest tail (Hoeffding 1956, for more than the mean plus one):
    `binomial_tail` of the mean is an upper bound.
    """
    return float(error_distribution(rates)[corrects + 1 :].sum())


def error_distribution(rates: np.ndarray) -> np.ndarray:
    """(..., bits + 1): probability of each number of errors, from (..., bits) error rates."""
    distribution = np.zeros((*rates.shape[:-1], rates.shape[-1] + 1))
    distribution[..., 0] = 1
    for bit in range(rates.shape[-1]):
        rate = rates[..., bit, None]
        distribution[..., 1:] = distribution[..., 1:] * (1 - rate) + distribution[..., :-1] * rate
        distribution[..., :1] *= 1 - rate
    return distribution


def key_failure(block_failure: float, blocks: int) -> float:
    """Of a key that needs every block: 1 - (1 - p)^blocks, without losing the digits of a small p."""
    return 1.0 if block_failure >= 1 else -math.expm1(blocks * math.log1p(-block_failure))


def interval(errors: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Clopper and Pearson's two-sided interval of an error rate."""
    from scipy import stats

    tail = (1 - confidence) / 2
    low = float(stats.beta.ppf(tail, errors, trials - errors + 1)) if errors else 0.0
    high = float(stats.beta.isf(tail, errors + 1, trials - errors)) if errors < trials else 1.0
    return low, high


#: Steps of the bisection in `scaled_noise`: from exp(+-40) times the median down to 2e-12 of it.
_STEPS = 45


def scaled_noise(margins: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(boards,) standard deviation of Gaussian noise, the same for all of a board's bits, with which their mean rate is `mean`.

    Args:
        margins: (boards, bits) absolute differences less constants.
        mean: (boards,) above 0, below 1/2.

    Raises:
        MeasurementError: for a mean of 1/2 or more, or below that of bits without a difference, which err half of the time.
    """
    from scipy import special

    if not (mean < 0.5).all():
        raise MeasurementError(f"an error rate of {mean.max()} leaves no key; allowed is less than 0.5: average more reads")
    bits, without = margins.shape[-1], (margins == 0).sum(-1)
    if (impossible := mean < without / bits / 2).any():
        at = int(impossible.argmax())
        raise MeasurementError(
            f"an error rate of {mean[at]} can not be: {without[at]} of {bits} bits have no difference, so each errs half "
            f"of the time; allowed is at least {without[at] / bits / 2}: count longer, or leave those pairs out"
        )
    middle = np.median(margins, -1)
    low = np.log(np.where(middle > 0, middle, 1.0)) - 40
    high = low + 80
    for _ in range(_STEPS):
        half = (low + high) / 2
        more = special.ndtr(-margins / np.exp(half)[:, None]).mean(-1) < mean
        low, high = np.where(more, half, low), np.where(more, high, half)
    return np.asarray(np.exp(high))


#: What `ErrorRates` has a row of for each board.
_PER_BOARD = ("errors", "margins", "noise", "deepest")


@dataclass(frozen=True, eq=False)
class ErrorRates:
    """Of boots that average `reads` reads, against the reference.

    Attributes:
        reads: averaged in a boot.
        errors: (boards, boots) wrong bits in each boot.
        margins: (boards, bits) absolute differences of the reference, less constants.
        noise: (boards,) root mean square of what a difference moves by between the reference and a boot.
        deepest: (boards,) of the bits that were wrong in any boot, the largest margin, as the share of the board's bits that
            have no larger one; 0 without wrong bits. Who left out so many bits of each board would have seen no error here.
    """

    reads: int
    errors: np.ndarray
    margins: np.ndarray
    noise: np.ndarray
    deepest: np.ndarray
    _noise: dict[float, np.ndarray] = field(default_factory=dict, init=False, repr=False)  # of `noise_at`, which takes its time

    @property
    def bits(self) -> int:
        """Of a response."""
        return int(self.margins.shape[1])

    @property
    def counted(self) -> np.ndarray:
        """(boards,) share of wrong bits of each board. With one block and few boots the highest of many is mostly luck."""
        return np.asarray(self.errors.mean(1) / self.bits)

    @property
    def bit_rates(self) -> np.ndarray:
        """(boards, bits) modelled error rates: Gaussian noise of each board's `noise` against its margins."""
        from scipy import special

        return np.asarray(special.ndtr(-self.margins / self.noise[:, None]))

    @property
    def modelled(self) -> np.ndarray:
        """(boards,) modelled error rate of each board.

        Every difference says something of the noise, only the wrong bits count as errors: so this is the steadier estimate.
        The report prints both; their means agree.
        """
        return np.asarray(self.bit_rates.mean(1))

    @property
    def worst(self) -> int:
        """Place of the board with the highest modelled rate."""
        return int(self.modelled.argmax())

    def of(self, boards: Sequence[int] | np.ndarray) -> ErrorRates:
        """Of some of the boards, by their places (from 0)."""
        return ErrorRates(self.reads, *(getattr(self, name)[boards] for name in _PER_BOARD))

    def noise_at(self, factor: float) -> np.ndarray:
        """(boards,) noise with which each board's pairs, all of them, err `factor` times as often as modelled.

        Raises:
            MeasurementError: if that is half of the time or more.
        """
        if factor not in self._noise:
            self._noise[factor] = self.noise if factor == 1 else scaled_noise(self.margins, factor * self.modelled)
        return self._noise[factor]

    def strengths(self, factor: float, kept: int, bits: int | None = None) -> np.ndarray:
        """(boards, bits) margins of the `kept` strongest pairs, in units of `noise_at(factor)`, the weakest first.

        Args:
            factor: times each board's error rate.
            kept: pairs that each board keeps of those that were measured.
            bits: how many the device keeps, if it has more or fewer oscillators than were measured: the same share of them, and
                strengths that are distributed alike.
        """
        ordered = np.sort(self.margins, 1)[:, self.bits - kept :] / self.noise_at(factor)[:, None]
        if bits is None or bits == kept:
            return np.asarray(ordered)
        at = np.clip((np.arange(bits) + 0.5) / bits * kept - 0.5, 0, kept - 1)
        left = np.minimum(at.astype(int), max(0, kept - 2))
        right = np.minimum(left + 1, kept - 1)
        return np.asarray(ordered[:, left] + (at - left) * (ordered[:, right] - ordered[:, left]))

    def kept_rates(self, factor: float, kept: int, bits: int | None = None) -> np.ndarray:
        """(boards, bits) modelled error rates of what each board keeps, the highest first; arguments as in `strengths`."""
        from scipy import special

        return np.asarray(special.ndtr(-self.strengths(factor, kept, bits)))

    def bounds(self, board: int) -> tuple[float, float]:
        """Clopper and Pearson's interval of a board's rate, as if its bits erred independently.

        They do not: a bit that is wrong in one boot is likelier wrong in the next. The true interval is wider.
        """
        return interval(int(self.errors[board].sum()), self.errors.shape[1] * self.bits)

    def tail(self, errors: int) -> tuple[float, float]:
        """(expected by the model, seen): share of boots with more than `errors` wrong bits."""
        expected = error_distribution(self.bit_rates)[:, errors + 1 :].sum(1)
        return float(expected.mean()), float((self.errors > errors).mean())


def movements(
    measured: Measurements, pairing: Pairing, reads: int, reference: int = REFERENCE_READS
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each boot: (boards, bits) differences as they were enrolled, and what they moved by.

    No read is in two boots, nor in a boot and the reference.

    Raises:
        MeasurementError: if there are too few reads.
    """
    if reads < 1 or reference < 1 or reference + reads > measured.reads:
        raise MeasurementError(
            f"{measured.reads} reads of each oscillator are too few for a reference of {reference} and a boot of {reads}; "
            "measure more, or average fewer"
        )
    enrolled = pairing.differences(next(measured.averages(reference)))
    for boot in measured.averages(reads, reference):
        yield enrolled, pairing.differences(boot) - enrolled


def error_rates(measured: Measurements, pairing: Pairing, reads: int, reference: int = REFERENCE_READS) -> ErrorRates:
    """Wrong bits of all boots of `reads` reads after the reference.

    Raises:
        MeasurementError: if there are too few reads, or all of a board's are alike.
    """
    errors: list[np.ndarray] = []
    squares, deepest = [], np.zeros(measured.boards)
    margins = rank = np.zeros(0)
    for enrolled, moved in movements(measured, pairing, reads, reference):
        if not errors:
            margins = np.abs(enrolled)
            rank = (margins.argsort(1).argsort(1) + 1) / pairing.bits
        wrong = _flipped(enrolled, moved)
        errors.append(wrong.sum(1))
        deepest = np.maximum(deepest, (rank * wrong).max(1))
        squares.append((moved**2).mean(1))
    noise = np.sqrt(np.mean(squares, 0))
    if not noise.all():
        raise MeasurementError(
            f"board {measured.board[int(noise.argmin())]} is without noise: all its differences are the same in every boot; "
            "allowed are reads that were taken one by one: measure again, or leave that board out"
        )
    return ErrorRates(reads, np.stack(errors, 1), margins, noise, deepest)


def _flipped(enrolled: np.ndarray, moved: np.ndarray) -> np.ndarray:
    return np.asarray((enrolled + moved > 0) != (enrolled > 0))


def kept_errors(
    measured: Measurements,
    pairing: Pairing,
    rates: ErrorRates,
    factor: float,
    kept: Sequence[int],
    reference: int = REFERENCE_READS,
) -> np.ndarray:
    """(kept, boards, boots) wrong bits among those that are kept, at more noise than was measured.

    What each difference moved by is taken times what makes its board err `factor` times as often by the model. So the shape
    of the noise, and how far bits err together, are as they were measured, and only its size is not.

    Args:
        measured: the boards of `rates`.
        pairing: the one of `rates`.
        rates: of them.
        factor: times each board's error rate.
        kept: numbers of pairs that a board keeps.
        reference: as it was for `rates`.
    """
    more = (rates.noise_at(factor) / rates.noise)[:, None]
    counts: list[list[np.ndarray]] = []
    keeping: list[np.ndarray] = []
    for enrolled, moved in movements(measured, pairing, rates.reads, reference):
        keeping = keeping or [masks.strongest(enrolled, count) for count in kept]
        wrong = _flipped(enrolled, more * moved)
        counts.append([(wrong & mask).sum(1) for mask in keeping])
    return np.array(counts).transpose(1, 2, 0)


def joined(parts: Sequence[ErrorRates]) -> ErrorRates:
    """Those of all parts, one after another: boots of as many reads, on other boards or on the same with other constants.

    Args:
        parts: at least one, with as many boots and bits each.
    """
    return ErrorRates(parts[0].reads, *(np.concatenate([getattr(part, name) for part in parts]) for name in _PER_BOARD))
