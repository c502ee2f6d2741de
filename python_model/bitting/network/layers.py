"""Layers to train on the unit's arithmetic: integers in float32, an exact forward pass, straight-through gradients.

Every layer ends in the fold, but for the logits; that is what the unit writes to its memory.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from bitting.emulator import emulate
from bitting.network.alteration import Alteration
from bitting.network.pattern import PatternQuantiser
from bitting.network.straight_through import WeightQuantiser, dense, fold, quantise, round_bias
from bitting.program.constants import identity_scale
from bitting.unit.spec import UnitSpec


class UnitLayer(nn.Module):
    """What all layers share: a spec, the left shift before the fold, and how it is found.

    Attributes:
        shift: 0..`most_shift`.
        most_shift: the largest that `calibrate` chooses; as a rule the spec's.
        activated: the model it was converted from has an activation function here.
        emits: the layer gives accumulators instead of activations. They are exact integers but not yet reduced modulo 2^W,
            for the reduction has no useful gradient; `UnitNetwork` reduces them.
        fill: the activation that stands for zero in its input, and that padding holds.
        altered: other hardware that computes it meanwhile, see `UnitNetwork.altered`.
    """

    #: `calibrate` chooses the shift.
    calibrated = True
    #: (outputs,) latent start of the accumulator, of layers that have one.
    bias: nn.Parameter

    def __init__(self, spec: UnitSpec):
        super().__init__()
        self.spec = spec
        self.shift = 0
        self.most_shift = spec.max_shift
        self.activated = False
        self.emits = False
        self.fill = 0
        self.altered: Alteration | None = None

    @property
    def slope(self) -> float:
        """Activations per unit of accumulator; 1 for logits."""
        return 1.0 if self.emits else emulate.fold_slope(self.spec, self.shift)

    @property
    def factor(self) -> float:
        """What the sums have to be multiplied by to be accumulators times `slope`."""
        return 1.0

    @property
    def bias_unit(self) -> float:
        """Accumulator units per unit of the latent bias: a quarter of the fold's period."""
        return float(1 << (self.spec.acc_bits - 2 - self.shift))

    def integer_bias(self, factor: float = 1.0) -> torch.Tensor:
        """The accumulator's start, integers as float32: rounded, wrapped as the accumulator is, times `factor`."""
        return round_bias(self.bias, self.bias_unit, self.spec.acc_bits, factor)

    def sums(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Accumulators times `slope`, but for `factor`."""
        raise NotImplementedError

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Integer activations, as float32; accumulators if `emits`."""
        sums = self.sums(*inputs)
        if self.altered:
            if self.emits:
                return self.altered.leaving(sums, None)
            steps = self.altered.leaving(sums * self.factor, self.slope)
            written = self.altered.activations(steps)
            return (fold(steps, self.spec) if written is None else written).float()
        return sums if self.emits else fold(sums, self.spec, self.factor).float()

    @torch.no_grad()
    def calibrate(self, inputs: tuple[torch.Tensor, ...], accumulator_std: float) -> None:
        """Choose the shift that brings the accumulator's standard deviation nearest to `accumulator_std` quarter periods."""
        if self.emits or not self.calibrated:
            return
        self.shift = 0
        with _without_bias(self):  # where on the wave a sum starts says nothing of how far it reaches
            deviation = float(self.sums(*inputs).std()) * self.factor / self.slope
        wanted = accumulator_std * (1 << (self.spec.acc_bits - 2))
        ratios = [abs(math.log(max(deviation, 1e-9) * 2**s / wanted)) for s in range(self.most_shift + 1)]
        self.shift = ratios.index(min(ratios))

    def get_extra_state(self) -> dict[str, int]:
        """What a state dictionary holds beside the parameters: the shift, and what padding holds."""
        return {"shift": self.shift, "fill": self.fill}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Take both from a state dictionary."""
        self.shift, self.fill = int(state["shift"]), int(state.get("fill", 0))


@contextlib.contextmanager
def _without_bias(layer: UnitLayer) -> Iterator[None]:
    """The layer's bias is 0 meanwhile."""
    kept = layer.bias.clone()
    layer.bias.zero_()
    try:
        yield
    finally:
        layer.bias.copy_(kept)


class UnitProduct(UnitLayer):
    """A layer with weights of the family and a bias.

    Args:
        shape: of the weights, outputs first.
        normalise: see `WeightQuantiser`.

    Attributes:
        exact: the type in which its sums are exact: float32, or float64 for many inputs or large weights, which is slower.

    Raises:
        ProgramError: if float64 is not exact either.
    """

    def __init__(self, spec: UnitSpec, shape: tuple[int, ...], emits: bool = False, normalise: bool = True):
        super().__init__(spec)
        self.emits = emits
        self.quantiser = WeightQuantiser(spec, normalise)
        self.weight = nn.Parameter(torch.randn(*shape))
        self.bias = nn.Parameter(torch.zeros(shape[0]))
        self.exact = self._exact(max(abs(v) for v in spec.values))

    def _exact(self, largest: int) -> torch.dtype:
        """The type for weights up to a magnitude."""
        worst = largest * -self.spec.act_min * self.weight[0].numel() + (1 << (self.spec.acc_bits - 1))
        return emulate.exact_dtype(worst)

    @property
    def latent(self) -> torch.Tensor:
        """What the quantiser rounds to the family's values."""
        return self.weight

    def keep_pattern(self, magnitude: int, pattern: torch.Tensor) -> None:
        """From now on weights are of one magnitude and a pattern; arguments as for `PatternQuantiser`."""
        self.quantiser = PatternQuantiser(self.spec, magnitude, pattern)
        self.exact = self._exact(magnitude)

    @torch.no_grad()
    def learn_scale(self, rms: float) -> None:
        """From now on the scale of the weights is learnt too; it begins at `rms` (root mean square, in units of sigma)."""
        self.quantiser = WeightQuantiser(self.spec, normalise=False)
        self.weight.mul_(rms / self.weight.square().mean().sqrt())
        if self.emits:  # else they are in quarter periods, which shrink with the weights when the shift is found
            self.bias.mul_(rms)

    def parts(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights and bias, both times `slope`: a power of two costs nothing here, and the product then suits the fold."""
        weights, bias = quantise(self.latent, self.quantiser, self.slope), self.integer_bias(self.slope)
        if self.altered:
            weights = self.altered.weights(weights)
        return weights.to(self.exact), bias.to(self.exact)

    def _read(self, x: torch.Tensor) -> torch.Tensor:
        """Its input, as what computes it reads that."""
        return (self.altered.entering(x) if self.altered else x).to(self.exact)


class UnitLinear(UnitProduct):
    """A dense layer.

    Shape:
        (samples, inputs) -> (samples, outputs)
    """

    def __init__(self, spec: UnitSpec, inputs: int, outputs: int, emits: bool = False, normalise: bool = True):
        super().__init__(spec, (outputs, inputs), emits, normalise)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """(samples, outputs), as the base class gives; product, bias and fold have one gradient, which is faster."""
        if self.altered or self.exact is not torch.float32:
            return super().forward(*inputs)
        return dense(
            inputs[0], self.weight, self.bias, self.quantiser, self.spec, self.bias_unit, self.slope, folds=not self.emits
        )

    def sums(self, *inputs: torch.Tensor) -> torch.Tensor:
        """(samples, outputs) accumulators times `slope`."""
        return F.linear(self._read(inputs[0]), *self.parts())


class UnitConv2d(UnitProduct):
    """A convolution; arguments as for `torch.nn.Conv2d`.

    Shape:
        (samples, inputs, H, W) -> (samples, outputs, H', W')
    """

    def __init__(
        self,
        spec: UnitSpec,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        emits: bool = False,
        normalise: bool = True,
    ):
        super().__init__(spec, (outputs, inputs // groups, *kernel), emits, normalise)
        self.kernel, self.stride, self.padding, self.dilation, self.groups = kernel, stride, padding, dilation, groups

    def sums(self, *inputs: torch.Tensor) -> torch.Tensor:
        """(samples, outputs, H', W') accumulators times `slope`."""
        return self._convolve(self._read(inputs[0]), *self.parts())

    def _convolve(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        x, padding = padded(x, self.padding, self.fill)
        return F.conv2d(x, weight, bias, self.stride, padding, self.dilation, self.groups)


def padded(x: torch.Tensor, padding: tuple[int, int], fill: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """Inputs, padded if it is not with zeros, and the padding that is left to do."""
    if not fill or not any(padding):
        return x, padding
    rows, columns = padding
    return F.pad(x, (columns, columns, rows, rows), value=float(fill)), (0, 0)


class UnitAdd(UnitLayer):
    """A residual addition: two activations times constant weights, and a bias for each channel, then the fold.

    Args:
        channels: of the sum.
        weights: of the two inputs, 1..`plain_max`.

    Shape:
        two of (samples, channels, ...) -> the same
    """

    def __init__(self, spec: UnitSpec, channels: int, weights: tuple[int, int] | None = None):
        super().__init__(spec)
        weight = identity_scale(spec)[0]
        self.weights = weights or (weight, weight)
        self.bias = nn.Parameter(torch.zeros(channels))

    @property
    def _common(self) -> int:
        """A power of two that both weights are, to be multiplied with at the end; else 1."""
        left, right = self.weights
        return left if left == right and left & (left - 1) == 0 else 1

    def sums(self, *inputs: torch.Tensor) -> torch.Tensor:
        """(samples, channels, ...) weighted sums and bias; if both weights are one power of two, `factor` has it."""
        (first, second), (left, right) = inputs, (weight // self._common for weight in self.weights)
        total = first + second if left == right == 1 else torch.add(first * left, second, alpha=right)
        return total + self.integer_bias(1 / self._common).reshape(1, -1, *[1] * (total.ndim - 2))

    @property
    def factor(self) -> float:
        """`slope` times the weight that `sums` leave out."""
        return self.slope * self._common

    def get_extra_state(self) -> dict[str, int]:
        """As in the base class, and the weights of the two inputs as `left` and `right`."""
        return {**super().get_extra_state(), "left": self.weights[0], "right": self.weights[1]}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Take all of it from a state dictionary."""
        super().set_extra_state(state)
        self.weights = (int(state["left"]), int(state["right"]))


class IntegerDropout(nn.Module):
    """Activations that are 0 with a probability while training; the others stay the integers they are, unlike `nn.Dropout`."""

    def __init__(self, probability: float):
        super().__init__()
        self.probability = probability

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape. What stays is not scaled up, so its mean is less than in evaluation."""
        if not self.training or not self.probability:
            return x
        return x * (torch.rand_like(x) >= self.probability)
