"""From a fingerprint to the lock key. With the vault `aes`: AES-CMAC (RFC 4493) under the device's seed.

    message = kind and transform | nonce (4 words) | fingerprint words | zeros to three words before the block's end .. | count

in 32-bit big-endian words, a whole number of 16-byte blocks; `count` is the number of words before the zeros, so that no two
inputs give one message. The seed never meets anything but CMAC. The vault `ascon` absorbs every word of the challenge too,
each tile's answer after the tile (docs/sealed-programs.md).
"""

from __future__ import annotations

import numpy as np

from bitting.locking import sealing
from bitting.locking.chip import ChipModel
from bitting.locking.device import derive_key
from bitting.locking.kinds import Fingerprint
from bitting.locking.scheme import LockScheme
from bitting.program.packets import WORDS

_BLOCK_WORDS = 4


def fingerprint_message(scheme: LockScheme, fingerprint: np.ndarray) -> bytes:
    """The message above."""
    words = np.concatenate([scheme.words(), fingerprint.astype(np.uint32)])
    zeros = -(len(words) + 1) % _BLOCK_WORDS
    return np.concatenate([words, np.zeros(zeros, np.uint32), [len(words) & 0xFFFF]]).astype(">u4").tobytes()


def challenge_words(scheme: LockScheme, chip: ChipModel) -> np.ndarray:
    """What a chip with the vault `ascon` absorbs: all words from CHALLENGE's payload on, and after each tile its answer."""
    assert scheme.challenge is not None
    cycles, accumulators = chip.run(scheme.challenge.program, scheme.challenge.activations)
    first, *others = scheme.challenge_packets()
    absorbed = [first[1:], others[0]]
    at, tile, emitted = 1, 0, 0
    for layer in scheme.challenge.program.layers:
        absorbed.append(others[at])
        at += 1
        for number in range(layer.tiles):
            absorbed.append(others[at])
            at += 1
            if scheme.fingerprint == Fingerprint.CLOCK:
                absorbed.append(_words(cycles[tile : tile + 1]))
            elif layer.emits and (number + 1) % layer.parts == 0:
                absorbed.append(_words(accumulators[emitted]))
                emitted += 1
            tile += 1
    return np.concatenate(absorbed)


def _words(numbers: np.ndarray) -> np.ndarray:
    return (numbers & 0xFFFFFFFF).astype(WORDS)


def lock_key(scheme: LockScheme, chip: ChipModel) -> bytes:
    """The 16-byte lock key that a chip derives; secret."""
    assert scheme.challenge is not None
    if scheme.seals:
        return sealing.derived_lock_key(chip.fingerprint_key, challenge_words(scheme, chip))
    return derive_key(chip.fingerprint_key, fingerprint_message(scheme, chip.fingerprint(scheme.challenge, scheme.fingerprint)))
