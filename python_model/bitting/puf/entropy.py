"""What response bits are worth to someone who has no measurement of this board, counted on boards that chose nothing.

Three figures for the min-entropy of a bit, -log2 of the probability of its likelier value:

* *plug-in*: shares instead of probabilities. Too low, because the larger of two shares is on average too large: fair coins
  thrown by 50 boards seem to have 0.85 bit.
* *corrected*: two boards agree in bit i with probability 1/2 + 2 e_i^2, where e_i is what its probability differs from 1/2. The
  share of agreeing pairs of boards is without bias, hence so is its mean over bits, m = mean e_i^2. -log2(1/2 + sqrt(x)) is
  convex in x, so by Jensen's inequality the mean min-entropy of the bits is *at least* -log2(1/2 + sqrt(m)), whatever the e_i.
* *bound*: the same at the upper confidence bound of m. The share of agreeing pairs is a U-statistic; its standard error is that
  of Sen (1960): twice the standard deviation of the boards' own shares, over the square root of the number of boards.

Where weak pairs are left out (`bitting.puf.masks`), a bit counts on the boards that keep it: i runs over the bits that a device
keeps, so a mean is one over pairs, weighted by the boards that keep them, and e_i is the bias of *kept* bits: 4 e_i^2 is what
the agreement of two boards that both keep pair i shows, without bias.

`most_common_value_bound` is the bound of SP 800-90B 6.3.1 of every bit by itself, averaged. It charges each bit the luck of the
unluckiest and tells little about 50 boards (fair coins: about 0.5 bit); it is there because the standard has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bitting.puf import sp800_90b

#: One-sided confidence of bounds here: 99.5%, the standard's.
Z = sp800_90b.Z


def min_entropy(probability: float) -> float:
    """Bits in the best guess that is right with `probability` (from 1/2 to 1)."""
    return -math.log2(min(1.0, max(0.5, probability)))


@dataclass(frozen=True)
class Entropy:
    """Bits of min-entropy for each response bit, averaged over the bits; from 0 to 1."""

    plug_in: float
    corrected: float
    bound: float
    most_common_value_bound: float


def agreement(bits: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Of each board: 4 e^2 as the other boards that keep the same pairs show it, averaged over its kept bits; of coins 0.

    Args:
        bits: (boards, bits), bool; two boards at least.
        mask: (boards, bits), bool: pairs that a board keeps, at least one; without it, all.
    """
    kept = np.ones(bits.shape, bool) if mask is None else mask
    signs = np.where(kept, np.where(bits, 1.0, -1.0), 0.0)
    others = np.maximum(1, kept.sum(0) - 1)  # a pair that no other board keeps shows nothing, and counts as a coin
    return np.asarray((signs * (signs.sum(0) - signs) / others).sum(1) / kept.sum(1))


def per_bit(bits: np.ndarray, mask: np.ndarray | None = None) -> Entropy:
    """Of (boards, bits), bool; two boards at least. With a mask, of the bits that it keeps."""
    boards = len(bits)
    kept = np.ones(bits.shape, bool) if mask is None else mask
    seen = kept.any(0)
    bits, kept = bits[:, seen], kept[:, seen]
    count = kept.sum(0)
    ones = (bits & kept).sum(0) / count
    likelier = np.maximum(ones, 1 - ones)
    bounds = [sp800_90b.upper(float(p), int(n)) if n > 1 else 1.0 for p, n in zip(likelier, count, strict=True)]
    own = agreement(bits, kept)
    square = max(0.0, float(own.mean()) / 4)
    error = 2 * float(own.std(ddof=1)) / math.sqrt(boards) / 4
    return Entropy(
        plug_in=float(np.average(-np.log2(likelier), weights=count)),
        corrected=min_entropy(0.5 + math.sqrt(square)),
        bound=min_entropy(0.5 + math.sqrt(square + Z * error)),
        most_common_value_bound=float(np.average(-np.log2(bounds), weights=count)),
    )


@dataclass(frozen=True)
class Spread:
    """How responses lie: over boards, over bits, and of bits among one another.

    Attributes:
        uniqueness: mean fractional Hamming distance between boards; 1/2 is best.
        uniqueness_deviation: its standard deviation over pairs of boards.
        degrees_of_freedom: p (1 - p) / variance of those distances: so many independent coins with that p would spread as
            much (Daugman 2003, "The importance of being random").
        uniformity: mean share of ones in a board, and `uniformity_deviation` over boards.
        aliasing_deviation: standard deviation over bits of the share of boards in which a bit is one, and
            `aliasing_by_chance`, that of fair coins.
        aliasing_worst: the largest distance of such a share from 1/2.
        correlation: mean square of the correlation of two bits over boards, times boards - 1: about 1 by chance.
        correlated: share of pairs of bits with a correlation beyond the bound that 1% pass by chance (`CHANCE`).
    """

    uniqueness: float
    uniqueness_deviation: float
    degrees_of_freedom: float
    uniformity: float
    uniformity_deviation: float
    aliasing_deviation: float
    aliasing_by_chance: float
    aliasing_worst: float
    correlation: float
    correlated: float


#: Share of uncorrelated pairs that pass the bound of `Spread.correlated`.
CHANCE = 0.01


def distances(bits: np.ndarray) -> np.ndarray:
    """Fractional Hamming distances between boards, each pair once, from (boards, bits), bool."""
    signs = np.where(bits, 1.0, -1.0)
    every = (1 - signs @ signs.T / bits.shape[1]) / 2
    return np.asarray(every)[np.triu_indices(len(bits), 1)]


def correlations(bits: np.ndarray) -> np.ndarray:
    """Pearson's, of the bits over boards, each pair once; bits that are the same on all boards are left out."""
    moving = bits[:, bits.any(0) & ~bits.all(0)].astype(np.float64)
    if moving.shape[1] < 2:
        return np.zeros(0)
    return np.asarray(np.corrcoef(moving.T))[np.triu_indices(moving.shape[1], 1)]


def spread(bits: np.ndarray) -> Spread:
    """Of (boards, bits), bool; three boards at least."""
    from scipy import stats

    boards = len(bits)
    between, ones = distances(bits), bits.mean(0)
    variance, mean = float(between.var()), float(between.mean())
    found = correlations(bits)
    # r sqrt((n - 2) / (1 - r^2)) has Student's distribution.
    limit = float(stats.t.isf(CHANCE / 2, boards - 2))
    limit = limit / math.sqrt(boards - 2 + limit**2)
    return Spread(
        uniqueness=mean,
        uniqueness_deviation=math.sqrt(variance),
        degrees_of_freedom=mean * (1 - mean) / variance if variance else math.nan,
        uniformity=float(bits.mean()),
        uniformity_deviation=float(bits.mean(1).std()),
        aliasing_deviation=float(ones.std()),
        aliasing_by_chance=0.5 / math.sqrt(boards),
        aliasing_worst=float(np.abs(ones - 0.5).max()),
        correlation=float((found**2).mean() * (boards - 1)) if len(found) else math.nan,
        correlated=float((np.abs(found) > limit).mean()) if len(found) else math.nan,
    )


def standard_estimates(bits: np.ndarray) -> dict[str, tuple[float, float]]:
    """Estimators of SP 800-90B: name -> (in board order, in position order), bits of min-entropy each.

    Board order: all boards' first bits, then their second, so that what boards share shows. Position order: one board after the
    other, so that what neighbours share shows.

    Args:
        bits: (boards, bits), bool.
    """
    by_board, by_position = bits.T.ravel().astype(np.uint8), bits.ravel().astype(np.uint8)
    return {name: (found(by_board), found(by_position)) for name, found in sp800_90b.ESTIMATORS.items()}
