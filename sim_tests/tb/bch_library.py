"""Words with errors, and what Linux' BCH decoder (lib/bch.c, through `bchlib`) makes of them."""

from __future__ import annotations

import bchlib
import numpy as np

from bitting.unit.bch import BchCode


def errors(rng: np.random.Generator, count: int, width: int, most: int) -> np.ndarray:
    """(count, width) uint8: rows with 0 to `most` ones, each number as likely, at random places."""
    places = np.argsort(rng.random((count, width)), axis=1)
    patterns = np.zeros((count, width), np.uint8)
    np.put_along_axis(patterns, places, (np.arange(width) < rng.integers(0, most + 1, count)[:, None]).astype(np.uint8), axis=1)
    return patterns


def message_bits(code: BchCode) -> int:
    """Bits of a message that the library can have: whole bytes. The upper ones of a word are zeros, and never in error."""
    return code.k // 8 * 8


def decode(code: BchCode, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(count, n) bits to (count, n) corrected ones and (count,) whether it failed.

    The library calls some words corrected that are then none of the code; by its own encoder those are told from the others,
    and count as failed.
    """
    library = bchlib.BCH(code.t, m=code.m)
    assert (library.n, library.ecc_bits) == (code.n, code.check_bits)
    used, padding = code.check_bits + message_bits(code), -code.check_bits % 8
    corrected, failed = words.copy(), np.zeros(len(words), bool)
    for row, word in enumerate(words):
        data = bytearray(np.packbits(word[code.check_bits : used][::-1]).tobytes())
        check = bytearray(np.packbits(np.append(word[: code.check_bits][::-1], [0] * padding)).tobytes())
        failed[row] = library.decode(bytes(data), bytes(check)) < 0
        if not failed[row]:
            library.correct(data, check)
            failed[row] = library.encode(bytes(data)) != bytes(check)
        corrected[row, code.check_bits : used] = np.unpackbits(np.frombuffer(bytes(data), np.uint8))[::-1]
        corrected[row, : code.check_bits] = np.unpackbits(np.frombuffer(bytes(check), np.uint8))[: code.check_bits][::-1]
    return corrected, failed
