"""Guessing the root secret: all of what is unknown, by climbing, with a part of it known.

Attacker: thief of the file, who has the emulator of the family. A guess is told right by the tag of the first sealed packet; by
the vault `aes`, which has none, by the self-test in the artefact, or else by a few labelled samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bitting.artefact.artefact import Artefact
from bitting.artefact.self_test import SelfTest
from bitting.attack.weak import with_known_bits
from bitting.emulator.emulate import Emulator
from bitting.errors import AuthenticityError
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.transform import unlock_program

#: A wrong key answers a self-test of any size so by chance only: the sums of noise.
_RIGHT = 1.0
SECONDS_A_YEAR = 365.25 * 24 * 3600


def tells_right(artefact: Artefact, test: SelfTest) -> Callable[[Device], bool]:
    """A test for guesses: the artefact opens, or its self-test is answered as the right device does."""

    def right(device: Device) -> bool:
        return score(artefact, device, test.questions, lambda sums: float((sums == test.answers).all())) == _RIGHT

    return right


def score(artefact: Artefact, device: Device, inputs: np.ndarray, rate: Callable[[np.ndarray], float]) -> float:
    """What a rate says of the answers (samples, outputs) of a device to (samples, input_words); 0 if it refuses.

    A sealed program that opens is right, and is not run: 1.
    """
    try:
        opened = unlock_program(artefact.program, artefact.scheme, ChipModel.of(device))
    except AuthenticityError:
        return 0.0
    if artefact.scheme.seals:
        return 1.0
    return rate(Emulator(opened, device.table())(torch.from_numpy(inputs)).numpy())


def exhaustive(device: Device, right: Callable[[Device], bool], known: int, guesses: Sequence[int]) -> int | None:
    """Try every guess at the unknown bits; the one that is right, or None.

    Args:
        device: its first `known` bits are known; the others are not looked at.
        right: tells a right device.
        known: bits, 0..128.
        guesses: values of the other bits, in the order in which they are tried.
    """
    for guess in guesses:
        if right(with_known_bits(device, known, guess)):
            return guess
    return None


def core_years(bits: int, guesses_a_second: float) -> float:
    """Time for half of all keys of so many bits, of one core at a measured rate."""
    return float(2.0 ** (bits - 1) / guesses_a_second / SECONDS_A_YEAR)


@dataclass(frozen=True)
class Climb:
    """Where a climb ended. `scores`: the best so far, after each guess; `wrong_bits`: of the key that it ended with."""

    scores: list[float]
    wrong_bits: int


def climb(objective: Callable[[np.ndarray], float], right: np.ndarray, steps: int, seed: int) -> Climb:
    """Hill climbing: flip one bit, or two, and keep what is not worse.

    Args:
        objective: of (bits,) zeros and ones; larger is better.
        right: (bits,) the right key, to count wrong bits; the climb does not look at it.
        steps: guesses.
        seed: of the first key and of what is flipped.
    """
    rng = np.random.default_rng(seed)
    key = rng.integers(0, 2, len(right)).astype(np.uint8)
    best, scores = objective(key), []
    for _ in range(steps):
        tried = key.copy()
        tried[rng.choice(len(key), rng.integers(1, 3), replace=False)] ^= 1
        found = objective(tried)
        if found >= best:
            key, best = tried, found
        scores.append(best)
    return Climb(scores, int((key != right).sum()))


def bits_of(root: bytes) -> np.ndarray:
    """(128,) bits of a root secret, the first byte's highest first."""
    return np.unpackbits(np.frombuffer(root, np.uint8))


def root_of(bits: np.ndarray) -> bytes:
    """The root secret of (128,) bits."""
    return np.packbits(bits).tobytes()
