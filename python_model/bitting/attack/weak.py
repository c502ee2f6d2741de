"""Weak locks, made to be broken: an attack that fails on a real lock must succeed on one of these first.

Nothing here is a lock that anybody should use. Each has one thing left out that stops an attack, or is a construction that was
published and fell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bitting.locking.device import ROOT_BYTES, Device
from bitting.program.layers import Layer, Program

_ROOT_BITS = 8 * ROOT_BYTES


def masked(device: Device, bits: int) -> Device:
    """The device as one would be whose key derivation takes only the first `bits` of its root secret."""
    mask = (1 << _ROOT_BITS) - (1 << (_ROOT_BITS - bits))
    return Device(device.spec, (int.from_bytes(device.root) & mask).to_bytes(ROOT_BYTES), sealed=device.sealed)


def with_known_bits(device: Device, known: int, guess: int) -> Device:
    """The device with the last bits of its root secret guessed: `known` of 128 stay."""
    unknown = _ROOT_BITS - known
    root = int.from_bytes(device.root) >> unknown << unknown | (guess & ((1 << unknown) - 1))
    return Device(device.spec, root.to_bytes(ROOT_BYTES), sealed=device.sealed)


@dataclass(frozen=True, eq=False)
class BitPerTile:
    """A key of 128 bits of which each says, for some tiles, whether the top bit of their codes is flipped.

    As in locks that flip the signs of neurons by key bits (Chakraborty et al., HPNN, DAC 2020): bits act one by one, so a key
    that is nearly right is nearly as good, and a key can be climbed to.

    Attributes:
        locked: the program as it ships.
        last: only the tiles of so many layers are flipped, the last ones; None: of all. Wrong bits of many layers compound.
    """

    locked: Program
    last: int | None = None

    @classmethod
    def lock(cls, model: Program, key: np.ndarray, last: int | None = None) -> BitPerTile:
        """Lock an unlocked program with (128,) bits."""
        return cls(_flipped(model, key, last), last)

    def unlock(self, key: np.ndarray) -> Program:
        """What a device with (128,) bits, or the `used` first ones of them, runs; its table is the identity."""
        return _flipped(self.locked, key, self.last)

    @property
    def used(self) -> int:
        """Key bits that flip anything, the first ones: as many as there are tiles to flip, at most 128."""
        return min(_ROOT_BITS, sum(layer.tiles for layer in _last(self.locked, self.last)))


def _last(program: Program, count: int | None) -> Sequence[Layer]:
    """The layers with trained weights, or so many of them from the last on."""
    return program.secret if count is None else program.secret[-count:]


def _flipped(program: Program, key: np.ndarray, last: int | None) -> Program:
    top, first = np.uint8(program.spec.codes >> 1), 0
    chosen = {id(layer) for layer in _last(program, last)}
    layers = []
    for layer in program.layers:
        if id(layer) in chosen:
            bits = key[(first + np.arange(layer.tiles)) % _ROOT_BITS].astype(bool)
            layer = replace(layer, codes=np.where(bits[:, None], layer.codes ^ top, layer.codes))
            first += layer.tiles
        layers.append(layer)
    return replace(program, layers=tuple(layers))


def skipping_cycles(weights: np.ndarray, activations: np.ndarray, overhead: int) -> np.ndarray:
    """(batches,) clocks of a tile on an engine that skips what is multiplied by 0, as sparse accelerators do.

    Args:
        weights: (K,) of the tile.
        activations: (batches, K).
        overhead: clocks of a tile beside its codes.
    """
    return ((activations != 0) & (weights != 0)).sum(axis=1) + overhead


def unary_cycles(table: np.ndarray) -> np.ndarray:
    """(2^b,) clocks of each code on an engine that counts up to the index of its value: the clocks are the table."""
    return table + 1
