"""Which oscillators are compared, and what is taken off: fixed, public, and the same on every device.

No oscillator serves two bits: a bit that is the comparison of oscillators of other bits can be inferred from those. Nothing is
chosen for a device, so there are no helper data here that somebody could manipulate (Delvaux and Verbauwhede 2014 recover keys
from pairings that are chosen per device, and from per-device polynomials that take off the trend).

`constants` are what a population of calibration boards shows of each pair: the layout, not the device. With `relative` they are
shares of the pair's mean frequency. The RTL has no such ones so far: its window is a number of the system's clocks, so it
compares absolute counts (`bitting.puf.counting.constant`, from Hz). A window that ends when both counters *together* reach a
fixed count would make their difference relative without a division.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from bitting.errors import MeasurementError
from bitting.unit.bch import BLOCK_BITS


class Direction(StrEnum):
    """In which neighbours are paired."""

    HORIZONTAL = "horizontal"
    VERTICAL = "vertical"


@dataclass(frozen=True, eq=False)
class Pairing:
    """Pairs and constants.

    Attributes:
        pairs: (bits, 2) numbers of oscillators, each in one pair at most.
        constants: (bits,) taken off each difference: Hz, or with `relative` a share of the pair's mean.
        relative: what differences are measured in.

    Raises:
        MeasurementError: if an oscillator is in two pairs, or shapes do not fit.
    """

    pairs: np.ndarray
    constants: np.ndarray
    relative: bool = True

    def __post_init__(self) -> None:
        if self.pairs.ndim != 2 or self.pairs.shape[1] != 2 or self.constants.shape != self.pairs.shape[:1]:
            raise MeasurementError(
                f"pairs are of shape {self.pairs.shape}, constants of shape {self.constants.shape}; "
                "allowed are (bits, 2) and (bits,)"
            )
        if len(np.unique(self.pairs)) != self.pairs.size or self.pairs.min(initial=0) < 0:
            raise MeasurementError("an oscillator is in two pairs, or has a negative number; each may serve one bit")

    @property
    def bits(self) -> int:
        """How many."""
        return len(self.pairs)

    def differences(self, frequency_hz: np.ndarray) -> np.ndarray:
        """(..., bits) from (..., oscillators): first less second less constant, in Hz or relative to the pair's mean."""
        first, second = frequency_hz[..., self.pairs[:, 0]], frequency_hz[..., self.pairs[:, 1]]
        difference = np.subtract(first, second, dtype=np.float64)
        if self.relative:
            difference /= (np.asarray(first, np.float64) + second) / 2
        return difference - self.constants

    def response(self, frequency_hz: np.ndarray) -> np.ndarray:
        """Response bits (..., bits), bool, from (..., oscillators): is the first faster than the second and the constant?"""
        return self.differences(frequency_hz) > 0

    def first(self, bits: int) -> Pairing:
        """The same without the last pairs."""
        return Pairing(self.pairs[:bits], self.constants[:bits], self.relative)


def neighbours(oscillators: int, columns: int, direction: Direction) -> np.ndarray:
    """(oscillators / 2, 2): each with the next in its row, or in its column. Neighbours share most of a die's trend.

    Raises:
        MeasurementError: if a line of that direction has an odd number of oscillators.
    """
    grid = np.arange(oscillators).reshape(-1, columns)
    if direction == Direction.VERTICAL:
        grid = grid.T
    if grid.shape[1] % 2:
        raise MeasurementError(
            f"{grid.shape[1]} oscillators in a line leave one without a partner; allowed is an even number. The report judges "
            "both directions, so measure an even number of rows and of columns"
        )
    pairs = grid.reshape(-1, 2)
    return pairs[np.argsort(pairs[:, 0], kind="stable")]


def without_constants(pairs: np.ndarray) -> Pairing:
    """The difference as it is."""
    return Pairing(pairs, np.zeros(len(pairs)))


def calibrated(
    pairs: np.ndarray, frequency_hz: np.ndarray, *, relative: bool = True, statistic: Callable[..., np.ndarray] = np.mean
) -> Pairing:
    """Constants from calibration boards.

    Args:
        pairs: (bits, 2).
        frequency_hz: (boards, oscillators) of the calibration boards, averaged over reads.
        relative: constants as shares of the pair's mean frequency, or in Hz.
        statistic: np.mean or np.median, over the boards.
    """
    plain = Pairing(pairs, np.zeros(len(pairs)), relative)
    return Pairing(pairs, np.asarray(statistic(plain.differences(frequency_hz), axis=0)), relative)


def matched(frequency_hz: np.ndarray) -> np.ndarray:
    """(oscillators / 2, 2): those with the closest population means, wherever they lie: the trend of the layout cancels.

    Args:
        frequency_hz: (boards, oscillators) of the calibration boards.
    """
    order = np.argsort(frequency_hz.mean(0), kind="stable")
    return order[: len(order) // 2 * 2].reshape(-1, 2)


def _neighbours(
    direction: Direction, relative: bool, statistic: Callable[..., np.ndarray] | None
) -> Callable[[np.ndarray, int], Pairing]:
    def made(frequency_hz: np.ndarray, columns: int) -> Pairing:
        pairs = neighbours(frequency_hz.shape[1], columns, direction)
        if statistic is None:
            return without_constants(pairs)
        return calibrated(pairs, frequency_hz, relative=relative, statistic=statistic)

    return made


#: What is compared: name -> pairing from (boards, oscillators) of calibration boards, and the number of columns.
CANDIDATES: dict[str, Callable[[np.ndarray, int], Pairing]] = {
    **{f"{direction}, no constants": _neighbours(direction, True, None) for direction in Direction},
    **{
        f"{direction}, {name} {unit}": _neighbours(direction, relative, statistic)
        for direction in Direction
        for name, statistic in (("median", np.median), ("mean", np.mean))
        for unit, relative in (("Hz", False), ("relative", True))
    },
    "matched by population mean": lambda frequency_hz, columns: without_constants(matched(frequency_hz)),
}
#: The one that the key is made with; docs/puf.md says why.
DEFAULT = f"{Direction.HORIZONTAL}, mean relative"


def block(frequency_hz: np.ndarray, columns: int, candidate: str = DEFAULT) -> Pairing:
    """A pairing of `BLOCK_BITS` bits, or fewer if there are not so many oscillators. Of 256 pairs the last is left out.

    Args:
        frequency_hz: (boards, oscillators) of the calibration boards, averaged over reads.
        columns: oscillators in a row.
        candidate: a name in `CANDIDATES`.
    """
    return CANDIDATES[candidate](frequency_hz, columns).first(BLOCK_BITS)
