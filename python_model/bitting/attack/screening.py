"""Telling a right key from wrong ones by the weights alone, without running the network (the paper's *indistinguishability*).

Level of claim: key. The attacker holds the artefact, the spec, and in his favour the bitting table; he guesses lock keys, opens
the codes, and looks at them. A statistic helps him if its values under the right key lie elsewhere than under wrong ones: the
area under the ROC curve of |statistic - its mean over wrong keys|, so that too even is as suspicious as too uneven. 0.5 is
blindness, 1 is certainty; several right samples (tiles, or redrawn histograms) stand against those of all wrong keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitting.locking.chip import ChipModel
from bitting.locking.device import ROOT_BYTES, Device
from bitting.locking.kinds import Transform
from bitting.locking.scheme import LockScheme
from bitting.locking.transform import unlock_with_key
from bitting.program.layers import Program
from bitting.training import balance
from bitting.training.balance import Balance

Progress = Callable[[int, int], None]

#: Statistics of a histogram of codes (or plain weights), by which every tile and the whole model can be judged.
HISTOGRAM = ("chi-square", "mean", "variance", "kurtosis")
#: The one statistic of a single tile that looks at the order of its codes.
NEIGHBOURS = "neighbour correlation"
#: Statistics of a matrix.
MATRIX = ("row correlation", "column correlation", "spectrum")


def auc(right: np.ndarray, wrong: np.ndarray) -> float:
    """Chance that a right sample looks stranger than a wrong one (ties count half)."""
    centre = wrong.mean()
    strange, usual = np.abs(right - centre), np.sort(np.abs(wrong - centre))
    below = np.searchsorted(usual, strange, "left") + np.searchsorted(usual, strange, "right")
    return float((below / 2 / len(usual)).mean())


def surprise(right: float, wrong: np.ndarray) -> float:
    """How likely a wrong key would look as strange as the right one does: p, 0..1, from one value for each key.

    By the rank of its distance from the mean among theirs, which holds whatever the law of the values; the least is
    1 / (wrong keys + 1). A statistic that is no number under the right key tells nothing.
    """
    wrong = wrong[np.isfinite(wrong)]
    if not np.isfinite(right) or not len(wrong):
        return 1.0
    mean = float(wrong.mean())
    far, usual = abs(right - mean), np.abs(wrong - mean)
    rounding = 1e-9 * max(abs(mean), float(wrong.std()))
    return (1 + int((usual >= far - rounding).sum())) / (1 + len(wrong))


def surprise_of_tiles(right: np.ndarray, wrong: np.ndarray) -> float:
    """The same of all tiles of the first layer, many samples of one key: p of Mann and Whitney's U of their distances."""
    from scipy.stats import mannwhitneyu

    right, wrong = right[np.isfinite(right)], wrong[np.isfinite(wrong)]  # a tile of one weight has no correlation
    if not len(right) or not len(wrong):
        return 1.0
    centre = wrong.mean()
    one, other = np.abs(right - centre), np.abs(wrong - centre)
    return 1.0 if np.ptp(np.concatenate([one, other])) == 0 else float(mannwhitneyu(one, other).pvalue)


def histogram_statistics(counts: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
    """(samples, codes) counts and the weight of each code to (samples,) of each statistic."""
    total = counts.sum(axis=1, keepdims=True)
    share = counts / total
    expected = total / counts.shape[1]
    mean = share @ values
    centred = values[None, :] - mean[:, None]
    variance = (share * centred**2).sum(axis=1)
    return {
        "chi-square": ((counts - expected) ** 2 / expected).sum(axis=1),
        "mean": mean,
        "variance": variance,
        "kurtosis": (share * centred**4).sum(axis=1) / variance**2,
    }


def neighbour_correlation(weights: np.ndarray) -> np.ndarray:
    """(tiles, inputs) weights to (tiles,) correlation of each weight with the next (0 on average for random codes)."""
    centred = weights - weights.mean(axis=1, keepdims=True)
    product: np.ndarray = (centred[:, 1:] * centred[:, :-1]).mean(axis=1) / (centred**2).mean(axis=1)
    return product


def matrix_statistics(weights: np.ndarray) -> dict[str, float]:
    """Of a (tiles, inputs) matrix of weights.

    * row correlation: mean square of the correlations between tiles, times the inputs (1 for random codes);
    * column correlation: mean correlation of neighbouring inputs (0 for random codes);
    * spectrum: largest singular value in units of the Marchenko-Pastur edge, sqrt(tiles) + sqrt(inputs) (about 1).
    """
    tiles, inputs = weights.shape
    rows = weights - weights.mean(axis=1, keepdims=True)
    rows = rows / rows.std(axis=1, keepdims=True)
    gram = rows @ rows.T
    off_diagonal = (gram**2).sum() - (np.diag(gram) ** 2).sum()
    columns = weights - weights.mean(axis=0, keepdims=True)
    columns = columns / np.maximum(columns.std(axis=0, keepdims=True), 1e-12)
    whole = (weights - weights.mean()) / weights.std()
    # The largest eigenvalue of the smaller Gram matrix is the square of the largest singular value.
    square = whole @ whole.T if tiles <= inputs else whole.T @ whole
    top = np.sqrt(np.linalg.eigvalsh(square)[-1])
    return {
        "row correlation": float(off_diagonal / (tiles * (tiles - 1) * inputs)),
        "column correlation": float((columns[:, 1:] * columns[:, :-1]).mean()),
        "spectrum": float(top / (np.sqrt(tiles) + np.sqrt(inputs))),
    }


def counts_of(codes: np.ndarray, size: int) -> np.ndarray:
    """(tiles, K) codes to (tiles, size) counts."""
    rows = np.arange(len(codes))[:, None] * size
    return np.bincount((rows + codes).reshape(-1), minlength=len(codes) * size).reshape(len(codes), size)


@dataclass(frozen=True)
class Screening:
    """Areas under the curve, by statistic.

    Attributes:
        tile: of single tiles of the first layer, each right one against those of all wrong keys.
        model: of the whole model; its one right sample (or redrawn ones) against all wrong keys.
        right, wrong: statistic of the whole model under the right key, and its mean under wrong ones.
        p: how likely a wrong key would look as strange, of all of these: names end with "one tile" or "model". That of tiles
            looks at all of the first layer.
        wrong_keys: how many.
        guess: operations of one guess, in parts.
        price: operations that tell a guess by one statistic as `p` does; opening the codes comes on top.
    """

    tile: dict[str, float]
    model: dict[str, float]
    right: dict[str, float]
    wrong: dict[str, float]
    p: dict[str, float]
    wrong_keys: int
    guess: dict[str, int]
    price: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def screen(
    locked: Program,
    scheme: LockScheme,
    device: Device,
    *,
    wrong_keys: int = 1000,
    tiles_a_key: int = 8,
    redrawn: np.ndarray | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Screening:
    """Judge every statistic.

    Args:
        locked: program locked to `device`.
        scheme: how it is locked.
        device: has the right key.
        wrong_keys: random lock keys that are tried.
        tiles_a_key: tiles of the first layer that are looked at under each wrong key.
        redrawn: (samples, codes) histograms of the whole model that training could as well have been given (`balance.drawn`):
            more right samples of the histogram statistics than the one that the model is.
        seed: of the wrong keys and the choice of tiles.
        progress: called with (wrong keys done, total).
    """
    chip = ChipModel.of(device)
    plain = locked.secret[0].plain
    values = chip.values[plain].astype(np.float64)
    rng = np.random.default_rng(seed)

    def look(key: bytes | None) -> tuple[np.ndarray, np.ndarray]:
        opened = unlock_with_key(locked, scheme, chip, key)
        counts = np.concatenate([counts_of(layer.codes, len(values)) for layer in opened.secret])
        return counts, values[opened.secret[0].codes]

    right_counts, right_matrix = look(None)
    whole: dict[str, list[float]] = {name: [] for name in (*HISTOGRAM, *MATRIX)}
    single: dict[str, list[np.ndarray]] = {name: [] for name in (*HISTOGRAM, NEIGHBOURS)}

    def look_at_tiles(counts: np.ndarray, matrix: np.ndarray) -> dict[str, np.ndarray]:
        return histogram_statistics(counts, values) | {NEIGHBOURS: neighbour_correlation(matrix)}

    for index in range(wrong_keys):
        counts, matrix = look(rng.bytes(ROOT_BYTES))
        _extend(whole, histogram_statistics(counts.sum(axis=0)[None, :], values))
        _extend(whole, matrix_statistics(matrix))
        chosen = rng.integers(0, locked.secret[0].tiles, tiles_a_key)
        for name, tile_values in look_at_tiles(counts[chosen], matrix[chosen]).items():
            single[name].append(tile_values)
        if progress:
            progress(index + 1, wrong_keys)
    found = histogram_statistics(right_counts.sum(axis=0)[None, :], values) | matrix_statistics(right_matrix)
    right = {name: float(np.atleast_1d(value)[0]) for name, value in found.items()}
    more = {} if redrawn is None else histogram_statistics(redrawn, values[np.argsort(values)])
    wrong = {name: np.array(every) for name, every in whole.items()}
    right_tiles = look_at_tiles(right_counts[: locked.secret[0].tiles], right_matrix)
    wrong_tiles = {name: np.concatenate(every) for name, every in single.items()}
    return Screening(
        tile={name: auc(right_tiles[name], every) for name, every in wrong_tiles.items()},
        model={name: auc(np.atleast_1d(more.get(name, right[name])), every) for name, every in wrong.items()},
        right=right,
        wrong={name: float(every.mean()) for name, every in wrong.items()},
        p={f"{name}, one tile": surprise_of_tiles(right_tiles[name], every) for name, every in wrong_tiles.items()}
        | {f"{name}, model": surprise(right[name], every) for name, every in wrong.items()},
        wrong_keys=wrong_keys,
        guess=guess_operations(locked, scheme),
        price=_prices(locked),
    )


def redrawn_of(locked: Program, scheme: LockScheme, config: Mapping[str, Any], count: int = 1000) -> np.ndarray | None:
    """Histograms that training could as well have kept, for a model whose counts were drawn; None for any other.

    The histogram of such a model *is* what was drawn before training, so drawing again gives as many right samples as needed.

    Args:
        locked: the program.
        scheme: how it is locked.
        config: of its training, from the claims of the model: an artefact does not say it.
        count: of the samples.
    """
    if config.get("balance") != Balance.DRAWN or scheme.transform not in (Transform.AES_PRE, Transform.AES_CLOCKED):
        return None
    shapes = [(layer.tiles, layer.tile_codes) for layer in locked.secret]
    drawn = (balance.counts_of_all(Balance.DRAWN, locked.spec, shapes, seed) for seed in range(count))
    return np.array([sum(matrix.sum(axis=0) for matrix in matrices) for matrices in drawn])


def _prices(locked: Program) -> dict[str, int]:
    """Additions or multiply-adds. Histograms of the model look at every code; tiles and matrices are of the first layer."""
    tiles, inputs = locked.secret[0].codes.shape
    matrix = {"column correlation": tiles * inputs}
    return (
        {f"{name}, one tile": tiles * inputs for name in (*HISTOGRAM, NEIGHBOURS)}
        | {f"{name}, model": locked.parameters for name in HISTOGRAM}
        | {f"{name}, model": matrix.get(name, tiles * tiles * inputs) for name in MATRIX}
    )


def _extend(collected: dict[str, list[float]], statistics: Mapping[str, Any]) -> None:
    for name, value in statistics.items():
        collected[name].append(float(np.atleast_1d(value)[0]))


def guess_operations(locked: Program, scheme: LockScheme) -> dict[str, int]:
    """What one key guess costs: AES blocks to open the codes, and additions to judge them.

    `aes-clocked` must open all earlier tiles first, whichever one is looked at; its first two tiles need none.
    """
    layer = locked.secret[0]
    tiles, inputs = layer.codes.shape
    draws = 2 if scheme.transform == Transform.SHUFFLE else 1
    blocks = -(-inputs * draws // 16)
    return {
        "AES blocks, one tile": blocks,
        "additions, histogram of one tile": inputs,
        "multiply-adds, neighbours in one tile": inputs,
        "AES blocks, first layer": tiles * blocks,
        "multiply-adds, column correlation": tiles * inputs,
        "multiply-adds, row correlation or spectrum": tiles * tiles * inputs,
        "multiply-adds, one inference": locked.macs,
    }
