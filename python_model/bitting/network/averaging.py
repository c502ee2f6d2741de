"""Means on the unit: weights that are all alike."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bitting.errors import ProgramError
from bitting.network.layers import UnitLayer, padded
from bitting.unit.spec import UnitSpec


def mean_weight(spec: UnitSpec, count: int, what: str) -> tuple[int, int]:
    """(weight, shift) that make a sum of `count` activations, called `what`, their mean.

    It is the largest `weight 2^shift` that does not exceed one over the count, so a mean never wraps: exact for counts that are
    a power of two, else a little less.

    Raises:
        ProgramError: if the fold drops too many bits for that.
    """
    one = 1 << (spec.acc_bits - 1 - spec.act_bits)
    options = [
        (weight << s, -s) for s in range(spec.max_shift + 1) if (weight := min(spec.plain_max, (one // count) >> s)) >= 1
    ]
    if not options:
        raise ProgramError(
            f"spec {spec.name!r} can not average {what}: its fold drops the low {spec.acc_bits - 1 - spec.act_bits} bits; use "
            "smaller windows, or more acc_bits"
        )
    total, negative = max(options)
    return total >> -negative, -negative


class UnitAveragePool2d(UnitLayer):
    """Average pooling, padding counted: the sum of a window times a constant weight, then the fold.

    See `mean_weight` for how exact it is.

    Attributes:
        weight: constant; with `shift` it may give a multiple of the mean (`magnify`).
        start: what the sum of a window begins at, in activations.

    Shape:
        (samples, channels, H, W) -> (samples, channels, H', W')
    """

    calibrated = False

    def __init__(self, spec: UnitSpec, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int] = (0, 0)):
        super().__init__(spec)
        self.kernel, self.stride, self.padding = kernel, stride, padding
        self.reset()

    def reset(self) -> None:
        """Give the mean, as exactly as can be."""
        rows, columns = self.kernel
        self.weight, self.shift = mean_weight(self.spec, rows * columns, f"a window of {rows} x {columns}")
        self.start = 0

    def magnify(self, most: float) -> float:
        """From now on give the largest multiple of the mean by a power of two that the spec has and `most` allows; gives it."""
        power = 0
        while 2 << power <= most and (self.shift < self.spec.max_shift or 2 * self.weight <= self.spec.plain_max):
            if self.shift < self.spec.max_shift:
                self.shift += 1
            else:
                self.weight *= 2
            power += 1
        return float(1 << power)

    def sums(self, *inputs: torch.Tensor) -> torch.Tensor:
        """(samples, channels, H', W') sums of the windows and `start`; `factor` holds the weight."""
        x, padding = padded(inputs[0], self.padding, self.fill)
        return F.avg_pool2d(x, self.kernel, self.stride, padding, divisor_override=1) + self.start

    @property
    def factor(self) -> float:
        """`slope` times the constant weight, which `sums` leave out."""
        return self.weight * self.slope

    def get_extra_state(self) -> dict[str, int]:
        """As in the base class, and the weight and the start."""
        return {**super().get_extra_state(), "weight": self.weight, "start": self.start}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Take all of it from a state dictionary."""
        super().set_extra_state(state)
        self.weight, self.start = int(state.get("weight", self.weight)), int(state.get("start", 0))
