"""Random small networks that pad unequal sides, reshape, permute, repeat and average, between other layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from tb.conversions import Step
from tb.networks import RandomNetwork

Shape = tuple[int, int, int]


class Padded(nn.Module):
    """Two ways that are padded differently, and added."""

    def __init__(self, channels: int):
        super().__init__()
        self.left, self.right = nn.Conv2d(channels, channels, 2), nn.Conv2d(channels, channels, (1, 3), padding=(0, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(self.left(x), (0, 1, 1, 0)) + self.right(x)


class MovedNetwork(RandomNetwork):
    """As `RandomNetwork`, with moves and means among the operators."""

    KINDS = ("conv", "pool", "residual", "concat", "pad", "summands", "reshape", "permute", "repeat", "mean")

    def _fits(self, shape: Shape) -> bool:
        """The layers after it stay small, and a window finds its place."""
        return min(shape) >= 1 and shape[0] <= 6 and shape[1] >= 2 and shape[2] >= 2 and shape[1] * shape[2] <= self._largest

    def _move(self, shape: Shape, function: Callable[[torch.Tensor], torch.Tensor]) -> Shape:
        """The function as a step, if what it gives fits; else nothing."""
        _, channels, rows, columns = function(torch.zeros(1, *shape)).shape
        if not self._fits((channels, rows, columns)):
            return shape
        self._append("move", Step(function))
        return channels, rows, columns

    def _make_pad(self, shape: Shape) -> Shape:
        pads = [int(size) for size in self._rng.integers(-1, 3, 4)]
        return self._move(shape, lambda x: F.pad(x, pads))

    def _make_summands(self, shape: Shape) -> Shape:
        if min(shape[1:]) >= 2:
            self._append("conv", Padded(shape[0]))
        return shape

    def _make_reshape(self, shape: Shape) -> Shape:
        channels, rows, columns = shape
        return self._move(shape, lambda x: x.reshape(-1, columns, channels, rows))

    def _make_permute(self, shape: Shape) -> Shape:
        order = [int(axis) + 1 for axis in self._rng.permutation(3)]
        return self._move(shape, lambda x: x.permute(0, *order))

    def _make_repeat(self, shape: Shape) -> Shape:
        factors = tuple(float(factor) for factor in self._rng.integers(1, 4, 2))
        return self._move(shape, lambda x: F.interpolate(x, scale_factor=factors))

    def _make_mean(self, shape: Shape) -> Shape:
        axis = int(self._rng.integers(1, 4))
        return self._move(shape, lambda x: x.mean(axis, keepdim=True))
