"""Simulated boards, from a distribution that is written down: for tests, for plans, and for what was not measured.

The frequency of oscillator i of a board in read r is the product of

* the mean frequency, and the board's speed (Gaussian between boards);
* the layout: a fixed pattern over positions, the same on every board (all of its constants are drawn from one seed);
* the die: a smooth Gaussian field over the positions, of the board's own, and independent local variation, which is the secret;
* noise: what all oscillators of a board share (it warms up), each oscillator's white noise, and its slow noise, a sum of
  processes with memories of 2, 20 and 200 reads: noise close to 1/f, which averaging does not remove;
* surroundings: an oscillator's own deviation, proportional to temperature and voltage away from enrolment's and to the square
  root of years. What all oscillators of a board share cancels in a pair, and is left out.

`fitted` reads all but the last from measurements. The recorded boards had one temperature and one voltage, and no source was
found that tells how much oscillators of one Spartan-3E *differ* in them: these three parameters are assumptions, of the size
that takes the error rate of a boot (16 reads averaged) to about three times at 60 K, at 5% of voltage, or after ten years.
Maiti and Schaumont (The impact of aging on a physical unclonable function, IEEE TVLSI 2013, abstract) find that ageing makes
bits of 90 nm FPGAs unreliable, and give no figure there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from bitting.errors import MeasurementError
from bitting.puf.measurements import COLUMNS, Measurements
from bitting.puf.prediction import field_covariance

#: Of the slow noise, in reads.
_MEMORIES = (2, 20, 200)
#: Of what a board's oscillators share, in reads: recorded boards' correlation falls to a half in about 15 reads.
_SHARED_MEMORY = 20
#: The seed of the layout: one design, many boards.
_LAYOUT_SEED = 2024


@dataclass(frozen=True)
class Surroundings:
    """Of a boot, as differences from enrolment: kelvin, share of the voltage, years."""

    kelvin: float = 0.0
    voltage: float = 0.0
    years: float = 0.0


@dataclass(frozen=True)
class Population:
    """Standard deviations are shares of the frequency, if nothing else is said. Defaults: recorded boards, rounded.

    `bitting puf report --json` has the figures of the recorded boards, under `population`.
    """

    frequency_hz: float = 206e6
    between_boards: float = 0.061
    layout: float = 0.0043
    smooth: float = 0.0050
    smooth_distance: float = 8.0  # positions in which the smooth part's correlation falls to exp(-1/2)
    local: float = 0.0049
    shared_noise: float = 0.00032
    white_noise: float = 0.00011
    slow_noise: float = 0.00012
    kelvin: float = 5e-6  # assumption: of an oscillator's own response to 1 K
    voltage: float = 0.006  # assumption: the same to all of the voltage
    years: float = 1e-4  # assumption: the same after one year

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not math.isfinite(value) or value < 0 or (field.name in ("frequency_hz", "smooth_distance") and value == 0):
                raise MeasurementError(f"{field.name} is {value}; allowed are finite numbers from 0, and above 0 for a size")

    def boards(
        self,
        boards: int,
        seed: int,
        *,
        oscillators: int = 512,
        columns: int = COLUMNS,
        reads: int = 100,
        surroundings: tuple[Surroundings, int] | None = None,
    ) -> Measurements:
        """Boards drawn at random; the same from the same seed.

        Args:
            boards: how many, from 1.
            seed: of all that differs between boards, and of noise.
            oscillators: of each board; whole rows.
            columns: of the array.
            reads: of each oscillator.
            surroundings: (what, the read from which on they apply, from 0).

        Raises:
            MeasurementError: for no boards, no reads, or broken rows.
        """
        if min(boards, oscillators, columns, reads) < 1 or oscillators % columns:
            raise MeasurementError(
                f"{boards} boards of {oscillators} oscillators in {columns} columns, {reads} reads; allowed are at least one "
                "of each, in whole rows"
            )
        generator = np.random.default_rng(seed)
        layout = self.layout * np.random.default_rng(_LAYOUT_SEED).standard_normal(oscillators)
        root = self._smooth_root(oscillators, columns)
        frequency = np.empty((boards, oscillators, reads), np.int32)
        for board in frequency:  # one at a time: a board in floats is all that is in memory beside the result
            own = self.smooth * (root @ generator.standard_normal(oscillators))
            own += self.local * generator.standard_normal(oscillators)
            speed = self.frequency_hz * max(0.1, 1 + self.between_boards * generator.standard_normal())
            noise = self._noise(generator, oscillators, reads)
            if surroundings is not None:
                where, first = surroundings
                noise[:, first:] += self._deviation(generator, where, oscillators)[:, None]
            board[:] = np.rint(speed * (1 + layout + own)[:, None] * (1 + noise))
        return Measurements(frequency, np.arange(1, boards + 1), columns)

    def smooth_correlation(self, oscillators: int, columns: int) -> np.ndarray:
        """(oscillators, oscillators): exp(-distance^2 / 2 smooth_distance^2)."""
        row, column = np.divmod(np.arange(oscillators), columns)
        squared = (row[:, None] - row) ** 2 + (column[:, None] - column) ** 2
        return np.asarray(np.exp(-squared / 2 / self.smooth_distance**2))

    def _smooth_root(self, oscillators: int, columns: int) -> np.ndarray:
        """A matrix that makes independent numbers the smooth field, with variance 1."""
        values, vectors = np.linalg.eigh(self.smooth_correlation(oscillators, columns))
        return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))

    def _noise(self, generator: np.random.Generator, oscillators: int, reads: int) -> np.ndarray:
        noise = self.white_noise * generator.standard_normal((oscillators, reads))
        for memory in _MEMORIES:
            noise += self.slow_noise / math.sqrt(len(_MEMORIES)) * _process(generator, oscillators, reads, memory)
        return np.asarray(noise + self.shared_noise * _process(generator, 1, reads, _SHARED_MEMORY))

    def _deviation(self, generator: np.random.Generator, where: Surroundings, oscillators: int) -> np.ndarray:
        kelvin, voltage, years = generator.standard_normal((3, oscillators))
        return np.asarray(
            self.kelvin * where.kelvin * kelvin
            + self.voltage * where.voltage * voltage
            + self.years * math.sqrt(where.years) * years
        )


def _process(generator: np.random.Generator, series: int, reads: int, memory: float) -> np.ndarray:
    """(series, reads): stationary Gaussian noise of variance 1 whose correlation falls as exp(-distance / memory)."""
    keep = math.exp(-1 / memory)
    steps = generator.standard_normal((series, reads))
    steps[:, 1:] *= math.sqrt(1 - keep**2)
    for read in range(1, reads):
        steps[:, read] += keep * steps[:, read - 1]
    return steps


def fitted(measured: Measurements) -> Population:
    """What measurements say, by moments; surroundings keep their assumptions.

    The covariance of neighbours in a row gives the smooth part, by the shape of the field, whose distance is not fitted; what
    is left of the variance is local. Slow noise is what successive reads of an oscillator have in common after the board's own.

    Raises:
        MeasurementError: for fewer than 3 boards or 3 reads.
    """
    if measured.boards < 3 or measured.reads < 3:
        raise MeasurementError(
            f"{measured.boards} boards with {measured.reads} reads say too little of a population; needed are at least 3"
        )
    mean, plain = measured.mean(), Population()
    relative = mean / mean.mean(1, keepdims=True)
    layout = relative.mean(0)
    covariance = field_covariance(mean, measured.columns)
    grid = np.arange(measured.oscillators).reshape(-1, measured.columns)
    left, right = grid[:, :-1].ravel(), grid[:, 1:].ravel()
    near, variance = (float(covariance[left, right].mean()) if len(left) else 0.0), float(np.diag(covariance).mean())
    # Each board's mean was divided out, and with it the mean of its smooth field.
    shape = plain.smooth_correlation(measured.oscillators, measured.columns)
    shape = shape - shape.mean()
    smooth = max(0.0, near) / float(shape[left, right].mean()) if len(left) else 0.0
    local = max(0.0, variance - smooth * float(np.diag(shape).mean()))
    noise = _noise_moments(measured, mean)
    return Population(
        frequency_hz=float(mean.mean()),
        between_boards=float(mean.mean(1).std(ddof=1) / mean.mean()),
        # The mean of so many boards still holds a share of what is their own.
        layout=math.sqrt(max(0.0, float(layout.var()) - variance / measured.boards)),
        smooth=math.sqrt(smooth),
        local=math.sqrt(local),
        shared_noise=noise[0],
        white_noise=noise[1],
        slow_noise=noise[2],
    )


def _noise_moments(measured: Measurements, mean: np.ndarray) -> tuple[float, float, float]:
    """(shared, white, slow) standard deviations, as shares of the frequency; a board at a time."""
    shared, own, successive = 0.0, 0.0, 0.0
    for board, level in zip(measured.frequency_hz, mean, strict=True):
        noise = board / level[:, None] - 1
        common = noise.mean(0)
        noise -= common
        shared += float(common.var()) / measured.boards
        own += float((noise**2).mean()) / measured.boards
        successive += float((noise[:, 1:] * noise[:, :-1]).mean()) / measured.boards
    # Each process of the slow noise is as large as the others; exp(-1 / memory) of it is left after one read. The mean over the
    # reads, which was taken off, holds some of it too: `kept` is what stays.
    lost = [_of_mean(memory, measured.reads) for memory in _MEMORIES]
    kept = np.mean([math.exp(-1 / memory) - part for memory, part in zip(_MEMORIES, lost, strict=True)])
    slow = max(0.0, successive / float(kept)) if kept > 0 else 0.0
    white = max(0.0, own - slow * (1 - float(np.mean(lost))))
    shared /= 1 - _of_mean(_SHARED_MEMORY, measured.reads)
    return math.sqrt(shared), math.sqrt(white), math.sqrt(slow)


def _of_mean(memory: float, reads: int) -> float:
    """Variance of the mean of `reads` successive values of a process of variance 1."""
    lags = np.arange(1, reads)
    return float(1 + 2 * ((1 - lags / reads) * np.exp(-lags / memory)).sum()) / reads
