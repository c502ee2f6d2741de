"""Every mistake a packet can have, with the error it must give."""

from __future__ import annotations

import numpy as np

from bitting.program import packets
from bitting.program.layers import Program
from bitting.unit.protocol import BIAS_FIELD_BITS, ErrorCode, LayerFlag, Packet, Result, TileFlag
from bitting.unit.spec import UnitSpec

Case = tuple[str, np.ndarray, ErrorCode]


def broken_packets(spec: UnitSpec, program: Program) -> list[Case]:
    """Name, words, and the error each must give."""
    layer = program.layers[0]
    good_layer, good_tile = packets.layer_packet(layer, report=True), packets.tile_packets(layer)[0]

    def payload(packet: np.ndarray, index: int, value: int) -> np.ndarray:
        words = packet[1:-1].copy()
        words[index] = value
        return packets.frame(int(packet[0]) & 0xFF, words)

    def reframed(packet: np.ndarray, words: np.ndarray) -> np.ndarray:
        return packets.frame(int(packet[0]) & 0xFF, words)

    flipped = good_tile.copy()
    flipped[2] ^= 1 << 9
    word0 = int(good_layer[1])
    outside = good_tile[1:-1].copy()
    outside[0] = spec.scratch_words - 1 | int(outside[0]) & 0xFFFF0000 if max(layer.offsets) else 0xFFFF
    nowhere = good_tile[1:-1].copy()
    nowhere[0] = int(nowhere[0]) & 0xFFFF | spec.scratch_words - 1 << 16 if layer.position_count > 1 else 0xFFFF0000
    emits = LayerFlag.EMIT << 16
    chained = payload(good_tile, 1, TileFlag.HOLD << BIAS_FIELD_BITS)
    return [
        ("unknown type", packets.frame(0x77, np.zeros(1, np.uint32)), ErrorCode.BAD_TYPE),
        ("result type as command", packets.frame(Result.TILE_DONE, np.zeros(2, np.uint32)), ErrorCode.BAD_TYPE),
        ("reserved header bits", np.concatenate([[good_layer[0] | 0x100], good_layer[1:]]), ErrorCode.BAD_FIELD),
        ("tile before layer", good_tile, ErrorCode.BAD_ORDER),
        ("status with payload", packets.frame(Packet.STATUS, np.zeros(1, np.uint32)), ErrorCode.BAD_LENGTH),
        ("layer too short", reframed(good_layer, good_layer[1:3]), ErrorCode.BAD_LENGTH),
        ("layer too long", reframed(good_layer, np.append(good_layer[1:-1], 0)), ErrorCode.BAD_LENGTH),
        ("empty layer", packets.frame(Packet.LAYER, np.zeros(0, np.uint32)), ErrorCode.BAD_LENGTH),
        ("no codes", payload(good_layer, 0, word0 & ~0xFFFF), ErrorCode.BAD_FIELD),
        ("too many codes", payload(good_layer, 0, word0 & ~0xFFFF | spec.tile_codes + 1), ErrorCode.BAD_FIELD),
        ("shift too large", payload(good_layer, 0, word0 & 0xFFFFFF | (spec.max_shift + 1) << 24), ErrorCode.BAD_FIELD),
        ("unknown flag", payload(good_layer, 0, word0 | 0x80 << 16), ErrorCode.BAD_FIELD),
        (
            "constants of a secret table",
            payload(good_layer, 0, word0 & ~(0xFF << 16) | LayerFlag.CONSTANT << 16),
            ErrorCode.BAD_FIELD,
        ),
        ("unknown tile flag", np.concatenate([good_layer, payload(good_tile, 1, 1 << 30)]), ErrorCode.BAD_FIELD),
        ("chain over positions", np.concatenate([payload(good_layer, 1, 2 | 1 << 16), chained]), ErrorCode.BAD_FIELD),
        ("no columns", payload(good_layer, 1, int(good_layer[2]) & 0xFFFF0000), ErrorCode.BAD_FIELD),
        ("no rows", payload(good_layer, 1, int(good_layer[2]) & 0xFFFF), ErrorCode.BAD_FIELD),
        ("emitting with positions", payload(payload(good_layer, 0, word0 | emits), 1, 2 | 1 << 16), ErrorCode.BAD_FIELD),
        ("layer CRC", np.append(good_layer[:-1], good_layer[-1] ^ 1), ErrorCode.BAD_CRC),
        ("tile CRC", np.concatenate([good_layer, flipped]), ErrorCode.BAD_CRC),
        ("tile too short", np.concatenate([good_layer, reframed(good_tile, good_tile[1:-2])]), ErrorCode.BAD_LENGTH),
        (
            "tile too long",
            np.concatenate([good_layer, reframed(good_tile, np.append(good_tile[1:-1], 5))]),
            ErrorCode.BAD_LENGTH,
        ),
        ("gather outside", np.concatenate([good_layer, reframed(good_tile, outside)]), ErrorCode.BAD_ADDRESS),
        ("write outside", np.concatenate([good_layer, reframed(good_tile, nowhere)]), ErrorCode.BAD_ADDRESS),
        ("as many rows as words", payload(good_layer, 1, spec.scratch_words << 16 | 1), ErrorCode.BAD_FIELD),
        ("stride beyond the memory", payload(good_layer, 2, spec.scratch_words), ErrorCode.BAD_ADDRESS),
        ("stride of writing, the same", payload(good_layer, 3, spec.scratch_words << 16), ErrorCode.BAD_ADDRESS),
        ("offset, the same", payload(good_layer, 4, spec.scratch_words), ErrorCode.BAD_ADDRESS),
        ("base, the same", np.concatenate([good_layer, payload(good_tile, 0, spec.scratch_words)]), ErrorCode.BAD_ADDRESS),
        *broken_activations(spec),
        *broken_locks(),
    ]


def broken_activations(spec: UnitSpec) -> list[Case]:
    """The same for input vectors."""
    far = np.array([(spec.scratch_words - 1) | 2 << 16, *[0] * (2 * spec.lanes // 4)], np.uint32)
    return [
        ("no vectors", packets.frame(Packet.ACTIVATIONS, np.zeros(1, np.uint32)), ErrorCode.BAD_FIELD),
        ("vectors beyond the memory", packets.frame(Packet.ACTIVATIONS, far), ErrorCode.BAD_ADDRESS),
        ("vectors missing", packets.frame(Packet.ACTIVATIONS, np.array([3 << 16, 0], np.uint32)), ErrorCode.BAD_LENGTH),
    ]


def broken_locks() -> list[Case]:
    """The same for the packets of the locks."""
    challenge = np.array([1 | 2 << 8, 5, 6, 7, 8], np.uint32)
    return [
        ("unlock without challenge", packets.unlock_packet(), ErrorCode.BAD_ORDER),
        ("unlock with payload", packets.frame(Packet.UNLOCK, np.zeros(1, np.uint32)), ErrorCode.BAD_LENGTH),
        ("challenge too short", packets.frame(Packet.CHALLENGE, challenge[:4]), ErrorCode.BAD_LENGTH),
        ("challenge too long", packets.frame(Packet.CHALLENGE, np.append(challenge, 0)), ErrorCode.BAD_LENGTH),
        ("unknown fingerprint", packets.frame(Packet.CHALLENGE, challenge ^ [4, 0, 0, 0, 0]), ErrorCode.BAD_FIELD),
        ("unknown transform", packets.frame(Packet.CHALLENGE, challenge ^ [3 << 9, 0, 0, 0, 0]), ErrorCode.BAD_FIELD),
        ("reserved challenge bits", packets.frame(Packet.CHALLENGE, challenge ^ [1 << 16, 0, 0, 0, 0]), ErrorCode.BAD_FIELD),
        ("challenge CRC", np.append(packets.frame(Packet.CHALLENGE, challenge)[:-1], 0), ErrorCode.BAD_CRC),
        ("lock now", packets.frame(Packet.LOCK_NOW, challenge[:0]), ErrorCode.LOCKED),
        ("lock now with payload", packets.frame(Packet.LOCK_NOW, challenge[:1]), ErrorCode.BAD_LENGTH),
    ]
