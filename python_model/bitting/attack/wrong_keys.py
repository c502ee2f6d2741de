"""What a device with another key makes of a locked artefact: random keys and the one-bit neighbours of the right one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from bitting.emulator.emulate import Emulator
from bitting.locking.chip import ChipModel
from bitting.locking.device import ROOT_BYTES, Device
from bitting.locking.scheme import LockScheme
from bitting.locking.transform import unlock_program
from bitting.network.metrics import accuracy
from bitting.program.layers import Program

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Survey:
    """Accuracy of wrong devices on a test set.

    Attributes:
        samples: test samples.
        right: accuracy of the right device.
        random_keys, neighbours: how many were tried.
        best, best_name: the wrong device that did best, which is what the owner fears.
        best_neighbour: best of the one-bit neighbours.
        mean: over all wrong devices.
    """

    samples: int
    right: float
    random_keys: int
    neighbours: int
    best: float
    best_name: str
    best_neighbour: float
    mean: float
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)


def random_device(device: Device, seed: int, index: int) -> Device:
    """Wrong device number `index` of a seeded sequence."""
    return Device(device.spec, np.random.default_rng([seed, index]).bytes(ROOT_BYTES))


def wrong_devices(device: Device, random_keys: int, neighbours: bool, seed: int) -> Iterator[tuple[str, Device]]:
    """Named wrong devices."""
    for index in range(random_keys):
        yield f"random key {index}", random_device(device, seed, index)
    if neighbours:
        for bit in range(8 * ROOT_BYTES):
            yield f"bit {bit} flipped", device.with_flipped_bit(bit)


def survey(
    locked: Program,
    scheme: LockScheme,
    device: Device,
    activations: np.ndarray,
    labels: np.ndarray,
    *,
    random_keys: int = 1000,
    neighbours: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
) -> Survey:
    """Run the emulator of every wrong device over a test set.

    Args:
        locked: program locked to `device`.
        scheme: how it is locked.
        device: the right one.
        activations: (samples, input_words).
        labels: (samples,).
        random_keys: wrong devices with a random root secret.
        neighbours: try the 128 devices too whose root secret differs from the right one in a bit.
        seed: of the random root secrets.
        progress: called with (done, total).
    """
    x, y = torch.from_numpy(activations), torch.from_numpy(labels)

    def accuracy_on(chip: Device) -> float:
        return accuracy(Emulator(unlock_program(locked, scheme, ChipModel.of(chip)), chip.table())(x), y)

    right = accuracy_on(device)
    total = random_keys + 8 * ROOT_BYTES * neighbours
    scores: list[tuple[float, str]] = []
    for name, wrong in wrong_devices(device, random_keys, neighbours, seed):
        scores.append((accuracy_on(wrong), name))
        if progress:
            progress(len(scores), total)
    best, best_name = max(scores)
    return Survey(
        samples=len(labels),
        right=right,
        random_keys=random_keys,
        neighbours=total - random_keys,
        best=best,
        best_name=best_name,
        best_neighbour=max((score for score, name in scores if name.startswith("bit")), default=0.0),
        mean=float(np.mean([score for score, _ in scores])),
        seed=seed,
    )
