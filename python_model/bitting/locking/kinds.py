"""The kinds of locks and of claims, each with its name and its number in a packet."""

from __future__ import annotations

from enum import StrEnum

from bitting.unit import protocol
from bitting.unit.spec import VaultKind


class Level(StrEnum):
    """What a claim about a lock rests on."""

    #: Nothing is secret: whoever owns the RTL of the family can emulate the device.
    FAMILY = "family"
    #: The secrecy and entropy of the root secret.
    KEY = "key"
    #: The same, and no one stores the root secret: silicon makes it (a PUF).
    DIE = "die"


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
    #: Every packet of the program enciphered and authenticated, in its place (vault `ascon`).
    SEALED = "sealed"
    #: The same, with the cycles of earlier tiles in the nonce.
    SEALED_CLOCKED = "sealed-clocked"

    @property
    def code(self) -> protocol.TransformCode:
        """What the CHALLENGE packet says. `aes` differs from `aes-pre` in the codes only."""
        return _TRANSFORM_CODES[self]


_TRANSFORM_CODES = {
    Transform.SHUFFLE: protocol.TransformCode.SHUFFLE,
    Transform.AES: protocol.TransformCode.AES,
    Transform.AES_PRE: protocol.TransformCode.AES,
    Transform.AES_CLOCKED: protocol.TransformCode.AES_CLOCKED,
    Transform.SEALED: protocol.TransformCode.SEALED,
    Transform.SEALED_CLOCKED: protocol.TransformCode.SEALED_CLOCKED,
}
_FINGERPRINT_CODES = {
    Fingerprint.CLOCK: protocol.FingerprintCode.CLOCK,
    Fingerprint.NUMERIC: protocol.FingerprintCode.NUMERIC,
}

#: What makes a lock with a key: any of these with any transform of the vault.
FINGERPRINTS = tuple(_FINGERPRINT_CODES)
#: Transforms of the vault `ascon`: the program is sealed.
SEALING = (Transform.SEALED, Transform.SEALED_CLOCKED)
#: Transforms of the vault `aes`.
AES_TRANSFORMS = tuple(transform for transform in _TRANSFORM_CODES if transform not in SEALING)


def transforms_of(vault: VaultKind) -> tuple[Transform, ...]:
    """The transforms of a vault."""
    return SEALING if vault == VaultKind.ASCON else AES_TRANSFORMS


def default_transform(vault: VaultKind) -> Transform:
    """What locks unless another transform is asked for: the one that is bound to cycles."""
    return Transform.SEALED_CLOCKED if vault == VaultKind.ASCON else Transform.AES_CLOCKED
