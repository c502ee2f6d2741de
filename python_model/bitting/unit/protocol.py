"""Numbers both sides of the stream must agree on: packet types, flags, error codes. Imports nothing, so the RTL may use it.

Every packet is a header word, `length` payload words and a CRC-32 word (ISO-HDLC, over header and payload as little-endian
bytes). With the vault `ascon`, PROGRAM, LAYER and TILE outside a challenge end in a tag of four words instead, and their
payload is enciphered (docs/sealed-programs.md). Words are 32 bits. The header holds the type in bits 7..0, zero in bits 15..8
and the length in bits 31..16. Positions in each direction, addresses, strides and offsets are smaller than the scratch
memory's number of words.

Command packets
    LAYER        w0: codes K [15:0], flags [23:16], shift [31:24]    w1: positions x [15:0], y [31:16]
                 w2: strides x [15:0], y [31:16]                     w3: strides of what is written, the same
                 with BAND two words more: w4: start of the bands [15:0], words of a band [31:16]
                                           w5: the activation beyond the first and last band, signed [7:0]
                 then K gather offsets, two a word, low half first
    TILE         w0: in_base [15:0] (signed with BAND), out_base [31:16]   w1: bias, signed [23:0], flags [31:24]
                 then K codes, four a word, low byte first
    ACTIVATIONS  w0: address [15:0], count [31:16]
                 then `count` vectors of L activations, four a word, lane 0 in the low byte
    STATUS       no payload

    CHALLENGE    w0: fingerprint [7:0], transform [15:8]              w1..w4: nonce
                 forgets the lock key; until UNLOCK every tile's cycles, or accumulators, are absorbed and nothing is sent
    UNLOCK       no payload; ends a challenge and derives the lock key. The next tile is number 0 of the locked program. With a
                 key in place it only begins the program again, for the next batch.
                 With the vault `ascon` it is called START.
    LOCK_NOW     no payload; waits for no tile: wipes every key and stops with error LOCKED
    PROGRAM      w0: address [15:0] and number [31:16] of the words of the program's input; vault `ascon` only

An engine whose root secret comes of a PUF takes three packets before it has one, and only then all others:
    HELPER       the helper data of the device: measure, make the root secret, boot; answered with a PUF_REPLY
    ENROL        no payload; answered with SUMS. Of a device whose fuse `sealed` is blown: an error
    STATUS       no payload; answered with a PUF_REPLY

Result packets
    TILE_DONE    w0: index of the tile since reset                   w1: its cycles
                 then, for an emitting layer, L accumulators, sign-extended, lane 0 first; where p lanes share a sample, the
                 L / p of every sample's first lane, or all of them with EVERY_LANE
    STATUS_REPLY w0: low 32 bits of the spec id    w1: tiles since reset    w2, w3: tile cycles since reset, low and high
                 w4: lock state: booted [0], in a challenge [1], keyed [2], engine without locks [3],
                 fuse `sealed` blown [4]
    PUF_REPLY    w0: low 32 bits of the spec id    w1: there is a root secret [0], fuse `sealed` blown [1],
                 attempts since reset [15:8]
    SUMS         for each pair of oscillators the sum of first less second over all reads, sign-extended
    FAULT        w0: error code [7:0], low 24 bits of the tiles since reset [31:8]; sent once, then silence until reset
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

WORD_BITS = 32
CODES_PER_WORD = 4
ACTIVATIONS_PER_WORD = 4
OFFSETS_PER_WORD = 2
BIAS_FIELD_BITS = 24
MAX_PAYLOAD_WORDS = (1 << 16) - 1

LAYER_FIXED_WORDS = 4
#: More of them in a LAYER with the flag BAND.
BAND_WORDS = 2
TILE_FIXED_WORDS = 2
TILE_DONE_FIXED_WORDS = 2
STATUS_WORDS = 5
CHALLENGE_WORDS = 5
PUF_REPLY_WORDS = 2
FAULT_WORDS = 1

#: A sealed packet ends with a tag of 128 bits.
TAG_WORDS = 4

#: A packet is its payload plus a header word and a CRC word.
FRAME_WORDS = 2


class Packet(IntEnum):
    """Type byte of a command packet."""

    LAYER = 0x01
    TILE = 0x02
    ACTIVATIONS = 0x03
    STATUS = 0x04
    CHALLENGE = 0x05
    UNLOCK = 0x06
    LOCK_NOW = 0x07
    #: Vault `ascon` only.
    PROGRAM = 0x08

    #: Of an engine with a PUF only.
    HELPER = 0x09
    ENROL = 0x0A

    #: What UNLOCK is called where there are programs.
    START = 0x06


#: Packets that carry a tag instead of a CRC, with the vault `ascon`, but for those of a challenge.
SEALED_PACKETS = (Packet.PROGRAM, Packet.LAYER, Packet.TILE)


class FingerprintCode(IntEnum):
    """What of a challenge is absorbed."""

    #: Cycle counts of all tiles.
    CLOCK = 1
    #: Accumulators of emitting tiles, all lanes.
    NUMERIC = 2


class TransformCode(IntEnum):
    """What the lock key does to the codes of a tile."""

    #: Permutes them.
    SHUFFLE = 1
    #: Adds an AES-128 counter-mode keystream.
    AES = 2
    #: The same, with the cycles of earlier tiles in the counter.
    AES_CLOCKED = 3
    #: Deciphers and authenticates every packet (vault `ascon`).
    SEALED = 4
    #: The same, with the cycles of earlier tiles in the nonce.
    SEALED_CLOCKED = 5


#: Transforms of the vault `ascon`; the others are those of `aes`.
SEALING_TRANSFORMS = (TransformCode.SEALED, TransformCode.SEALED_CLOCKED)


class Result(IntEnum):
    """Type byte of a result packet."""

    TILE_DONE = 0x82
    STATUS_REPLY = 0x84
    PUF_REPLY = 0x89
    SUMS = 0x8A
    FAULT = 0xFF


class LayerFlag(IntFlag):
    """Flags of a LAYER packet."""

    #: Emit raw accumulators instead of folding into the scratch memory; such a layer has one position.
    EMIT = 0x01
    #: Emit TILE_DONE for every tile, with its cycles.
    REPORT = 0x02
    #: Codes are weights in two's complement (`UnitSpec.plain_bits`), not codes of the bitting table.
    PLAIN_WEIGHTS = 0x04
    #: Codes are constants that no key touches; such a layer is PLAIN_WEIGHTS.
    CONSTANT = 0x08
    #: Addresses run on in the band of a neighbouring lane. Only where `stripes` is more than 1.
    BAND = 0x10
    #: Every lane's accumulators are emitted, not only those of a sample's first. Only where `stripes` is more than 1.
    EVERY_LANE = 0x20


#: Flags that an engine with `stripes` = 1 does not know.
BAND_FLAGS = LayerFlag.BAND | LayerFlag.EVERY_LANE


class TileFlag(IntFlag):
    """Flags of a TILE packet, for sums longer than the tile buffer. A tile with a flag runs at one position."""

    #: Neither fold nor emit: the next tile goes on with the accumulators.
    HOLD = 0x01
    #: Go on with the accumulators of the tile before, whatever the bias; if that one was of the same LAYER packet and held.
    RESUME = 0x02


class ErrorCode(IntEnum):
    """Sticky error of the engine; cleared by reset only."""

    NONE = 0
    BAD_TYPE = 1
    BAD_LENGTH = 2
    BAD_FIELD = 3
    BAD_ADDRESS = 4
    BAD_CRC = 5
    BAD_ORDER = 6
    LOCKED = 7
    BAD_TAG = 8


# Key derivation: what chip and owner must agree on. One iteration of counter mode in SP 800-108, a CMAC of a one-block label.

#: The key the bitting table is expanded from.
LABEL_TABLE = b"\x01bitting/tabl\x00\x00\x80"
#: The seed that fingerprints are absorbed under.
LABEL_SEED = b"\x01bitting/seed\x00\x00\x80"
#: Bits of keystream for a draw: r of them give `r * bound >> DRAW_BITS`, in 0..bound-1.
DRAW_BITS = 16
#: Words of a chip's fuses: four of the root secret, then flags, of which bit 0 is `sealed`.
FUSE_WORDS = 5


def fuse_words(root: bytes, sealed: bool = False) -> list[int]:
    """The fuses of a chip, from its root secret of 16 bytes; byte 0 is the lowest of word 0."""
    return [*(int.from_bytes(root[at : at + 4], "little") for at in range(0, len(root), 4)), int(sealed)]


#: Customisation strings of CXOF128, vault `ascon`: the device key, the stream the bitting table is drawn from, the lock key.
PURPOSE_DEVICE, PURPOSE_TABLE, PURPOSE_LOCK = b"btt-dev", b"btt-tab", b"btt-key"
#: The same, of a response of a PUF: the check in its helper data, and the root secret behind it.
PURPOSE_PUF = b"btt-puf"
#: Words of that check.
PUF_CHECK_WORDS = 4
#: The vault's number in the flags that enter the device key, and the flag of a device that is sealed.
VAULT_ASCON = 1
FLAG_SEALED = 1 << 8

#: Width of the cycle count in a counter block.
CYCLE_COUNT_BITS = 48
