"""Operations that compare activations, written with `maximum`: rectifying, and pooling of the largest.

Knows placements and numpy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bitting.program.maximum import View, maximum
from bitting.program.placement import Pair, Placed
from bitting.program.writing import AnyOperation, LayerWriter

#: `maximum` needs words of its own: for so many parts of a tensor one after another, but for no fewer words at a time.
_PARTS, _LEAST_WORDS = 8, 256


@dataclass(frozen=True)
class Rectifier:
    """The larger of each activation and `floor`."""

    name: str
    sources: tuple[str, ...]
    floor: int


@dataclass(frozen=True)
class MaxPool:
    """The largest activation of each window; padding is less than all."""

    name: str
    sources: tuple[str, ...]
    kernel: Pair
    stride: Pair
    padding: Pair
    fill: int


class ComparisonLowering(LayerWriter):
    """Writes comparisons.

    Attributes:
        last_use: tensor that has words -> index of the last operation that reads it.
    """

    last_use: dict[str, int]

    def _in_place(self, operation: AnyOperation, index: int, sources: Sequence[Placed]) -> Placed:
        """Where a result of the sources' shape goes: over one that nobody reads again and whose border suits, or elsewhere."""
        border, fill = self.border.get(operation.name, (0, 0)), self.fill.get(operation.name)
        for name, source in zip(operation.sources, sources, strict=True):
            suits = source.border == ((0, border[1]) if source.band else border) and fill in (None, self.fill.get(name, 0))
            if self.last_use.get(name) == index and suits:  # a view is no key there
                self.placed[operation.name] = self.placed.pop(name)
                return source
        return self._place(operation.name, sources[0].shape)

    def _rectify(self, operation: Rectifier, index: int) -> None:
        source = self.placed[operation.sources[0]]
        target = self._in_place(operation, index, [source])
        if not any(source.border) and not any(target.border):  # then all channels are one row
            words = math.prod(source.shape)
            for first, count in _shares(words, 1):
                bases = (np.array([placed.origin + first]) for placed in (source, target))
                a, out = (View(base, (0, 1)) for base in bases)
                self._maximum(operation.name, a, operation.floor, out, (1, count))
            return
        for first, count in _shares(source.shape[0], source.plane):
            channels = np.arange(first, first + count)
            a, out = (View(placed.origin + channels * placed.plane, (placed.pitch, 1)) for placed in (source, target))
            self._maximum(operation.name, a, operation.floor, out, source.shape[1:])

    def _maximum(self, name: str, a: View, b: View | int, out: View, positions: Pair) -> None:
        """`maximum`, with words of its own for what stands between the two layers."""
        between = self.scratch.take(a.span(positions), f"{name} (between)")
        self.layers += maximum(self.spec, a, b, out, between, positions)
        self.scratch.give_back(between)

    def _max_pool(self, operation: MaxPool, positions: Pair) -> None:
        """Along the rows, then along the columns; some channels at a time, for both need words of their own."""
        source, (rows, columns) = self.placed[operation.sources[0]], positions
        target = self._place(operation.name, (source.shape[0], rows, columns))
        (tall, wide), (down, right), (above, before) = operation.kernel, operation.stride, operation.padding
        for first, count in _shares(source.shape[0], source.plane):
            channels = np.arange(count)
            a = View(source.origin - before + (first + channels) * source.plane, (source.pitch, right))
            out = View(target.origin + (first + channels) * target.plane, (target.pitch, 1))
            if tall == 1 or wide == 1:  # one pass does it
                a = View(a.base - above * source.pitch, (down * source.pitch, right))
                step = source.pitch if wide == 1 else 1
                self._largest(operation.name, a, step, max(tall, wide), out, (rows, columns))
                continue
            shape, border = (count, source.shape[1], columns), (above, 0)
            words = Placed.bordered(shape, border, 0).words
            narrow = Placed.bordered(shape, border, self.scratch.take(words, f"{operation.name} (rows)"))
            if above:
                self._fill(narrow, self.spec.act_min)
            row = View(narrow.origin + channels * narrow.plane, (narrow.pitch, 1))
            self._largest(operation.name, a, 1, wide, row, narrow.shape[1:])
            row = View(row.base - above * narrow.pitch, (down * narrow.pitch, 1))
            self._largest(operation.name, row, narrow.pitch, tall, out, (rows, columns))
            self.scratch.give_back(narrow.block)

    def _largest(self, name: str, a: View, step: int, count: int, out: View, positions: Pair) -> None:
        """The largest of `count` words, `step` apart, at every position of `a`."""
        if count == 1:
            self._moved(a.base, out.base, positions, a.strides, out.strides)
            return
        kept = self.scratch.take(a.span(positions), f"{name} (so far)") if count > 2 else 0
        so_far = replace(a, base=a.base - a.base[0] + kept)
        largest = a
        for index in range(1, count):
            into = out if index == count - 1 else so_far
            self._maximum(name, largest, replace(a, base=a.base + index * step), into, positions)
            largest = so_far
        if count > 2:
            self.scratch.give_back(kept)


def _shares(count: int, words: int) -> Iterator[Pair]:
    """(first, number) of items of so many words each, as many as are to be worked on together."""
    share = max(1, math.ceil(count / _PARTS), _LEAST_WORDS // words)
    for first in range(0, count, share):
        yield first, min(share, count - first)
