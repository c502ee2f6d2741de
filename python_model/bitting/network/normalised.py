"""A convolution on the unit that is trained with batch normalisation."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from bitting.network.layers import UnitConv2d
from bitting.network.straight_through import WeightQuantiser, quantise, round_bias

#: Weight of the newest batch in running statistics.
MOMENTUM = 0.1
#: Largest root mean square of a channel's weights, in units of the family's sigma: few are then beyond the largest value.
FULL = 1.3


class UnitNormalisedConv2d(UnitConv2d):
    """A convolution trained with batch normalisation (Ioffe and Szegedy 2015), which becomes part of its weights and bias.

    While training, sums of the rounded weights are normalised by the batch's own mean and deviation. Else they are what the
    unit computes: the weights have been divided by the running deviation before they were rounded, the bias has the running
    mean taken off. The shift follows the weights, so that they neither leave the family's range nor shrink to a few values.

    Attributes:
        gain: (outputs,) logarithm of the wanted standard deviation of a channel's sums, in quarter periods of the fold.
        bias: their wanted mean, in quarter periods.
        deviation: (outputs,) running standard deviation of sums of the latent weights, in activations times latent units.
        mean: (outputs,) running mean of the sums without bias, in quarter periods.
        full: largest root mean square of a channel's weights, in units of the family's sigma; the shift follows.
    """

    deviation: torch.Tensor
    mean: torch.Tensor

    def __init__(self, *arguments: Any):
        """Arguments as for `UnitConv2d`, without `emits` and `normalise`."""
        super().__init__(*arguments)
        self.quantiser = WeightQuantiser(self.spec, normalise=False)
        self.full = FULL
        self.gain = nn.Parameter(torch.zeros_like(self.bias))
        self.register_buffer("deviation", torch.ones_like(self.bias))
        self.register_buffer("mean", torch.zeros_like(self.bias))

    @property
    def latent(self) -> torch.Tensor:
        """Weights in units of the family's sigma, each channel with its gain."""
        unit = self.bias_unit / self.quantiser.sigma
        return self.weight * (self.gain.exp() * unit / self.deviation).reshape(-1, 1, 1, 1)

    def integer_bias(self, factor: float = 1.0) -> torch.Tensor:
        """As in the base class, but the running mean is taken off first."""
        return round_bias(self.bias - self.mean, self.bias_unit, self.spec.acc_bits, factor)

    def sums(self, *inputs: torch.Tensor) -> torch.Tensor:
        """As in `UnitConv2d`. While training: normalised by the batch; moves the running statistics, and perhaps the shift."""
        if not self.training or self.altered:  # other hardware gets the weights as they ship
            return super().sums(*inputs)
        self._fit_shift()
        sums = self._convolve(inputs[0], quantise(self.latent, self.quantiser, self.slope), None)
        quarter = self.bias_unit * self.slope
        wanted = self.gain.exp() * quarter
        start = round_bias(self.bias, self.bias_unit, self.spec.acc_bits, self.slope)
        mean, variance = torch.zeros_like(self.mean), torch.zeros_like(self.mean)
        normalised = F.batch_norm(sums, mean, variance, wanted, start, training=True, momentum=1.0)
        with torch.no_grad():
            self.mean.lerp_(mean / quarter, MOMENTUM)
            # Nothing in place: the gradients want the old ones.
            self.deviation = self.deviation * (variance.sqrt().clamp_(min=1e-6) / wanted).pow_(MOMENTUM)
        return normalised

    @torch.no_grad()
    def update_statistics(self, inputs: tuple[torch.Tensor, ...]) -> None:
        """The running statistics become those of these inputs, and of the weights as they are."""
        for _ in range(2):  # another deviation rounds the weights anew
            self.deviation.mul_(self._unit_sums(inputs[0]).std((0, 2, 3)).clamp_(min=1e-6) / self.gain.exp())
            self._fit_shift()
        self.mean.copy_(self._unit_sums(inputs[0]).mean((0, 2, 3)))

    @torch.no_grad()
    def calibrate(self, inputs: tuple[torch.Tensor, ...], accumulator_std: float) -> None:
        """Statistics of a batch. The gains keep their ratios; their root mean square becomes `accumulator_std`."""
        self.gain.add_(math.log(accumulator_std) - self.gain.mul(2).exp().mean().log() / 2)
        self.deviation.copy_(self._convolve(inputs[0], self.weight, None).std((0, 2, 3)).clamp_(min=1e-6))
        self._fit_shift()
        self.mean.copy_(self._unit_sums(inputs[0]).mean((0, 2, 3)))

    def _unit_sums(self, x: torch.Tensor) -> torch.Tensor:
        """Sums of the rounded weights without bias, in quarter periods."""
        return self._convolve(x, self.quantiser.values(self.latent), None) / self.bias_unit

    @torch.no_grad()
    def _fit_shift(self) -> None:
        largest = float(self.latent.flatten(1).square().mean(1).max().sqrt())
        while largest > self.full and self.shift < self.most_shift:
            self.shift, largest = self.shift + 1, largest / 2
        least = 0.45 * self.full  # less than half, or it would go to and fro
        while self.shift > self.most_shift or (largest < least and self.shift > 0):
            self.shift, largest = self.shift - 1, largest * 2
