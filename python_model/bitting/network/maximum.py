"""Layers that compare: exact on the unit, by two gather layers of constants each (`bitting.program.maximum`)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from bitting.unit.spec import UnitSpec


class UnitRectifier(nn.Module):
    """The larger of each activation and a constant, which is what zero of the converted model has become.

    Attributes:
        floor: `act_min`..`act_max`.

    Shape:
        any -> the same
    """

    def __init__(self, floor: int = 0):
        super().__init__()
        self.floor = floor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Integer activations, as float32."""
        return x.clamp(min=float(self.floor))

    def get_extra_state(self) -> dict[str, int]:
        """What a state dictionary holds: the floor."""
        return {"floor": self.floor}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Take the floor from a state dictionary."""
        self.floor = int(state["floor"])


class UnitMaxPool2d(nn.Module):
    """Max pooling; padding is never the largest.

    Attributes:
        fill: the activation that padding holds on the unit, no larger than any that is pooled.

    Shape:
        (samples, channels, H, W) -> (samples, channels, H', W')
    """

    def __init__(self, spec: UnitSpec, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int] = (0, 0)):
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding
        self.fill = spec.act_min

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Integer activations, as float32."""
        return F.max_pool2d(x, self.kernel, self.stride, self.padding)

    def get_extra_state(self) -> dict[str, int]:
        """What a state dictionary holds: what padding holds."""
        return {"fill": self.fill}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Take it from a state dictionary."""
        self.fill = int(state["fill"])
