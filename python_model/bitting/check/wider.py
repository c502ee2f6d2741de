"""The same artefact for an engine with more lanes, which computes more samples in the same clocks.

Its units derive the device's own table (`bitting.unit.widened`), so every tile has the same codes and the same cycles. What
is the artefact's own, and what is not:

* `vault=aes`: the program's own words. Its lock key comes from cycle counts (`clock`), which all lanes share; the challenge
  is the artefact's, with zeros in the lanes that are new. With `numeric` the key comes from the sums of all lanes: refused.
* `vault=ascon`: every word of the challenge enters the lock key, those of more lanes too. So the program is opened with the
  device's key and sealed again, under a key that nothing but this simulation has.
* A program without a lock key: its own words.

That the artefact opens on its own device is for the device's own engine to show.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.errors import LockError
from bitting.locking.challenge import Challenge
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.kinds import Fingerprint
from bitting.locking.scheme import NONCE_BYTES, LockScheme
from bitting.locking.sealed_program import SealedProgram
from bitting.locking.transform import seal_for
from bitting.program.layers import Program
from bitting.unit.widened import WidenedSpec


def widened_spec(artefact: Artefact, lanes: int) -> WidenedSpec:
    """The spec of an engine of `lanes` lanes that can run the artefact.

    Raises:
        LockError: if the lock key comes from the sums of all lanes.
        SpecError: if `lanes` is not more than the device has, or more than there can be.
    """
    spec, scheme = artefact.program.spec, artefact.scheme
    if scheme.fingerprint == Fingerprint.NUMERIC and not scheme.seals:
        raise LockError(
            f"the lock key comes from the sums of all {spec.lanes} lanes (fingerprint numeric), so an engine with {lanes} "
            "derives another one; allowed with more lanes: fingerprint clock"
        )
    return WidenedSpec.of(spec, lanes)


def widen(artefact: Artefact, device: Device, clear: Program, lanes: int) -> tuple[Artefact, Device, Program]:
    """The artefact, its device and the program in clear as they are on an engine of `lanes` lanes, to stay in this process.

    Args:
        artefact: the device's own.
        device: it.
        clear: the program as the device opens it.
        lanes: more than the device has.

    Raises:
        LockError, SpecError: as `widened_spec`.
    """
    program, scheme = artefact.program, artefact.scheme
    spec = widened_spec(artefact, lanes)
    wide, clear = replace(device, spec=spec), replace(clear, spec=spec)
    if isinstance(program, SealedProgram):
        nonce = hashlib.sha256(b"wider" + scheme.nonce).digest()[:NONCE_BYTES]  # the same every time: a run can be resumed
        anew = LockScheme.new(spec, scheme.fingerprint, scheme.transform, scheme.level, nonce)
        sealed = seal_for(clear, ChipModel.of(wide), anew)
        return Artefact(sealed, anew, artefact.claims, interface=artefact.interface), wide, clear
    if scheme.challenge:
        asked = scheme.challenge
        more = np.zeros((lanes - len(asked.activations), asked.activations.shape[1]), np.int8)
        challenge = Challenge(replace(asked.program, spec=spec), np.concatenate([asked.activations, more]))
        scheme = replace(scheme, challenge=challenge)
    wider = replace(program, spec=spec)
    return Artefact(wider, scheme, artefact.claims, interface=artefact.interface), wide, clear
