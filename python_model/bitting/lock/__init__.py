"""Tying a program to a device: fingerprint x transform. Knows programs and devices, no torch and no RTL."""

from bitting.lock.challenge import Challenge, min_entropy
from bitting.lock.description import FINGERPRINTS, TABLE, TRANSFORMS, Lock
from bitting.lock.silicon import Silicon
from bitting.lock.transform import lock, restore, unlock

__all__ = [
    "FINGERPRINTS", "TABLE", "TRANSFORMS", "Challenge", "Lock", "Silicon", "lock", "min_entropy", "restore", "unlock",
]  # fmt: skip
