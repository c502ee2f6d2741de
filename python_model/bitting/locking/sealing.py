"""Sealed programs: every packet of a program enciphered and authenticated by AEAD128, in its place.

docs/sealed-programs.md says what enters each derivation and each nonce. No lock key seals two programs, for its derivation
takes a nonce that was never drawn before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bitting.locking import ascon
from bitting.program.packets import WORDS
from bitting.unit.protocol import FLAG_SEALED, PURPOSE_DEVICE, PURPOSE_LOCK, PURPOSE_TABLE, TAG_WORDS, VAULT_ASCON
from bitting.unit.spec import UnitSpec

KEY_BYTES = 16


def device_key(spec: UnitSpec, root: bytes, sealed: bool) -> bytes:
    """16 secret bytes that a device derives at boot from its root secret (16 bytes) and its fuse `sealed`."""
    flags = VAULT_ASCON | (FLAG_SEALED if sealed else 0)
    return ascon.cxof(PURPOSE_DEVICE, root + bytes.fromhex(spec.id)[::-1] + flags.to_bytes(4, "little"), KEY_BYTES)


def table_draws(key: bytes, count: int) -> np.ndarray:
    """(count,) 16-bit draws for the bitting table, from the device key."""
    return np.frombuffer(ascon.cxof(PURPOSE_TABLE, key, 2 * count), "<u2")


def derived_lock_key(key: bytes, challenge: np.ndarray) -> bytes:
    """16 secret bytes from the device key, and the words of the challenge and its answers."""
    return ascon.cxof(PURPOSE_LOCK, key + np.ascontiguousarray(challenge, WORDS).tobytes(), KEY_BYTES)


def nonces(headers: np.ndarray, numbers: np.ndarray, cycles: np.ndarray) -> np.ndarray:
    """(n, 16) uint8 from (n,) header words, numbers of packets and cycle counts (modulo 2^32)."""
    fields = np.zeros((len(headers), 4), WORDS)
    fields[:, 0], fields[:, 1], fields[:, 2] = headers, numbers, np.asarray(cycles) & 0xFFFFFFFF
    return fields.view(np.uint8)


def seal(key: bytes, packets: Sequence[np.ndarray], cycles: np.ndarray) -> list[np.ndarray]:
    """Packets of a program, each as header and payload words, with the payload enciphered and the tag behind it.

    Args:
        key: the lock key, 16 bytes.
        packets: in their order, from number 0 on.
        cycles: (packets,) what the device has counted for each; zeros unless the program is clocked.
    """
    return _each_length(key, packets, cycles, 0, ascon.encrypt)


def opened(
    key: bytes, packets: Sequence[np.ndarray], cycles: np.ndarray, first: int = 0
) -> tuple[list[np.ndarray], np.ndarray]:
    """Sealed packets, opened: each as header and payload words, and (n,) whether its tag is right.

    Args:
        key: the lock key, 16 bytes.
        packets: in their order, each with header and tag.
        cycles: (packets,) as in `seal`.
        first: number of the first of them.
    """
    clear = _each_length(key, [packet[:-TAG_WORDS] for packet in packets], cycles, first, ascon.decrypt)
    right = [bool((mine[-TAG_WORDS:] == packet[-TAG_WORDS:]).all()) for mine, packet in zip(clear, packets, strict=True)]
    return [packet[:-TAG_WORDS] for packet in clear], np.array(right)


#: `ascon.encrypt` or `ascon.decrypt`.
_Cipher = Callable[[bytes, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def _each_length(
    key: bytes, packets: Sequence[np.ndarray], cycles: np.ndarray, first: int, cipher: _Cipher
) -> list[np.ndarray]:
    """Packets of one length side by side: a layer's tiles are as one."""
    lengths = np.array([len(packet) for packet in packets])
    output: list[np.ndarray] = [np.empty(0, WORDS)] * len(packets)
    for length in np.unique(lengths):
        numbers = np.flatnonzero(lengths == length)
        words = np.stack([np.asarray(packets[int(number)], WORDS) for number in numbers])
        payload = np.ascontiguousarray(words[:, 1:]).view(np.uint8)
        text, tags = cipher(key, nonces(words[:, 0], numbers + first, cycles[numbers]), payload)
        for row, number in enumerate(numbers):
            output[number] = np.concatenate([words[row, :1], text[row].copy().view(WORDS), tags[row].copy().view(WORDS)])
    return output
