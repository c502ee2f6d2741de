"""The arithmetic of the unit on arrays of integers: `bitting.unit.golden`, element by element, in numpy."""

from __future__ import annotations

import numpy as np

from bitting.unit.spec import UnitSpec


def wrap(values: np.ndarray, bits: int) -> np.ndarray:
    """`bitting.unit.golden.wrap` of every element."""
    half = 1 << (bits - 1)
    return (values + half) % (1 << bits) - half


def line(scratch: np.ndarray, band: tuple[int, int], edge: int, stripes: int) -> np.ndarray:
    """What a layer reads that reaches into the neighbours' bands, as addresses run on.

    Args:
        scratch: (lanes, words).
        band: (address, words) of a lane's own.
        edge: what lies beyond a sample's first and last band.
        stripes: lanes that share a sample.

    Returns:
        (lanes, 3 * words): the band of the lane before, a lane's own, that of the next lane. It begins `words` before the band.
    """
    start, words = band
    own = scratch[:, start : start + words].reshape(-1, stripes, words)
    beyond = np.full_like(own[:, :1], edge)
    before, after = np.concatenate([beyond, own[:, :-1]], 1), np.concatenate([own[:, 1:], beyond], 1)
    return np.concatenate([before, own, after], 2).reshape(len(scratch), -1)


def fold(spec: UnitSpec, accumulators: np.ndarray, shift: int) -> np.ndarray:
    """`bitting.unit.golden.fold` of every element."""
    width = spec.acc_bits
    shifted = wrap(accumulators << shift, width)
    low = wrap(shifted, width - 1)
    return np.where(np.abs(2 * shifted + 1) < 1 << (width - 1), low, ~low) >> (width - 1 - spec.act_bits)
