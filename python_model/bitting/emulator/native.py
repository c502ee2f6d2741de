"""Whole programs on the native kernel: gather layers prepared once, then run on any number of samples."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bitting.emulator.kernel import Kernel
from bitting.program.layers import Layer, Program

#: Codes that one vector instruction multiplies.
_QUAD = 4
#: Weights of the kernel are bytes; larger ones become sums.
_BYTE_MAX = 127


@dataclass(frozen=True, eq=False)
class SumGroup:
    """What a group of sums of a layer reads and multiplies.

    Attributes:
        channels: (sums,) their numbers in the layer.
        addresses: (positions, K) scratch addresses; a chain of tiles counts as one long sum.
        weights: (sums, K).
    """

    channels: np.ndarray
    addresses: np.ndarray
    weights: np.ndarray


def grouped_sums(layer: Layer, weights: np.ndarray) -> Iterator[SumGroup]:
    """A layer's sums, those that read the same addresses together.

    Args:
        layer: may have many positions, and chains of tiles.
        weights: (tiles, K) what the codes mean.
    """
    bases = layer.in_base.reshape(layer.channels, layer.parts)
    chained = weights.reshape(layer.channels, -1)
    positions = layer.position_offsets()
    distinct, member = np.unique(bases, axis=0, return_inverse=True)
    for index, row in enumerate(distinct):
        channels = np.flatnonzero(member.reshape(-1) == index)
        reads = (positions[:, None, None] + row[None, :, None] + layer.offsets[None, None, :]).reshape(len(positions), -1)
        yield SumGroup(channels, reads, chained[channels])


class _LayerStruct(ctypes.Structure):
    """`Layer` of kernel.cpp."""

    _fields_ = (
        ("stride", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("quads", "positions", "groups")),
        *((name, ctypes.c_void_p) for name in ("offsets", "in_positions", "out_positions", "group_base", "group_first")),
        *((name, ctypes.c_void_p) for name in ("weights", "bias", "out_base")),
        *((name, ctypes.c_int32) for name in ("fold_left", "act_bits", "acc_bits", "folded")),
    )


class _NativeLayer:
    """One gather layer, in the arrays the kernel reads."""

    def __init__(self, program: Program, layer: Layer, groups: Sequence[SumGroup]):
        spec = program.spec
        self.layer = layer
        order = np.concatenate([group.channels for group in groups])
        weights, offsets = _bytes(np.concatenate([group.weights for group in groups]), _relative(groups[0]))
        # Activations are stored with 2^(bx-1) added; what that adds to every sum is taken off the bias.
        bias = layer.bias[:: layer.parts][order].astype(np.int64) - weights.sum(axis=1, dtype=np.int64) * -spec.act_min
        self._arrays = {
            "offsets": offsets,
            "in_positions": layer.position_offsets(),
            "out_positions": layer.out_position_offsets(),
            "group_base": np.array([group.addresses[0, 0] for group in groups]),
            "group_first": np.cumsum([0, *(len(group.channels) for group in groups)]),
            "weights": weights,
            "bias": bias.astype(np.uint32).view(np.int32),
            "out_base": layer.out_base[layer.parts - 1 :: layer.parts][order],
        }
        self._arrays = {
            name: np.ascontiguousarray(array, np.int8 if name == "weights" else np.int32)
            for name, array in self._arrays.items()
        }
        self.order = None if np.array_equal(order, np.arange(len(order))) else np.argsort(order)
        self._struct = _LayerStruct(
            stride=0,
            quads=len(offsets) // _QUAD,
            positions=layer.position_count,
            groups=len(groups),
            fold_left=32 - spec.acc_bits + layer.shift,
            act_bits=spec.act_bits,
            acc_bits=spec.acc_bits,
            folded=not layer.emits,
            **{name: array.ctypes.data for name, array in self._arrays.items()},
        )

    def __call__(self, kernel: Kernel, scratch: torch.Tensor, keep: bool) -> torch.Tensor | None:
        """Run on (words, stride) bytes; (sums * positions, stride) accumulators, in the program's order, if they are wanted."""
        self._struct.stride = scratch.shape[1]
        sums = None
        if keep or self.layer.emits:
            sums = torch.empty((self.layer.channels * self.layer.position_count, scratch.shape[1]), dtype=torch.int32)
        kernel.library.bitting_layer(
            ctypes.addressof(self._struct), scratch.data_ptr(), None if sums is None else sums.data_ptr()
        )
        if sums is None or self.order is None:
            return sums
        shape = (self.layer.channels, self.layer.position_count, -1)
        return sums.reshape(shape)[torch.from_numpy(self.order)].reshape(sums.shape)


def _relative(group: SumGroup) -> np.ndarray:
    """(K,) addresses of a sum at its first position, from the first of them."""
    return group.addresses[0] - group.addresses[0, 0]


def _bytes(weights: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights as signed bytes, and the offsets they go with: too large ones in several terms, filled up to whole quads."""
    terms = max(1, -(-int(np.abs(weights).max()) // _BYTE_MAX))
    split = np.stack([(weights + term) // terms for term in range(terms)], axis=1).reshape(len(weights), -1)
    missing = -split.shape[1] % _QUAD
    return np.pad(split, [(0, 0), (0, missing)]), np.concatenate([*[offsets] * terms, np.zeros(missing, offsets.dtype)])


class NativeProgram:
    """A program the kernel can run.

    Args:
        weights: for each layer (tiles, K), what its codes mean.
    """

    def __init__(self, kernel: Kernel, program: Program, weights: Sequence[np.ndarray]):
        self._kernel = kernel
        self._program = program
        self._layers = []
        for layer, values in zip(program.layers, weights, strict=True):
            groups = list(grouped_sums(layer, values))
            self._layers.append(_NativeLayer(program, layer, groups))
        self._words = program.reach
        self._scratch = torch.empty((0, 0), dtype=torch.uint8)

    @classmethod
    def of(cls, kernel: Kernel | None, program: Program, weights: Sequence[np.ndarray]) -> NativeProgram | None:
        """None if there is no kernel, or it can not compute this program exactly."""
        if kernel is None:
            return None
        for layer, values in zip(program.layers, weights, strict=True):
            if not kernel.computes(program.spec, min(_BYTE_MAX, int(np.abs(values).max()))):
                return None
            relative = layer.in_base.reshape(layer.channels, layer.parts)
            if layer.parts > 1 and (relative - relative[:, :1] != relative[:1] - relative[:1, :1]).any():
                return None  # chains that read different shapes: no compiler of ours makes them
        return cls(kernel, program, weights)

    def run(self, activations: torch.Tensor, keep: bool) -> list[torch.Tensor | None]:
        """Each layer's accumulators (samples, sums * positions), int32; those of folded layers only if they are to be kept."""
        x = activations.to(torch.int8).contiguous()
        samples, words = x.shape
        block = self._kernel.block
        stride = -(-samples // block) * block
        if self._scratch.shape != (self._words, stride):
            zero = -self._program.spec.act_min
            self._scratch = torch.full((self._words, stride), zero, dtype=torch.uint8)
        self._kernel.library.bitting_input(
            x.data_ptr(), samples, words, self._scratch[self._program.input_base :].data_ptr(), stride,
            -self._program.spec.act_min,
        )  # fmt: skip
        accumulators = [layer(self._kernel, self._scratch, keep) for layer in self._layers]
        return [sums if sums is None else sums[:, :samples].t() for sums in accumulators]

    def written(self, words: np.ndarray, samples: int) -> torch.Tensor:
        """(samples, words) int8 activations at scratch addresses after a run."""
        first = int(words[0])
        consecutive = np.array_equal(words, first + np.arange(len(words)))
        rows = self._scratch[first : first + len(words)] if consecutive else self._scratch[torch.from_numpy(words)]
        return (rows.view(torch.int8) + self._program.spec.act_min)[:, :samples].t()
