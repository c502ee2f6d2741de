"""A chip of the same RTL with a root secret of its own, given what was made for another chip.

Attacker: counterfeiter without the root secret. What stops it: the lock key is computed under a seed that follows from the root
secret, so a chip that answers the challenge rightly still derives another one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.attack.crafted_challenge import Measure, craft
from bitting.attack.findings import Finding
from bitting.attack.port import Probe, Reply
from bitting.attack.streams import Stream


def impersonate(
    probe: Probe, artefact: Artefact, x: np.ndarray, rightful: Reply, wanted: np.ndarray, measure: Measure
) -> Finding:
    """Run an artefact as it ships, and with a challenge that this chip answers as the right one answers its own.

    Args:
        probe: the counterfeit.
        artefact: locked with a key, for another chip.
        x: (samples, input_words) int8, at most L samples.
        rightful: what the right device answers to them.
        wanted: what it answers to the challenge.
        measure: of the counterfeit.

    Returns:
        A finding of (samples,) flags: whether all sums of a sample are those of the right device, in either try.
    """
    streams, scheme, samples = [Stream.of(artefact, x)], artefact.scheme, len(x)
    note = "as it ships"
    if challenge := craft(probe.spec, scheme.fingerprint, wanted, measure):
        streams.append(Stream.of(replace(artefact, scheme=replace(scheme, challenge=challenge)), x))
        note += f", and with {len(challenge.program.layers)} layers of constants in the place of the challenge"
    right = np.zeros(samples, bool)
    for stream in streams:
        sums = stream.sent(probe).sums
        if sums.shape == rightful.sums.shape and len(sums):
            right |= (sums == rightful.sums).all(axis=0)[:samples]
    return Finding.of_probe(
        probe, "chip without the secret", "counterfeiter without the root secret", "answers as of the right device",
        int(right.sum()), samples, note, right,
    )  # fmt: skip
