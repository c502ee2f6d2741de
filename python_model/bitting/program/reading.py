"""LAYER and TILE packets back to a program: what an engine makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bitting.errors import ProgramError
from bitting.program.bands import Shape
from bitting.program.layers import Layer, Program
from bitting.program.packets import WORDS
from bitting.unit.protocol import BAND_WORDS, BIAS_FIELD_BITS, LAYER_FIXED_WORDS, TILE_FIXED_WORDS, LayerFlag, Packet, TileFlag
from bitting.unit.spec import UnitSpec


def read_program(
    spec: UnitSpec, input_base: int, input_words: int, packets: Sequence[np.ndarray], picture: Shape | None = None
) -> Program:
    """The program of packets, each given as header and payload words, without CRC or tag; `picture`: as of `Program`.

    Inverse of `layer_packet` and `tile_packets`.

    Raises:
        ProgramError: if they are not layers with their tiles, or the spec can not hold them.
    """
    kinds = [int(packet[0]) & 0xFF for packet in packets]
    starts = [index for index, kind in enumerate(kinds) if kind == Packet.LAYER]
    if not starts or starts[0] or any(kind not in (Packet.LAYER, Packet.TILE) for kind in kinds):
        raise ProgramError("the packets of a program are layers, each followed by its tiles")
    ends = [*starts[1:], len(packets)]
    layers = tuple(read_layer(packets[start], packets[start + 1 : end]) for start, end in zip(starts, ends, strict=True))
    program = Program(spec, layers, input_base, input_words, picture)
    program.validate()
    return program


def read_layer(packet: np.ndarray, tiles: Sequence[np.ndarray]) -> Layer:
    """A LAYER packet and its TILE packets. Raises ProgramError if their sizes are not those that the layer says."""
    fixed = [int(word) for word in packet[1 : 1 + LAYER_FIXED_WORDS]]
    codes, flags, shift = fixed[0] & 0xFFFF, LayerFlag(fixed[0] >> 16 & 0xFF), fixed[0] >> 24
    has_band = bool(flags & LayerFlag.BAND)
    fields = LAYER_FIXED_WORDS + BAND_WORDS * has_band
    sizes = {len(tile) for tile in tiles}
    if sizes != {1 + TILE_FIXED_WORDS + -(-codes // 4)} or len(packet) != 1 + fields + -(-codes // 2):
        raise ProgramError(f"a layer of {codes} codes has packets of {len(packet)} and {sorted(sizes)} words")
    words = np.stack(tiles).astype(WORDS)
    bias = words[:, 2].astype(np.int64) & ((1 << BIAS_FIELD_BITS) - 1)
    half = 1 << (BIAS_FIELD_BITS - 1)
    holds = words[:, 2] >> BIAS_FIELD_BITS & TileFlag.HOLD != 0
    return Layer(
        codes=np.ascontiguousarray(words[:, 1 + TILE_FIXED_WORDS :]).view(np.uint8)[:, :codes].copy(),
        bias=((bias + half) % (2 * half) - half).astype(np.int32),
        offsets=packet[1 + fields :].astype(WORDS).view("<u2")[:codes].astype(np.int32),
        in_base=(words[:, 1] & 0xFFFF).astype(np.uint16).view(np.int16 if has_band else np.uint16).astype(np.int32),
        out_base=(words[:, 1] >> 16).astype(np.int32),
        positions=_pair(fixed[1]),
        strides=_pair(fixed[2]),
        out_strides=_pair(fixed[3]),
        shift=shift,
        emits=bool(flags & LayerFlag.EMIT),
        plain=bool(flags & LayerFlag.PLAIN_WEIGHTS),
        constant=bool(flags & LayerFlag.CONSTANT),
        parts=1 + int(np.argmin(holds)),
        band=(int(packet[5]) & 0xFFFF, int(packet[5]) >> 16) if has_band else (0, 0),
        edge=int(np.uint8(packet[6] & 0xFF).view(np.int8)) if has_band else 0,
        every_lane=bool(flags & LayerFlag.EVERY_LANE),
    )


def _pair(word: int) -> tuple[int, int]:
    """(row, column)."""
    return word >> 16, word & 0xFFFF
