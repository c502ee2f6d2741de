"""Weak pairs left out: which pairs a device keeps, and what the list of them, which is public, looks like over devices.

A device keeps the pairs whose differences, less their constants, are largest at enrolment: so many on every device, and which
is part of its helper data (`bitting.puf.extractor`). Of a difference that is symmetric about its constant the size says nothing
of the sign. One that is not is kept more often where it is biased: so all that is said of kept bits, of their entropy and of
what predicts them, is measured with the masks as devices would publish them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Shares of the pairs that are left out, of which one is chosen.
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


def kept(pairs: int, share: float) -> int:
    """How many of so many pairs are kept if that share is left out."""
    return round(pairs * (1 - share))


def strongest(differences: np.ndarray, count: int) -> np.ndarray:
    """(boards, pairs), bool: of each board the `count` pairs with the largest differences, the first ones of equal ones.

    Args:
        differences: (boards, pairs), less constants.
        count: 0 to pairs.
    """
    mask = np.zeros(differences.shape, bool)
    order = np.argsort(-np.abs(differences), axis=1, kind="stable")
    np.put_along_axis(mask, order[:, :count], True, axis=1)
    return mask


@dataclass(frozen=True)
class MaskSpread:
    """How masks lie over boards. Masks of one kind on all boards would tell who made them, and save helper data; not the bits.

    Attributes:
        correlation: mean of Pearson's correlation of the masks of two boards; 0 if each board keeps pairs of its own.
        deviation: standard deviation over pairs of the share of boards that keep a pair, and `deviation_by_chance`, if all
            pairs are kept alike.
    """

    correlation: float
    deviation: float
    deviation_by_chance: float


def spread(mask: np.ndarray) -> MaskSpread:
    """Of (boards, pairs), bool, each board with as many ones, and not with all; two boards at least."""
    boards, pairs = mask.shape
    share = float(mask[0].mean())
    counts = mask.sum(0)
    overlap = float((counts * (counts - 1)).sum()) / (boards * (boards - 1))  # pairs that two boards keep both, on average
    return MaskSpread(
        correlation=(overlap / pairs - share**2) / (share * (1 - share)),
        deviation=float(mask.mean(0).std()),
        deviation_by_chance=float(np.sqrt(share * (1 - share) / boards)),
    )
