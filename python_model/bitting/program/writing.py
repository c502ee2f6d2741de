"""What every operation of a lowering is written with: words for a tensor, and layers of plain weights.

Constants (copies, means, additions, zeros) are layers of plain weights that no key touches: what everybody knows must not be
encrypted, or it would tell a right key from a wrong one.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from bitting.program.constants import constant_layer, identity_scale
from bitting.program.layers import Layer
from bitting.program.placement import LifetimeRecorder, Pair, Placed, ScratchAllocator, Shape
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
    """

    spec: UnitSpec
    scratch: LifetimeRecorder | ScratchAllocator
    layers: list[Layer]
    border: dict[str, Pair]
    fill: dict[str, int]
    placed: dict[str, Placed]

    def _place(self, name: str, shape: Shape) -> Placed:
        """Words for what a layer writes, with a border around it if someone pads it."""
        border = self.border.get(name, (0, 0))
        block = self.scratch.take(Placed.bordered(shape, border, 0).words, name)
        placed = self.placed[name] = Placed.bordered(shape, border, block)
        if any(border):
            self._fill(placed, self.fill.get(name, 0))
        return placed

    def _fill(self, placed: Placed, activation: int) -> None:
        """The same activation to all words of a tensor."""
        start = np.array([activation << (self.spec.acc_bits - 1 - self.spec.act_bits)])
        block = np.array([placed.block])
        self._constant(np.zeros((1, 1)), np.zeros(1), np.zeros(1), block, (1, placed.words), (0, 0), (0, 1), 0, start)

    def _constant(self, *arguments: Any, **options: Any) -> None:
        """Arguments as for `constant_layer`."""
        self.layers.append(constant_layer(*arguments, **options))

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
