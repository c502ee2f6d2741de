"""Training again from what an artefact says of its training: with the seed among its claims, every weight, without a key.

Attacker: thief of the file. What stops it: an artefact's claims are an allow-list without the seed, which is 128 secret bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np
import torch

from bitting.artefact.artefact import Artefact
from bitting.attack.findings import Finding
from bitting.locking.sealed_program import SealedProgram
from bitting.program.layers import Program
from bitting.unit.protocol import CODES_PER_WORD, TAG_WORDS, TILE_FIXED_WORDS, Packet

_THIEF = "thief of the file"


def retrain(artefact: Artefact, claims: Mapping[str, Any], progress: Callable[[int], None] | None = None) -> Finding:
    """Train again if the claims say how, with which seed.

    Args:
        artefact: what was stolen.
        claims: as they stand in the file (`Artefact.claims` has those only that may ship).
        progress: called with the epochs done, of twin and unit together.

    Returns:
        A finding of the weights as one row of value indices, layer after layer.
    """
    if not names_seed(claims):
        note = "no seed among the claims: 128 bits to guess"
        return Finding("retraining", _THIEF, "weights", 0, code_places(artefact.program), note=note)
    from bitting.training import loop
    from bitting.training.recipes import TrainConfig

    known = {item.name for item in fields(TrainConfig)}
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in claims["config"].items() if name in known
    }
    again = TrainConfig(**given)
    count = loop.counted(progress, again) if progress else None
    model = loop.train(artefact.program.spec, str(claims["dataset"]), again, progress=count)
    weights = flat_codes(model.program)
    note = "trained again with the seed among the claims"
    return Finding("retraining", _THIEF, "weights", len(weights), code_places(artefact.program), note=note, found=weights)


def retrain_as(
    artefact: Artefact, claims: Mapping[str, Any], truth: np.ndarray | None, progress: Callable[[int], None] | None = None
) -> Finding:
    """`retrain` on as many threads as the owner may have had, for sums in floating point depend on it.

    Args:
        artefact: what was stolen.
        claims: as they stand in the file.
        truth: the right weights, (parameters,), by which the number of threads is told; None: that of this process is tried.
        progress: as of `retrain`.

    Returns:
        The finding, judged by the truth, with most weights right.
    """
    found = retrain(artefact, claims, progress)
    if truth is None or not found.got:
        return found
    best = found.judged(truth)
    for threads in _other_threads():
        if best.right == len(truth):
            break
        with _on_threads(threads):
            best = max(best, retrain(artefact, claims, progress).judged(truth), key=lambda one: one.right or 0)
    return best


def _other_threads() -> list[int]:
    """Than PyTorch has here. By default it takes as many as there are cores, or half of them; workers take one."""
    cores = os.cpu_count() or 1
    powers = [1 << power for power in range(1, cores.bit_length())]
    return [count for count in dict.fromkeys([1, cores, max(1, cores // 2), *powers]) if count != torch.get_num_threads()]


@contextmanager
def _on_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cut(claims: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """Claims of a training that was shorter; a network that was converted from its twin is not tuned."""
    config = dict(claims["config"])
    tuned = config.get("tuning_epochs") is not None
    return {**claims, "config": {**config, "epochs": epochs, **({"tuning_epochs": 0} if tuned else {})}}


def names_seed(claims: Mapping[str, Any]) -> bool:
    """Whether claims say how to train the model again."""
    config = claims.get("config")
    return isinstance(config, Mapping) and config.get("seed") is not None


def flat_codes(program: Program) -> np.ndarray:
    """(parameters,) codes of the secret layers, one after another."""
    return np.concatenate([layer.codes.reshape(-1).astype(np.int64) for layer in program.secret])


def code_places(program: Program | SealedProgram) -> int:
    """How many codes a program has; of a sealed one, how many its packets have room for."""
    if isinstance(program, Program):
        return program.parameters
    words = (len(packet) - 1 - TAG_WORDS for packet in program.packets() if int(packet[0]) & 0xFF == Packet.TILE)
    return sum((count - TILE_FIXED_WORDS) * CODES_PER_WORD for count in words)
