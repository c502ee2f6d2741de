"""Operations that move activations and compute nothing, or only their mean: padding, reshaping, permuting, repeating.

Knows placements and numpy. Padding and reshaping are *views* where the memory allows it: other numbers for the same words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bitting.errors import ProgramError
from bitting.program.bands import Shape
from bitting.program.placement import Pair, Placed
from bitting.program.writing import AnyOperation, LayerWriter


@dataclass(frozen=True)
class Pad:
    """(rows, columns) of the activation `fill` before and after; negative ones are cut off."""

    name: str
    sources: tuple[str, ...]
    before: Pair
    after: Pair
    fill: int = 0

    def border(self, wanted: Pair) -> Pair:
        """Which border of the source has the zeros, and those that readers of the padded tensor want around it."""
        rows, columns = (
            max(0, first + more, last + more) for first, last, more in zip(self.before, self.after, wanted, strict=True)
        )
        return rows, columns


@dataclass(frozen=True)
class Reshape:
    """The same activations in the same order, in another shape; -1 channels are as many as there are."""

    name: str
    sources: tuple[str, ...]
    shape: Shape


@dataclass(frozen=True)
class Permutation:
    """Axes in another order: axis i of the result is axis `order[i]` of the source."""

    name: str
    sources: tuple[str, ...]
    order: tuple[int, int, int]


@dataclass(frozen=True)
class Upsample:
    """Every activation `factors` times, in (rows, columns)."""

    name: str
    sources: tuple[str, ...]
    factors: Pair


@dataclass(frozen=True)
class ChannelMean:
    """The sum of all channels, times a plain weight: one channel."""

    name: str
    sources: tuple[str, ...]
    weight: int
    shift: int


Move = Pad | Reshape | Permutation | Upsample | ChannelMean


def copied(operations: Sequence[AnyOperation]) -> set[str]:
    """Paddings that cut off: around what is left there lies what was cut, and no zeros."""
    return {each.name for each in operations if isinstance(each, Pad) and min(*each.before, *each.after) < 0}


class MoveLowering(LayerWriter):
    """Writes moves, and knows which of them need no words."""

    operations: Sequence[AnyOperation]
    #: Tensors that must have words of their own: sums are laid out alike, and overwrite one of their summands; see `copied`.
    copied: set[str]
    #: View -> what it is a view of, which may be a view.
    views: dict[str, str]

    def _views(self) -> dict[str, str]:
        """Which paddings and reshapes need no words: padding finds its zeros in the border; a reshape wants none at all."""
        views: dict[str, str] = {}
        scattered = {name for name, border in self.border.items() if any(border)}
        for operation in self.operations:
            (source, *_) = operation.sources
            name = operation.name
            if name in self.copied:
                continue
            if isinstance(operation, Pad):
                views[name] = source
                scattered.add(name)
            elif isinstance(operation, Reshape) and not {name, source} & scattered:
                views[name] = source
        return views

    def _owner(self, name: str) -> str:
        """The tensor whose words a name stands for."""
        while name in self.views:
            name = self.views[name]
        return name

    def _move(self, operation: Move) -> None:
        (name,) = operation.sources
        source = self.placed[name]
        match operation:
            case Pad():
                self._pad(operation, source)
            case Reshape():
                self._reshape(operation, source)
            case Permutation():
                self._permute(operation, source)
            case Upsample():
                self._upsample(operation, source)
            case ChannelMean():
                self._channel_mean(operation, source)

    def _pad(self, operation: Pad, source: Placed) -> None:
        pads = operation.before, operation.after
        view = source.padded(*pads)
        if min(view.shape) < 1:
            raise ProgramError(f"layer {operation.name} cuts everything off its input {source.shape}")
        if operation.name in self.views:
            self.placed[operation.name] = view
            return
        target = self._place(operation.name, view.shape)
        if not any(self.border.get(operation.name, (0, 0))):
            self._fill(target, operation.fill)
        # What is cut off the source, and what is left free in the target.
        cut, free = ([(min(0, sign * rows), min(0, sign * columns)) for rows, columns in pads] for sign in (1, -1))
        self._copy(source.padded(*cut), target.padded(*free), 0)

    def _reshape(self, operation: Reshape, source: Placed) -> None:
        channels, rows, columns = operation.shape
        shape = (math.prod(source.shape) // (rows * columns) if channels < 0 else channels, rows, columns)
        if math.prod(shape) != math.prod(source.shape):
            raise ProgramError(f"layer {operation.name} makes {shape} of {source.shape}; their sizes must be equal")
        if operation.name in self.views:
            self.placed[operation.name] = Placed.bordered(shape, (0, 0), source.origin)
            return
        target = self._place(operation.name, shape)
        if not any(target.border):
            self._copy(source, Placed.bordered(source.shape, (0, 0), target.origin), 0)
        elif not any(source.border):
            self._copy(Placed.bordered(shape, (0, 0), source.origin), target, 0)
        else:  # two borders: by way of a copy without any
            block = self.scratch.take(math.prod(source.shape), operation.name)
            self._copy(source, Placed.bordered(source.shape, (0, 0), block), 0)
            self._copy(Placed.bordered(shape, (0, 0), block), target, 0)
            self.scratch.give_back(block)

    def _permute(self, operation: Permutation, source: Placed) -> None:
        steps = (source.plane, source.pitch, 1)
        channel, row, column = (steps[axis] for axis in operation.order)
        channels, rows, columns = (source.shape[axis] for axis in operation.order)
        target = self._place(operation.name, (channels, rows, columns))
        every = np.arange(channels)
        self._moved(
            source.origin + every * channel, target.origin + every * target.plane, (rows, columns), (row, column),
            (target.pitch, 1),
        )  # fmt: skip

    def _upsample(self, operation: Upsample, source: Placed) -> None:
        """A copy for each place in the window that an activation fills."""
        channels, rows, columns = source.shape
        down, across = operation.factors
        target = self._place(operation.name, (channels, rows * down, columns * across))
        places = (np.arange(down)[:, None] * target.pitch + np.arange(across)[None, :]).reshape(-1)
        every = np.arange(channels)[:, None]
        in_base = np.broadcast_to(source.origin + every * source.plane, (channels, len(places)))
        out_base = target.origin + every * target.plane + places[None, :]
        self._moved(
            in_base.reshape(-1), out_base.reshape(-1), (rows, columns), (source.pitch, 1), (down * target.pitch, across)
        )

    def _channel_mean(self, operation: ChannelMean, source: Placed) -> None:
        channels, rows, columns = source.shape
        if channels > self.spec.tile_codes:
            raise ProgramError(
                f"layer {operation.name} averages {channels} channels; tile_codes = {self.spec.tile_codes} allows no more"
            )
        target = self._place(operation.name, (1, rows, columns))
        self._constant(
            np.full((1, channels), operation.weight), np.arange(channels) * source.plane, np.array([source.origin]),
            np.array([target.origin]), (rows, columns), (source.pitch, 1), (target.pitch, 1), operation.shift,
        )  # fmt: skip
