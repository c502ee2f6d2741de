"""What an attacker who has boards of his own predicts of the next one, bit by bit.

He knows the design: pairs, constants, the layout. Some attacks know nothing of the board; others know *all its other bits*,
which is more than any attacker has: what is left then bounds from below what is left to who knows fewer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bitting.puf.entropy import Z, min_entropy
from bitting.puf.pairing import Pairing

#: Of ridge regression on other bits, in units of a bit's variance times one board: the attacker takes what does best at home.
_RIDGES = (30.0, 300.0, 3000.0)
#: Variance that the spatial model adds to each sign's own, so that its inverse is steady.
_NUGGET = 0.01


@dataclass(frozen=True)
class Attack:
    """What an attack got right.

    Attributes:
        name: of the attack.
        knows: of the board that is attacked.
        others_only: it uses nothing but other bits: what it gains is gained beside the bias of single bits.
        accuracy: share of bits that were predicted right.
        bound: upper confidence bound of it at 99.5%; boards are independent, bits of a board are not.
    """

    name: str
    knows: str
    others_only: bool
    accuracy: float
    bound: float

    @property
    def remaining(self) -> float:
        """Bits of min-entropy per bit if guesses are as good as `bound`."""
        return min_entropy(self.bound)


def _signs(differences: np.ndarray) -> np.ndarray:
    return np.where(differences > 0, 1.0, -1.0)


def _majority(own: np.ndarray, **_: object) -> np.ndarray:
    return np.asarray(own.sum(0))[None]


def _own_mean(own_differences: np.ndarray, **_: object) -> np.ndarray:
    return np.asarray(own_differences.mean(0))[None]


def _naive_bayes(own: np.ndarray, known: np.ndarray, **_: object) -> np.ndarray:
    """Log odds of each bit, as if the others were independent once it is known; Laplace's rule for all shares."""
    ones = (own > 0).astype(np.float64)
    both, count = ones.T @ ones, ones.sum(0)
    # [i, j]: probability that bit j is one if bit i is one, and if it is zero
    if_one = (both + 1) / (count[:, None] + 2)
    if_zero = (count[None] - both + 1) / (len(own) - count[:, None] + 2)
    one_seen, zero_seen = np.log(if_one / if_zero), np.log((1 - if_one) / (1 - if_zero))
    np.fill_diagonal(one_seen, 0)
    np.fill_diagonal(zero_seen, 0)
    bits = (known > 0).astype(np.float64)
    prior = (count + 1) / (len(own) + 2)
    return np.asarray(np.log(prior / (1 - prior)) + bits @ one_seen.T + (1 - bits) @ zero_seen.T)


def _nearest_board(own: np.ndarray, known: np.ndarray, **_: object) -> np.ndarray:
    """The bit of the own board that agrees most in all other bits."""
    guess = np.empty_like(known)
    for board, attacked in zip(guess, known, strict=True):
        agree = own * attacked
        without = agree.sum(1, keepdims=True) - agree  # (own boards, bits): how far they agree in all other bits
        board[:] = np.take_along_axis(own, without.argmax(0)[None], 0)[0]
    return guess


def _from_others(covariance: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Best linear prediction of each entry from all others: x - (C^-1 x) / diag(C^-1) has no term of the entry itself."""
    inverse = np.linalg.inv(covariance)
    return np.asarray(known - known @ inverse / np.diag(inverse))


def _ridge_of(own: np.ndarray, known: np.ndarray, strength: float) -> np.ndarray:
    mean = own.mean(0)
    centred = own - mean
    return _from_others(centred.T @ centred + strength * np.eye(own.shape[1]), known - mean)


def _ridge(own: np.ndarray, known: np.ndarray, **_: object) -> np.ndarray:
    """The strength that predicts one half of the own boards best from the other half."""
    half, other = own[::2], own[1::2]
    right = [((_ridge_of(half, other, strength) > 0) == (other > 0)).mean() for strength in _RIDGES]
    return _ridge_of(own, known, _RIDGES[int(np.argmax(right))])


def field_covariance(frequency_hz: np.ndarray, columns: int) -> np.ndarray:
    """(oscillators, oscillators): how frequencies of a die vary together around the population's, by distance.

    The frequencies of each board are taken relative to its mean, the population's mean of each oscillator is taken off, and
    covariances of equal distance are averaged: a stationary Gaussian field.

    Args:
        frequency_hz: (boards, oscillators), averaged over reads.
        columns: oscillators in a row.
    """
    relative = frequency_hz / frequency_hz.mean(1, keepdims=True)
    relative = relative - relative.mean(0)
    sample = relative.T @ relative / max(1, len(relative) - 1)
    row, column = np.divmod(np.arange(sample.shape[0]), columns)
    apart = np.abs(row[:, None] - row) * columns + np.abs(column[:, None] - column)
    sums = np.bincount(apart.ravel(), sample.ravel())
    averaged = (sums / np.maximum(1, np.bincount(apart.ravel())))[apart]
    values, vectors = np.linalg.eigh(averaged)
    return np.asarray((vectors * np.maximum(values, 0)) @ vectors.T)  # averaging may leave small negative ones


def _field(own: np.ndarray, known: np.ndarray, pairing: Pairing, field: np.ndarray, **_: object) -> np.ndarray:
    """The field's covariance of differences, then of their signs: 2 / pi asin(correlation) for Gaussian ones."""
    step = field[pairing.pairs[:, 0]] - field[pairing.pairs[:, 1]]
    covariance = step[:, pairing.pairs[:, 0]] - step[:, pairing.pairs[:, 1]]
    scale = np.sqrt(np.maximum(np.diag(covariance), np.finfo(float).tiny))
    signs = 2 / math.pi * np.arcsin(np.clip(covariance / scale[:, None] / scale, -1, 1))
    return _from_others(signs + _NUGGET * np.eye(len(signs)), known - own.mean(0))


_OTHERS = "all its other bits"
#: (name, what it knows of the board, uses nothing but other bits, prediction: positive for one)
_ATTACKS = (
    ("majority of own boards", "nothing", False, _majority),
    ("mean difference of own boards", "nothing", False, _own_mean),
    ("naive Bayes", _OTHERS, False, _naive_bayes),
    ("nearest own board", _OTHERS, False, _nearest_board),
    ("ridge regression", _OTHERS, True, _ridge),
    ("spatial Gaussian field", _OTHERS, True, _field),
)


def predictions(
    pairing: Pairing, own_hz: np.ndarray, attacked_hz: np.ndarray, field: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """(name, (boards, bits) of bool: predicted right) of each attack.

    Args:
        pairing: public.
        own_hz: (boards, oscillators) of the attacker's boards, averaged over reads.
        attacked_hz: the same of boards that he has not.
        field: `field_covariance` of the attacker's boards.
    """
    own_differences = pairing.differences(own_hz)
    own, known = _signs(own_differences), _signs(pairing.differences(attacked_hz))
    for name, _, _, attack in _ATTACKS:
        guess = attack(own=own, known=known, own_differences=own_differences, pairing=pairing, field=field)  # type: ignore[operator]
        yield name, (guess > 0) == (known > 0)


def attacks(right: dict[str, list[np.ndarray]], times: int = 1) -> list[Attack]:
    """Summed up over splits.

    Args:
        right: name -> arrays (boards, bits) of bool.
        times: how often each board is among them: so many splits of the same boards are no more boards.
    """
    found = []
    for name, knows, others_only, _ in _ATTACKS:
        boards = np.concatenate([part.mean(1) for part in right[name]])
        error = float(boards.std(ddof=1)) / math.sqrt(len(boards) / times)
        accuracy = float(boards.mean())
        found.append(Attack(name, knows, others_only, accuracy, min(1.0, accuracy + Z * error)))
    return found
