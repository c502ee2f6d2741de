"""Ascon (NIST SP 800-232) as the standard writes it, on Python's integers, one state at a time: slow, and easy to check by eye.

Written apart from `bitting.locking.ascon`, so that the two are judged by one another, and both by the known answers.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

VECTORS = Path(__file__).parents[1] / "vectors" / "ascon"
MASK = (1 << 64) - 1
ROTATIONS = ((19, 28), (61, 39), (1, 6), (10, 17), (7, 41))
#: The S-box (table 6), from x0 x1 x2 x3 x4 as a number, x0 highest.
SBOX = (4, 11, 31, 20, 26, 21, 9, 2, 27, 5, 8, 18, 29, 3, 6, 28, 30, 19, 7, 14, 0, 13, 17, 24, 16, 12, 1, 25, 22, 10, 15, 23)


def known_answers(name: str) -> Iterator[dict[str, bytes]]:
    """The fields of each answer of Ascon's authors (github.com/ascon/ascon-c, 446347f)."""
    for block in gzip.decompress((VECTORS / name).read_bytes()).decode().strip().split("\n\n"):
        fields = dict(line.split(" =") for line in block.splitlines())
        yield {key.strip(): bytes.fromhex(value.strip()) for key, value in fields.items() if key.strip() != "Count"}


def permute(words: list[int], rounds: int) -> list[int]:
    """Ascon-p: constant, substitution column by column, diffusion word by word."""
    x = list(words)
    for number in range(12 - rounds, 12):
        x[2] ^= (15 - number) << 4 | number
        columns = [SBOX[sum((x[i] >> bit & 1) << 4 - i for i in range(5))] for bit in range(64)]
        x = [sum((column >> 4 - i & 1) << bit for bit, column in enumerate(columns)) for i in range(5)]
        x = [w ^ rotated(w, a) ^ rotated(w, b) for w, (a, b) in zip(x, ROTATIONS, strict=True)]
    return x


def rotated(word: int, count: int) -> int:
    return (word >> count | word << 64 - count) & MASK


def padded_blocks(data: bytes, size: int) -> list[bytes]:
    """A one (the byte 01), then zeros, to whole blocks."""
    data += b"\x01"
    data += bytes(-len(data) % size)
    return [data[at : at + size] for at in range(0, len(data), size)]


def number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def aead(key: bytes, nonce: bytes, associated: bytes, text: bytes, opens: bool) -> tuple[bytes, bytes]:
    """Ascon-AEAD128: what comes out (of `text` enciphered, or with `opens` deciphered), and the tag."""
    k = [number(key[:8]), number(key[8:])]
    x = permute([0x00001000808C0001, *k, number(nonce[:8]), number(nonce[8:])], 12)
    x[3] ^= k[0]
    x[4] ^= k[1]
    if associated:
        for block in padded_blocks(associated, 16):
            x[0] ^= number(block[:8])
            x[1] ^= number(block[8:])
            x = permute(x, 8)
    x[4] ^= 1 << 63
    output = b""
    for at in range(0, len(text) + 1, 16):
        block = text[at : at + 16]
        rate = (x[0] | x[1] << 64).to_bytes(16, "little")
        given = bytes(a ^ b for a, b in zip(block, rate, strict=False))
        output += given
        clear = given if opens else block
        whole = clear if len(block) == 16 else clear + b"\x01" + bytes(15 - len(clear))
        x[0] ^= number(whole[:8])
        x[1] ^= number(whole[8:])
        if len(block) == 16:
            x = permute(x, 8)
    x[2] ^= k[0]
    x[3] ^= k[1]
    x = permute(x, 12)
    return output, ((x[3] ^ k[0]) | (x[4] ^ k[1]) << 64).to_bytes(16, "little")


def cxof(customisation: bytes, message: bytes, size: int) -> bytes:
    """Ascon-CXOF128."""
    x = permute([0x0000080000CC0004, 0, 0, 0, 0], 12)
    blocks = [(8 * len(customisation)).to_bytes(8, "little"), *padded_blocks(customisation, 8), *padded_blocks(message, 8)]
    for block in blocks:
        x[0] ^= number(block)
        x = permute(x, 12)
    output = b""
    while len(output) < size:
        output += x[0].to_bytes(8, "little")
        x = permute(x, 12)
    return output[:size]
