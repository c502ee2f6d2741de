"""The thief's network: an unlocked program as plain products of real numbers, run by torch. Knows programs, no formats.

A soft-locked model is in clear: whoever has it reads the weights, the sums' biases and the addresses, and writes the same
network for hardware of his own. What that hardware does otherwise is put in by whoever calls (`bitting.targets.target`).

Lanes that share a sample are a way to lay it out, and no secret: their scratch memories become one, one after another, each
layer has the positions of all lanes, and an address that runs on in a neighbour's band is simply an address there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

import numpy as np
import torch

from bitting.emulator import emulate
from bitting.emulator.native import grouped_sums
from bitting.errors import ProgramError
from bitting.program import bands
from bitting.program.layers import Layer, Program
from bitting.targets import waves
from bitting.targets.accumulators import reduced
from bitting.targets.waves import Wave
from bitting.unit.spec import UnitSpec

#: The distance of a sum from a peak of the wave takes two bits more than the sum itself.
_ROOM = 4
#: Samples at once in a whole run; gathered windows of convolutions take memory.
SAMPLES_AT_ONCE = 500


class Kind(StrEnum):
    """What a layer is to somebody who knows what its weights are for."""

    PRODUCT = "product"
    """Trained weights."""
    LINEAR = "linear"
    """Constants whose sums never fold: copies, means, additions, the second half of a maximum. Native operators are exact."""
    DISTANCE = "distance"
    """The first half of a maximum: an absolute value, which every hardware has."""
    SUM = "sum"
    """Constants whose sums may fold: additions. Their weights are exact, their wave is the target's."""


@dataclass(frozen=True, eq=False)
class Group:
    """Sums of a layer that read the same words. `channels`: (sums,) their numbers; `addresses`: (positions, K)."""

    channels: torch.Tensor
    addresses: torch.Tensor


@dataclass(frozen=True, eq=False)
class StolenLayer:
    """One gather layer in real numbers. A chain of tiles is one long sum.

    Attributes:
        kind: what its weights are for.
        weights: (channels, K), in the unit's own integers.
        bias: (channels,), in units of the accumulator.
        groups: which words each sum reads; together they have every channel once.
        written: (channels * positions,) words that are written, by channel, then position.
        slope: activations per unit of sum where the wave rises.
        quarter: units of sum from 0 to the first peak of the wave, a quarter of its period; of an emitting layer, of its range.
        emits: its sums are the network's answers.
    """

    kind: Kind
    weights: torch.Tensor
    bias: torch.Tensor
    groups: tuple[Group, ...]
    written: torch.Tensor
    slope: float
    quarter: float
    emits: bool

    @property
    def period(self) -> float:
        """Of the wave, in units of sum."""
        return 4 * self.quarter

    def with_reduced_bias(self) -> StolenLayer:
        """Whole periods of the wave taken off the bias, which changes nothing on the unit; answers have no wave."""
        return self if self.emits else replace(self, bias=reduced(self.bias, self.period))

    @cached_property
    def reads(self) -> list[torch.Tensor]:
        """Addresses that are gathered at once: of each group (K, positions), or (K, channels, positions) of all sums.

        The second for constants whose sums read words of their own (copies, maxima, means): a product of each costs too much.
        """
        if self.kind is Kind.PRODUCT or any(len(group.channels) > 1 for group in self.groups):
            return [group.addresses.t().contiguous() for group in self.groups]
        ordered = sorted(self.groups, key=lambda group: int(group.channels))
        return [torch.stack([group.addresses.t() for group in ordered], 1)]

    def gathered(self, scratch: torch.Tensor) -> list[torch.Tensor]:
        """What is read at once, (*addresses, samples), of `reads`. `scratch`: (words, samples)."""
        return [scratch.index_select(0, each.flatten()).reshape(*each.shape, -1) for each in self.reads]

    def sums(self, read: Sequence[torch.Tensor], how: LayerArithmetic) -> torch.Tensor:
        """(channels, positions, samples) before the wave. `read`: as `gathered` gives it."""
        if self.reads[0].dim() == 3:
            x = how.entering(read[0]) if how.entering else read[0]
            sums = (x * how.weights.t()[:, :, None, None]).sum(0)
        else:
            products = [self._product(number, x, how) for number, x in enumerate(read)]
            sums = products[0]
            if len(products) > 1:
                sums = torch.cat(products)[torch.argsort(torch.cat([group.channels for group in self.groups]))]
        sums = sums + how.bias[:, None, None]
        return how.leaving(sums) if how.leaving else sums

    def _product(self, number: int, x: torch.Tensor, how: LayerArithmetic) -> torch.Tensor:
        """(sums, positions, samples) of a group, from what it reads, (K, positions, samples)."""
        if how.entering:
            x = how.entering(x)
        if how.product:
            return how.product(number, x.permute(2, 1, 0)).permute(2, 1, 0)
        # One group has all channels in order; to pick them would cost as much as the product.
        weights = how.weights if len(self.groups) == 1 else how.weights[self.groups[number].channels]
        return (weights @ x.flatten(1)).reshape(-1, *x.shape[1:])


@dataclass(frozen=True, eq=False)
class LayerArithmetic:
    """How one layer is computed on some hardware.

    Attributes:
        weights: (channels, K), as the hardware has them, dequantised.
        bias: (channels,).
        entering: what the hardware does to the activations before it multiplies them, of any shape.
        leaving: what it does to sums, of any shape; before the wave.
        wave: what it has for the fold.
        product: computes the product of a group instead, (samples, positions, sums): called with its number and its
            activations (samples, positions, K).
    """

    weights: torch.Tensor
    bias: torch.Tensor
    wave: Wave
    entering: Callable[[torch.Tensor], torch.Tensor] | None = None
    leaving: Callable[[torch.Tensor], torch.Tensor] | None = None
    product: Callable[[int, torch.Tensor], torch.Tensor] | None = None


@dataclass(frozen=True, eq=False)
class Stolen:
    """An unlocked program as a thief has it. With nothing changed it equals the emulator to the bit.

    Attributes:
        spec: the unit it was trained for.
        layers: in order.
        entries: (input_words,) the word of each activation of the input.
        reach: words of the scratch memory that are used; of all lanes that share a sample together.
        dtype: the narrowest floating point type in which nothing is rounded.
        edges: (word, activation) that lies beyond the first and last band of lanes that share a sample; nobody writes it.
    """

    spec: UnitSpec
    layers: tuple[StolenLayer, ...]
    entries: torch.Tensor
    reach: int
    dtype: torch.dtype
    edges: tuple[tuple[int, int], ...] = ()

    @property
    def input_words(self) -> int:
        """Activations of a sample."""
        return len(self.entries)

    @classmethod
    def of(cls, program: Program, table: Sequence[int] | None = None) -> Stolen:
        """Read a program.

        Args:
            program: dense, convolution, residual, maxima, constants: any.
            table: bitting table; by default the identity, which is that of an unlocked model.

        Raises:
            ProgramError: if its sums are exact in no floating point type.
        """
        spec = program.spec
        codes = range(spec.codes) if table is None else table
        values = [np.asarray(spec.decoding(codes, plain).values, np.int64) for plain in (False, True)]
        weights = [values[layer.plain][layer.codes] for layer in program.layers]
        bound = max(
            emulate.accumulation_bound(spec, matrix.reshape(layer.channels, -1), layer.bias[:: layer.parts])
            for layer, matrix in zip(program.layers, weights, strict=True)
        )
        dtype = emulate.exact_dtype(_ROOM * bound)
        lanes = _Lanes(program)
        layers: list[StolenLayer] = []
        for layer, matrix in zip(program.layers, weights, strict=True):
            kind = _kind(spec, layer, matrix, layers[-1].kind if layers else Kind.PRODUCT)
            layers.append(_stolen_layer(spec, layer, matrix, kind, dtype, lanes))
        return cls(spec, tuple(layers), lanes.entries(), lanes.reach, dtype, tuple(lanes.edges.items()))

    def in_fp32(self) -> Stolen:
        """To be trained: what hardware rounds is coarser."""
        layers = (replace(layer, weights=layer.weights.float(), bias=layer.bias.float()) for layer in self.layers)
        return replace(self, layers=tuple(layers), dtype=torch.float32)

    def exact(self) -> list[LayerArithmetic]:
        """The arithmetic of the unit itself, for every layer."""
        wave = waves.fold(self.spec)
        return [LayerArithmetic(layer.weights, layer.bias, wave) for layer in self.layers]

    def scratch(self, x: torch.Tensor | np.ndarray) -> torch.Tensor:
        """(reach, samples) with the input in its place, activations beyond bands in theirs, the rest 0.

        A word is a row: whoever reads or writes words copies rows.

        Args:
            x: (samples, input_words) activations, any type.

        Raises:
            ProgramError: if they have another shape.
        """
        if tuple(x.shape[1:]) != (self.input_words,):
            raise ProgramError(f"the activations have shape {tuple(x.shape)}; this network reads (samples, {self.input_words})")
        filled = torch.zeros(self.reach, len(x), dtype=self.dtype)
        filled[self.entries] = torch.as_tensor(x).to(self.dtype).t()
        for word, activation in self.edges:
            filled[word] = activation
        return filled

    def step(self, layer: StolenLayer, how: LayerArithmetic, scratch: torch.Tensor) -> torch.Tensor:
        """Run a layer, which writes into `scratch`, (words, samples). Its sums as of `StolenLayer.sums`."""
        sums = layer.sums(layer.gathered(scratch), how)
        if not layer.emits:
            scratch.index_copy_(0, layer.written, self.activations(layer, how, sums).flatten(0, 1).to(scratch.dtype))
        return sums

    def activations(self, layer: StolenLayer, how: LayerArithmetic, sums: torch.Tensor) -> torch.Tensor:
        """What a layer writes for its sums, of the same shape: the wave, or where no trained sum can fold, exact operators."""
        if layer.kind is Kind.LINEAR:
            return waves.floor(sums * layer.slope)
        wave = waves.fold(self.spec) if layer.kind is Kind.DISTANCE else how.wave
        return wave.activations(sums * layer.slope)

    def run(self, x: torch.Tensor | np.ndarray, arithmetic: Sequence[LayerArithmetic] | None = None) -> torch.Tensor:
        """Answers of the network, (samples, outputs), in units of the accumulator; with gradients for weights that want them.

        Args:
            x: (samples, input_words) activations.
            arithmetic: of every layer; by default the unit's own.

        Raises:
            ProgramError: if the activations have another shape.
        """
        scratch = self.scratch(x)
        answers = []
        for layer, how in zip(self.layers, arithmetic or self.exact(), strict=True):
            sums = self.step(layer, how, scratch)
            if layer.emits:
                answers.append(how.wave.answers(sums.flatten(0, 1), layer.quarter))
        return torch.cat(answers).t()

    def __call__(self, x: torch.Tensor | np.ndarray, arithmetic: Sequence[LayerArithmetic] | None = None) -> torch.Tensor:
        """`run` without gradients, in parts that fit the memory."""
        how = arithmetic or self.exact()
        with torch.no_grad():
            return torch.cat([self.run(part, how) for part in torch.as_tensor(x).split(SAMPLES_AT_ONCE)])


class _Lanes:
    """The scratch memories of the lanes of a sample as one, lane after lane, and behind them what lies beyond the bands.

    Attributes:
        edges: word -> activation, of all that some layer reads; behind the lanes.
    """

    def __init__(self, program: Program):
        self._program, self._count, self._words = program, program.bands, program.reach
        values = sorted({layer.edge for layer in program.layers if layer.band[1]})
        self._edge_of = {value: self._count * self._words + number for number, value in enumerate(values)}
        self.edges = {word: value for value, word in self._edge_of.items()}

    @property
    def reach(self) -> int:
        return self._count * self._words + len(self.edges)

    def entries(self) -> torch.Tensor:
        program = self._program
        own = program.input_base + torch.arange(program.input_words)
        if program.picture is None:
            return own
        places = torch.empty(program.sample_words, dtype=torch.long)
        places[torch.from_numpy(bands.order(program.picture))] = self._each(own[None]).flatten()
        return places

    def read(self, layer: Layer, addresses: np.ndarray) -> torch.Tensor:
        """(positions, K) addresses of a lane as those of all lanes that compute something of it."""
        start, words = layer.band
        step = np.where(addresses < start, -1, np.where(addresses < start + words, 0, 1)) if words else np.zeros_like(addresses)
        found = []
        for lane in range(1 if layer.emits else self._count):
            own = (lane + step) * self._words + addresses - step * words
            inside = (lane + step >= 0) & (lane + step < self._count)
            found.append(own if inside.all() else np.where(inside, own, self._edge_of[layer.edge]))
        return torch.from_numpy(np.concatenate(found)).long()

    def written(self, layer: Layer) -> torch.Tensor:
        """By channel, then lane, then position; what is emitted leaves from a sample's first lane."""
        words = torch.from_numpy(layer.written()).long()
        return words if layer.emits else self._each(words.reshape(layer.channels, -1)).flatten()

    def _each(self, words: torch.Tensor) -> torch.Tensor:
        """(rows, n) words of a lane as (rows, lanes, n)."""
        return words[:, None, :] + self._words * torch.arange(self._count)[:, None]


def _stolen_layer(
    spec: UnitSpec, layer: Layer, matrix: np.ndarray, kind: Kind, dtype: torch.dtype, lanes: _Lanes
) -> StolenLayer:
    groups = tuple(
        Group(torch.from_numpy(group.channels), lanes.read(layer, group.addresses)) for group in grouped_sums(layer, matrix)
    )
    return StolenLayer(
        kind=kind,
        weights=torch.from_numpy(matrix.reshape(layer.channels, -1)).to(dtype),
        bias=torch.from_numpy(layer.bias[:: layer.parts].copy()).to(dtype),
        groups=groups,
        written=lanes.written(layer),
        slope=emulate.fold_slope(spec, layer.shift),
        quarter=2.0 ** (spec.acc_bits - 2 - (0 if layer.emits else layer.shift)),
        emits=layer.emits,
    )


def _kind(spec: UnitSpec, layer: Layer, matrix: np.ndarray, before: Kind) -> Kind:
    """What a layer is for, from its numbers alone, as a thief would find out."""
    if not layer.constant:
        return Kind.PRODUCT
    if before is Kind.DISTANCE:
        return Kind.LINEAR  # (a + b + |a - b|) / 2
    if _is_distance(spec, layer, matrix):
        return Kind.DISTANCE
    slope = emulate.fold_slope(spec, layer.shift)
    bias = layer.bias[:: layer.parts].astype(np.int64)
    weights = matrix.reshape(layer.channels, -1)
    ups, downs = np.maximum(weights, 0).sum(1), np.minimum(weights, 0).sum(1)
    most = (ups * spec.act_max + downs * spec.act_min + bias) * slope
    least = (ups * spec.act_min + downs * spec.act_max + bias) * slope
    rises = bool((most < spec.act_max + 1).all() and (least >= spec.act_min).all())
    return Kind.LINEAR if rises else Kind.SUM


def _is_distance(spec: UnitSpec, layer: Layer, matrix: np.ndarray) -> bool:
    """As `bitting.program.maximum` makes it: a difference, or one word less a constant, about the trough of the wave."""
    slope = emulate.fold_slope(spec, layer.shift)
    steps = matrix * slope
    difference = matrix.shape[1] == 2 and (np.sort(steps, axis=1) == (-1, 1)).all()
    start = layer.bias * slope - spec.act_min  # of a difference 0; of one word and a constant, minus the constant
    if difference:
        return bool((np.abs(start) < 1).all())
    alone = matrix.shape[1] == 1 and (steps == 1).all()
    return bool(alone and layer.parts == 1 and (np.abs(start) <= -spec.act_min).all() and (layer.bias != 0).all())
