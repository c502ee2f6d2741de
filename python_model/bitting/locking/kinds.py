"""The kinds of locks and of claims, each with its name and its number in a packet."""

from __future__ import annotations

from enum import StrEnum

from bitting.unit import protocol


class Level(StrEnum):
    """What a claim about a lock rests on."""

    #: Nothing is secret: whoever owns the RTL of the family can emulate the device.
    FAMILY = "family"
    #: The secrecy and entropy of the root secret.
    KEY = "key"


class Fingerprint(StrEnum):
    """What a device shows of itself to derive a lock key."""

    #: Nothing: the codes are only written in the device's number format.
    NONE = "none"
    #: Cycle counts of all challenge tiles.
    CLOCK = "clock"
    #: Their accumulators, in all lanes.
    NUMERIC = "numeric"

    @property
    def code(self) -> protocol.FingerprintCode:
        """What the CHALLENGE packet says."""
        return _FINGERPRINT_CODES[self]


class Transform(StrEnum):
    """What a lock does to the codes of a program."""

    #: The bitting table by itself: codes in the device's own number format, no key. It is no lock.
    TABLE = "table"
    #: The codes of a tile in another order.
    SHUFFLE = "shuffle"
    #: An AES keystream added to plain weights: right and wrong keys are told apart at sight.
    AES = "aes"
    #: The same, added to the unit's own codes, of which all occur about equally often.
    AES_PRE = "aes-pre"
    #: The same, with the cycles of earlier tiles in the counter.
    AES_CLOCKED = "aes-clocked"

    @property
    def code(self) -> protocol.TransformCode:
        """What the CHALLENGE packet says. `aes` differs from `aes-pre` in the codes only."""
        return _TRANSFORM_CODES[self]


_TRANSFORM_CODES = {
    Transform.SHUFFLE: protocol.TransformCode.SHUFFLE,
    Transform.AES: protocol.TransformCode.AES,
    Transform.AES_PRE: protocol.TransformCode.AES,
    Transform.AES_CLOCKED: protocol.TransformCode.AES_CLOCKED,
}
_FINGERPRINT_CODES = {
    Fingerprint.CLOCK: protocol.FingerprintCode.CLOCK,
    Fingerprint.NUMERIC: protocol.FingerprintCode.NUMERIC,
}

#: What makes a lock with a key: any of these with any of those.
FINGERPRINTS = tuple(_FINGERPRINT_CODES)
TRANSFORMS = tuple(_TRANSFORM_CODES)
