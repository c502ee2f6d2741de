"""From a fingerprint to the lock key: AES-CMAC (RFC 4493) under the device's seed.

    message = kind and transform | nonce (4 words) | fingerprint words | zeros to three words before the block's end .. | count

in 32-bit big-endian words, a whole number of 16-byte blocks; `count` is the number of words before the zeros, so that no two
inputs give one message. The seed never meets anything but CMAC.
"""

from __future__ import annotations

import numpy as np

from bitting.locking.chip import ChipModel
from bitting.locking.device import derive_key
from bitting.locking.scheme import LockScheme

_BLOCK_WORDS = 4


def fingerprint_message(scheme: LockScheme, fingerprint: np.ndarray) -> bytes:
    """The message above."""
    words = np.concatenate([scheme.words(), fingerprint.astype(np.uint32)])
    zeros = -(len(words) + 1) % _BLOCK_WORDS
    return np.concatenate([words, np.zeros(zeros, np.uint32), [len(words) & 0xFFFF]]).astype(">u4").tobytes()


def lock_key(scheme: LockScheme, chip: ChipModel) -> bytes:
    """The 16-byte lock key that a chip derives; secret."""
    assert scheme.challenge is not None
    return derive_key(chip.seed, fingerprint_message(scheme, chip.fingerprint(scheme.challenge, scheme.fingerprint)))
