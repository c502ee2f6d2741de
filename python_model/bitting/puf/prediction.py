"""What an attacker who has boards of his own predicts of the next one, bit by bit.

He knows the design: pairs, constants, the layout. If weak pairs are left out, he knows the board's mask too, and has those of
his own boards; only bits that are kept are attacked. Some attacks know nothing else of the board; others know *all its other
kept bits*, which is more than any attacker has: what is left then bounds from below what is left to who knows fewer.

A bit is a sign, 1 or -1; one that is left out is 0. So whoever sees the signs of a board sees its mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bitting.puf import masks
from bitting.puf.entropy import Z, min_entropy
from bitting.puf.pairing import Pairing

#: Of ridge regression on other bits, in units of a bit's variance times one board: the attacker takes what does best at home.
_RIDGES = (30.0, 300.0, 3000.0)
#: Variance that the spatial model adds to each sign's own, so that its inverse is steady.
_NUGGET = 0.01
#: Rows and columns of pairs around one that `_around` looks at.
_NEAR = 2


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


def _signs(differences: np.ndarray, kept: int) -> np.ndarray:
    return np.where(masks.strongest(differences, kept), np.where(differences > 0, 1.0, -1.0), 0.0)


@dataclass(frozen=True, eq=False)
class _Scene:
    """What an attack has.

    Attributes:
        pairing: public.
        columns: oscillators in a row.
        field: `field_covariance` of the attacker's boards.
        own: (own boards, bits) signs.
        own_differences: (own boards, bits), less constants.
        known: (boards, bits) signs of the attacked boards: who attacks bit j looks at others only, and at whether j is kept.
    """

    pairing: Pairing
    columns: int
    field: np.ndarray
    own: np.ndarray
    own_differences: np.ndarray
    known: np.ndarray

    @property
    def kept(self) -> float:
        """Share of the pairs that are kept."""
        return float(np.abs(self.own).mean())


def _majority(scene: _Scene) -> np.ndarray:
    """Of the own boards that keep the pair."""
    return np.asarray(scene.own.sum(0))[None]


def _own_mean(scene: _Scene) -> np.ndarray:
    return np.asarray(scene.own_differences.mean(0))[None]


def _naive_bayes(own: np.ndarray, own_seen: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Log odds of each bit, as if what is seen of other pairs were independent once it is known; Laplace's rule for all shares.

    Args:
        own: (own boards, bits) signs.
        own_seen: (own boards, bits) of few values, what is seen of them; of the pair itself nothing is used.
        seen: (boards, bits), the same of the attacked ones.
    """
    one, zero = (own > 0).astype(np.float64), (own < 0).astype(np.float64)
    ones, zeros = one.sum(0), zero.sum(0)
    odds = np.log((ones + 1) / (zeros + 1))[None]
    values = np.unique(own_seen)
    for value in values:
        there = (own_seen == value).astype(np.float64)
        # [j, i]: probability that this is seen of pair i if bit j is one, and if it is zero
        if_one = (one.T @ there + 1) / (ones[:, None] + len(values))
        if_zero = (zero.T @ there + 1) / (zeros[:, None] + len(values))
        evidence = np.log(if_one / if_zero)
        np.fill_diagonal(evidence, 0)
        odds = odds + (seen == value) @ evidence.T
    return np.asarray(odds)


def _nearest_board(own: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The bit of the own board that agrees most in all other bits, of those that keep the pair."""
    guess = np.empty_like(known)
    for board, attacked in zip(guess, known, strict=True):
        agree = own * attacked
        without = agree.sum(1, keepdims=True) - agree  # (own boards, bits): how far they agree in all other bits
        board[:] = np.take_along_axis(own, np.where(own != 0, without, -np.inf).argmax(0)[None], 0)[0]
    return guess


def _from_others(covariance: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Best linear prediction of each entry from all others: x - (C^-1 x) / diag(C^-1) has no term of the entry itself."""
    inverse = np.linalg.inv(covariance)
    return np.asarray(known - known @ inverse / np.diag(inverse))


def _ridge_of(own: np.ndarray, known: np.ndarray, strength: float) -> np.ndarray:
    """`_from_others` with the own boards' covariance plus `strength` on its diagonal.

    Its inverse has fewer dimensions than there are boards in which it is not 1 / strength (Woodbury): so few are inverted.
    """
    mean = own.mean(0)
    centred, seen = own - mean, known - mean
    solved = np.linalg.solve(centred @ centred.T + strength * np.eye(len(own)), centred)
    return np.asarray(seen - (seen - seen @ centred.T @ solved) / (1 - (centred * solved).sum(0)))


def _best_ridge(own: np.ndarray, known: np.ndarray, bits: int) -> np.ndarray:
    """With the strength that predicts the first `bits` entries of one half of the own boards best from the other half."""
    half, other = own[::2], own[1::2]
    right = [(_ridge_of(half, other, strength)[:, :bits] * other[:, :bits] > 0).mean() for strength in _RIDGES]
    return _ridge_of(own, known, _RIDGES[int(np.argmax(right))])[:, :bits]


def _with_mask(signs: np.ndarray) -> np.ndarray:
    """(boards, 2 bits): signs, then what is kept."""
    return np.concatenate([signs, np.abs(signs)], 1)


def _from_masks(own: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Ridge regression of signs on masks alone, all pairs of a board at once."""
    half, other = own[::2], own[1::2]
    right = [(_mask_ridge(half, other, strength) * other > 0).mean() for strength in _RIDGES]
    return _mask_ridge(own, known, _RIDGES[int(np.argmax(right))])


def _mask_ridge(own: np.ndarray, known: np.ndarray, strength: float) -> np.ndarray:
    mask = np.abs(own)
    centred, seen = mask - mask.mean(0), np.abs(known) - mask.mean(0)
    return np.asarray(seen @ centred.T @ np.linalg.solve(centred @ centred.T + strength * np.eye(len(own)), own - own.mean(0)))


def _around(scene: _Scene) -> np.ndarray:
    """(bits, neighbours): places of the pairs around each pair, and behind the last place where there is none."""
    first = scene.pairing.pairs[:, 0]
    lines = [np.unique(line, return_inverse=True)[1] for line in np.divmod(first, scene.columns)]
    reach = range(-_NEAR, _NEAR + 1)
    places = {place: number for number, place in enumerate(zip(*(line.tolist() for line in lines), strict=True))}
    steps = [(down, right) for down in reach for right in reach if (down, right) != (0, 0)]
    return np.array([[places.get((row + down, column + right), len(first)) for down, right in steps] for row, column in places])


def _near(scene: _Scene) -> np.ndarray:
    """A sign from those around its pair by least squares, the same for all pairs: few numbers from the bits of all boards."""
    around, mean = _around(scene), scene.own.mean(0)

    def features(signs: np.ndarray) -> np.ndarray:
        return np.pad(signs - mean, ((0, 0), (0, 1)))[:, around]

    return _fitted(scene, features, scene.own - mean)


def _near_masks(scene: _Scene) -> np.ndarray:
    """The same from where a pair lies and from what is kept around it."""
    around = _around(scene)
    row, column = (line / max(1, line.max()) - 0.5 for line in np.divmod(scene.pairing.pairs[:, 0], scene.columns))
    where = np.stack([np.ones_like(row), row, column, row * row, row * column, column * column], -1)

    def features(signs: np.ndarray) -> np.ndarray:
        there = np.pad(np.abs(signs) - scene.kept, ((0, 0), (0, 1)))[:, around]
        return np.concatenate([np.broadcast_to(where, (*signs.shape, where.shape[1])), there], -1)

    return _fitted(scene, features, scene.own)


def _fitted(scene: _Scene, features: Callable[[np.ndarray], np.ndarray], wanted: np.ndarray) -> np.ndarray:
    kept = scene.own != 0
    seen = features(scene.own)[kept]
    found, *_ = np.linalg.lstsq(seen.T @ seen, seen.T @ wanted[kept], rcond=None)  # some are zeros: not every matrix inverts
    return np.asarray(features(scene.known) @ found)


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


def sign_covariance(correlation: np.ndarray, kept: float = 1.0) -> np.ndarray:
    """Covariance of the signs of two Gaussian variables with mean 0, each 0 instead where it is small.

    With the threshold c that keeps a share `kept`, the derivative by the correlation r = sin(a) is twice the density at (c, c)
    and twice that at (c, -c) (Plackett 1954): so it is 1 / pi times the integral over a, from 0, of
    exp(-c^2 / (1 + sin a)) + exp(-c^2 / (1 - sin a)).
    Without a threshold that is 2 / pi asin(r).

    Args:
        correlation: of any shape, -1 to 1; of a variable with itself too the result is that of two.
        kept: above 0, at most 1.
    """
    from scipy import special

    square = float(special.ndtri(kept / 2)) ** 2
    nodes, weights = np.polynomial.legendre.leggauss(16 if square else 1)  # without a threshold it is constant
    end = np.arcsin(np.clip(correlation, -1, 1))
    total = np.zeros_like(end)
    for node, weight in zip(nodes, weights, strict=True):
        sine = np.sin(end * (node + 1) / 2)
        total += weight / 2 * (np.exp(-square / (1 + sine)) + np.exp(-square / (1 - sine)))
    return np.asarray(end * total / math.pi)


def _field(scene: _Scene) -> np.ndarray:
    """The field's covariance of differences, then of their signs."""
    first, second = scene.pairing.pairs.T
    step = scene.field[first] - scene.field[second]
    covariance = step[:, first] - step[:, second]
    scale = np.sqrt(np.maximum(np.diag(covariance), np.finfo(float).tiny))
    signs = sign_covariance(covariance / scale[:, None] / scale, scene.kept)
    np.fill_diagonal(signs, scene.kept)
    return _from_others(signs + _NUGGET * np.eye(len(signs)), scene.known - scene.own.mean(0))


@dataclass(frozen=True)
class _Way:
    """An attack: its name, what it knows of the board, whether it uses nothing but other pairs, and its prediction.

    The prediction is (boards or 1, bits), positive for a one.
    """

    name: str
    knows: str
    others_only: bool
    predict: Callable[[_Scene], np.ndarray]


_MASK, _OTHERS = "nothing but its mask", "all its other kept bits"
_WAYS = (
    _Way("majority of own boards", _MASK, False, _majority),
    _Way("mean difference of own boards", _MASK, False, _own_mean),
    _Way("naive Bayes", _OTHERS, False, lambda scene: _naive_bayes(scene.own, scene.own, scene.known)),
    _Way("nearest own board", _OTHERS, False, lambda scene: _nearest_board(scene.own, scene.known)),
    _Way("ridge regression", _OTHERS, True, lambda scene: _best_ridge(scene.own, scene.known, scene.own.shape[1])),
    _Way("neighbours, the same rule everywhere", _OTHERS, True, _near),
    _Way("spatial Gaussian field", _OTHERS, True, _field),
)
#: What reads the mask: without one there is nothing in it.
_MASK_WAYS = (
    _Way("naive Bayes on masks", _MASK, False, lambda scene: _naive_bayes(scene.own, np.abs(scene.own), np.abs(scene.known))),
    _Way("ridge regression on masks", _MASK, True, lambda scene: _from_masks(scene.own, scene.known)),
    _Way("place and neighbours' masks, the same rule everywhere", _MASK, False, _near_masks),
    _Way("ridge regression on bits and masks", _OTHERS, True, lambda scene: _best_ridge(
        _with_mask(scene.own), _with_mask(scene.known), scene.own.shape[1])),
)  # fmt: skip


def predictions(
    pairing: Pairing, columns: int, own_hz: np.ndarray, attacked_hz: np.ndarray, field: np.ndarray, kept: int | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """(name, (boards, kept) of bool: predicted right) of each attack.

    Args:
        pairing: public.
        columns: oscillators in a row.
        own_hz: (boards, oscillators) of the attacker's boards, averaged over reads.
        attacked_hz: the same of boards that he has not.
        field: `field_covariance` of the attacker's boards.
        kept: pairs that each board keeps, its strongest; without it, all.
    """
    count = pairing.bits if kept is None else kept
    own_differences = pairing.differences(own_hz)
    own, known = (_signs(differences, count) for differences in (own_differences, pairing.differences(attacked_hz)))
    scene = _Scene(pairing, columns, field, own, own_differences, known)
    for way in _WAYS if count == pairing.bits else (*_WAYS, *_MASK_WAYS):
        right = np.broadcast_to((way.predict(scene) > 0) == (known > 0), known.shape)
        yield way.name, right[known != 0].reshape(len(known), count)


def attacks(right: dict[str, list[np.ndarray]], times: int = 1) -> list[Attack]:
    """Summed up over splits.

    Args:
        right: name -> arrays (boards, bits) of bool.
        times: how often each board is among them: so many splits of the same boards are no more boards.
    """
    found = []
    for way in (*_WAYS, *_MASK_WAYS):
        if way.name in right:
            boards = np.concatenate([part.mean(1) for part in right[way.name]])
            error = float(boards.std(ddof=1)) / math.sqrt(len(boards) / times)
            accuracy = float(boards.mean())
            found.append(Attack(way.name, way.knows, way.others_only, accuracy, min(1.0, accuracy + Z * error)))
    return found
