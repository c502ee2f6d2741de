"""What the user before has left: his inputs and hidden activations, printed by whoever comes after a reset.

Attacker: whoever uses the device next. Constant tiles print the scratch memory, and need no key. What stops it: the sweep,
which overwrites it before anything else is possible; and no clear execution.
"""

from __future__ import annotations

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.attack.findings import Finding
from bitting.attack.port import Probe, layer_words, printing, sums_words
from bitting.attack.streams import Stream
from bitting.locking.transform import seal_with_zeros
from bitting.program import packets
from bitting.program.layers import Layer, Program
from bitting.unit.protocol import Packet
from bitting.unit.spec import UnitSpec, VaultKind

_NOTHING = np.empty(0, packets.WORDS)
#: How the user's time ends; a reset follows.
ENDINGS = {
    "reset": _NOTHING,
    "LOCK_NOW": packets.frame(Packet.LOCK_NOW, _NOTHING),
    "an error": packets.frame(0x77, _NOTHING),
}


def read_residue(probe: Probe, artefact: Artefact, x: np.ndarray, hidden: np.ndarray) -> Finding:
    """Let a user run his inputs, and look for them and for hidden activations after each way to end.

    Args:
        probe: the port; what the user sends is not counted.
        artefact: of any vault.
        x: (samples, input_words) int8: the user's.
        hidden: (n,) scratch words that hidden layers write; the next user knows the architecture.

    Returns:
        A finding of (endings, n, L) words printed, input first; -1 << 31 where none came.
    """
    program, spec = artefact.program, artefact.program.spec
    inputs = np.arange(program.input_base, program.input_base + program.input_words)
    places = np.concatenate([inputs, hidden])
    printed = np.full((len(ENDINGS), len(places), spec.lanes), -1 << 31, np.int64)
    for number, ending in enumerate(ENDINGS.values()):
        for attempt in _attempts(spec, printing(spec, places)):
            _use(probe, artefact, x, ending)
            sums = probe.ask(attempt, sums_words(spec, len(places))).sums
            if len(sums) == len(places):
                printed[number] = sums
    got = int((printed >= spec.act_min).sum())
    note = f"constant tiles that print, after {', '.join(ENDINGS)}"
    return Finding.of_probe(probe, "residue", "whoever uses it next", "activations", got, printed.size, note, printed)


def _use(probe: Probe, artefact: Artefact, x: np.ndarray, ending: np.ndarray) -> None:
    stream = Stream.of(artefact, x)
    probe.port.reset()
    probe.port.run(np.concatenate([stream.head, *stream.packets, ending]), stream.result_words, quiet_limit=probe.patience)


def _attempts(spec: UnitSpec, printed: Layer) -> list[list[np.ndarray]]:
    """In clear; with the vault `ascon` also sealed with zeros, as an unsealed device takes it."""
    attempts = [layer_words(printed)]
    if spec.vault == VaultKind.ASCON:
        # The program's own input goes to the last word, so that it overwrites nothing that matters.
        sealed = seal_with_zeros(Program(spec, (printed,), spec.scratch_words - 1, 1))
        inputs = packets.activations_packet(spec, spec.scratch_words - 1, np.zeros((spec.lanes, 1), np.int8))
        attempts.append([sealed.head, inputs, sealed.body])
    return attempts
