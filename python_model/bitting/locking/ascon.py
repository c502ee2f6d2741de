"""Ascon (NIST SP 800-232), of one state or of many at once: the permutation, AEAD128 and CXOF128.

A state is five uint64 arrays of one shape, so that the packets of a program, each with a nonce of its own, are sealed side by
side: a program of a million codes takes less than a second in numpy, and no compiler. What comes one after another (a key's
derivation, packets that are bound to cycles) has five integers instead, which are thirty times faster than arrays of one
element. Section numbers are those of the standard.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

#: Bytes of keys, nonces and tags of AEAD128, and of what it absorbs at a time.
BLOCK_BYTES = 16
#: Bytes that CXOF128 absorbs or gives at a time.
XOF_BYTES = 8
#: Initial values (appendix B): AEAD128 and CXOF128.
AEAD_IV = 0x00001000808C0001
CXOF_IV = 0x0000080000CC0004
#: Rounds of the permutation at both ends of a computation, and between blocks of AEAD128.
OUTER_ROUNDS = 12
INNER_ROUNDS = 8
#: Round constants of Ascon-p[12] (table 5); shorter permutations use the last ones.
ROUND_CONSTANTS = tuple(0xF0 - 0x0F * index for index in range(OUTER_ROUNDS))
#: Rotations of the linear layer (section 3.4): word i becomes x ^ x >>> first ^ x >>> second.
ROTATIONS = ((19, 28), (61, 39), (1, 6), (10, 17), (7, 41))

_WORD = np.dtype("<u8")
_ONES = (1 << 64) - 1
#: A word of one state, or that of each of many.
Word = Any
State = list[Word]


def permute(state: Sequence[Word], rounds: int) -> State:
    """Ascon-p (section 3): five integers of 64 bits, or five uint64 arrays of one shape."""
    x0, x1, x2, x3, x4 = state
    for constant in ROUND_CONSTANTS[OUTER_ROUNDS - rounds :]:
        x0, x2, x4 = x0 ^ x4, x2 ^ x1 ^ constant, x4 ^ x3
        t0, t1, t2, t3, t4 = (x0 ^ (~x1 & x2), x1 ^ (~x2 & x3), x2 ^ (~x3 & x4), x3 ^ (~x4 & x0), x4 ^ (~x0 & x1))
        words = (t0 ^ t4, t1 ^ t0, t2 ^ _ONES, t3 ^ t2, t4)
        x0, x1, x2, x3, x4 = (x ^ _rotated(x, a) ^ _rotated(x, b) for x, (a, b) in zip(words, ROTATIONS, strict=True))
    return [x0, x1, x2, x3, x4]


def _rotated(x: Word, count: int) -> Word:
    return x >> count | x << 64 - count & _ONES


def encrypt(key: bytes, nonces: np.ndarray, messages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AEAD128 (section 4.1) of many messages of one length, each under its nonce, without associated data.

    Args:
        key: 16 bytes.
        nonces: (n, 16) uint8; no nonce twice under one key.
        messages: (n, length) uint8.

    Returns:
        (n, length) ciphertexts and (n, 16) tags, uint8.
    """
    return _aead(key, nonces, messages, opens=False)


def decrypt(key: bytes, nonces: np.ndarray, sealed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `encrypt` sealed: (n, length) messages and the (n, 16) tags they must have. Use no message whose tag differs."""
    return _aead(key, nonces, sealed, opens=True)


def _aead(key: bytes, nonces: np.ndarray, messages: np.ndarray, opens: bool) -> tuple[np.ndarray, np.ndarray]:
    count, length = messages.shape
    one = count == 1
    k0, k1 = np.frombuffer(key, _WORD).tolist()
    n0, n1 = (int(word[0]) if one else word for word in np.ascontiguousarray(nonces).view(_WORD).T)
    state = permute([word if one else np.full(count, word, np.uint64) for word in (AEAD_IV, k0, k1)] + [n0, n1], OUTER_ROUNDS)
    # The key once more, and the bit that parts associated data (there is none) from the message.
    state[3], state[4] = state[3] ^ k0, state[4] ^ k1 ^ 1 << 63
    blocks = length // BLOCK_BYTES + 1  # the last one is padded, and may be padding only
    padded = np.zeros((count, blocks * BLOCK_BYTES), np.uint8)
    padded[:, :length] = messages
    taken = padded.view(_WORD).reshape(count, blocks, 2)
    given = np.empty_like(taken)
    for block in range(blocks):
        last = block == blocks - 1
        for half in range(2):
            size = min(max(length - block * BLOCK_BYTES - 8 * half, 0), 8) if last else 8
            came = int(taken[0, block, half]) if one else taken[:, block, half]
            gone = (came ^ state[half]) & (1 << 8 * size) - 1
            given[:, block, half] = gone
            state[half] = state[half] ^ (gone if opens else came)
            if last and length % BLOCK_BYTES // 8 == half:
                state[half] = state[half] ^ 1 << 8 * size
        if not last:
            state = permute(state, INNER_ROUNDS)
    state[2], state[3] = state[2] ^ k0, state[3] ^ k1
    state = permute(state, OUTER_ROUNDS)
    tags = np.empty((count, 2), _WORD)
    tags[:, 0], tags[:, 1] = state[3] ^ k0, state[4] ^ k1
    return given.reshape(count, -1).view(np.uint8)[:, :length], tags.view(np.uint8)


def cxof(customisation: bytes, message: bytes, size: int) -> bytes:
    """CXOF128 (section 5.3): `size` bytes of output; `customisation` keeps outputs for different purposes apart."""
    state = permute([CXOF_IV, 0, 0, 0, 0], OUTER_ROUNDS)
    for part in ((8 * len(customisation)).to_bytes(8, "little"), _padded(customisation), _padded(message)):
        for word in np.frombuffer(part, _WORD).tolist():
            state[0] = state[0] ^ word
            state = permute(state, OUTER_ROUNDS)
    output = b""
    while True:
        output += state[0].to_bytes(XOF_BYTES, "little")
        if len(output) >= size:
            return output[:size]
        state = permute(state, OUTER_ROUNDS)


def _padded(data: bytes) -> bytes:
    """A one and zeros up to whole blocks of the XOF (section 2.1)."""
    return data + b"\x01" + bytes(-(len(data) + 1) % XOF_BYTES)
