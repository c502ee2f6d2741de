"""What a device with another key makes of a locked artefact: random keys and the one-bit neighbours of the right one.

With the vault `aes` it computes noise. With `ascon` it refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from bitting.emulator.emulate import Emulator
from bitting.errors import AuthenticityError
from bitting.locking.chip import ChipModel
from bitting.locking.device import ROOT_BYTES, Device
from bitting.locking.scheme import LockScheme
from bitting.locking.sealed_program import SealedProgram
from bitting.locking.transform import unlock_program
from bitting.program.interface import Interface, of_program
from bitting.program.layers import Program

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Survey:
    """Accuracy of wrong devices on a test set.

    Attributes:
        samples: test samples.
        right: accuracy of the right device.
        random_keys, neighbours: how many were tried.
        refused: how many wrong devices refused the artefact, so that there is no answer to count.
        best, best_name: the wrong device that did best, which is what the owner fears; None and "" if all refused.
        best_neighbour: best of the one-bit neighbours; None if all of them refused, or there were none.
        mean: over all wrong devices that answered, or None.
    """

    samples: int
    right: float
    random_keys: int
    neighbours: int
    refused: int
    best: float | None
    best_name: str
    best_neighbour: float | None
    mean: float | None
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)


def random_device(device: Device, seed: int, index: int) -> Device:
    """Wrong device number `index` of a seeded sequence."""
    return Device(device.spec, np.random.default_rng([seed, index]).bytes(ROOT_BYTES), sealed=device.sealed)


def wrong_devices(device: Device, random_keys: int, neighbours: bool, seed: int) -> Iterator[tuple[str, Device]]:
    """Named wrong devices."""
    for index in range(random_keys):
        yield f"random key {index}", random_device(device, seed, index)
    if neighbours:
        for bit in range(8 * ROOT_BYTES):
            yield f"bit {bit} flipped", device.with_flipped_bit(bit)


def scores(
    locked: Program | SealedProgram,
    scheme: LockScheme,
    devices: Iterable[Device],
    activations: np.ndarray,
    labels: np.ndarray,
    interface: Interface | None = None,
) -> Iterator[float | None]:
    """Accuracy (`Interface.rating`) of each device on (samples, input_words) activations; None of one that refuses."""
    x = torch.from_numpy(activations)
    rating = (interface or of_program(locked.spec, locked.sample_words)).rating
    for device in devices:
        try:
            opened = unlock_program(locked, scheme, ChipModel.of(device))
        except AuthenticityError:
            yield None
            continue
        yield rating(Emulator(opened, device.table())(x).numpy(), labels)


def survey(
    locked: Program | SealedProgram,
    scheme: LockScheme,
    device: Device,
    activations: np.ndarray,
    labels: np.ndarray,
    *,
    random_keys: int = 1000,
    neighbours: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
    interface: Interface | None = None,
) -> Survey:
    """Run the emulator of every wrong device over a test set, but for those that refuse.

    Args:
        locked: program locked to `device`, or sealed for it.
        scheme: how it is locked.
        device: the right one.
        activations: (samples, input_words).
        labels: (samples,).
        random_keys: wrong devices with a random root secret.
        neighbours: try the 128 devices too whose root secret differs from the right one in a bit.
        seed: of the random root secrets.
        progress: called with (done, total).
        interface: what the sums say, and so what counts; by default the share of samples whose largest sum is at their label.

    Raises:
        AuthenticityError: if `device` refuses, too.
    """
    (right,) = scores(locked, scheme, [device], activations, labels, interface)
    if right is None:
        raise AuthenticityError("the device refuses the artefact, too: it is for another device, or it was changed")
    total = random_keys + 8 * ROOT_BYTES * neighbours
    names, devices = zip(*wrong_devices(device, random_keys, neighbours, seed), strict=True) if total else ((), ())
    found: list[tuple[float, str]] = []
    for done, score in enumerate(scores(locked, scheme, devices, activations, labels, interface)):
        if score is not None:
            found.append((score, names[done]))
        if progress:
            progress(done + 1, total)
    best, best_name = max(found, default=(None, ""))
    return Survey(
        samples=len(labels),
        right=right,
        random_keys=random_keys,
        neighbours=total - random_keys,
        refused=total - len(found),
        best=best,
        best_name=best_name,
        best_neighbour=max((score for score, name in found if name.startswith("bit")), default=None),
        mean=float(np.mean([score for score, _ in found])) if found else None,
        seed=seed,
    )
