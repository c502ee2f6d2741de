"""What a host sends, and how much it gets: the command words of an artefact, in their order. No key is needed for that."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.errors import ArtefactError
from bitting.locking.sealed_program import SealedProgram
from bitting.program import packets
from bitting.program.layers import Program
from bitting.unit.spec import UnitSpec


@dataclass(frozen=True, eq=False)
class HostWords:
    """Runs of uint32 command words: after a reset `helper` and `once`; then for each batch `head`, its ACTIVATIONS, and `body`.

    Attributes:
        spec: of the unit.
        helper: the HELPER packet of a device with a PUF, answered with a PUF_REPLY; empty for others.
        once: the challenge and START (UNLOCK); empty without a lock key.
        again: what goes before every batch but the first after a reset: START; empty without a lock key.
        head: the PROGRAM packet of a sealed program; else empty.
        body: layers and tiles.
        program: whose input goes between head and body.
        outputs: accumulators of each sample.
        results: words that the device answers to a batch.
    """

    spec: UnitSpec
    helper: np.ndarray
    once: np.ndarray
    again: np.ndarray
    head: np.ndarray
    body: np.ndarray
    program: Program | SealedProgram
    outputs: int
    results: int

    @classmethod
    def of(cls, artefact: Artefact, report: bool) -> HostWords:
        """Of an artefact.

        Args:
            artefact: as loaded; sealed or not.
            report: ask for the cycles of every tile; of a sealed program only its owner decides that.
        """
        program, scheme = artefact.program, artefact.scheme
        none = np.empty(0, packets.WORDS)
        if isinstance(program, SealedProgram):
            head, body, results = program.head, program.body, program.result_words
        else:
            head, body = none, packets.program_packets(program, report)
            results = packets.result_words(program, report)
        again = packets.unlock_packet() if scheme.keyed else none
        helper = packets.helper_packet(artefact.helper) if artefact.helper else none
        return cls(program.spec, helper, scheme.packets(), again, head, body, program, program.outputs, results)

    def from_flash(self) -> HostWords:
        """What is left to the host of a board that plays the program from its flash: ACTIVATIONS.

        Raises:
            ArtefactError: if the device has a PUF.
        """
        if len(self.helper):
            raise ArtefactError("the artefact is for a device with a PUF, and no flash player boots one; leave --flash out")
        none = np.empty(0, packets.WORDS)
        return replace(self, helper=none, once=none, again=none, head=none, body=none)

    def batch(self, activations: np.ndarray) -> np.ndarray:
        """Command words of (samples, sample_words) int8, a batch at most; the lanes left over compute zeros."""
        inputs = packets.inputs_packet(self.program, activations)
        return np.concatenate([self.head, inputs, self.body])
