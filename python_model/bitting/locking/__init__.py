"""Tying a program to a device: fingerprint x transform. Knows programs and devices, no torch and no RTL."""

from bitting.locking.challenge import Challenge, min_entropy
from bitting.locking.chip import Silicon
from bitting.locking.scheme import FINGERPRINTS, TABLE, TRANSFORMS, Lock
from bitting.locking.transform import lock, restore, unlock

__all__ = [
    "FINGERPRINTS", "TABLE", "TRANSFORMS", "Challenge", "Lock", "Silicon", "lock", "min_entropy", "restore", "unlock",
]  # fmt: skip
