"""Weak locks, made to be broken: an attack that fails on a real lock must succeed on one of these first.

Nothing here is a lock that anybody should use. Each has one thing left out that stops an attack, or is a construction that was
published and fell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bitting.locking.device import ROOT_BYTES, Device
from bitting.program.layers import Program

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
    """

    locked: Program

    @classmethod
    def lock(cls, model: Program, key: np.ndarray) -> BitPerTile:
        """Lock an unlocked program with (128,) bits."""
        return cls(_flipped(model, key))

    def unlock(self, key: np.ndarray) -> Program:
        """What a device with (128,) bits, or the `used` first of them, runs; its table is the identity."""
        return _flipped(self.locked, key)

    @property
    def used(self) -> int:
        """Key bits that flip anything: as many as there are tiles, at most 128."""
        return min(_ROOT_BITS, sum(layer.tiles for layer in self.locked.secret))


def _flipped(program: Program, key: np.ndarray) -> Program:
    top, first = np.uint8(program.spec.codes >> 1), 0
    layers = []
    for layer in program.layers:
        if not layer.constant:
            bits = key[(first + np.arange(layer.tiles)) % _ROOT_BITS].astype(bool)
            layer = replace(layer, codes=np.where(bits[:, None], layer.codes ^ top, layer.codes))
            first += layer.tiles
        layers.append(layer)
    return replace(program, layers=tuple(layers))


@dataclass(frozen=True, eq=False)
class BitPerCode:
    """A key of 128 bits of which each says, for some codes of the last layer, whether their second highest bit is flipped.

    All other layers are in clear: in a network of many layers wrong bits for all of them compound, and nothing is nearly right.
    So it is in the last layer of ResNet8 with the highest bit: climbs end at 19%, where random keys reach 22%.

    Attributes:
        locked: the program as it ships.
    """

    locked: Program

    @classmethod
    def lock(cls, model: Program, key: np.ndarray) -> BitPerCode:
        """Lock an unlocked program with (128,) bits."""
        return cls(_last_flipped(model, key))

    def unlock(self, key: np.ndarray) -> Program:
        """What a device with (128,) bits, or the `used` first of them, runs; its table is the identity."""
        return _last_flipped(self.locked, key)

    @property
    def used(self) -> int:
        """Key bits that flip anything: as many as there are codes, at most 128."""
        return min(_ROOT_BITS, self.locked.secret[-1].codes.size)


def _last_flipped(program: Program, key: np.ndarray) -> Program:
    last = program.secret[-1]
    bits = key[np.arange(last.codes.size) % _ROOT_BITS].astype(bool).reshape(last.codes.shape)
    flipped = replace(last, codes=np.where(bits, last.codes ^ np.uint8(program.spec.codes >> 2), last.codes))
    return replace(program, layers=tuple(flipped if layer is last else layer for layer in program.layers))


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
