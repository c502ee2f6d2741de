"""Measured boards as the RTL counts them: which constants a family of chips has, and what a board's oscillators advance by.

Of the frequencies of a file, each pair of `bitting.puf.pairing` counts against the system's clock.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bitting.errors import MeasurementError
from bitting.puf import counting, pairing
from bitting.puf.measurements import COLUMNS, Measurements
from bitting.puf.population import Population
from bitting.unit.puf_key import DEFAULT_KEY, PufDesign
from bitting.unit.puf_spec import PufSpec

#: Clock of simulated chips, in Hz.
CLOCK_HZ = 25_000_000
#: Their PUF. The recorded oscillators are eight times as fast as the clock: so in a short window, which keeps a boot to about a
#: second of simulation, counts are still as fine as the noise of a read, and short pauses are long enough. A chip takes more
#: reads, for it has other temperatures to live with.
SIMULATED = PufDesign(DEFAULT_KEY, PufSpec(DEFAULT_KEY.pairs, window=1 << 8, reads=4, settle=8))
#: Boards of a simulated family: those that its constants are taken from, and the seed of them, which is public.
_CALIBRATION_BOARDS, _CALIBRATION_SEED = 150, 1
#: Reads of a simulated die, and its calibration boards'.
_DIE_READS, _CALIBRATION_READS = 400, 4


def simulated_family(design: PufDesign = SIMULATED) -> PufDesign:
    """A PUF whose constants are those of simulated boards; their layout is that of every simulated die."""
    oscillators = _oscillators(design)
    boards = Population().boards(_CALIBRATION_BOARDS, _CALIBRATION_SEED, oscillators=oscillators, reads=_CALIBRATION_READS)
    return for_family(design, boards)


def simulated_die(seed: int) -> Measurements:
    """One board, by a seed that is as secret as its key."""
    return Population().boards(1, seed, oscillators=_oscillators(SIMULATED), reads=_DIE_READS)


def _oscillators(design: PufDesign) -> int:
    """Of whole rows that have all of its pairs."""
    return -(-2 * design.key.pairs // COLUMNS) * COLUMNS


def for_family(design: PufDesign, calibration: Measurements, clock_hz: int = CLOCK_HZ) -> PufDesign:
    """The design with the constants of a population: what its pairs differ by in the mean, in counts of all reads.

    Args:
        design: for its pairs, the first of the array.
        calibration: boards that are none of the chips, or a key is easier to guess by what they have in common.
        clock_hz: of the system.

    Raises:
        MeasurementError: if there are too few oscillators.
    """
    pairs = _pairs(design, calibration)
    means = pairing.calibrated(pairs, calibration.mean(), relative=False).constants
    constants = tuple(counting.constant(design.measured, float(mean), clock_hz) for mean in means)
    return replace(design, constants=constants)


def increments(design: PufDesign, chip: Measurements, clock_hz: int = CLOCK_HZ) -> np.ndarray:
    """(measurements, pairs, reads, 2) uint32: what one board's oscillators advance by, all its reads one after another.

    Raises:
        MeasurementError: if there is not one board, or too few oscillators or reads.
        SpecError: if an oscillator is too slow or too fast for the clock.
    """
    if chip.boards != 1:
        raise MeasurementError(f"silicon of one board is wanted, found {chip.boards}; take one of them")
    pairs, reads = _pairs(design, chip), design.measured.reads
    measurements = chip.reads // reads
    if not measurements:
        raise MeasurementError(f"{chip.reads} reads of each oscillator are too few for a measurement of {reads}; record more")
    hz = chip.frequency_hz[0][pairs, : measurements * reads]  # (pairs, 2, reads of all measurements)
    advances = {int(value): counting.increment(design.measured, int(value), clock_hz) for value in np.unique(hz)}
    values, places = np.unique(hz, return_inverse=True)
    table = np.array([advances[int(value)] for value in values], np.uint32)
    shape = (len(pairs), 2, measurements, reads)
    return np.ascontiguousarray(table[places].reshape(shape).transpose(2, 0, 3, 1))


def _pairs(design: PufDesign, measured: Measurements) -> np.ndarray:
    pairs = pairing.neighbours(measured.oscillators, measured.columns, pairing.Direction.HORIZONTAL)
    if len(pairs) < design.key.pairs:
        raise MeasurementError(
            f"{measured.oscillators} oscillators make {len(pairs)} pairs, this PUF has {design.key.pairs}: measure more, "
            "or take a smaller one"
        )
    return pairs[: design.key.pairs]
