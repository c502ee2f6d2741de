"""Layers of a network to gather layers: where every activation lies in the scratch memory, and the offsets that reach it.

Knows specs, programs and numpy. A tensor of shape (C, H, W) lies row after row, channel after channel. If a layer pads it by p
rows and q columns, it is written with a border of what stands for zero around it: q to the right of each row (the next row's
left border) and p rows below each channel (the next channel's top), so that padding costs no offsets and (H + p)(W + q) words a
channel. Words are used again when the last layer that reads them has run. Where lanes share samples tensors lie in bands, for
as long as rows come out even (`bitting.program.banding`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

import numpy as np

from bitting.errors import ProgramError
from bitting.program import bands
from bitting.program.banding import BandLowering
from bitting.program.bands import Shape
from bitting.program.comparing import ComparisonLowering, MaxPool, Rectifier
from bitting.program.gather_lists import without_zeros
from bitting.program.layers import Layer, Program
from bitting.program.moves import ChannelMean, Move, Pad, Permutation, Reshape, Upsample, copied
from bitting.program.placement import LifetimeRecorder, Pair, Placed, ScratchAllocator
from bitting.program.writing import AnyOperation
from bitting.unit.spec import UnitSpec

#: Name of the input among the sources of an operation.
INPUT = "input"


@dataclass(frozen=True, eq=False)
class Product:
    """A convolution, or (codes of rank 2) a dense layer over all of its input in the order channels, rows, columns.

    `codes`: (outputs, inputs / groups, kernel rows, kernel columns), or (outputs, inputs); `bias`: (outputs,); `fill`: the
    activation that padding holds; `skips_zeros`: weights of 0 are left out where that saves clocks, which shows where they are.
    """

    name: str
    sources: tuple[str, ...]
    codes: np.ndarray
    bias: np.ndarray
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    shift: int = 0
    emits: bool = False
    fill: int = 0
    skips_zeros: bool = False


@dataclass(frozen=True)
class Pool:
    """The sum of each window, times a plain weight, and `start`. `fill`: as for `Product`."""

    name: str
    sources: tuple[str, ...]
    kernel: Pair
    stride: Pair
    padding: Pair
    weight: int
    shift: int
    fill: int = 0
    start: int = 0


@dataclass(frozen=True, eq=False)
class Add:
    """Two tensors of one shape, each times a plain weight, and a bias for each channel."""

    name: str
    sources: tuple[str, ...]
    weights: Pair
    bias: np.ndarray
    shift: int


@dataclass(frozen=True)
class Concatenation:
    """Channels one after another, copied."""

    name: str
    sources: tuple[str, ...]


Operation = Product | Pool | Rectifier | MaxPool | Add | Concatenation | Move
#: Those whose windows may reach into padding.
_Window = Product | Pool | MaxPool


def lower(spec: UnitSpec, input_shape: Shape, operations: Sequence[Operation]) -> Program:
    """A program of gather layers that does what the operations say, in their order.

    Raises:
        ProgramError: naming the layer, the limit and a spec that would do, if it does not fit.
    """
    operations = _separated(operations)
    # Once to see who lives how long, then with the addresses that follow from it.
    lifetimes = LifetimeRecorder()
    _Lowering(spec, input_shape, operations, lifetimes).layers_and_input()
    program = _Lowering(spec, input_shape, operations, ScratchAllocator(spec, lifetimes)).program()
    program.validate()
    return program


def left_bands(spec: UnitSpec, input_shape: Shape, operations: Sequence[Operation]) -> str:
    """The first operation that makes a tensor whole which lanes shared, and why; empty if there is none. As `lower`."""
    lowering = _Lowering(spec, input_shape, _separated(operations), LifetimeRecorder())
    lowering.layers_and_input()
    return lowering.left


def _pads(operation: AnyOperation) -> TypeGuard[Pad | Product | Pool | MaxPool]:
    return isinstance(operation, Pad) or (isinstance(operation, _Window) and any(operation.padding))


def _separated(operations: Sequence[Operation]) -> list[Operation]:
    """The same operations, but max pooling reads a copy of a tensor that others pad with another activation."""
    origin: dict[str, str] = {}  # padding and reshaping may be views of what they read
    fills: dict[str, set[int]] = {}
    for operation in operations:
        source = origin.get(operation.sources[0], operation.sources[0])
        if isinstance(operation, Pad | Reshape):
            origin[operation.name] = source
        if _pads(operation):
            fills.setdefault(source, set()).add(operation.fill)
    separated: list[Operation] = []
    for operation in operations:
        if isinstance(operation, MaxPool) and any(operation.padding):
            (source,) = operation.sources
            if len(fills[origin.get(source, source)]) > 1:
                copy = f"{operation.name}_copy"
                separated.append(Concatenation(copy, (source,)))
                operation = replace(operation, sources=(copy,))
        separated.append(operation)
    return separated


class _Lowering(BandLowering, ComparisonLowering):
    """Walks the operations once, placing what they write."""

    def __init__(
        self, spec: UnitSpec, input_shape: Shape, operations: Sequence[Operation], scratch: LifetimeRecorder | ScratchAllocator
    ):
        self.spec = spec
        self.operations = operations
        self.layers: list[Layer] = []
        self.scratch = scratch
        self.copied = copied(operations) | {
            source for operation in operations if isinstance(operation, Add) for source in operation.sources
        }
        self.border = self._borders()
        self.views = self._views()
        self.fill = self._fills()
        self.last_use = {
            self._owner(source): index for index, operation in enumerate(operations) for source in operation.sources
        }
        self.left = ""
        self.picture = input_shape if spec.stripes > 1 else None
        words = math.prod(input_shape) // spec.stripes
        bands.validate(spec, self.picture, words)
        block = self.scratch.take(words, INPUT)
        self.placed = {INPUT: self._banded_input(block) if self.picture else Placed.bordered(input_shape, (0, 0), block)}
        self.input_base, self.input_words = block, words

    def _borders(self) -> dict[str, Pair]:
        """The widest padding any reader asks of a tensor; summands are laid out alike, for they share an offset list."""
        border: dict[str, Pair] = {}

        def widen(name: str, wanted: Pair) -> None:
            rows, columns = border.get(name, (0, 0))
            border[name] = max(rows, wanted[0]), max(columns, wanted[1])

        for operation in self.operations:
            padding = operation.padding if isinstance(operation, _Window) else (0, 0)
            for source in operation.sources:
                widen(source, padding)
        changed = True
        while changed:
            before = dict(border)
            for operation in self.operations:
                if isinstance(operation, Add):
                    for source in operation.sources:
                        for other in operation.sources:
                            widen(source, border[other])
                elif isinstance(operation, Rectifier) and operation.sources[0] != INPUT:  # so that it can be written in place
                    widen(operation.sources[0], border.get(operation.name, (0, 0)))
                elif isinstance(operation, Pad) and operation.name not in self.copied:
                    widen(operation.sources[0], operation.border(border.get(operation.name, (0, 0))))
            changed = border != before
        return border

    def _fills(self) -> dict[str, int]:
        """What the padding of a tensor holds. What nobody pads has the border of what may be written over it."""
        fill: dict[str, int] = {}
        for operation in self.operations:
            if _pads(operation):
                padded = self._owner(operation.name if isinstance(operation, Pad) else operation.sources[0])
                if fill.setdefault(padded, operation.fill) != operation.fill:
                    what = f"pads {padded} with {operation.fill}, another with {fill[padded]}"
                    raise ProgramError(f"layer {operation.name} {what}; allowed is one value")
        for operation in reversed(self.operations):
            if isinstance(operation, Add | Rectifier) and operation.name in fill:
                for source in operation.sources:
                    if source not in self.views:
                        fill.setdefault(source, fill[operation.name])
        return fill

    def program(self) -> Program:
        self.layers_and_input()
        return Program(self.spec, tuple(self.layers), self.input_base, self.input_words, self.picture)

    def layers_and_input(self) -> None:
        if any(self.border.get(INPUT, (0, 0))):
            self._pad_input()
        for index, operation in enumerate(self.operations):
            self._choose_bands(operation)
            match operation:
                case Product():
                    self._product(operation)
                case Pool():
                    self._pool(operation)
                case Rectifier():
                    self._rectify(operation, index)
                case MaxPool():
                    self._max_pool(operation, self._windows(operation, operation.kernel, (1, 1))[1])
                case Add():
                    self._add(operation, index)
                case Concatenation():
                    self._concatenate(operation)
                case Pad() | Reshape() | Permutation() | Upsample() | ChannelMean():
                    self._move(operation)
            for source in {self._owner(source) for source in operation.sources}:
                if self.last_use[source] == index and source in self.placed:
                    self.scratch.give_back(self.placed.pop(source).block)

    def _pad_input(self) -> None:
        """The input arrives without a border; who pads it reads a copy."""
        plain = self.placed[INPUT]
        self.in_bands = plain.band > 0
        if self.in_bands and not self.border[INPUT][1]:
            return  # rows above and below are the neighbours'
        self._copy(plain, self._place(INPUT, plain.shape), 0)
        self.scratch.give_back(plain.block)

    def _source(self, operation: Operation, index: int = 0) -> Placed:
        return self.placed[operation.sources[index]]

    def _windows(self, operation: _Window, kernel: Pair, dilation: Pair) -> tuple[Placed, Pair]:
        """The source and the number of positions of a sliding window; of a source in bands, those of a lane."""
        source = self._source(operation)
        sizes = []
        for size, window, stride, padding, step in zip(
            (self._rows(source), source.shape[2]), kernel, operation.stride, operation.padding, dilation, strict=True
        ):
            reach = size + 2 * padding - step * (window - 1) - 1
            if reach < 0:
                raise ProgramError(f"layer {operation.name} has a window of {kernel}, larger than its input {source.shape}")
            sizes.append(reach // stride + 1)
        return source, (sizes[0] // self.spec.stripes if self.in_bands else sizes[0], sizes[1])

    def _choose_bands(self, operation: AnyOperation) -> None:
        """Whether what an operation makes lies in bands; if not, what it reads is made whole."""
        reason = self._why_whole(operation)
        self.in_bands = not reason
        if reason and not self.left and any(self.placed[source].band for source in operation.sources):
            self.left = f"from layer {operation.name} on a sample has one lane: {reason}"
        for source in () if self.in_bands else operation.sources:
            if isinstance(operation, Pool) and self._owns(source) and not any(operation.padding):
                continue  # pooling gathers some channels at a time
            self._gather(source)

    def _why_whole(self, operation: AnyOperation) -> str:
        """Why what an operation makes does not lie in bands, in words; empty if it does."""
        sources = [self.placed[source] for source in operation.sources]
        if not all(source.band for source in sources):
            return "it reads what is whole"
        source, own = sources[0], all(map(self._owns, operation.sources))
        match operation:
            case Product(codes=codes, dilation=dilation, stride=stride, padding=padding):
                if operation.emits or codes.ndim == 2:
                    return "it needs all rows"
                return self._misfit(source, dilation[0] * (codes.shape[2] - 1) + 1, stride[0], padding[0])
            case Pool(kernel=kernel, stride=stride, padding=padding):
                return self._misfit(source, kernel[0], stride[0], padding[0])
            case MaxPool(kernel=kernel, stride=stride, padding=padding):
                # It compares words at a distance, which is no distance to a neighbour's.
                if not own or any(padding) or kernel[0] > stride[0]:
                    return "it compares rows of two bands, or padding"
                return self._misfit(source, kernel[0], stride[0], 0)
            case Add() | Rectifier() | Concatenation() | Upsample() | ChannelMean():
                return "" if own else "it reads padding that is a view"
            case Pad():
                return "" if operation.name in self.views else "its padding has to be written"
            case _:
                return "it moves rows"

    def _first(self, operation: Product | Pool, source: Placed) -> int:
        """Address of the first word of the first window; before the first word of the source if that is padded."""
        rows = operation.padding[0] + source.outside[0]
        return source.origin - rows * source.pitch - operation.padding[1]

    def _edge(self, operation: Product | Pool) -> int:
        """The activation in the padding of what an operation reads."""
        return self.fill.get(self._owner(operation.sources[0]), 0)

    def _product(self, operation: Product) -> None:
        source = self._source(operation)
        codes = operation.codes
        if codes.ndim == 2:
            codes = codes.reshape(len(codes), *source.shape)
        outputs, channels, *kernel = codes.shape
        source, positions = self._windows(operation, (kernel[0], kernel[1]), operation.dilation)
        if channels * operation.groups != source.shape[0] or outputs % operation.groups:
            raise ProgramError(
                f"layer {operation.name} takes {channels} x {operation.groups} channels, its input has {source.shape[0]}"
            )
        rows = np.arange(kernel[0]) * operation.dilation[0] * source.pitch
        columns = np.arange(kernel[1]) * operation.dilation[1]
        window = (rows[:, None] + columns[None, :]).reshape(-1)
        group = np.arange(outputs) // (outputs // operation.groups)
        in_base = self._first(operation, source) + group * channels * source.plane
        strides = (operation.stride[0] * source.pitch, operation.stride[1])
        common = {"shift": operation.shift, "emits": operation.emits}
        if operation.emits:
            if positions != (1, 1):
                raise ProgramError(
                    f"layer {operation.name} gives logits at {positions[0]} x {positions[1]} positions; allowed is one: "
                    "average or flatten before it"
                )
            out_base, out_strides = np.zeros(outputs, np.int64), (0, 0)
        else:
            target = self._place(operation.name, (outputs, *positions))
            out_base, out_strides = target.origin + np.arange(outputs) * target.plane, (target.pitch, 1)
        whole = Layer(
            codes=codes.reshape(outputs, -1),
            bias=operation.bias.astype(np.int32),
            offsets=(np.arange(channels)[:, None] * source.plane + window[None, :]).reshape(-1).astype(np.int32),
            in_base=in_base.astype(np.int32),
            out_base=out_base.astype(np.int32),
            positions=positions,
            strides=strides if positions != (1, 1) else (0, 0),
            out_strides=out_strides if positions != (1, 1) else (0, 0),
            **common,  # type: ignore[arg-type]
        )
        whole = self._across(whole, source, self._edge(operation))
        layers = without_zeros(self.spec, whole) if operation.skips_zeros else [whole]
        if max(layer.tile_codes for layer in layers) > self.spec.tile_codes:
            layers = [whole]  # the tiles of a chain share one list, which has to be regular
        self.layers += [_split(self.spec, layer, operation.name, channels, source.plane) for layer in layers]

    def _pool(self, operation: Pool) -> None:
        source, positions = self._windows(operation, operation.kernel, (1, 1))
        target = self._place(operation.name, (source.shape[0], *positions))
        count = math.prod(operation.kernel)
        if count > self.spec.tile_codes:
            raise ProgramError(
                f"layer {operation.name} averages {count} activations; tile_codes = {self.spec.tile_codes} allows no more"
            )
        for first, part in self._pooled_parts(operation.name, source):
            channels = np.arange(part.shape[0])
            rows, columns = np.arange(operation.kernel[0]) * part.pitch, np.arange(operation.kernel[1])
            self._constant(
                np.full((1, count), operation.weight), (rows[:, None] + columns[None, :]).reshape(-1),
                self._first(operation, part) + channels * part.plane, target.origin + (first + channels) * target.plane,
                positions, (operation.stride[0] * part.pitch, operation.stride[1]), (target.pitch, 1), operation.shift,
                np.array([operation.start]),
            )  # fmt: skip
            self.layers[-1] = self._across(self.layers[-1], part, self._edge(operation))

    def _add(self, operation: Add, index: int) -> None:
        sources = [self._source(operation, side) for side in range(2)]
        weights = list(operation.weights)
        if sources[0].shape != sources[1].shape:
            raise ProgramError(f"layer {operation.name} adds tensors of shapes {sources[0].shape} and {sources[1].shape}")
        target = self._in_place(operation, index, sources)
        if sources[0].block > sources[1].block:
            sources.reverse()
            weights.reverse()
        channels = np.arange(target.shape[0])
        distance = sources[1].origin - sources[0].origin
        self._constant(
            np.array([weights]), np.array([0, distance]), sources[0].origin + channels * sources[0].plane,
            target.origin + channels * target.plane, target.shape[1:], (sources[0].pitch, 1), (target.pitch, 1),
            operation.shift, operation.bias,
        )  # fmt: skip

    def _concatenate(self, operation: Concatenation) -> None:
        sources = [self._source(operation, index) for index in range(len(operation.sources))]
        channels = sum(source.shape[0] for source in sources)
        target = self._place(operation.name, (channels, *sources[0].shape[1:]))
        first = 0
        for source in sources:
            if source.shape[1:] != sources[0].shape[1:]:
                raise ProgramError(
                    f"layer {operation.name} joins images of {source.shape[1:]} and {sources[0].shape[1:]}; allowed is one size"
                )
            self._copy(source, target, first)
            first += source.shape[0]


def _split(spec: UnitSpec, layer: Layer, name: str, channels: int, plane: int) -> Layer:
    """A layer whose tiles fit the buffer: sums longer than that become chains of tiles over some of the channels each.

    All parts share one offset list, so they must be equally long: the last one may end in weights of value 0.
    """
    count = layer.tile_codes
    if count <= spec.tile_codes:
        return layer
    if np.array_equal(layer.offsets, np.arange(count)):
        channels, plane = count, 1  # a dense layer may be cut anywhere; a window only between channels
    window = count // channels
    if window > spec.tile_codes:
        raise ProgramError(
            f"layer {name} has a window of {window} weights a channel; tile_codes = {spec.tile_codes} of spec {spec.name!r} "
            f"allows no more: use tile_codes={min(4096, 1 << (window - 1).bit_length())}"
        )
    parts = math.ceil(channels / (spec.tile_codes // window))
    share = math.ceil(channels / parts)
    missing = parts * share - channels
    nothing = spec.values.index(0)
    tiles, positions = layer.tiles, layer.position_offsets()
    codes = layer.codes.reshape(tiles, channels, window)
    codes = np.concatenate([codes, np.full((tiles, missing, window), nothing, np.uint8)], axis=1)
    chained = codes.reshape(tiles, 1, parts, share * window)
    # The part that is filled up starts earlier, over channels another part has; its weights follow.
    starts = np.minimum(np.arange(parts) * share, channels - share)
    if missing:
        last = chained[:, :, -1].reshape(tiles, 1, share, window)
        chained[:, :, -1] = np.roll(last, missing, axis=2).reshape(tiles, 1, -1)
    shape = (tiles, len(positions), parts)
    bias = np.zeros(shape, np.int32)
    bias[:, :, 0] = layer.bias[:, None]
    in_base = layer.in_base[:, None, None] + positions[None, :, None] + (starts * plane)[None, None, :]
    out_base = layer.out_base[:, None, None] + layer.out_position_offsets()[None, :, None] + np.zeros(parts, np.int32)
    return replace(
        layer,
        codes=np.broadcast_to(chained, (*shape, share * window)).reshape(-1, share * window).copy(),
        bias=bias.reshape(-1),
        offsets=layer.offsets[: share * window],
        in_base=in_base.reshape(-1).astype(np.int32),
        out_base=out_base.reshape(-1).astype(np.int32),
        positions=(1, 1),
        strides=(0, 0),
        out_strides=(0, 0),
        parts=parts,
    )
