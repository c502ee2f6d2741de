"""What every operation of a lowering is written with: words for a tensor, and layers of plain weights.

Constants (copies, means, additions, zeros) are layers of plain weights that no key touches: what everybody knows must not be
encrypted, or it would tell a right key from a wrong one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from bitting.program.bands import Shape
from bitting.program.constants import constant_layer, identity_scale
from bitting.program.layers import Layer
from bitting.program.placement import LifetimeRecorder, Pair, Placed, ScratchAllocator
from bitting.unit.spec import UnitSpec


class AnyOperation(Protocol):
    """What all operations have."""

    @property
    def name(self) -> str:
        """Of the tensor that it makes."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Tensors that it reads."""


class LayerWriter:
    """Collects layers, and knows where each tensor lies.

    Attributes:
        border: tensor -> (rows, columns) that its readers want around it; none if it is not named.
        fill: tensor -> the activation in its border; 0 if it is not named.
        placed: tensor -> where it lies.
        input_base: address of the input.
        in_bands: what is placed now is shared by the lanes of a sample.
    """

    spec: UnitSpec
    scratch: LifetimeRecorder | ScratchAllocator
    layers: list[Layer]
    border: dict[str, Pair]
    fill: dict[str, int]
    placed: dict[str, Placed]
    input_base: int
    in_bands: bool = False

    def _place(self, name: str, shape: Shape) -> Placed:
        """Words for what a layer writes, with a border around it if someone pads it."""
        border = self.border.get(name, (0, 0))
        if self.in_bands:  # what is above and below a band is not in the lane
            border = (0, border[1])
            block = self.scratch.take(Placed.banded(shape, border[1], 0).words, name)
            placed = Placed.banded(shape, border[1], block)
        else:
            block = self.scratch.take(Placed.bordered(shape, border, 0).words, name)
            placed = Placed.bordered(shape, border, block)
        self.placed[name] = placed
        if any(border):
            self._fill(placed, self.fill.get(name, 0))
        return placed

    def _fill(self, placed: Placed, activation: int) -> None:
        """The same activation to all words of a tensor."""
        start = np.array([activation << (self.spec.acc_bits - 1 - self.spec.act_bits)])
        # It reads a word, times 0, and must not read one that nothing has written: word 0, or the input's first.
        written = self.input_base == 0 or any(not layer.emits and layer.out_base.min() == 0 for layer in self.layers)
        read, block = np.array([0 if written else self.input_base]), np.array([placed.block])
        self._constant(np.zeros((1, 1)), np.zeros(1), read, block, (1, placed.words), (0, 0), (0, 1), 0, start)

    def _constant(self, *arguments: Any, **options: Any) -> None:
        """Arguments as for `constant_layer`."""
        self.layers.append(constant_layer(*arguments, **options))

    def _across(self, layer: Layer, source: Placed, edge: int) -> Layer:
        """A layer as it is if it stays within its lane; else it is told where its source's bands lie, and what is beyond."""
        reached = layer.reached()
        if not source.band or (reached[0] >= source.block and reached[-1] < source.block + source.band):
            return layer
        return replace(layer, band=(source.block, source.band), edge=edge)

    def _copy(self, source: Placed, target: Placed, first: int) -> None:
        """All channels of `source` to those of `target` from `first` on."""
        channels = np.arange(source.shape[0])
        self._moved(
            source.origin + channels * source.plane, target.origin + (first + channels) * target.plane, source.shape[1:],
            (source.pitch, 1), (target.pitch, 1),
        )  # fmt: skip

    def _moved(self, in_base: np.ndarray, out_base: np.ndarray, positions: Pair, strides: Pair, out_strides: Pair) -> None:
        """A layer that writes the activations that it reads; arguments as of `Layer`."""
        weight, shift = identity_scale(self.spec)
        self._constant(np.array([[weight]]), np.zeros(1), in_base, out_base, positions, strides, out_strides, shift)
