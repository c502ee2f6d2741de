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


def fold_slope(spec: UnitSpec, shift: int) -> float:
    """Activations per unit of accumulator where the fold rises; it falls as steeply elsewhere."""
    return 2.0 ** (shift - (spec.acc_bits - 1 - spec.act_bits))


def fold_phase(spec: UnitSpec, scaled: torch.Tensor) -> torch.Tensor:
    """Signed distance from the nearest crest of the wave, in periods: never 0 and never a half. Consumes its argument.

    Args:
        scaled: accumulators times `fold_slope`, exact.
    """
    period = float(2 << spec.act_bits)
    crest = ((1 << spec.act_bits) - 1) / 2
    phase = torch.add(
        torch.tensor(-crest / period, dtype=scaled.dtype, device=scaled.device), scaled.floor_(), alpha=1 / period
    )
    return phase.sub_(phase.round())


def fold_of_phase(spec: UnitSpec, phase: torch.Tensor) -> torch.Tensor:
    """Activations of `fold_phase`. Consumes its argument."""
    crest = ((1 << spec.act_bits) - 1) / 2
    crest_tensor = torch.tensor(crest, dtype=phase.dtype, device=phase.device)
    return torch.add(crest_tensor, phase.abs_(), alpha=-float(2 << spec.act_bits))


def fold(spec: UnitSpec, accumulators: torch.Tensor, shift: int) -> torch.Tensor:
    """Activations of exact integer accumulators (wrapped or not), as floats of the same shape and type.

    With t = floor(acc 2^shift / 2^(W-1-bx)), the bx+1 top bits of the shifted accumulator, inverting the low bits when the two
    top bits differ is m -> 2^bx - 1 - m, where m is t reduced to [-2^(bx-1), 3 2^(bx-1)). So the activation is
    min(m, 2^bx - 1 - m) = c - |m - c| with the crest c = (2^bx - 1) / 2, and m - c is the distance of t from the nearest of the
    crests, which lie 2^(bx+1) apart. Sums and products by powers of two, floor and round: all exact.
    """
    return fold_of_phase(spec, fold_phase(spec, accumulators * fold_slope(spec, shift)))


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
        values = [np.asarray(self.spec.decoding(table, binary).values, np.int64) for binary in (False, True)]
        self._layers = [_EmulatedLayer(self.spec, layer, values[layer.binary][layer.codes], device) for layer in program.layers]
        self._device = device

    def __call__(self, activations: torch.Tensor) -> torch.Tensor:
        """Logits (samples, outputs), int32: the raw accumulators of the linear layers.

        Args:
            activations: (samples, input_words) integers of `act_bits` bits, any type.
        """
        return torch.cat(
            [wrap(acc, self.spec.acc_bits).to(torch.int32) for layer, acc in self._run(activations, False) if layer.linear],
            dim=1,
        )

    def accumulators(self, activations: torch.Tensor) -> list[torch.Tensor]:
        """Every layer's accumulators (samples, tiles * positions), int32."""
        return [wrap(acc, self.spec.acc_bits).to(torch.int32) for _, acc in self._run(activations, True)]

    @torch.no_grad()
    def _run(self, activations: torch.Tensor, keep: bool) -> list[tuple[Layer, torch.Tensor]]:
        """Each layer with its exact accumulators; those of folded layers only if they are to be kept."""
        program = self.program
        size = max([program.input_base + program.input_words, *(layer.reach for layer in self._layers)])
        scratch = _Scratch(size)
        scratch.write(program.input_base, activations.to(self._device, torch.float32))
        return [(layer.layer, layer(scratch, keep)) for layer in self._layers]


class _Scratch:
    """The scratch memory of a batch. Blocks are kept as they were written, and joined only if someone reads across them."""

    def __init__(self, size: int):
        self._size = size
        self._blocks: dict[tuple[int, int], torch.Tensor] = {}

    def write(self, start: int, block: torch.Tensor) -> None:
        """`block`: (samples, words)."""
        stop = start + block.shape[1]
        if any(start < other_stop and other_start < stop for other_start, other_stop in self._blocks):
            self._join()[:, start:stop] = block
        else:
            self._blocks[start, stop] = block

    def read(self, where: slice | torch.Tensor) -> torch.Tensor:
        """(samples, ...) words at consecutive or gathered addresses."""
        if isinstance(where, slice) and (block := self._blocks.get((where.start, where.stop))) is not None:
            return block
        return self._join()[:, where]

    def _join(self) -> torch.Tensor:
        whole = self._blocks.get((0, self._size))
        if whole is None or len(self._blocks) > 1:
            any_block = next(iter(self._blocks.values()))
            whole = any_block.new_zeros(any_block.shape[0], self._size)
            for (start, stop), block in self._blocks.items():
                whole[:, start:stop] = block
            self._blocks = {(0, self._size): whole}
        return whole


class _EmulatedLayer:
    """One gather layer: tiles with the same input base share a GEMM."""

    def __init__(self, spec: UnitSpec, layer: Layer, weights: np.ndarray, device: str | torch.device):
        self.layer = layer
        self.spec = spec
        self.dtype = exact_dtype(accumulation_bound(spec, weights, layer.bias))
        # A power of two in front of weights and bias costs nothing and is exact; the product then suits the fold.
        self._scale = 1.0 if layer.linear else fold_slope(spec, layer.shift)
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
                    torch.from_numpy(weights[tiles].T * self._scale).to(device, self.dtype),
                    torch.from_numpy(layer.bias[tiles] * self._scale).to(device, self.dtype),
                    torch.from_numpy(columns).to(device),
                )
            )
        out = (layer.out_base[:, None] + np.arange(positions.size)).reshape(-1)
        self._outputs = len(out)
        self._out_start = int(out.min())
        self._out_order = None if np.array_equal(out, self._out_start + np.arange(len(out))) else torch.from_numpy(out)
        furthest_in = int(layer.in_base.max() + positions.max() + layer.offsets.max())
        self.reach = 1 + max(furthest_in, 0 if layer.linear else int(out.max()))

    def __call__(self, scratch: _Scratch, keep: bool) -> torch.Tensor:
        """Exact accumulators (samples, tiles * positions), not yet wrapped; writes the activations into `scratch`."""
        parts = []
        for where, weights, bias, _ in self._groups:
            x = scratch.read(where).to(self.dtype)
            samples = x.shape[0]
            product = torch.addmm(bias, x.reshape(-1, weights.shape[0]), weights)
            if x.ndim == 3:  # positions come before tiles in the product, after them in the program
                product = product.reshape(samples, -1, weights.shape[1]).transpose(1, 2).reshape(samples, -1)
            parts.append(product)
        scaled = parts[0]
        if len(parts) > 1:
            scaled = scaled.new_empty(scaled.shape[0], self._outputs)
            for part, group in zip(parts, self._groups, strict=True):
                scaled[:, group[3]] = part
        if self.layer.linear:
            return scaled
        accumulators = scaled / self._scale if keep else scaled
        activations = fold_of_phase(self.spec, fold_phase(self.spec, scaled)).to(torch.float32)
        if self._out_order is None:
            scratch.write(self._out_start, activations)
        else:
            for column, address in enumerate(self._out_order.tolist()):
                scratch.write(address, activations[:, column : column + 1])
        return accumulators
