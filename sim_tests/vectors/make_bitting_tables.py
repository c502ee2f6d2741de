"""Write bitting_tables.json: the tables of one known root key, by a plain implementation that shares no code with bitting.

AES-128 from FIPS 197, CMAC of one full block from RFC 4493, and the shuffle as `bitting.locking.device` documents it. Run by
hand.
"""

import json
from pathlib import Path

ROOT = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
SIZES = {"tiny": 16, "base": 64, "wide": 256, "soft": 256}


def times(a: int, b: int) -> int:
    """Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def substitution() -> list[int]:
    """FIPS 197, 5.1.1: the inverse in GF(2^8), then the affine map."""
    inverse = [0] + [next(b for b in range(1, 256) if times(a, b) == 1) for a in range(1, 256)]
    box = []
    for x in inverse:
        y = x
        for turn in range(1, 5):
            y ^= ((x << turn) | (x >> (8 - turn))) & 0xFF
        box.append(y ^ 0x63)
    return box


BOX = substitution()


def aes(key: bytes, block: bytes) -> bytes:
    """FIPS 197, one block."""
    words = [list(key[4 * i : 4 * i + 4]) for i in range(4)]
    constant = 1
    for i in range(4, 44):
        word = list(words[i - 1])
        if i % 4 == 0:
            word = [BOX[x] for x in word[1:] + word[:1]]
            word[0] ^= constant
            constant = times(constant, 2)
        words.append([a ^ b for a, b in zip(words[i - 4], word, strict=True)])
    round_keys = [[x for word in words[4 * r : 4 * r + 4] for x in word] for r in range(11)]
    state = [a ^ b for a, b in zip(block, round_keys[0], strict=True)]
    for number in range(1, 11):
        state = [BOX[x] for x in state]
        state = [state[(i + 4 * (i % 4)) % 16] for i in range(16)]
        if number < 10:
            columns = [state[4 * c : 4 * c + 4] for c in range(4)]
            state = [
                times(a[i], 2) ^ times(a[(i + 1) % 4], 3) ^ a[(i + 2) % 4] ^ a[(i + 3) % 4] for a in columns for i in range(4)
            ]
        state = [a ^ b for a, b in zip(state, round_keys[number], strict=True)]
    return bytes(state)


def cmac_of_block(key: bytes, block: bytes) -> bytes:
    """RFC 4493 for a message of exactly one block."""
    doubled = int.from_bytes(aes(key, bytes(16))) << 1
    subkey = doubled % (1 << 128) ^ (0x87 if doubled >> 128 else 0)
    return aes(key, bytes(a ^ b for a, b in zip(block, subkey.to_bytes(16), strict=True)))


def table(root: bytes, size: int) -> list[int]:
    """The shuffle: each draw is the top of a product with two bytes of the counter stream."""
    key = cmac_of_block(root, b"\x01" + b"bitting/tabl" + b"\x00" + b"\x00\x80")
    stream = (byte for counter in range(1 << 16) for byte in aes(key, counter.to_bytes(16)))
    order = list(range(size))
    for i in reversed(range(1, size)):
        high, low = next(stream), next(stream)
        j = (256 * high + low) * (i + 1) // 65536
        order[i], order[j] = order[j], order[i]
    return order


if __name__ == "__main__":
    assert aes(bytes(range(16)), bytes.fromhex("00112233445566778899aabbccddeeff")).hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"
    lines = [f'  "{name}": {table(ROOT, size)}' for name, size in SIZES.items()]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    json.loads(text)
    (Path(__file__).parent / "bitting_tables.json").write_text(text)
