"""Programs made for a device, and opened again: sealed by `bitting.locking.sealed_program`, or locked as follows (vault `aes`).

The counter block of block i of tile n is one 128-bit big-endian number:

    cycles (48 bits) | layer (32) | n (32) | i (16)

`layer` holds what changes the meaning of a tile (codes - 1, flags, shift), so that a hidden layer replayed as an emitting one
gives noise. `cycles` is 0, but for `aes-clocked`: there it is the number of cycles the tiles before n - 1 have taken, as
counted by the device itself.

`shuffle` runs Fisher-Yates inside out (Knuth, TAOCP 2): code i goes to place r (i + 1) >> 16, with r the next two bytes of
keystream, and what was there to place i.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from bitting.errors import LockError
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device, draw
from bitting.locking.keys import lock_key
from bitting.locking.scheme import LockScheme, Transform
from bitting.locking.sealed_program import SealedProgram, open_program, seal_program
from bitting.locking.sealing import KEY_BYTES
from bitting.program.layers import Layer, Program
from bitting.unit.protocol import LayerFlag

_BLOCK = 16
#: Flags of a layer that enter its counter blocks.
_COUNTED_FLAGS = LayerFlag.EMIT | LayerFlag.PLAIN_WEIGHTS


class _Keystream:
    """AES-128 under one key, many counter blocks at a time."""

    def __init__(self, key: bytes):
        self._encryptor = Cipher(algorithms.AES128(key), modes.ECB()).encryptor()

    def tiles(self, layer: Layer, first: int, cycles: np.ndarray, size: int) -> np.ndarray:
        """(tiles, size) bytes for the tiles `first`, `first` + 1, ... of a program; `cycles`: (tiles,) for their counters."""
        blocks = -(-size // _BLOCK)
        fields = np.zeros((len(cycles), blocks, 4), ">u4")
        word = (layer.tile_codes - 1) | (layer.flags & _COUNTED_FLAGS).value << 16 | layer.shift << 24
        number = np.arange(first, first + len(cycles))[:, None]
        fields[:, :, 0] = (cycles >> 16)[:, None]
        fields[:, :, 1] = (cycles & 0xFFFF)[:, None] << 16 | word >> 16
        fields[:, :, 2] = (word & 0xFFFF) << 16 | number >> 16
        fields[:, :, 3] = (number & 0xFFFF) << 16 | np.arange(blocks)[None, :]
        stream = np.frombuffer(self._encryptor.update(fields.tobytes()), np.uint8)
        return stream.reshape(len(cycles), blocks * _BLOCK)[:, :size]


def personalise(model: Program, device: Device, scheme: LockScheme) -> Program | SealedProgram:
    """Lock or seal an unlocked program, as the scheme says. Raises as `seal_model` and `lock_program`."""
    return seal_model(model, device, scheme) if scheme.seals else lock_program(model, device, scheme)


def seal_model(model: Program, device: Device, scheme: LockScheme, reports: bool = False) -> SealedProgram:
    """Personalise an unlocked program to a device with the vault `ascon`. Changes no weight.

    Args:
        model: the program; codes are value indices.
        device: the one that will run it.
        scheme: of no other program: a lock key seals once.
        reports: let the device report every tile's cycles.

    Raises:
        DeviceError: if the device is of another family.
        LockError: if the model is not an unlocked one, or reads words that nothing of it has written: others could have.
    """
    if unwritten := model.unwritten():
        layer, address = unwritten[0]
        raise LockError(
            f"layer {layer} reads scratch word {address}, which neither the input nor an earlier layer has written, so its "
            "answer would depend on what ran before; let a layer write it first"
        )
    return seal_for(_clear_for(model, device, scheme), ChipModel.of(device), scheme, reports)


def seal_for(clear: Program, chip: ChipModel, scheme: LockScheme, reports: bool = False) -> SealedProgram:
    """Seal a program whose codes are in the chip's own number format, under the lock key that the chip derives.

    Unlike `seal_model` it does not ask what the program reads. `scheme`: of no other program; `reports`: ask for every tile's
    cycles.
    """
    return seal_program(clear, lock_key(scheme, chip), chip, scheme.clocked, reports)


def seal_with_zeros(clear: Program, reports: bool = False) -> SealedProgram:
    """Sealed as an unsealed device takes it: in clear for whoever knows that its lock key is zeros.

    Not bound to cycles, so it is the same for every device of the family. `reports`: ask for every tile's cycles.
    """
    return seal_program(clear, bytes(KEY_BYTES), ChipModel.of(Device.family(clear.spec)), clocked=False, reports=reports)


def _clear_for(model: Program, device: Device, scheme: LockScheme) -> Program:
    device.require_spec(model.spec, "the model")
    if any(layer.plain and not layer.constant for layer in model.layers):
        raise LockError("the model has layers of plain weights, so it was locked before; give the one `bitting train` wrote")
    return _written_for(model, device, scheme)


def lock_program(model: Program, device: Device, scheme: LockScheme) -> Program:
    """Personalise an unlocked program (codes are value indices) to a device, without training. Changes no weight.

    Raises:
        DeviceError: if the device is of another family.
        LockError: if the model is not an unlocked one.
    """
    assert not scheme.seals, "`seal_model` does that"
    clear = _clear_for(model, device, scheme)
    if not scheme.keyed:
        return clear
    chip = ChipModel.of(device)
    stream = _Keystream(lock_key(scheme, chip))
    counted = np.concatenate([chip.tile_cycles(layer, layer.codes) for layer in clear.layers])
    before = _cycles_before(counted) if scheme.transform == Transform.AES_CLOCKED else np.zeros_like(counted)
    layers, first = [], 0
    for layer in clear.layers:
        cycles = before[first : first + layer.tiles]
        layers.append(replace(layer, codes=_apply(stream, scheme, clear, layer, first, cycles, sealing=True)))
        first += layer.tiles
    return replace(clear, layers=tuple(layers))


def unlock_program(locked: Program | SealedProgram, scheme: LockScheme, chip: ChipModel) -> Program:
    """What the tile buffer of a chip holds, tile after tile, when it runs a locked program; noise, if it is another chip.

    The codes are those of the chip's own number format.

    Raises:
        LockError: if the program is sealed, and not for this chip.
    """
    return unlock_with_key(locked, scheme, chip, None)


def unlock_with_key(locked: Program | SealedProgram, scheme: LockScheme, chip: ChipModel, key: bytes | None) -> Program:
    """The same with a guessed lock key of 16 bytes; None: the one the chip derives."""
    if isinstance(locked, SealedProgram):
        return open_program(locked, key or lock_key(scheme, chip), chip, scheme.clocked)
    if not scheme.keyed:
        return locked
    stream = _Keystream(key or lock_key(scheme, chip))
    layers, first = [], 0
    if scheme.transform == Transform.AES_CLOCKED:
        return replace(locked, layers=tuple(_clocked(stream, scheme, locked, chip)))
    for layer in locked.layers:
        codes = _apply(stream, scheme, locked, layer, first, np.zeros(layer.tiles, np.int64), sealing=False)
        layers.append(replace(layer, codes=codes))
        first += layer.tiles
    return replace(locked, layers=tuple(layers))


def restore_program(locked: Program | SealedProgram, scheme: LockScheme, device: Device) -> Program:
    """The unlocked program (codes are value indices) of an artefact, for the owner of the device's key.

    Raises:
        DeviceError: if the device is of another family.
        LockError: if the program is sealed, and not for this device.
    """
    device.require_spec(locked.spec, "the artefact")
    clear = unlock_program(locked, scheme, ChipModel.of(device))
    if scheme.transform != Transform.AES:
        return clear.map_codes(device.table())
    index_of = np.zeros(256, np.uint8)
    for index, value in enumerate(locked.spec.values):
        index_of[value & 0xFF] = index
    return clear.map_secret(lambda layer: replace(layer, codes=index_of[layer.codes], plain=False))


def inverse(table: tuple[int, ...]) -> list[int]:
    """Value index -> code."""
    codes = [0] * len(table)
    for code, index in enumerate(table):
        codes[index] = code
    return codes


def _written_for(model: Program, device: Device, scheme: LockScheme) -> Program:
    """The program in clear, as the device's decoder reads it: its own codes, or plain weights."""
    if scheme.transform != Transform.AES:
        return model.map_codes(inverse(device.table()))
    weights = np.array(model.spec.values, np.int64).astype(np.uint8)
    return model.map_secret(lambda layer: replace(layer, codes=weights[layer.codes], plain=True))


def _cycles_before(counted: np.ndarray) -> np.ndarray:
    """For each tile the cycles of all tiles up to the one before the one before."""
    return np.concatenate([[0, 0], np.cumsum(counted)])[: len(counted)]


def _apply(
    stream: _Keystream, scheme: LockScheme, program: Program, layer: Layer, first: int, cycles: np.ndarray, sealing: bool
) -> np.ndarray:
    """(tiles, K) codes of a layer's tiles, number `first` and on, sealed or opened; constants are left as they are."""
    codes = layer.codes
    if layer.constant:
        return codes
    if scheme.transform != Transform.SHUFFLE:
        mask = 0xFF if layer.plain else program.spec.codes - 1
        return (codes ^ stream.tiles(layer, first, cycles, codes.shape[1])) & np.uint8(mask)
    origin = _origins(stream.tiles(layer, first, cycles, 2 * codes.shape[1]))
    if not sealing:
        return np.take_along_axis(codes, origin, axis=1)
    sealed = np.empty_like(codes)
    np.put_along_axis(sealed, origin, codes, axis=1)
    return sealed


def _origins(stream: np.ndarray) -> np.ndarray:
    """(tiles, K) from (tiles, 2 K) bytes: which code of the packet ends at each place."""
    random = stream.reshape(len(stream), -1, 2).astype(np.int64)
    places = draw(random[:, :, 0] << 8 | random[:, :, 1], np.arange(1, random.shape[1] + 1)[None, :]).T
    origin = np.empty(places.shape, np.int64)
    tiles = np.arange(len(stream))
    for i, place in enumerate(places):
        origin[i] = origin[place, tiles]
        origin[place, tiles] = i
    return origin.T


def _clocked(stream: _Keystream, scheme: LockScheme, locked: Program, chip: ChipModel) -> Iterator[Layer]:
    """Tile after tile, for each counter needs the cycles of what earlier ones became."""
    number = 0
    before, last = 0, 0  # cycles through the tile before the one before, and of the one before
    for layer in locked.layers:
        opened = np.empty_like(layer.codes)
        for tile in range(layer.tiles):
            row = replace(layer, codes=layer.codes[tile : tile + 1])
            opened[tile] = _apply(stream, scheme, locked, row, number, np.array([before]), sealing=False)[0]
            before += last
            last = int(chip.tile_cycles(layer, opened[tile : tile + 1])[0]) + (chip.glitch == number)
            number += 1
        yield replace(layer, codes=opened)
