"""What a host sends, and how much it gets: the command words of an artefact, in their order. No key is needed for that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.locking.sealed_program import SealedProgram
from bitting.program import packets
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
        input_base, input_words: where the input goes, in scratch words.
        outputs: accumulators of each sample.
        results: words that the device answers to a batch.
    """

    spec: UnitSpec
    helper: np.ndarray
    once: np.ndarray
    again: np.ndarray
    head: np.ndarray
    body: np.ndarray
    input_base: int
    input_words: int
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
        region = (program.input_base, program.input_words)
        helper = packets.helper_packet(artefact.helper) if artefact.helper else none
        return cls(program.spec, helper, scheme.packets(), again, head, body, *region, program.outputs, results)

    def batch(self, activations: np.ndarray) -> np.ndarray:
        """Command words of (samples, input_words) int8, at most L samples; the lanes left over compute zeros."""
        inputs = packets.activations_packet(self.spec, self.input_base, activations)
        return np.concatenate([self.head, inputs, self.body])
