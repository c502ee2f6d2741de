"""Locks that controls are made of: public devices, and the model of the group locked for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.locking.device import ROOT_BYTES, Device
from bitting.locking.kinds import Level
from bitting.locking.scheme import NONCE_BYTES, LockScheme
from bitting.locking.transform import personalise
from bitting.program.layers import Program
from bitting.suite.cases import Material
from bitting.unit.spec import VaultKind


def public_device(material: Material, vault: VaultKind, seed: int, sealed: bool | None = None) -> Device:
    """A device whose root secret follows from a seed: good for controls, and for nothing else."""
    spec = replace(material.architecture.spec, vault=vault)
    seals = vault == VaultKind.ASCON if sealed is None else sealed
    return Device(spec, np.random.default_rng(seed).bytes(ROOT_BYTES), sealed=seals)


def locked_for(
    material: Material, device: Device, fingerprint: str, transform: str, seed: int, model: Program | None = None
) -> Artefact:
    """The group's model, or another, locked for a device of any vault, its nonce following from a seed: for trials only."""
    nonce = np.random.default_rng([seed, NONCE_BYTES]).bytes(NONCE_BYTES)
    scheme = LockScheme.new(device.spec, fingerprint, transform, Level.FAMILY, nonce=nonce)
    program = personalise(replace(model or material.architecture, spec=device.spec), device, scheme)
    return Artefact(program, scheme, interface=material.model.interface)


def malleable_or_owned(material: Material, seed: int) -> tuple[Device, Artefact]:
    """For a control a device of the vault `aes`, which checks nothing, and the group's model for it; else the owner's."""
    if not material.case.control:
        return material.owner, material.locked
    device = public_device(material, VaultKind.AES, seed)
    return device, locked_for(material, device, "clock", "aes-pre", seed)
