"""Sparsity that other hardware has: 2:4, and unstructured levels, both by magnitude."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bitting.errors import BittingError


@dataclass(frozen=True)
class Pruning:
    """Which weights become 0.

    Attributes:
        kind: "2:4": of every four neighbours of a row the two smallest (Mishra et al. 2021, arXiv 2104.08378); a last group of
            three loses one, of two or one none, as if it were filled up with zeros. "unstructured": the smallest of the matrix.
        share: of the weights of an unstructured pruning, 0..1.
    """

    kind: str
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in ("2:4", "unstructured") or not 0 < self.share < 1:
            raise BittingError(f"pruning {self.kind!r} of a share of {self.share}; allowed: 2:4, unstructured, of 0..1")

    def mask(self, weights: torch.Tensor) -> torch.Tensor:
        """(rows, K) booleans: what stays. Of equal magnitudes the earlier ones stay."""
        magnitudes = weights.detach().abs()
        if self.kind == "unstructured":
            stay = weights.numel() - round(self.share * weights.numel())
            order = torch.argsort(magnitudes.flatten(), descending=True, stable=True)
            mask = torch.zeros(weights.numel(), dtype=torch.bool)
            mask[order[:stay]] = True
            return mask.reshape(weights.shape)
        rows, count = weights.shape
        groups = torch.nn.functional.pad(magnitudes, (0, -count % 4), value=-1).reshape(rows, -1, 4)
        largest = torch.argsort(groups, dim=2, descending=True, stable=True)[:, :, :2]
        kept = torch.zeros(groups.shape, dtype=torch.bool).scatter_(2, largest, True)
        return kept.reshape(rows, -1)[:, :count]

    def __call__(self, weights: torch.Tensor) -> torch.Tensor:
        """The weights that stay, the others 0; the gradient is that of what stays."""
        return weights * self.mask(weights)
