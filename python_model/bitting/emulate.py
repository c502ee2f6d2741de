"""The exact, fast emulator: whole batches through the unit's arithmetic with torch. Never imports RTL.

Modular addition does not care for order, so a tile is an exact integer product, reduced once. The product runs as a floating
point GEMM whenever the bounds of the layer prove that no partial sum can be rounded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from bitting.errors import ProgramError
from bitting.program import Layer, Program
from bitting.spec import UnitSpec

#: Integers up to 2^bits are exact in these types, narrowest first.
_EXACT_BITS = ((torch.float32, 24), (torch.float64, 53))


def accumulation_bound(spec: UnitSpec, weights: np.ndarray, bias: np.ndarray) -> int:
    """Largest magnitude any partial sum of `bias + weights @ x` can have, in any order, for x of `act_bits` bits."""
    magnitudes = np.abs(weights.astype(np.int64)).sum(axis=-1) * -spec.act_min + np.abs(bias.astype(np.int64))
    return int(magnitudes.max())


def exact_dtype(bound: int) -> torch.dtype:
    """Narrowest floating point type in which sums bounded by `bound` are exact.

    Raises:
        ProgramError: if none is wide enough.
    """
    for dtype, bits in _EXACT_BITS:
        if bound <= 1 << bits:
            return dtype
    raise ProgramError(f"sums up to {bound} are exact in no floating point type; allowed 2^{_EXACT_BITS[-1][1]}")


def inexact_training(inputs: int, bound: int) -> ProgramError:
    """The error of a layer too long to be trained in fp32."""
    return ProgramError(
        f"a layer of {inputs} inputs reaches sums of {bound} on this spec, beyond 2^24: training in fp32 would not be exact; "
        "use fewer inputs or a narrower spec"
    )


def wrap(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Exact integers in floating point, reduced modulo 2^bits to [-2^(bits-1), 2^(bits-1)). Consumes its argument."""
    period = float(1 << bits)
    quotient = (values * (1.0 / period)).add_(0.5).floor_()
    return values.sub_(quotient.mul_(period))


def fold_phase(spec: UnitSpec, shift: int) -> float:
    """Activations per unit of accumulator: the fold's slope is plus or minus this."""
    return 2.0 ** (shift - (spec.acc_bits - 1 - spec.act_bits))


def _fold_phase(spec: UnitSpec, accumulators: torch.Tensor, shift: int) -> torch.Tensor:
    """m of `fold`: the bx+1 top bits of the shifted accumulator, reduced to [-2^(bx-1), 3 2^(bx-1))."""
    period = float(2 << spec.act_bits)
    t = accumulators.mul(fold_slope(spec, shift)).floor_()
    return t.sub_(t.mul(1 / period).add_(0.25).floor_().mul_(period))


def fold_slope(spec: UnitSpec, shift: int) -> float:
    """Activations per unit of accumulator where the fold rises; it falls as steeply elsewhere."""
    return 2.0 ** (shift - (spec.acc_bits - 1 - spec.act_bits))


def fold(spec: UnitSpec, accumulators: torch.Tensor, shift: int) -> torch.Tensor:
    """Activations of exact integer accumulators (wrapped or not), as floats of the same shape and type.

    With t = floor(acc 2^shift / 2^(W-1-bx)), the bx+1 top bits of the shifted accumulator, the inversion of the low bits when
    the two top bits differ is m -> 2^bx - 1 - m, where m is t reduced to [-2^(bx-1), 3 2^(bx-1)). So the activation is
    min(m, 2^bx - 1 - m): multiplications by powers of two and floors, all exact.
    """
    m = _fold_phase(spec, accumulators, shift)
    return torch.minimum(m, ((1 << spec.act_bits) - 1) - m)


def fold_with_slope(spec: UnitSpec, accumulators: torch.Tensor, shift: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`fold`, and its derivative with respect to the accumulator at every element."""
    m = _fold_phase(spec, accumulators, shift)
    mirrored = ((1 << spec.act_bits) - 1) - m
    slope = (mirrored - m).sign_().mul_(fold_slope(spec, shift))
    return torch.minimum(m, mirrored), slope


class Emulator:
    """A program on a device's arithmetic, for batches of any size. Equal to golden to the bit.

    Args:
        program: its codes are looked up in `table`.
        table: bitting table, code -> value index.
        device: torch device.
    """

    def __init__(self, program: Program, table: Sequence[int], device: str | torch.device = "cpu"):
        self.program = program
        self.spec = program.spec
        values = np.asarray(self.spec.values, np.int64)[np.asarray(table)]
        self._layers = [_EmulatedLayer(self.spec, layer, values[layer.codes], device) for layer in program.layers]
        self._device = device

    def __call__(self, activations: torch.Tensor) -> torch.Tensor:
        """Logits (samples, outputs), int32: the raw accumulators of the linear layers.

        Args:
            activations: (samples, input_words) integers of `act_bits` bits, any type.
        """
        return torch.cat(
            [wrap(acc, self.spec.acc_bits).to(torch.int32) for layer, acc in self._run(activations) if layer.linear], dim=1
        )

    def accumulators(self, activations: torch.Tensor) -> list[torch.Tensor]:
        """Every layer's accumulators (samples, tiles * positions), int32."""
        return [wrap(acc.clone(), self.spec.acc_bits).to(torch.int32) for _, acc in self._run(activations)]

    @torch.no_grad()
    def _run(self, activations: torch.Tensor) -> list[tuple[Layer, torch.Tensor]]:
        program = self.program
        size = max([program.input_base + program.input_words, *(layer.reach for layer in self._layers)])
        scratch = torch.zeros(activations.shape[0], size, device=self._device)
        scratch[:, program.input_base : program.input_base + program.input_words] = activations
        found = []
        for layer in self._layers:
            found.append((layer.layer, layer(scratch)))
        return found


class _EmulatedLayer:
    """One gather layer: tiles with the same input base share a GEMM."""

    def __init__(self, spec: UnitSpec, layer: Layer, weights: np.ndarray, device: str | torch.device):
        self.layer = layer
        self.spec = spec
        dtype = exact_dtype(accumulation_bound(spec, weights, layer.bias))
        positions = layer.position_offsets()
        self._groups = []
        for base in np.unique(layer.in_base):
            tiles = np.flatnonzero(layer.in_base == base)
            gather = base + positions[:, None] + layer.offsets[None, :]
            start = int(gather[0, 0])
            consecutive = positions.size == 1 and np.array_equal(gather[0], start + np.arange(gather.size))
            columns = (tiles[:, None] * positions.size + np.arange(positions.size)).reshape(-1)
            self._groups.append(
                (
                    slice(start, start + gather.size) if consecutive else torch.from_numpy(gather).to(device),
                    torch.from_numpy(weights[tiles].T.copy()).to(device, dtype),
                    torch.from_numpy(layer.bias[tiles].astype(np.float64)).to(device, dtype),
                    torch.from_numpy(columns).to(device),
                )
            )
        self._out = (layer.out_base[:, None] + np.arange(positions.size)).reshape(-1)
        self.dtype = dtype
        furthest_in = int(layer.in_base.max() + positions.max() + layer.offsets.max())
        self.reach = 1 + max(furthest_in, 0 if layer.linear else int(self._out.max()))

    def __call__(self, scratch: torch.Tensor) -> torch.Tensor:
        """Exact accumulators (samples, tiles * positions), not yet wrapped; writes the activations into `scratch`."""
        samples, outputs = scratch.shape[0], len(self._out)
        parts = []
        for gather, weights, bias, _ in self._groups:
            x = scratch[:, gather].to(self.dtype)
            acc = torch.addmm(bias, x.reshape(-1, weights.shape[0]), weights)
            parts.append(acc.reshape(samples, -1, weights.shape[1]).transpose(1, 2).reshape(samples, -1))
        if len(parts) == 1:
            accumulators = parts[0]
        else:
            accumulators = torch.empty(samples, outputs, dtype=self.dtype, device=scratch.device)
            for part, group in zip(parts, self._groups, strict=True):
                accumulators[:, group[3]] = part
        if not self.layer.linear:
            scratch[:, self._out] = fold(self.spec, accumulators, self.layer.shift).to(scratch.dtype)
        return accumulators
