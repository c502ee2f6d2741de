"""The arithmetic of the unit on arrays of integers: `bitting.unit.golden`, element by element, in numpy."""

from __future__ import annotations

import numpy as np

from bitting.unit.spec import UnitSpec


def wrap(values: np.ndarray, bits: int) -> np.ndarray:
    """`bitting.unit.golden.wrap` of every element."""
    half = 1 << (bits - 1)
    return (values + half) % (1 << bits) - half


def fold(spec: UnitSpec, accumulators: np.ndarray, shift: int) -> np.ndarray:
    """`bitting.unit.golden.fold` of every element."""
    width = spec.acc_bits
    shifted = wrap(accumulators << shift, width)
    low = wrap(shifted, width - 1)
    return np.where(np.abs(2 * shifted + 1) < 1 << (width - 1), low, ~low) >> (width - 1 - spec.act_bits)
