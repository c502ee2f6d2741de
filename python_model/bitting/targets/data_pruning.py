"""Pruning that looks at what a layer reads on unlabelled calibration inputs: Wanda, its kin by deviations, and SparseGPT."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bitting.conversion.rounding import DAMPING, damped, inverse_root
from bitting.errors import BittingError
from bitting.targets.pruning import Pruning
from bitting.targets.rounding import DAMPINGS

CRITERIA = ("wanda", "deviation", "sparsegpt")
#: Columns whose weights compete in SparseGPT's unstructured pruning, as published; of 2:4 it is the group.
_BLOCK = 128


@dataclass(frozen=True)
class DataPruning:
    """Which weights become 0, and what the others do about it.

    Attributes:
        criterion: "wanda": the least magnitudes times the norm of their input (Sun et al. 2023, arXiv 2306.11695), compared
            within a row; "deviation": the same with the input's standard deviation, for a bias sees to means; "sparsegpt":
            those that are missed least if the weights to their right make up for them, which they do (Frantar & Alistarh 2023,
            arXiv 2301.00774), here of inputs about their means, for with bias correction nothing else counts, and with that of
            two dampings which leaves the sums of these inputs nearer.
        pattern: how many go, and among which.
        refits: what is left is fitted once more to the sums of all weights, each row by ridge regression towards 0, about the
            means of the inputs (what Boža 2024, arXiv 2401.02938, does by alternating steps).

    Raises:
        BittingError: if there is no such criterion.
    """

    criterion: str
    pattern: Pruning
    refits: bool = False

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            raise BittingError(f"pruning by {self.criterion!r}; allowed: {', '.join(CRITERIA)}")

    def __call__(self, weights: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Weights (sums, K) after pruning, for inputs (rows, K) of the layer on the hardware; no gradient."""
        weights, x = weights.detach(), inputs.double()
        pruned = self._pruned(weights, x)
        return _refitted(weights.double(), x - x.mean(0), pruned != 0).to(weights.dtype) if self.refits else pruned

    def _pruned(self, weights: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        if self.criterion == "sparsegpt":
            x = x - x.mean(0)
            tried = [_sparsegpt(weights.double(), x, self.pattern, damping) for damping in DAMPINGS]
            return min(tried, key=lambda found: float((x @ (found - weights).t()).square().mean())).to(weights.dtype)
        size = x.std(0, correction=0) if self.criterion == "deviation" else x.square().mean(0).sqrt()
        scores = weights.abs() * size
        return weights * torch.cat([self.pattern.mask(row[None]) for row in scores])


def _sparsegpt(weights: torch.Tensor, x: torch.Tensor, pattern: Pruning, damping: float) -> torch.Tensor:
    """`weights`: (sums, K); `x`: (rows, K) about their means; both float64."""
    upper = inverse_root(x.t() @ x / len(x), damping)
    left, block = weights.clone(), 4 if pattern.kind == "2:4" else _BLOCK
    for start in range(0, left.shape[1], block):
        columns = range(start, min(start + block, left.shape[1]))
        # What a weight costs that goes: its square, divided by how well the inputs from there on can do without it.
        stays = pattern.mask(left[:, columns] / upper.diagonal()[columns])
        for k, kept in zip(columns, stays.t(), strict=True):
            gone = torch.where(kept, 0.0, left[:, k])
            left[:, k:] -= (gone / upper[k, k])[:, None] * upper[k, k:]
            left[:, k] = torch.where(kept, left[:, k], 0.0)  # a difference of equal numbers, and rounding
    return left


def _refitted(weights: torch.Tensor, x: torch.Tensor, stays: torch.Tensor) -> torch.Tensor:
    """`weights`, `stays`: (sums, K); `x`: (rows, K) about their means; float64."""
    moments = x.t() @ x / len(x)
    wanted = weights @ moments
    moments = damped(moments, DAMPING)
    found = torch.zeros_like(weights)
    for row, kept in enumerate(stays):
        root = torch.linalg.cholesky(moments[kept][:, kept])
        found[row, kept] = torch.cholesky_solve(wanted[row, kept][:, None], root)[:, 0]
    return found
