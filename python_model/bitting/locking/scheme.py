"""What is public about a lock: fingerprint, transform, nonce, challenge. An artefact carries it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bitting.errors import LockError
from bitting.locking.challenge import Challenge
from bitting.program import packets
from bitting.unit import protocol
from bitting.unit.spec import UnitSpec

NONCE_BYTES = 16

#: Name -> what the device absorbs; "none" only with the transform "table".
FINGERPRINTS = {"clock": protocol.Fingerprint.CLOCK, "numeric": protocol.Fingerprint.NUMERIC}
#: Name -> what the device does to codes. `aes` differs from `aes-pre` in the codes: plain weights instead of the unit's own.
TRANSFORMS = {
    "shuffle": protocol.Transform.SHUFFLE,
    "aes": protocol.Transform.AES,
    "aes-pre": protocol.Transform.AES,
    "aes-clocked": protocol.Transform.AES_CLOCKED,
}
#: The table by itself: codes in the device's own number format, no key.
TABLE = "table"

_CAUTIONS = {
    TABLE: "the bitting table alone is no lock: gradient descent with a few labelled samples has recovered it",
    "shuffle": "a permutation keeps the weights of a tile, only their places are secret",
    "aes": "a wrong key is recognised from the weights alone, without running the network",
    "aes-pre": "a trained matrix shows its structure under the right key; the owner of the right device can query it",
    "aes-clocked": "a trained matrix shows its structure under the right key; the owner of the right device can query it",
}


@dataclass(frozen=True)
class Lock:
    """A fingerprint and a transform, with what both need that is not secret.

    Attributes:
        transform, fingerprint: names from the tables above, or "table" and "none".
        nonce: 16 bytes, new for every artefact: two artefacts must never share a keystream.
        level: level of the claim ("family" if the device's secret is public, else "key").
        challenge: what the device runs to show its fingerprint.
    """

    transform: str = TABLE
    fingerprint: str = "none"
    nonce: bytes = b""
    level: str = "key"
    challenge: Challenge | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        keyed = self.transform in TRANSFORMS and self.fingerprint in FINGERPRINTS
        if not keyed and (self.transform, self.fingerprint) != (TABLE, "none"):
            raise LockError(
                f"there is no lock {self.fingerprint!r} x {self.transform!r}; allowed: a fingerprint of "
                f"{', '.join(FINGERPRINTS)} with a transform of {', '.join(TRANSFORMS)}, or none x {TABLE}"
            )
        if keyed and (len(self.nonce) != NONCE_BYTES or self.challenge is None):
            raise LockError(f"a keyed lock has a nonce of {NONCE_BYTES} bytes and a challenge; found {len(self.nonce)} bytes")

    @classmethod
    def new(cls, spec: UnitSpec, fingerprint: str, transform: str, level: str = "key", nonce: bytes | None = None) -> Lock:
        """A lock with the family's challenge and a fresh nonce.

        Raises:
            LockError: for a pairing that does not exist, or a spec that can not hold the challenge or the transform.
        """
        if transform == TABLE:
            return cls(transform, fingerprint, level=level)
        if transform == "aes" and not spec.plain_values:
            raise LockError(
                f"transform 'aes' ships weights as bytes, but those of spec {spec.name!r} reach {max(spec.values)}; "
                "allowed up to 127: use aes-pre or aes-clocked"
            )
        return cls(transform, fingerprint, nonce or secrets.token_bytes(NONCE_BYTES), level, Challenge.of(spec))

    @property
    def keyed(self) -> bool:
        """There is a lock key; otherwise the codes are only written in the device's number format."""
        return self.transform != TABLE

    @property
    def caution(self) -> str:
        """What the lock does not withstand."""
        family = "anyone with the RTL of the family can emulate it: the device's secret is public; "
        return (family if self.level == "family" else "") + _CAUTIONS[self.transform]

    def words(self) -> np.ndarray:
        """What the CHALLENGE packet says."""
        kind = np.array([FINGERPRINTS[self.fingerprint] | TRANSFORMS[self.transform] << 8], np.uint32)
        return np.concatenate([kind, np.frombuffer(self.nonce, ">u4").astype(np.uint32)])

    def packets(self) -> np.ndarray:
        """Command words that make a device derive the lock's key, to go before the locked program; none without a key."""
        if self.challenge is None:
            return np.empty(0, packets.WORDS)
        program, activations = self.challenge.program, self.challenge.activations
        return np.concatenate(
            [
                packets.frame(protocol.Packet.CHALLENGE, self.words()),
                packets.activations_packet(program.spec, program.input_base, activations),
                packets.program_packets(program, report=False),
                packets.unlock_packet(),
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """For people and headers; without the challenge."""
        return {
            "transform": self.transform,
            "fingerprint": self.fingerprint,
            "nonce": self.nonce.hex(),
            "level": self.level,
            "caution": self.caution,
        }
