"""What other hardware has in place of the fold, at any gain. Pure functions of sums, differentiable; knows specs.

A sum is given in *steps*: in activations where the fold rises (`StolenLayer.slope`). One quarter period, from 0 to the first
peak, is 2^(bx-1) steps. What is written are integers: rounding down costs nothing on any hardware, and keeps the statistics.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from bitting.errors import BittingError
from bitting.targets.accumulators import reduced
from bitting.unit.spec import UnitSpec

#: Stand-ins by name: value as a share of the fold's amplitude, of a sum in quarter periods.
_SHAPES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "clamp": lambda s: s.clamp(-1, 1),
    "relu": lambda s: s.clamp(min=0),
    "relu-clamp": lambda s: s.clamp(0, 1),
    "sine": lambda s: torch.sin(s * (math.pi / 2)),
    "tanh": torch.tanh,
}
NAMES = ("fold", *_SHAPES)
#: These go beyond what the unit can hold.
_UNBOUNDED = ("relu",)


def floor(x: torch.Tensor) -> torch.Tensor:
    """Rounded down; the gradient passes straight through."""
    rounded: torch.Tensor = _Floor.apply(x)  # type: ignore[no-untyped-call]
    return rounded


class _Floor(torch.autograd.Function):
    """In one pass over the memory, where sums and differences take three."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return x.floor()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return gradient


@dataclass(frozen=True)
class Wave:
    """A function of sums, and what is done to sums that leave.

    Attributes:
        name: one of `NAMES`.
        spec: whose fold it stands for.
        gain: slope at 0, in units of the fold's.
    """

    name: str
    spec: UnitSpec
    gain: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise BittingError(f"unknown wave {self.name!r}; allowed: {', '.join(NAMES)}")
        if not self.gain > 0 or (self.name == "fold" and self.gain != 1):
            raise BittingError(f"wave {self.name} has gain {self.gain}; allowed are positive ones, and 1 for the fold itself")

    def activations(self, steps: torch.Tensor) -> torch.Tensor:
        """What is written, integers, of sums in steps; of any shape, with a gradient."""
        if self.name == "fold":
            return _folded(self.spec, steps)
        half = float(1 << (self.spec.act_bits - 1))
        shape = floor(half * _SHAPES[self.name](steps * (self.gain / half)))
        return shape if self.name in _UNBOUNDED else shape.clamp(self.spec.act_min, self.spec.act_max)

    def answers(self, sums: torch.Tensor, quarter: float) -> torch.Tensor:
        """Sums that leave: modulo four quarters if the fold is kept, as they are beside a stand-in, which knows no modulus."""
        if self.name != "fold":
            return sums
        return reduced(sums, 4 * quarter)


def fold(spec: UnitSpec) -> Wave:
    """The unit's own."""
    return Wave("fold", spec)


def _folded(spec: UnitSpec, steps: torch.Tensor) -> torch.Tensor:
    """As `bitting.emulator.emulate.fold`: the peak less the distance from the nearest one."""
    folded: torch.Tensor = _Fold.apply(steps, ((1 << spec.act_bits) - 1) / 2, float(2 << spec.act_bits))  # type: ignore[no-untyped-call]
    return folded


class _Fold(torch.autograd.Function):
    """Of sums rounded down, straight through: the slope is that of the side of the peak. In place, as `_Floor` saves memory."""

    @staticmethod
    def forward(ctx: Any, steps: torch.Tensor, peak: float, period: float) -> torch.Tensor:  # type: ignore[override]
        phase = steps.floor().sub_(peak).div_(period)
        phase.sub_(phase.round())
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(phase.sign())
        return phase.abs_().mul_(-period).add_(peak)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # type: ignore[override]
        (side,) = ctx.saved_tensors
        return gradient.mul(side).neg_(), None, None
