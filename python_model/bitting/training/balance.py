"""Projections that make trained codes look like random ones: their histogram, and the spectrum of a matrix of them.

Under a wrong key a transform of the AES kind gives codes that are independent and uniform. Codes used *exactly* equally
often do not look like that: their chi-square statistic is 0, which random codes never reach. So `drawn` takes the counts of
each tile from the multinomial distribution that random codes follow, before training, and training lives with them; `equal`
is there to show the difference. Either way the codes follow the rank of the latent weights, so that a histogram is met
exactly, whatever training does. Once an epoch is best: every 50 steps cost MNIST 0.6 points (at one spread of the fold).

`match_random_spectrum` gives a matrix the singular values of a random one (Marchenko-Pastur); its singular vectors stay.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
import torch

from bitting.errors import BittingError
from bitting.training import randomness
from bitting.unit.spec import UnitSpec


class Balance(StrEnum):
    """Which histogram of codes training keeps."""

    #: None: codes as they fall.
    NONE = "none"
    #: Every code equally often, which no wrong key shows.
    EQUAL = "equal"
    #: Tile by tile what random codes would show.
    DRAWN = "drawn"


def counts_of_all(kind: Balance, spec: UnitSpec, shapes: Sequence[tuple[int, int]], seed: int) -> list[np.ndarray]:
    """`counts` of every matrix of a network; those of one shape are drawn apart."""
    return [counts(kind, spec, *shape, seed, list(shapes[:index]).count(shape)) for index, shape in enumerate(shapes)]


def counts(kind: Balance, spec: UnitSpec, tiles: int, inputs: int, seed: int, earlier: int = 0) -> np.ndarray:
    """How often each value index is to be used: (tiles, 2^b) for each tile, or (1, 2^b) for the whole matrix.

    `DRAWN` is for each tile, unless tiles have fewer weights than there are codes: so few weights could only be put in order.
    `earlier`: matrices of this shape before this one.

    Raises:
        BittingError: for a kind that keeps no counts.
    """
    rng = randomness.numpy_generator(seed, tiles, inputs, *[earlier] * bool(earlier))
    if kind == Balance.DRAWN and inputs < spec.codes:
        return rng.multinomial(tiles * inputs, np.full(spec.codes, 1 / spec.codes), size=1)
    if kind == Balance.DRAWN:
        return rng.multinomial(inputs, np.full(spec.codes, 1 / spec.codes), size=tiles)
    if kind == Balance.EQUAL:
        size = tiles * inputs
        even = np.full(spec.codes, size // spec.codes)
        even[rng.permutation(spec.codes)[: size % spec.codes]] += 1
        return even[None, :]
    raise BittingError(f"balance {kind} keeps no counts; allowed: {Balance.EQUAL}, {Balance.DRAWN}")


def project(spec: UnitSpec, latent: torch.Tensor, wanted: np.ndarray) -> torch.Tensor:
    """Latent weights of the same order, in units of the family's sigma, whose nearest values have the wanted counts.

    Args:
        spec: of the family.
        latent: (tiles, inputs).
        wanted: from `counts`; its rows share out the rows of `latent`.
    """
    rows = latent.reshape(len(wanted), -1)
    values = np.asarray(spec.values, np.float64)
    middles = (values[1:] + values[:-1]) / 2
    edges = np.concatenate([[2 * values[0] - middles[0]], middles, [2 * values[-1] - middles[-1]]])
    # Evenly inside the interval in which a value is the nearest, so that no rank is lost.
    total = rows.shape[1]
    ends = np.cumsum(wanted, axis=1)
    code = np.stack([np.repeat(np.arange(spec.codes), row) for row in wanted])
    place = np.arange(total)[None, :] - np.take_along_axis(ends - wanted, code, axis=1)
    share = (place + 0.5) / np.take_along_axis(wanted, code, axis=1)
    levels = (edges[code] + share * (edges[code + 1] - edges[code])) / spec.value_set.sigma
    projected = torch.empty_like(rows)
    projected.scatter_(1, rows.argsort(dim=1), torch.from_numpy(levels).to(rows))
    return projected.reshape(latent.shape)


@functools.lru_cache(maxsize=16)
def _random_spectrum(tiles: int, inputs: int, seed: int) -> torch.Tensor:
    return torch.linalg.svdvals(torch.randn(tiles, inputs, generator=randomness.torch_generator(seed)))


def match_random_spectrum(latent: torch.Tensor, seed: int) -> torch.Tensor:
    """The same singular vectors with the singular values of a Gaussian matrix, largest to largest."""
    left, _, right = torch.linalg.svd(latent, full_matrices=False)
    return left @ (_random_spectrum(*latent.shape, seed)[:, None] * right)
