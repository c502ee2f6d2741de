"""Telling a right key by running the network: what one batch of inputs without labels shows, and what some labels do.

Level of claim: key. The attacker holds the artefact, in his favour the bitting table, and inputs of the kind that the network
is for. Each guess costs inferences. A right key is sure of its answers, and spreads them over the classes as inputs are spread.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: (samples, outputs) sums of a batch to one number, larger where the key looks right.
Statistic = Callable[[np.ndarray], float]


def margin(sums: np.ndarray) -> float:
    """Mean distance of the largest sum from the second, in standard deviations of all."""
    ordered = np.sort(sums.astype(float), axis=1)
    return float((ordered[:, -1] - ordered[:, -2]).mean() / max(ordered.std(), 1e-9))


def spread(sums: np.ndarray) -> float:
    """Entropy of the answers, in bits: noise gives few classes, and inputs of all classes give all."""
    counts = np.bincount(sums.argmax(axis=1), minlength=sums.shape[1])
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def likeness(sums: np.ndarray) -> float:
    """Share of the variance of sums that is between inputs, not between outputs: constants answer everything alike."""
    centred = sums - sums.mean()
    return float((sums - sums.mean(axis=0)).var() / max(centred.var(), 1e-9))


#: By name.
STATISTICS: dict[str, Statistic] = {"margin": margin, "spread of answers": spread, "likeness": likeness}


def right_answers(sums: np.ndarray, labels: np.ndarray) -> float:
    """Share of right answers on a few labelled inputs."""
    return float((sums.argmax(axis=1) == labels).mean())
