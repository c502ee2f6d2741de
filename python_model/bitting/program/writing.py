"""What every operation of a lowering is written with: words for a tensor, and layers of plain weights.

Constants (copies, means, additions, zeros) are layers of plain weights that no key touches: what everybody knows must not be
encrypted, or it would tell a right key from a wrong one.
"""

from __future__ import annotations

import numpy as np

from bitting.errors import ProgramError
from bitting.program.layers import Layer
from bitting.program.placement import LifetimeRecorder, Pair, Placed, ScratchAllocator, Shape
from bitting.unit.spec import UnitSpec


def identity_scale(spec: UnitSpec) -> tuple[int, int]:
    """(weight, shift) that reproduce an activation: the smallest plain weight that a shift of the spec can serve.

    Raises:
        ProgramError: if the family's plain weights are too small for it.
    """
    needed = spec.acc_bits - 1 - spec.act_bits  # the power of two that takes an activation to the top
    shift = max(0, min(spec.max_shift, needed))
    weight = 1 << max(0, needed - shift)
    if needed < 0 or weight > spec.plain_max:
        raise ProgramError(
            f"spec {spec.name!r} can not copy an activation: that takes a weight of {weight}, its plain weights reach "
            f"{spec.plain_max}; allow a larger max_shift"
        )
    return weight, shift


class LayerWriter:
    """Collects layers, and knows where each tensor lies.

    Attributes:
        border: tensor -> (rows, columns) of zeros that its readers want around it; none if it is not named.
        placed: tensor -> where it lies.
    """

    spec: UnitSpec
    scratch: LifetimeRecorder | ScratchAllocator
    layers: list[Layer]
    border: dict[str, Pair]
    placed: dict[str, Placed]

    def _place(self, name: str, shape: Shape) -> Placed:
        """Words for what a layer writes, with zeros around it if someone pads it."""
        border = self.border.get(name, (0, 0))
        block = self.scratch.take(Placed.bordered(shape, border, 0).words, name)
        placed = self.placed[name] = Placed.bordered(shape, border, block)
        if any(border):
            self._clear(placed)
        return placed

    def _clear(self, placed: Placed) -> None:
        """Zeros in all words of a tensor."""
        zeros, block = np.zeros((1, 1), np.uint8), np.array([placed.block])
        self._constant(zeros, np.zeros(1), np.zeros(1), block, (1, placed.words), (0, 0), (0, 1), shift=0)

    def _constant(
        self, weights: np.ndarray, offsets: np.ndarray, in_base: np.ndarray, out_base: np.ndarray,
        positions: Pair, strides: Pair, out_strides: Pair, shift: int, bias: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        """A layer of plain weights that no key touches; `weights`: (tiles, K) or (1, K) for all; no bias: 0."""
        codes = np.broadcast_to(weights.astype(np.uint8), (len(in_base), weights.shape[1]))
        self.layers.append(
            Layer(
                codes=codes.copy(),
                bias=np.zeros(len(in_base), np.int32) if bias is None else bias.astype(np.int32),
                offsets=offsets.astype(np.int32),
                in_base=in_base.astype(np.int32),
                out_base=out_base.astype(np.int32),
                positions=positions,
                strides=strides,
                out_strides=out_strides,
                shift=shift,
                plain=True,
                constant=True,
            )
        )

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
