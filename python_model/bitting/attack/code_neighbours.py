"""The bitting table told by which codes lie side by side: no label, no device, no gradient. Level of claim: key.

The attacker holds codes in their places. One table serves the whole network, and trained weights that read neighbouring words
are alike: of one row of a picture, of a kernel. So codes of like weights lie side by side more often than chance has it. Of the
counts of all pairs of codes correspondence analysis (Benzécri 1973; Greenacre, Correspondence Analysis in Practice) finds the
one axis on which neighbours are most alike: on it codes lie as their weights do, up to the sign.

Of codes that are seldom used the axis knows little, and each that lies at random among the others moves them by a place. But
trained weights are seldom large, so a code that is much rarer than those around it belongs to one of the ends.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bitting.program.layers import Layer, Program
from bitting.targets.stolen import Stolen, StolenLayer

#: A code is rare if it is used so many times less often than the median of it and those around it, so many on each side. (Seen
#: with ResNet8 only, whose rare codes are 30 to 80 times rarer.)
_RARE, _AROUND = 8, 4


def guesses(locked: Program, network: Stolen, codes: int) -> list[np.ndarray]:
    """Tables as neighbours in each layer tell them, then as those of all layers do; each with both signs.

    After these come the same with rare codes at the ends, where that is another order; not of bytes that are no codes.

    Args:
        locked: stolen program.
        network: the same as a thief's network, for the words that it reads.
        codes: a code is less than this.

    Returns:
        Arrays (codes,) of weights by code: those of the family in the order of the axis, or, of bytes that are no codes, the
        axis with the deviation of the family's weights. None of layers whose sums read no two words side by side.
    """
    counts, weights = list(_counts(locked, network, codes)), locked.spec.value_set
    if len(counts) > 1:
        counts.append(np.sum(counts, axis=0))
    axes = [(sign * _axis(each), each.sum(axis=0)) for each in counts for sign in (1, -1)]
    if codes != len(weights.values):
        return [axis * weights.sigma for axis, _ in axes]
    orders = [np.argsort(axis) for axis, _ in axes]
    ended = [_with_rare_at_ends(order, often) for order, (_, often) in zip(orders, axes, strict=True)]
    orders += [other for order, other in zip(orders, ended, strict=True) if not np.array_equal(order, other)]
    ordered = np.sort(np.asarray(weights.values, float))
    return [ordered[np.argsort(order)] for order in orders]


def _with_rare_at_ends(order: np.ndarray, often: np.ndarray) -> np.ndarray:
    """Codes in order, those that are rarer than the ones around them moved to the end of their half, the rarest outermost.

    Args:
        order: (codes,) codes by the axis.
        often: (codes,) how often each is used.
    """
    used, half = often[order], len(order) // 2
    around = [np.median(used[max(0, place - _AROUND) : place + _AROUND + 1]) for place in range(len(order))]
    rare = used * _RARE < np.array(around)
    below, above = (order[:half][rare[:half]].tolist(), order[half:][rare[half:]].tolist())
    below.sort(key=lambda code: int(often[code]))  # keeps the order of those that are as rare
    above.sort(key=lambda code: -int(often[code]))
    return np.array([*below, *order[~rare], *above])


def _counts(locked: Program, network: Stolen, codes: int) -> Iterator[np.ndarray]:
    """(codes, codes) how often two codes lie side by side in either order, of each layer with trained weights."""
    for layer, stolen in zip(locked.layers, network.layers, strict=True):
        if not layer.constant:
            left, right = _pairs(layer, stolen)
            if len(left):
                once = np.bincount(left.astype(np.int64) * codes + right, minlength=codes * codes).reshape(codes, codes)
                yield once + once.T


def _pairs(layer: Layer, stolen: StolenLayer) -> tuple[np.ndarray, np.ndarray]:
    """Codes of a sum that read words one after another, of all sums."""
    matrix = layer.codes.reshape(layer.channels, -1)
    left, right = [matrix[:0, 0]], [matrix[:0, 0]]
    for group in stolen.groups:
        words = group.addresses[0].numpy()
        order = np.argsort(words, kind="stable")
        beside = np.flatnonzero(np.diff(words[order]) == 1)
        sums = matrix[group.channels.numpy()]
        left.append(sums[:, order[beside]].reshape(-1))
        right.append(sums[:, order[beside + 1]].reshape(-1))
    return np.concatenate(left), np.concatenate(right)


def _axis(counts: np.ndarray) -> np.ndarray:
    """(codes,) the axis of largest inertia, mean 0 and deviation 1 over the codes."""
    often = np.sqrt(np.maximum(counts.sum(0), 1))
    expected = np.outer(often, often)
    _, vectors = np.linalg.eigh(counts / expected - expected / counts.sum())
    axis = vectors[:, -1] / often
    standard: np.ndarray = (axis - axis.mean()) / max(float(axis.std()), 1e-12)
    return standard
