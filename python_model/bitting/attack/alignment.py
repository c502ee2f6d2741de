"""Undoing a shuffle with a network that resembles the stolen one: a public base model, or a copy for another device.

Attacker: thief of the file, or of many files. A shuffle keeps the weights of each tile and moves them. Who has a network that
the stolen one was made of by a little training puts the weights of each tile in the order of that network's, largest to
largest: of all assignments that one has the least squared distance (the rearrangement inequality; ArrowMatch, USENIX Security
2025, does the same to permuted language models). Which code is which weight is read from histograms: a tile's weights add up to
about the sum of the base's, which is an equation a tile for the weights of all codes.
Between two copies of one model histograms tell which codes of two devices mean the same, and nothing of places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bitting.attack.screening import counts_of
from bitting.program.layers import Program

#: Of putting in order and taking means.
_ROUNDS = 20


def table_of_base(locked: Program, base: Program) -> np.ndarray:
    """(2^b,) value index of each code, so that the tiles' weights are most like the base's: the better of two guesses.

    Args:
        locked: under `shuffle`.
        base: of the same shape, in clear (codes are value indices).
    """
    values = np.array(locked.spec.values, float)
    wanted = [np.sort(values[layer.codes], axis=1) for layer in base.secret]

    def apart(table: np.ndarray) -> float:
        rows = (np.sort(values[table[layer.codes]], axis=1) for layer in locked.secret)
        return sum(float(((row - other) ** 2).sum()) for row, other in zip(rows, wanted, strict=True))

    return min((_by_counts(locked, base), _by_sums(locked, wanted, values)), key=apart)


def _by_counts(locked: Program, base: Program) -> np.ndarray:
    """The one to one assignment whose counts over all tiles are nearest to the base's: exact for a base that is the model."""
    from scipy.optimize import linear_sum_assignment

    mine, theirs = (_counts(program, locked.spec.codes).astype(float) for program in (locked, base))
    distance = (mine**2).sum(axis=0)[:, None] + (theirs**2).sum(axis=0)[None, :] - 2 * mine.T @ theirs
    table: np.ndarray = linear_sum_assignment(distance)[1]
    return table


def _by_sums(locked: Program, wanted: Sequence[np.ndarray], values: np.ndarray) -> np.ndarray:
    """Codes in the order of the weights that they meet, each value once.

    Least squares for the sums of tiles give a weight for each code; then codes and base are put in order tile by tile, each
    code has the mean of the weights that it met, and so on. What is left are the ranks.

    `wanted`: (tiles, K) ordered weights of the base, layer by layer.
    """
    size = locked.spec.codes
    totals = np.concatenate([rows.sum(axis=1) for rows in wanted])
    guess = np.linalg.lstsq(_counts(locked, size).astype(float), totals, rcond=None)[0]
    for _ in range(_ROUNDS):
        met, often = np.zeros(size), np.zeros(size)
        for layer, rows in zip(locked.secret, wanted, strict=True):
            ordered = np.take_along_axis(layer.codes, np.argsort(guess[layer.codes], axis=1, kind="stable"), axis=1)
            met += np.bincount(ordered.reshape(-1), rows.reshape(-1), size)
            often += np.bincount(ordered.reshape(-1), minlength=size)
        guess = np.where(often > 0, met / np.maximum(often, 1), guess)
    table = np.empty(size, np.int64)
    table[np.argsort(guess, kind="stable")] = np.argsort(values, kind="stable")
    return table


def aligned(locked: Program, base: Program, table: np.ndarray) -> Program:
    """The locked program with the codes of each tile in the order of the base's weights; codes become value indices.

    Args:
        locked: under `shuffle`.
        base: of the same shape, in clear.
        table: (2^b,) value index of each code, as the attacker has it.
    """
    values = np.array(locked.spec.values)
    layers = []
    for layer, other in zip(locked.layers, base.layers, strict=True):
        if not layer.constant:
            indices = table[layer.codes]
            order = np.argsort(values[other.codes], axis=1, kind="stable")
            ranked = np.take_along_axis(indices, np.argsort(values[indices], axis=1, kind="stable"), axis=1)
            codes = np.empty_like(layer.codes)
            np.put_along_axis(codes, order, ranked.astype(np.uint8), axis=1)
            layer = replace(layer, codes=codes, plain=False)
        layers.append(layer)
    return replace(locked, layers=tuple(layers))


def linked_codes(first: Program, second: Program) -> np.ndarray:
    """(2^b,) for each code of one copy the code of another device's copy with the same counts in every tile; -1: none alone."""
    size = first.spec.codes
    one, two = _counts(first, size), _counts(second, size)
    same = (one[:, :, None] == two[:, None, :]).all(axis=0)
    return np.where(same.sum(axis=1) == 1, same.argmax(axis=1), -1)


def places_told(first: Program, second: Program, link: np.ndarray) -> float:
    """Share of places of two copies that hold the same weight, as far as codes are linked, less what chance gives, 0..1."""
    same, chance, total = 0, 0.0, 0
    for one, two in zip(first.secret, second.secret, strict=True):
        known = link[one.codes]
        same += int((known == two.codes).sum())
        total += one.codes.size
        counts = counts_of(two.codes, len(link))
        chance += float(((counts / two.tile_codes) ** 2).sum(axis=1).sum()) * two.tile_codes
    return max(0.0, (same - chance) / max(total - chance, 1.0))


def near(model: Program, noise: float, seed: int) -> Program:
    """A network that the model could have been made of: weights with noise added, each rounded to the nearest there is.

    Args:
        model: in clear.
        noise: standard deviation, in those of the family's weights.
        seed: of the noise.
    """
    rng, values = np.random.default_rng(seed), np.array(model.spec.values, float)
    order = np.argsort(values)
    edges = (values[order][1:] + values[order][:-1]) / 2
    size = noise * model.spec.value_set.sigma

    def moved(codes: np.ndarray) -> np.ndarray:
        weights = values[codes] + rng.normal(0, size, codes.shape)
        return order[np.searchsorted(edges, weights)].astype(np.uint8)

    return model.map_secret(lambda layer: replace(layer, codes=moved(layer.codes)))


def _counts(program: Program, size: int) -> np.ndarray:
    """(tiles, size) of all secret layers."""
    return np.concatenate([counts_of(layer.codes, size) for layer in program.secret])
