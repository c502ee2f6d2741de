"""What training on the unit needs beside products: rounding and the fold, exact forwards, straight through backwards.

Each is one pass over memory with the native kernel, and the same bits in torch without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from bitting.emulator import emulate, kernel
from bitting.errors import ProgramError
from bitting.unit.spec import UnitSpec


def _native(*tensors: torch.Tensor) -> kernel.Kernel | None:
    """The kernel, if it can work on these."""
    for tensor in tensors:
        if not (tensor.is_cpu and tensor.dtype is torch.float32 and tensor.is_contiguous()):
            return None
    return kernel.load()


def _lookup(native: kernel.Kernel, x: torch.Tensor, factor: float, low: float, table: torch.Tensor) -> torch.Tensor:
    """table[floor(clamp(x factor - low))], float32, in one pass."""
    output = torch.empty_like(x)
    last = len(table) - 1
    native.library.bitting_lookup(x.data_ptr(), x.numel(), factor, low, last, table.data_ptr(), output.data_ptr())
    return output


def integers(x: torch.Tensor, scale: float, spec: UnitSpec) -> torch.Tensor:
    """The nearest activations to `x` times `scale`, halves upwards, as float32; no gradient."""
    if native := _native(x):
        output = torch.empty_like(x)
        native.library.bitting_integers(x.data_ptr(), x.numel(), scale, spec.act_min, spec.act_max, output.data_ptr())
        return output
    return torch.floor(x.detach() * scale - (spec.act_min - 0.5)).add_(spec.act_min).clamp_(spec.act_min, spec.act_max)


class WeightQuantiser:
    """Nearest value of a family, as integers in floating point.

    Latent weights are normalised to the Gaussian whose quantiles the values fit, so that all codes are used about equally
    often: `value = nearest(latent sigma / rms(latent))`, ties towards the larger value.

    Args:
        normalise: divide by rms(latent); without, latents are in units of sigma already (`bitting.training.balance`).
        values: ascending integers to round to, of a layer that is still to be changed into one of the family; by default the
            family's.
    """

    def __init__(self, spec: UnitSpec, normalise: bool = True, values: Sequence[int] | None = None):
        self._of_family = values is None
        values = spec.values if values is None else values
        self._normalise = normalise
        self.sigma = spec.value_set.sigma
        # Midpoints of integers are multiples of 1/2, so floor(2 w) decides which value is nearest.
        self._low, self._high = 2 * values[0], 2 * values[-1]
        index, lookup = 0, []
        for twice in range(self._low, self._high + 1):
            while index + 1 < len(values) and twice >= values[index] + values[index + 1]:
                index += 1
            lookup.append(index)
        self._family = torch.tensor(values, dtype=torch.float32)
        self._value = torch.tensor([values[i] for i in lookup], dtype=torch.float32)
        self._tables: dict[float, torch.Tensor] = {}  # by factor

    def scale(self, latent: torch.Tensor) -> float:
        """Weight units per unit of the latent."""
        if not self._normalise:
            return self.sigma
        return self.sigma * math.sqrt(latent.numel()) / float(torch.linalg.vector_norm(latent))

    def _bucket(self, latent: torch.Tensor, scale: float) -> torch.Tensor:
        # Rounded after the product and after the sum, as the kernel does. Never negative after the clamp, so the
        # conversion's truncation is the floor.
        return (latent * (2 * scale)).sub_(float(self._low)).clamp_(0, self._high - self._low).to(torch.int32)

    def values(self, latent: torch.Tensor, scale: float | None = None, factor: float = 1.0) -> torch.Tensor:
        """Integer weights times a power of two, as float32, of the shape of `latent`; `scale` if it is known already."""
        scale = self.scale(latent) if scale is None else scale
        if (table := self._tables.get(factor)) is None:
            table = self._tables[factor] = self._value * factor
        if native := _native(latent):
            return _lookup(native, latent, 2 * scale, self._low, table)
        bucket = self._bucket(latent, scale)
        return table.to(latent.device).index_select(0, bucket.view(-1)).view(latent.shape)

    def indices(self, latent: torch.Tensor) -> torch.Tensor:
        """Value indices, uint8, of the shape of `latent`.

        Raises:
            ProgramError: if it rounds to other values than the family's.
        """
        if not self._of_family:
            raise ProgramError("these weights are still to be changed into values of the family, and have no codes yet")
        # From the weights themselves: two computations of the same rounding could disagree.
        return torch.searchsorted(self._family.to(latent.device), self.values(latent)).to(torch.uint8)


def _rounded(latent: torch.Tensor, unit: float, bits: int, factor: float) -> torch.Tensor:
    """`latent` times `unit`, rounded and reduced modulo 2^bits, times `factor`."""
    if native := _native(latent):
        output = torch.empty_like(latent)
        native.library.bitting_round(latent.data_ptr(), latent.numel(), unit, bits, factor, output.data_ptr())
        return output
    return emulate.wrap((latent * unit).round_(), bits).mul_(factor)


def _fold_in_place(sums: torch.Tensor, spec: UnitSpec, factor: float) -> torch.Tensor:
    """Activations of sums times `factor` take their place; gives the side of the wave, int8: 1 where it rises, else -1."""
    if native := _native(sums):
        side = torch.empty_like(sums, dtype=torch.int8)
        native.library.bitting_fold(sums.data_ptr(), sums.numel(), factor, spec.act_bits, sums.data_ptr(), side.data_ptr())
        return side
    phase = emulate.fold_phase(spec, sums * factor)
    side = (-torch.sign(phase)).to(torch.int8)  # the wave rises before a peak and falls behind it
    sums.copy_(emulate.fold_of_phase(spec, phase))
    return side


def _along_the_wave(grad: torch.Tensor, side: torch.Tensor, factor: float) -> torch.Tensor:
    """`grad` times `factor`, and -1 where the wave falls."""
    if side.is_contiguous() and (native := _native(grad)):
        output = torch.empty_like(grad)
        native.library.bitting_fold_backward(grad.data_ptr(), side.data_ptr(), grad.numel(), factor, output.data_ptr())
        return output
    return grad * (side * factor)


class _Quantise(torch.autograd.Function):
    """Latent weights to the family's, times a power of two; the rounding counts as the identity."""

    @staticmethod
    def forward(ctx: Any, latent: torch.Tensor, quantiser: WeightQuantiser, factor: float) -> torch.Tensor:  # type: ignore[override]
        scale = quantiser.scale(latent)
        ctx.slope = scale * factor
        return quantiser.values(latent, scale, factor)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        return grad * ctx.slope, None, None


class _Round(torch.autograd.Function):
    """Integers in the range of the accumulator, times a power of two; rounding and reduction count as the identity."""

    @staticmethod
    def forward(ctx: Any, latent: torch.Tensor, unit: float, bits: int, factor: float) -> torch.Tensor:  # type: ignore[override]
        ctx.slope = unit * factor
        return _rounded(latent, unit, bits, factor)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        return grad * ctx.slope, None, None, None


class _Fold(torch.autograd.Function):
    """Sums to activations, in place; the slope is exact (plus or minus `factor`), the floor counts as the identity."""

    @staticmethod
    def forward(ctx: Any, sums: torch.Tensor, spec: UnitSpec, factor: float) -> torch.Tensor:  # type: ignore[override]
        ctx.factor = factor
        ctx.save_for_backward(_fold_in_place(sums, spec, factor))
        ctx.mark_dirty(sums)
        return sums

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        (side,) = ctx.saved_tensors
        return _along_the_wave(grad, side, ctx.factor), None, None


class _Dense(torch.autograd.Function):
    """`x quantise(latent)^T + round(bias)`, folded or not, in one: the functions above without their overhead."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: torch.Tensor, latent: torch.Tensor, bias: torch.Tensor, quantiser: WeightQuantiser, spec: UnitSpec,
        bias_unit: float, slope: float, folds: bool,
    ) -> torch.Tensor:  # fmt: skip
        scale = quantiser.scale(latent)
        weights = quantiser.values(latent, scale, slope)
        sums = torch.addmm(_rounded(bias, bias_unit, spec.acc_bits, slope), x, weights.t())
        ctx.save_for_backward(x, weights, _fold_in_place(sums, spec, 1.0) if folds else None)
        ctx.slope, ctx.bias_unit, ctx.scale = scale * slope, bias_unit, scale
        return sums

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        x, weights, side = ctx.saved_tensors
        grad = (
            grad * ctx.slope if side is None else _along_the_wave(grad, side, ctx.slope)
        )  # what the latent weights want; the smaller gradients are scaled back
        grad_x = (grad @ weights).mul_(1 / ctx.slope) if ctx.needs_input_grad[0] else None
        return grad_x, grad.t() @ x, grad.sum(0).mul_(ctx.bias_unit / ctx.scale), None, None, None, None, None


def quantise(latent: torch.Tensor, quantiser: WeightQuantiser, factor: float = 1.0) -> torch.Tensor:
    """Weights of the family times `factor`, a power of two, with a gradient for the latent ones."""
    weights: torch.Tensor = _Quantise.apply(latent, quantiser, factor)
    return weights


def round_bias(latent: torch.Tensor, unit: float, bits: int, factor: float = 1.0) -> torch.Tensor:
    """`latent` times `unit`, rounded and reduced modulo 2^bits, times `factor`; with a gradient for `latent`."""
    rounded: torch.Tensor = _Round.apply(latent, unit, bits, factor)
    return rounded


def fold(sums: torch.Tensor, spec: UnitSpec, factor: float = 1.0) -> torch.Tensor:
    """Activations of accumulators times `emulate.fold_slope`, of any shape, with a gradient; they take the sums' place.

    Args:
        sums: the accumulators, but for `factor`; are overwritten.
        spec: whose fold it is.
        factor: what is still missing of the slope.
    """
    activations: torch.Tensor = _Fold.apply(sums, spec, factor)
    return activations


def dense(
    x: torch.Tensor,
    latent: torch.Tensor,
    bias: torch.Tensor,
    quantiser: WeightQuantiser,
    spec: UnitSpec,
    bias_unit: float,
    slope: float,
    folds: bool = True,
) -> torch.Tensor:
    """A whole dense layer: activations (samples, outputs), with `slope` from `emulate.fold_slope`; else sums times `slope`."""
    output: torch.Tensor = _Dense.apply(x, latent, bias, quantiser, spec, bias_unit, slope, folds)
    return output
