"""How often a key does not come back: bits that err between enrolment and boot, and codes that correct them.

Enrolment averages the *first* reads of a board and boots average later ones, as in life. Taking every other read as
the reference would hide what reads close in time have in common: the noise of an oscillator has a slow part, which averaging
does not remove.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from bitting.errors import MeasurementError
from bitting.puf.measurements import Measurements
from bitting.puf.pairing import Pairing
from bitting.unit.bch import BLOCK_M, BchCode, correctable

#: The first reads, which enrolment averages. 64 of 100 remain, so that a boot of 64 reads can be looked at.
REFERENCE_READS = 36
#: Reads that a boot averages.
AVERAGED = (1, 2, 4, 8, 16, 32, 64)
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


def unequal_rates(margins: np.ndarray, mean: float) -> np.ndarray:
    """Error rates of a board's bits: those with small differences err more.

    Gaussian noise of one size for all bits, as large as makes their mean rate `mean`.

    Args:
        margins: (bits,) absolute differences less constants.
        mean: from 0 to below 1/2.

    Raises:
        MeasurementError: for a mean of 1/2 or more, or below that of bits without a difference, which err half of the time.
    """
    from scipy import optimize, special

    if not 0 <= mean < 0.5:
        raise MeasurementError(f"an error rate of {mean} leaves no key; allowed is less than 0.5: average more reads")
    if mean == 0:
        return np.zeros(len(margins))
    without = int((margins == 0).sum())
    if mean < (lowest := without / len(margins) / 2):
        raise MeasurementError(
            f"an error rate of {mean} can not be: {without} of {len(margins)} bits have no difference, so each errs half "
            f"of the time; allowed is at least {lowest}: count longer, or leave those pairs out"
        )

    def rates(log_noise: float) -> np.ndarray:
        return np.asarray(special.ndtr(-margins / math.exp(log_noise)))

    middle = math.log(float(np.median(margins)) or 1.0)
    found = optimize.brentq(lambda at: float(rates(at).mean()) - mean, middle - 40, middle + 40, xtol=1e-12)
    return rates(float(found))


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

    def bounds(self, board: int) -> tuple[float, float]:
        """Clopper and Pearson's interval of a board's rate, as if its bits erred independently.

        They do not: a bit that is wrong in one boot is likelier wrong in the next. The true interval is wider.
        """
        return interval(int(self.errors[board].sum()), self.errors.shape[1] * self.bits)

    def tail(self, errors: int) -> tuple[float, float]:
        """(expected by the model, seen): share of boots with more than `errors` wrong bits."""
        expected = error_distribution(self.bit_rates)[:, errors + 1 :].sum(1)
        return float(expected.mean()), float((self.errors > errors).mean())


def error_rates(measured: Measurements, pairing: Pairing, reads: int, reference: int = REFERENCE_READS) -> ErrorRates:
    """Wrong bits of all boots of `reads` reads after the reference; no read is in two of them, nor in the reference.

    Raises:
        MeasurementError: if there are too few reads, or all of a board's are alike.
    """
    if reads < 1 or reference < 1 or reference + reads > measured.reads:
        raise MeasurementError(
            f"{measured.reads} reads of each oscillator are too few for a reference of {reference} and a boot of {reads}; "
            "measure more, or average fewer"
        )
    enrolled = pairing.differences(next(measured.averages(reference)))
    margins = np.abs(enrolled)
    rank = (margins.argsort(1).argsort(1) + 1) / pairing.bits
    errors, squares, deepest = [], [], np.zeros(measured.boards)
    for boot in measured.averages(reads, reference):
        seen = pairing.differences(boot)
        wrong = (seen > 0) != (enrolled > 0)
        errors.append(wrong.sum(1))
        deepest = np.maximum(deepest, (rank * wrong).max(1))
        squares.append(((seen - enrolled) ** 2).mean(1))
    noise = np.sqrt(np.mean(squares, 0))
    if not noise.all():
        raise MeasurementError(
            f"board {measured.board[int(noise.argmin())]} is without noise: all its differences are the same in every boot; "
            "allowed are reads that were taken one by one: measure again, or leave that board out"
        )
    return ErrorRates(reads, np.stack(errors, 1), margins, noise, deepest)


def joined(parts: Sequence[ErrorRates]) -> ErrorRates:
    """Those of all parts, one after another: boots of as many reads, on other boards or on the same with other constants.

    Args:
        parts: at least one, with as many boots and bits each.
    """
    names = ("errors", "margins", "noise", "deepest")
    return ErrorRates(parts[0].reads, *(np.concatenate([getattr(part, name) for part in parts]) for name in names))
