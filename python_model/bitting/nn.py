"""Layers to train on the unit's arithmetic: an exact forward pass and an explicit straight-through gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from bitting import emulate
from bitting.program import Program, multilayer_perceptron
from bitting.spec import UnitSpec


class WeightQuantiser:
    """Nearest value of a family, as integers in floating point.

    Latent weights are normalised to the Gaussian whose quantiles the values fit, so that all codes are used about equally
    often: `value = nearest(latent sigma / rms(latent))`, ties towards the larger value.

    Args:
        normalise: divide by rms(latent); without, latents are in units of sigma already (`bitting.balance`).
    """

    def __init__(self, spec: UnitSpec, normalise: bool = True):
        values = spec.values
        self._normalise = normalise
        self.sigma = spec.value_set.sigma
        # Midpoints of integers are multiples of 1/2, so floor(2 w) decides which value is nearest.
        self._low, self._high = 2 * values[0], 2 * values[-1]
        index, lookup = 0, []
        for twice in range(self._low, self._high + 1):
            while index + 1 < len(values) and twice >= values[index] + values[index + 1]:
                index += 1
            lookup.append(index)
        self._index = torch.tensor(lookup, dtype=torch.uint8)
        self._value = torch.tensor([values[i] for i in lookup], dtype=torch.float32)

    def scale(self, latent: torch.Tensor) -> float:
        """Weight units per unit of the latent."""
        if not self._normalise:
            return self.sigma
        return self.sigma * math.sqrt(latent.numel()) / float(torch.linalg.vector_norm(latent))

    def _bucket(self, latent: torch.Tensor, scale: float) -> torch.Tensor:
        offset = torch.tensor(float(-self._low), device=latent.device)
        # Never negative after the clamp, so the conversion's truncation is the floor.
        return torch.add(offset, latent, alpha=2 * scale).clamp_(0, self._high - self._low).to(torch.int32)

    def values(self, latent: torch.Tensor, scale: float | None = None, factor: float = 1.0) -> torch.Tensor:
        """Integer weights times a power of two, as float32, of the shape of `latent`; `scale` if it is known already."""
        bucket = self._bucket(latent, self.scale(latent) if scale is None else scale)
        table = self._value.to(latent.device) * factor
        return table.index_select(0, bucket.view(-1)).view(latent.shape)

    def indices(self, latent: torch.Tensor) -> torch.Tensor:
        """Value indices, uint8, of the shape of `latent`."""
        return self._index.to(latent.device)[self._bucket(latent, self.scale(latent)).long()]


class _UnitLinearFunction(torch.autograd.Function):
    """acc = x W^T + b, then the fold (not for logits), exactly; gradients straight through every rounding.

    Backward: the fold's slope is exact (plus or minus 2^(shift - (W-1-bx)), minus where the accumulator's low bits were
    inverted); the floor and the rounding of weights and bias count as the identity.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: torch.Tensor, latent: torch.Tensor, bias: torch.Tensor, layer: UnitLinear
    ) -> torch.Tensor:
        spec = layer.spec
        scale = layer.quantiser.scale(latent)
        # The product of weights times a power of two is exact, and what the fold wants.
        slope = 1.0 if layer.linear else emulate.fold_slope(spec, layer.shift)
        weights = layer.quantiser.values(latent, scale, slope)
        product = torch.addmm(layer.integer_bias(bias).mul_(slope), x, weights.t())
        ctx.layer, ctx.weight_scale, ctx.slope = layer, scale, slope
        if layer.linear:
            ctx.save_for_backward(x, weights, None)
            return product
        phase = emulate.fold_phase(spec, product)
        ctx.save_for_backward(x, weights, torch.sign(phase))
        return emulate.fold_of_phase(spec, phase)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        x, scaled_weights, side = ctx.saved_tensors
        if side is not None:
            grad = -grad * side  # the wave rises before a crest and falls behind it
        grad_x = grad @ scaled_weights if ctx.needs_input_grad[0] else None
        grad_latent = (grad * (ctx.weight_scale * ctx.slope)).t() @ x
        return grad_x, grad_latent, grad.sum(0).mul_(ctx.layer.bias_unit * ctx.slope), None


class UnitLinear(nn.Module):
    """A dense layer on the unit.

    Args:
        spec: family.
        inputs, outputs: sizes.
        normalise: see `WeightQuantiser`.
        linear: give accumulators instead of activations. They are exact integers but not yet reduced modulo 2^W, for the
            reduction has no useful gradient; `UnitMLP` reduces them.

    Shape:
        (samples, inputs) integer activations as float32 -> (samples, outputs), the same.
    """

    def __init__(self, spec: UnitSpec, inputs: int, outputs: int, linear: bool = False, normalise: bool = True):
        super().__init__()
        self.spec = spec
        self.linear = linear
        self.quantiser = WeightQuantiser(spec, normalise)
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.shift = 0
        worst = max(abs(v) for v in spec.values) * -spec.act_min * inputs + (1 << (spec.acc_bits - 1))
        if emulate.exact_dtype(worst) is not torch.float32:
            raise emulate.inexact_training(inputs, worst)

    @property
    def bias_unit(self) -> float:
        """Accumulator units per unit of the latent bias: a quarter of the fold's period."""
        return float(1 << (self.spec.acc_bits - 2 - self.shift))

    def integer_bias(self, bias: torch.Tensor) -> torch.Tensor:
        """The accumulator's start, integers as float32: rounded, and wrapped as the accumulator is."""
        return emulate.wrap((bias * self.bias_unit).round_(), self.spec.acc_bits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _UnitLinearFunction.apply(x, self.weight, self.bias, self)

    @torch.no_grad()
    def calibrate(self, x: torch.Tensor, spread: float) -> torch.Tensor:
        """Choose the shift that brings the accumulator's standard deviation nearest to `spread` quarter periods.

        Returns:
            The layer's output for `x`.
        """
        if not self.linear:
            deviation = float((x @ self.quantiser.values(self.weight).t()).std())
            wanted = spread * (1 << (self.spec.acc_bits - 2))
            ratios = [abs(torch.tensor(deviation * 2**s / wanted).log().item()) for s in range(self.spec.max_shift + 1)]
            self.shift = ratios.index(min(ratios))
        output: torch.Tensor = self(x)
        return output


class UnitMLP(nn.Module):
    """Dense layers on the unit; the last gives logits.

    Args:
        sizes: inputs, hidden sizes, outputs.
        dropout: probability that a hidden activation is 0 while training (integers stay integers: nothing is rescaled).
        normalise: see `WeightQuantiser`.
    """

    #: Cross entropy sees accumulators in units of 2^(W-2) / LOGIT_GAIN.
    LOGIT_GAIN = 5.0
    #: Logits beyond this many quarter periods (2 is where they wrap) are pulled back, with this weight.
    RANGE = 1.7
    RANGE_WEIGHT = 30.0

    def __init__(self, spec: UnitSpec, sizes: Sequence[int], dropout: float = 0.0, normalise: bool = True):
        super().__init__()
        self.spec = spec
        self.dropout = dropout
        pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
        self.layers = nn.ModuleList(
            UnitLinear(spec, inputs, outputs, index == len(pairs) - 1, normalise)
            for index, (inputs, outputs) in enumerate(pairs)
        )

    def _accumulators(self, x: torch.Tensor) -> torch.Tensor:
        """Accumulators of the last layer before the reduction modulo 2^W."""
        for layer in self.layers:
            x = layer(x)
            if self.training and self.dropout and not layer.linear:
                x = x * (torch.rand_like(x) >= self.dropout)
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits as the unit emits them: wrapped accumulators, float32, (samples, outputs)."""
        return emulate.wrap(self._accumulators(x), self.spec.acc_bits)

    def loss(self, x: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        """Cross entropy before the reduction, and a pull towards the range in which the reduction changes nothing.

        Straight through the reduction the gradient would point the wrong way as soon as one logit wraps, and training
        collapses (measured on MNIST: 31-74% instead of 98%).
        """
        quarters = self._accumulators(x) * (1.0 / (1 << (self.spec.acc_bits - 2)))
        excess = torch.relu(quarters.abs() - self.RANGE).square().mean()
        return torch.nn.functional.cross_entropy(quarters * self.LOGIT_GAIN, labels, label_smoothing=smoothing) + (
            self.RANGE_WEIGHT * excess
        )

    def calibrate(self, x: torch.Tensor, spread: Sequence[float]) -> None:
        """Choose every layer's shift on a batch of activations.

        Args:
            spread: for each hidden layer in turn (the last holds for the rest), standard deviation of the accumulators in
                quarter periods of the fold.
        """
        for index, layer in enumerate(self.layers):
            x = layer.calibrate(x, spread[min(index, len(spread) - 1)])  # type: ignore[operator]

    @property
    def shifts(self) -> list[int]:
        return [layer.shift for layer in self.layers]  # type: ignore[misc]

    @shifts.setter
    def shifts(self, values: Sequence[int]) -> None:
        for layer, shift in zip(self.layers, values, strict=True):
            layer.shift = int(shift)  # type: ignore[assignment]

    @torch.no_grad()
    def to_program(self) -> Program:
        """The unlocked program: codes are value indices."""
        layers: list[UnitLinear] = list(self.layers)  # type: ignore[arg-type]
        return multilayer_perceptron(
            self.spec,
            [layer.quantiser.indices(layer.weight).cpu().numpy() for layer in layers],
            [layer.integer_bias(layer.bias).to(torch.int32).cpu().numpy() for layer in layers],
            self.shifts,
        )


class TwinMLP(nn.Module):
    """The unlocked twin: the same shape in fp32 with ReLU, the same regularisation.

    Args:
        sizes: inputs, hidden sizes, outputs.
        input_scale: what activations are multiplied by.
    """

    def __init__(self, sizes: Sequence[int], input_scale: float, dropout: float = 0.0):
        super().__init__()
        self.input_scale = input_scale
        modules: list[nn.Module] = []
        for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
            modules += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*modules[:-2])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (samples, outputs)."""
        logits: torch.Tensor = self.layers(x * self.input_scale)
        return logits

    def loss(self, x: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self(x), labels, label_smoothing=smoothing)
