"""Artefacts that are the same each time: the nonce, which locking draws, is fixed.

Some verdicts are statistical tests, which one file in twenty, or in a hundred, fails by chance.
"""

from dataclasses import replace

from bitting.artefact.artefact import Artefact
from bitting.artefact.model import Model
from bitting.artefact.self_test import SelfTest
from bitting.locking.device import Device
from bitting.locking.scheme import NONCE_BYTES, LockScheme
from bitting.locking.transform import personalise


def locked_alike(model: Model, device: Device, fingerprint: str, transform: str) -> Artefact:
    """The model locked for a device, as `lock` does it, but under one nonce."""
    scheme = LockScheme.new(device.spec, fingerprint, transform, device.level, nonce=bytes(range(16, 16 + NONCE_BYTES)))
    program = replace(model.program, spec=device.spec)
    locked = personalise(program, device, scheme)
    return Artefact(locked, scheme, model.claims, self_test=SelfTest.of(program), interface=model.interface)
