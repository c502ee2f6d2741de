"""The fixed words of every packet of `bitting.unit.protocol`, as layouts: the parser, the sender and the sidecar read them."""

from amaranth.lib import data

from bitting.unit.protocol import (
    BIAS_FIELD_BITS,
    CHALLENGE_WORDS,
    CYCLE_COUNT_BITS,
    WORD_BITS,
    Packet,
    Result,
    TileFlag,
)
from bitting.unit.spec import ADDRESS_FIELD_BITS

HEADER = data.StructLayout({"type": 8, "reserved": 8, "length": 16})
LAYER_SHAPE = data.StructLayout({"codes": 16, "flags": 8, "shift": 8})
CHALLENGE_SCHEME = data.StructLayout({"fingerprint": 8, "transform": 8, "reserved": 16})
TILE_BIAS = data.StructLayout({"bias": BIAS_FIELD_BITS, "flags": WORD_BITS - BIAS_FIELD_BITS})
#: Flags of a tile that are not allowed.
UNKNOWN_TILE_FLAGS = ((1 << (WORD_BITS - BIAS_FIELD_BITS)) - 1) & ~sum(TileFlag)
#: What STATUS tells of the locks: keys are derived, a challenge is under way, there is a lock key; there are no locks; the
#: device
#: is sealed (vault `ascon`).
LOCK_STATE = data.StructLayout({"booted": 1, "challenge": 1, "keyed": 1, "no_locks": 1, "sealed": 1})
FAULT = data.StructLayout({"error": 8, "tiles": 24})
#: What an engine with a PUF tells before it boots: there is a root secret; the device is sealed; attempts since reset.
PUF_STATE = data.StructLayout({"rooted": 1, "sealed": 1, "reserved": 6, "attempts": 8})


def _pair(low: str, high: str) -> data.StructLayout:
    """Two addresses, counts or distances in a word."""
    return data.StructLayout({low: ADDRESS_FIELD_BITS, high: ADDRESS_FIELD_BITS})


def _whole(name: str, bits: int = WORD_BITS) -> data.StructLayout:
    return data.StructLayout({name: bits})


LAYER_POSITIONS = _pair("x", "y")
LAYER_STRIDES = _pair("x", "y")
LAYER_OUT_STRIDES = _pair("x", "y")
TILE_BASES = _pair("in_base", "out_base")
ACTIVATIONS_RANGE = _pair("address", "count")
PROGRAM_INPUT = _pair("address", "count")

#: The fixed payload words of each command packet; items (offsets, codes, activations) may follow.
COMMAND_WORDS: dict[Packet, tuple[data.StructLayout, ...]] = {
    Packet.LAYER: (LAYER_SHAPE, LAYER_POSITIONS, LAYER_STRIDES, LAYER_OUT_STRIDES),
    Packet.TILE: (TILE_BASES, TILE_BIAS),
    Packet.ACTIVATIONS: (ACTIVATIONS_RANGE,),
    Packet.STATUS: (),
    Packet.CHALLENGE: (CHALLENGE_SCHEME, *(_whole(f"nonce{number}") for number in range(CHALLENGE_WORDS - 1))),
    Packet.UNLOCK: (),
    Packet.LOCK_NOW: (),
    Packet.PROGRAM: (PROGRAM_INPUT,),
}

#: The fixed payload words of each result packet; accumulators may follow.
RESULT_WORDS: dict[Result, tuple[data.StructLayout, ...]] = {
    Result.TILE_DONE: (_whole("tile"), _whole("cycles")),
    Result.STATUS_REPLY: (
        _whole("spec_id"),
        _whole("tiles"),
        _whole("cycles_low"),
        _whole("cycles_high", CYCLE_COUNT_BITS - WORD_BITS),
        LOCK_STATE,
    ),
    Result.FAULT: (FAULT,),
}

#: The same of the packets that only an engine with a PUF has; helper data and sums may follow.
PUF_COMMAND_WORDS: dict[Packet, tuple[data.StructLayout, ...]] = {Packet.HELPER: (), Packet.ENROL: ()}
PUF_RESULT_WORDS: dict[Result, tuple[data.StructLayout, ...]] = {
    Result.PUF_REPLY: (_whole("spec_id"), PUF_STATE),
    Result.SUMS: (),
}
