"""Transforms of the codes. So far `table`: the codes are written in the device's own number format.

The table alone is **not** a lock: it is 2^b unknowns shared by the whole network, and gradient descent finds it
(`scripts/break_table.py`). It makes behaviour device-specific; the keyed transforms to come are the locks.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from bitting.device import Device
from bitting.program import Program


@dataclass(frozen=True)
class LockDescription:
    """What an artefact says of its lock: public, no secret.

    Attributes:
        transform: what was done to the codes.
        fingerprint: what the device derives the key from, or "none".
        level: level of the claim (family, key, die).
        caution: what the lock does not withstand.
    """

    transform: str = "table"
    fingerprint: str = "none"
    level: str = "key"
    caution: str = "the bitting table alone is no lock: gradient descent with a few labelled samples has recovered it"

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def lock(model: Program, device: Device) -> tuple[Program, LockDescription]:
    """Personalise an unlocked program (codes are value indices) to a device. Takes milliseconds, changes no weight.

    Raises:
        DeviceError: if the device is of another family.
    """
    device.require_spec(model.spec, "the model")
    return model.map_codes(inverse(device.table())), LockDescription()


def unlock(locked: Program, device: Device) -> Program:
    """Inverse of `lock`, for the owner of the device's key.

    Raises:
        DeviceError: if the device is of another family.
    """
    device.require_spec(locked.spec, "the artefact")
    return locked.map_codes(device.table())


def inverse(table: tuple[int, ...]) -> list[int]:
    """Value index -> code."""
    codes = [0] * len(table)
    for code, index in enumerate(table):
        codes[index] = code
    return codes
