"""The exact, fast emulator: whole batches through the unit's arithmetic with torch. Never imports RTL.

Modular addition does not care for order, so a tile is an exact integer product, reduced once. The product runs as a floating
point GEMM whenever the bounds of the layer prove that no partial sum can be rounded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from bitting.emulator import kernel
from bitting.emulator.native import NativeProgram, grouped_sums
from bitting.errors import ProgramError
from bitting.program import bands
from bitting.program.layers import Layer, Program
from bitting.unit.spec import UnitSpec

#: Samples emulated together: more only cost memory.
_SAMPLES_AT_ONCE = 4096

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


def wrap(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Exact integers in floating point, reduced modulo 2^bits to [-2^(bits-1), 2^(bits-1)). Consumes its argument."""
    period = float(1 << bits)
    quotient = (values * (1.0 / period)).add_(0.5).floor_()
    return values.sub_(quotient.mul_(period))


def fold_slope(spec: UnitSpec, shift: int) -> float:
    """Activations per unit of accumulator where the fold rises; it falls as steeply elsewhere."""
    return 2.0 ** (shift - (spec.acc_bits - 1 - spec.act_bits))


def fold_phase(spec: UnitSpec, scaled: torch.Tensor) -> torch.Tensor:
    """Signed distance from the nearest peak of the wave, in periods: never 0 and never a half. Consumes its argument.

    Args:
        spec: tells the period: 2^(bx+1) units of `scaled`.
        scaled: accumulators times `fold_slope`, exact.
    """
    period = float(2 << spec.act_bits)
    peak = ((1 << spec.act_bits) - 1) / 2
    phase = torch.add(torch.tensor(-peak / period, dtype=scaled.dtype, device=scaled.device), scaled.floor_(), alpha=1 / period)
    return phase.sub_(phase.round())


def fold_of_phase(spec: UnitSpec, phase: torch.Tensor) -> torch.Tensor:
    """Activations of `fold_phase`. Consumes its argument."""
    peak = ((1 << spec.act_bits) - 1) / 2
    peak_tensor = torch.tensor(peak, dtype=phase.dtype, device=phase.device)
    return torch.add(peak_tensor, phase.abs_(), alpha=-float(2 << spec.act_bits))


def fold(spec: UnitSpec, accumulators: torch.Tensor, shift: int) -> torch.Tensor:
    """Activations of exact integer accumulators (wrapped or not), as floats of the same shape and type.

    With t = floor(acc 2^shift / 2^(W-1-bx)), the bx+1 top bits of the shifted accumulator, inverting the low bits when the two
    top bits differ is m -> 2^bx - 1 - m, where m is t reduced to [-2^(bx-1), 3 2^(bx-1)). So the activation is
    min(m, 2^bx - 1 - m) = c - |m - c| with the peak c = (2^bx - 1) / 2, and m - c is the distance of t from the nearest of the
    peaks, which lie 2^(bx+1) apart. Sums and products by powers of two, floor and round: all exact.
    """
    return fold_of_phase(spec, fold_phase(spec, accumulators * fold_slope(spec, shift)))


class Emulator:
    """A program on a device's arithmetic, for batches of any size. Equal to golden to the bit.

    On the CPU the native kernel does the work where it can (`bitting.emulator.kernel`), torch does it elsewhere: the same bits.

    Args:
        program: its codes are looked up in `table`.
        table: bitting table, code -> value index.
        device: torch device.

    Example:
        >>> import bitting, numpy
        >>> from bitting.program.layers import multilayer_perceptron
        >>> spec = bitting.parse_spec("tiny")
        >>> weights = numpy.arange(24).reshape(2, 12) % spec.codes
        >>> program = multilayer_perceptron(spec, [weights], [numpy.zeros(2)], [0])
        >>> emulator = bitting.Emulator(program, range(spec.codes))
        >>> emulator(numpy.ones((1, 12))).tolist()
        [[-32, -10]]
    """

    def __init__(self, program: Program, table: Sequence[int], device: str | torch.device = "cpu"):
        self.program = program
        self.spec = program.spec
        self._device = torch.device(device)
        values = [np.asarray(self.spec.decoding(table, plain).values, np.int64) for plain in (False, True)]
        weights = [values[layer.plain][layer.codes] for layer in program.layers]
        native = kernel.load() if self._device.type == "cpu" else None
        self._native = NativeProgram.of(native, program, weights)
        self._layers = (
            []
            if self._native
            else [_TorchLayer(self.spec, layer, of, self._device) for layer, of in zip(program.layers, weights, strict=True)]
        )

    def __call__(self, activations: torch.Tensor | np.ndarray) -> torch.Tensor:
        """Logits (samples, outputs), int32: the raw accumulators of the emitting layers.

        Args:
            activations: (samples, sample_words) integers of `act_bits` bits, any type.

        Raises:
            ProgramError: if they have another shape, or are beyond the range.
        """
        program = self.program
        parts = []
        for part in self._checked(activations).split(_SAMPLES_AT_ONCE):
            sums = self._run(bands.split(part, program.picture, self.spec.stripes), False)
            emitted = [s for layer, s in zip(program.layers, sums, strict=True) if layer.emits and s is not None]
            parts.append(_joined(emitted, 1)[:: program.bands])
        return _joined(parts, 0)

    def accumulators(self, activations: torch.Tensor) -> list[torch.Tensor]:
        """Every layer's accumulators (lanes, sums * positions), int32, of (lanes, input_words) activations.

        A sample has a lane, or p of them, one after another (`bitting.program.bands`).
        """
        return [sums for sums in self._run(activations, True) if sums is not None]

    def activations(self, activations: torch.Tensor) -> torch.Tensor:
        """What the last layer writes (it must not emit): (lanes, sums * positions), int8; as for `accumulators`."""
        layer = self.program.layers[-1]
        if layer.emits:
            raise ProgramError("the last layer emits accumulators and writes nothing")
        words = layer.written()
        if self._native:
            self._native.run(activations, False, keep_written=True)
            return self._native.written(words, len(activations))
        scratch = self._filled(activations)
        for run in self._layers:
            run(scratch, False)
        return scratch[:, torch.from_numpy(words).to(self._device)].to(torch.int8)

    def _checked(self, activations: torch.Tensor | np.ndarray) -> torch.Tensor:
        """The activations as a tensor. Raises ProgramError if they are not what the program reads."""
        words, spec = self.program.sample_words, self.spec
        shape = tuple(activations.shape)
        if len(shape) != 2 or shape[1] != words:
            raise ProgramError(f"the activations have shape {shape}; this program reads (samples, {words})")
        x = torch.as_tensor(activations)
        if len(x):
            low, high = (end.item() for end in x.aminmax())
            if not (low >= spec.act_min and high <= spec.act_max):  # not a number is in no range
                raise ProgramError(f"the activations reach from {low} to {high}; allowed are {spec.act_min}..{spec.act_max}")
        return x

    @torch.no_grad()
    def _run(self, activations: torch.Tensor, keep: bool) -> list[torch.Tensor | None]:
        """Each layer's accumulators for (lanes, input_words); those of folded layers only if they are to be kept."""
        if len(activations) % self.spec.stripes and any(layer.band[1] for layer in self.program.layers):
            raise ProgramError(f"{len(activations)} lanes do not come out even: {self.spec.stripes} of them share a sample")
        if self._native:
            return self._native.run(activations, keep)
        scratch = self._filled(activations)
        return [layer(scratch, keep) for layer in self._layers]

    def _filled(self, activations: torch.Tensor) -> torch.Tensor:
        """A scratch memory for each sample, with its input."""
        x = activations.to(self._device, torch.float32)
        scratch = x.new_zeros(len(x), self.program.reach)
        scratch[:, self.program.input_base : self.program.input_base + self.program.input_words] = x
        return scratch


def _joined(parts: list[torch.Tensor], dimension: int) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dimension)


class _TorchLayer:
    """One gather layer in torch: sums that read the same addresses share a product."""

    def __init__(self, spec: UnitSpec, layer: Layer, weights: np.ndarray, device: torch.device):
        self.layer = layer
        self.spec = spec
        bias = layer.bias[:: layer.parts]
        self._dtype = exact_dtype(accumulation_bound(spec, weights.reshape(layer.channels, -1), bias))
        self._groups = [
            (
                torch.from_numpy(group.channels).to(device),
                torch.from_numpy(group.addresses).to(device),
                torch.from_numpy(group.weights.T).to(device, self._dtype),
                torch.from_numpy(bias[group.channels]).to(device, self._dtype),
            )
            for group in grouped_sums(layer, weights)
        ]
        self._targets = torch.from_numpy(layer.written()).to(device)
        start, words = layer.band
        self._first = start - words if words else 0  # the address of what is gathered from

    def __call__(self, scratch: torch.Tensor, keep: bool) -> torch.Tensor | None:
        """Accumulators (samples, sums * positions) if they are wanted; writes activations into `scratch`."""
        samples, positions = len(scratch), self.layer.position_count
        totals = torch.empty(samples, self.layer.channels, positions, dtype=self._dtype, device=scratch.device)
        gathered = self._line(scratch) if self.layer.band[1] else scratch
        for channels, addresses, weights, bias in self._groups:
            x = gathered[:, addresses - self._first].to(self._dtype)
            product = torch.addmm(bias, x.reshape(-1, len(weights)), weights)
            totals[:, channels] = product.reshape(samples, positions, len(channels)).mT
        sums = wrap(totals.flatten(1), self.spec.acc_bits)
        if not self.layer.emits:
            scratch[:, self._targets] = fold(self.spec, sums, self.layer.shift).to(scratch.dtype)
        return sums.to(torch.int32) if keep or self.layer.emits else None

    def _line(self, scratch: torch.Tensor) -> torch.Tensor:
        """(lanes, 3 * words) the band of the lane before, a lane's own, and that of the next lane, as addresses run on."""
        start, words = self.layer.band
        own = scratch[:, start : start + words].reshape(-1, self.spec.stripes, words)
        edge = torch.full_like(own[:, :1], self.layer.edge)
        before, after = torch.cat([edge, own[:, :-1]], 1), torch.cat([own[:, 1:], edge], 1)
        return torch.cat([before, own, after], 2).reshape(len(scratch), -1)
