"""What is public about a lock: fingerprint, transform, nonce, challenge. An artefact carries it."""

from __future__ import annotations

import itertools
import secrets
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bitting.errors import LockError
from bitting.locking.challenge import Challenge
from bitting.locking.kinds import AES_TRANSFORMS, FINGERPRINTS, SEALING, Fingerprint, Level, Transform, transforms_of
from bitting.program import packets
from bitting.unit import protocol
from bitting.unit.spec import UnitSpec

NONCE_BYTES = 16

_STRUCTURE = "a trained matrix shows its structure under the right key; the owner of the right device can query it"
_SEALED = "the owner of the right device can ask it whole inputs, and clock how long each tile takes"
_CAUTIONS = {
    Transform.TABLE: "the bitting table alone is no lock: gradient descent with a few labelled samples has recovered it",
    Transform.SHUFFLE: "a permutation keeps the weights of a tile, only their places are secret",
    Transform.AES: "a wrong key is recognised from the weights alone, without running the network",
    Transform.AES_PRE: _STRUCTURE,
    Transform.AES_CLOCKED: _STRUCTURE,
    Transform.SEALED: _SEALED,
    Transform.SEALED_CLOCKED: _SEALED,
}


@dataclass(frozen=True)
class LockScheme:
    """A fingerprint and a transform, with what both need that is not secret.

    Attributes:
        transform, fingerprint: members of the enumerations in `bitting.locking.kinds`, or their names.
        nonce: 16 bytes, new for every artefact: two artefacts must never share a keystream.
        level: of any claim about the lock (`Level.FAMILY` if the device's secret is public).
        challenge: what the device runs to show its fingerprint.

    Raises:
        LockError: for a pairing that does not exist, or without what it needs.

    Example:
        >>> import bitting
        >>> scheme = bitting.LockScheme.new(bitting.parse_spec("tiny"), "clock", "sealed-clocked")
        >>> scheme.keyed, len(scheme.nonce), scheme.challenge.tiles
        (True, 16, 13)
    """

    transform: Transform = Transform.TABLE
    fingerprint: Fingerprint = Fingerprint.NONE
    nonce: bytes = b""
    level: Level = Level.KEY
    challenge: Challenge | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "transform", Transform(self.transform))
            object.__setattr__(self, "fingerprint", Fingerprint(self.fingerprint))
        except ValueError:
            raise _no_such_lock(self.fingerprint, self.transform) from None
        keyed = self.transform in (*AES_TRANSFORMS, *SEALING) and self.fingerprint in FINGERPRINTS
        if not keyed and (self.transform, self.fingerprint) != (Transform.TABLE, Fingerprint.NONE):
            raise _no_such_lock(self.fingerprint, self.transform)
        if keyed and (len(self.nonce) != NONCE_BYTES or self.challenge is None):
            raise LockError(f"a keyed lock has a nonce of {NONCE_BYTES} bytes and a challenge; found {len(self.nonce)} bytes")

    @classmethod
    def new(
        cls, spec: UnitSpec, fingerprint: str, transform: str, level: Level = Level.KEY, nonce: bytes | None = None
    ) -> LockScheme:
        """A lock with the family's challenge and a fresh nonce.

        Raises:
            LockError: for a pairing that does not exist, or a spec that can not hold the challenge or the transform.
        """
        if transform == Transform.TABLE:
            return cls(Transform.TABLE, fingerprint, level=level)  # type: ignore[arg-type]
        if transform == Transform.AES and not spec.plain_values:
            raise LockError(
                f"transform 'aes' ships weights as bytes, but those of spec {spec.name!r} reach {max(spec.values)}; "
                "allowed up to 127: use aes-pre or aes-clocked"
            )
        if transform in (*AES_TRANSFORMS, *SEALING) and transform not in transforms_of(spec.vault):
            raise LockError(
                f"transform {str(transform)!r} is not one of the vault {spec.vault.value!r} of spec {spec.name!r}; "
                f"allowed: {', '.join(transforms_of(spec.vault))}"
            )
        fresh = nonce or secrets.token_bytes(NONCE_BYTES)
        return cls(transform, fingerprint, fresh, level, Challenge.of(spec))  # type: ignore[arg-type]

    @property
    def keyed(self) -> bool:
        """There is a lock key; otherwise the codes are only written in the device's number format."""
        return self.transform != Transform.TABLE

    @property
    def seals(self) -> bool:
        """Programs are sealed: enciphered and authenticated packet by packet."""
        return self.transform in SEALING

    @property
    def clocked(self) -> bool:
        """Sealed packets are bound to the cycles before them."""
        return self.transform == Transform.SEALED_CLOCKED

    @property
    def caution(self) -> str:
        """What the lock does not withstand."""
        family = "anyone with the RTL of the family can emulate it: the device's secret is public; "
        return (family if self.level == Level.FAMILY else "") + _CAUTIONS[self.transform]

    def words(self) -> np.ndarray:
        """What the CHALLENGE packet says."""
        kind = np.array([self.fingerprint.code | self.transform.code << 8], np.uint32)
        return np.concatenate([kind, np.frombuffer(self.nonce, ">u4").astype(np.uint32)])

    def packets(self) -> np.ndarray:
        """Command words that make a device derive the lock's key, to go before the locked program; none without a key."""
        if self.challenge is None:
            return np.empty(0, packets.WORDS)
        return np.concatenate([*self.challenge_packets(), packets.unlock_packet()])

    def challenge_packets(self) -> list[np.ndarray]:
        """The CHALLENGE packet, and the packets that the device runs before UNLOCK."""
        assert self.challenge is not None
        program, activations = self.challenge.program, self.challenge.activations
        return [
            packets.frame(protocol.Packet.CHALLENGE, self.words()),
            packets.activations_packet(program.spec, program.input_base, activations),
            *packets.packet_list(program, report=False),
        ]

    def to_dict(self) -> dict[str, Any]:
        """For people and headers; without the challenge."""
        return {
            "transform": self.transform.value,
            "fingerprint": self.fingerprint.value,
            "nonce": self.nonce.hex(),
            "level": self.level.value,
            "caution": self.caution,
        }


def _no_such_lock(fingerprint: str, transform: str) -> LockError:
    return LockError(
        f"there is no lock {str(fingerprint)!r} x {str(transform)!r}; allowed: a fingerprint of "
        f"{', '.join(FINGERPRINTS)} with a transform of {', '.join((*SEALING, *AES_TRANSFORMS))}, "
        f"or {Fingerprint.NONE} x {Transform.TABLE}"
    )


def pairings(spec: UnitSpec, level: Level = Level.KEY, nonce: bytes | None = None) -> list[LockScheme]:
    """A scheme for every fingerprint with every transform that a family has; all with one nonce, or each with a fresh one."""
    schemes = []
    for fingerprint, transform in itertools.product(FINGERPRINTS, transforms_of(spec.vault)):
        try:
            schemes.append(LockScheme.new(spec, fingerprint, transform, level, nonce))
        except LockError:
            continue  # a transform this family does not have
    return schemes
