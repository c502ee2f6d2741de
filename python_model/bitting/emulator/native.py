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
        *((name, ctypes.c_int32) for name in ("inputs", "planes", "limb_bits", "positions", "groups")),
        *((name, ctypes.c_void_p) for name in ("offsets", "in_positions", "out_positions", "group_base", "group_first")),
        *((name, ctypes.c_void_p) for name in ("weights", "bias", "out_base")),
        *((name, ctypes.c_int32) for name in ("shift", "act_bits", "acc_bits", "folded")),
        *((name, ctypes.c_int32) for name in ("band_base", "band_words", "edge", "stripes")),
    )


class _NativeLayer:
    """One gather layer, in the arrays the kernel reads."""

    def __init__(self, kernel: Kernel, program: Program, layer: Layer, groups: Sequence[SumGroup]):
        spec = program.spec
        self.layer = layer
        order = np.concatenate([group.channels for group in groups])
        weights = np.concatenate([group.weights for group in groups]).astype(np.int64)
        missing = -weights.shape[1] % _QUAD
        counts = [len(group.channels) for group in groups]
        limb_bits = kernel.limb_bits(spec)
        planes = limbs(np.pad(weights, [(0, 0), (0, missing)]), limb_bits, spec.acc_bits)
        # Activations are stored with 2^(bx-1) added; what that adds to every sum is taken off the bias. So is what puts a
        # peak of the wave at 0, where the layer folds.
        bias = layer.bias[:: layer.parts][order].astype(np.int64) - weights.sum(axis=1) * -spec.act_min
        bias -= 0 if layer.emits else 1 << spec.acc_bits - 2 >> layer.shift
        self._arrays = {
            "offsets": np.pad(_relative(groups[0]), (0, missing)),
            "in_positions": layer.position_offsets(),
            "out_positions": layer.out_position_offsets(),
            "group_base": np.array([group.addresses[0, 0] for group in groups]),
            "group_first": np.cumsum([0, *counts]),
            "weights": _packed(planes, counts, kernel.rows // len(planes)) if kernel.isa else planes[0],
            "bias": bias.astype(np.uint32).view(np.int32),
            "out_base": layer.out_base[layer.parts - 1 :: layer.parts][order],
        }
        self._arrays = {
            name: np.ascontiguousarray(array, np.int8 if name == "weights" and kernel.isa else np.int32)
            for name, array in self._arrays.items()
        }
        self._order = None if np.array_equal(order, np.arange(len(order))) else torch.from_numpy(np.argsort(order))
        self.struct = _LayerStruct(
            inputs=weights.shape[1] + missing,
            planes=len(planes),
            limb_bits=limb_bits,
            positions=layer.position_count,
            groups=len(groups),
            shift=layer.shift,
            act_bits=spec.act_bits,
            acc_bits=spec.acc_bits,
            folded=not layer.emits,
            band_base=layer.band[0],
            band_words=layer.band[1],
            edge=layer.edge - spec.act_min,
            stripes=spec.stripes,
            **{name: array.ctypes.data for name, array in self._arrays.items()},
        )

    def room(self, samples: int) -> torch.Tensor:
        """Where the kernel puts accumulators: (sums * positions, samples)."""
        return torch.empty((self.layer.channels * self.layer.position_count, samples), dtype=torch.int32)

    def ordered(self, sums: torch.Tensor) -> torch.Tensor:
        """What is in the room, in the program's order."""
        if self._order is None:
            return sums
        return sums.reshape(self.layer.channels, self.layer.position_count, -1)[self._order].reshape(sums.shape)


def _relative(group: SumGroup) -> np.ndarray:
    """(K,) addresses of a sum at its first position, from the first of them."""
    return group.addresses[0] - group.addresses[0, 0]


def limbs(weights: np.ndarray, bits: int, acc_bits: int) -> np.ndarray:
    """Weights as limbs of -2^(bits-1)..2^(bits-1)-1, least significant first; as few as give the weights modulo 2^acc_bits.

    Args:
        weights: (sums, K) integers.
        bits: of a limb.
        acc_bits: sums are modulo 2^acc_bits.

    Returns:
        (limbs, sums, K); modulo 2^acc_bits the weights are the sum over p of limb p times 2^(bits * p).
    """
    half, rest = 1 << bits - 1, weights.astype(np.int64)
    found: list[np.ndarray] = []
    while not found or (rest.any() and bits * len(found) < acc_bits):
        low = (rest + half) % (2 * half) - half
        found.append(low)
        rest = (rest - low) >> bits
    return np.stack(found)


def _packed(planes: np.ndarray, counts: Sequence[int], tiles: int) -> np.ndarray:
    """Limbs in the order the kernel reads them: by the sums that it computes together, then by quads of inputs.

    Args:
        planes: (limbs, sums, K), K a multiple of 4.
        counts: sums of each group, in this order.
        tiles: most sums computed together.

    Returns:
        For each run of up to `tiles` sums of a group (K / 4, sums of the run, limbs, 4), all flat, one after the other.
    """
    quads = planes.reshape(*planes.shape[:2], -1, _QUAD).transpose(2, 1, 0, 3)
    ends = np.cumsum(counts)
    starts = [range(end - count, end, tiles) for end, count in zip(ends, counts, strict=True)]
    return np.concatenate(
        [quads[:, first : min(first + tiles, end)].ravel() for end, run in zip(ends, starts, strict=True) for first in run]
    )


class NativeProgram:
    """A program the kernel can run.

    Args:
        weights: for each layer (tiles, K), what its codes mean.
    """

    def __init__(self, kernel: Kernel, program: Program, weights: Sequence[np.ndarray]):
        self._kernel = kernel
        self._program = program
        self._layers = [
            _NativeLayer(kernel, program, layer, list(grouped_sums(layer, values)))
            for layer, values in zip(program.layers, weights, strict=True)
        ]
        self._structs = (_LayerStruct * len(self._layers))(*(layer.struct for layer in self._layers))
        self._scratch = torch.empty((0, 0, 0), dtype=torch.uint8)

    @classmethod
    def of(cls, kernel: Kernel | None, program: Program, weights: Sequence[np.ndarray]) -> NativeProgram | None:
        """None if there is no kernel, or it can not compute this program."""
        if kernel is None:
            return None
        for layer in program.layers:
            if layer.band[1] and kernel.block % program.spec.stripes:
                return None  # a sample would not lie in one block
            relative = layer.in_base.reshape(layer.channels, layer.parts)
            if layer.parts > 1 and (relative - relative[:, :1] != relative[:1] - relative[:1, :1]).any():
                return None  # chains that read different shapes: no compiler of ours makes them
        return cls(kernel, program, weights)

    def run(self, activations: torch.Tensor, keep: bool, keep_written: bool = False) -> list[torch.Tensor | None]:
        """Each layer's accumulators (samples, sums * positions), int32; those of folded layers only if they are to be kept.

        Args:
            activations: (samples, words) integers of `act_bits` bits.
            keep: accumulators of all layers.
            keep_written: what layers write is kept for all samples, for `written`.
        """
        x = activations.to(torch.int8).contiguous()
        samples, words = x.shape
        if not samples:
            return [layer.room(0).t() if keep or layer.layer.emits else None for layer in self._layers]
        block = self._kernel.block
        blocks = -(-samples // block)
        # A slot a thread stays in its cache; a slot a block holds everything.
        slots = blocks if keep_written else min(blocks, torch.get_num_threads())
        shape = (slots, self._program.reach, block)
        if self._scratch.shape != shape:
            self._scratch = torch.full(shape, -self._program.spec.act_min, dtype=torch.uint8)
        rooms = [layer.room(blocks * block) if keep or layer.layer.emits else None for layer in self._layers]
        addresses = (ctypes.c_void_p * len(rooms))(*(None if room is None else room.data_ptr() for room in rooms))
        self._kernel.library.bitting_run(
            ctypes.addressof(self._structs), len(self._layers), x.data_ptr(), samples, words, self._program.input_base,
            self._program.reach, self._scratch.data_ptr(), slots, ctypes.addressof(addresses),
        )  # fmt: skip
        return [
            None if room is None else layer.ordered(room)[:, :samples].t()
            for layer, room in zip(self._layers, rooms, strict=True)
        ]

    def written(self, words: np.ndarray, samples: int) -> torch.Tensor:
        """(samples, words) int8 activations at scratch addresses after a run that kept what was written."""
        rows = np.ascontiguousarray(words, np.int32)
        found = torch.empty((samples, len(rows)), dtype=torch.int8)
        self._kernel.library.bitting_output(
            self._scratch.data_ptr(), self._program.reach, rows.ctypes.data, len(rows), samples, -self._program.spec.act_min,
            found.data_ptr(),
        )  # fmt: skip
        return found
