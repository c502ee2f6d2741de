"""Layers that move activations and change none, and the mean over channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from bitting.network.averaging import mean_weight
from bitting.network.layers import UnitLayer
from bitting.unit.spec import UnitSpec

Pair = tuple[int, int]


class Concatenate(nn.Module):
    """Channels one after another; moves activations and changes none."""

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Tensors that differ only in dimension 1; in the result it is as long as all of theirs together."""
        return torch.cat(inputs, dim=1)


class Flatten(nn.Module):
    """(samples, channels, H, W) -> (samples, channels H W)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Channel by channel, each row by row."""
        return x.flatten(1)


class ZeroPad(nn.Module):
    """(rows, columns) of zeros before and after each channel's rows and columns; negative ones are cut off.

    Attributes:
        fill: the activation that stands for zero.
    """

    def __init__(self, before: Pair, after: Pair):
        super().__init__()
        self.before, self.after, self.fill = before, after, 0

    def get_extra_state(self) -> dict[str, int]:
        """What a state dictionary holds: the fill."""
        return {"fill": self.fill}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Take it from a state dictionary."""
        self.fill = int(state["fill"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(samples, channels, H, W) to (samples, channels, H', W')."""
        return F.pad(x, (self.before[1], self.after[1], self.before[0], self.after[0]), value=float(self.fill))


class Reshape(nn.Module):
    """The same activations in the same order. `shape`: of a sample."""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(samples, ...) to (samples, *shape)."""
        return x.reshape(len(x), *self.shape)


class Permute(nn.Module):
    """Axis i of a sample of the result is axis `order[i]` of the input's, from 0 on."""

    def __init__(self, order: tuple[int, int, int]):
        super().__init__()
        self.order = order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(samples, channels, H, W) to the same in another order."""
        return x.permute(0, *(axis + 1 for axis in self.order))


class Repeat(nn.Module):
    """Upsampling: every row and every column `factors` times."""

    def __init__(self, factors: Pair):
        super().__init__()
        self.factors = factors

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(samples, channels, H, W) to (samples, channels, factor H, factor W)."""
        return x.repeat_interleave(self.factors[0], 2).repeat_interleave(self.factors[1], 3)


class UnitChannelMean(UnitLayer):
    """The mean of all channels, as exact as `mean_weight` says, then the fold.

    Shape:
        (samples, channels, ...) -> (samples, 1, ...)
    """

    calibrated = False

    def __init__(self, spec: UnitSpec, channels: int):
        super().__init__(spec)
        self.weight, self.shift = mean_weight(spec, channels, f"{channels} channels")

    def sums(self, *inputs: torch.Tensor) -> torch.Tensor:
        """(samples, 1, ...) sums of all channels; `factor` holds the weight."""
        return inputs[0].sum(1, keepdim=True)

    @property
    def factor(self) -> float:
        """`slope` times the constant weight, which `sums` leave out."""
        return self.weight * self.slope
