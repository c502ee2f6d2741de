"""The rightful stream of an artefact as a list of packets, for attackers to change."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.attack.port import Probe, Reply
from bitting.locking.scheme import LockScheme
from bitting.locking.sealed_program import SealedProgram
from bitting.program import packets
from bitting.program.layers import Program
from bitting.unit.protocol import Packet


@dataclass(frozen=True, eq=False)
class Stream:
    """What a host sends for one batch.

    Attributes:
        head: the challenge and its end, words.
        packets: input and program, in their order.
        result_words: how many words answer it.
    """

    head: np.ndarray
    packets: list[np.ndarray]
    result_words: int

    @classmethod
    def of(cls, artefact: Artefact, x: np.ndarray) -> Stream:
        """The stream of (samples, sample_words) int8 activations, a batch at most."""
        program = artefact.program
        inputs = packets.inputs_packet(program, x)
        if isinstance(program, SealedProgram):
            first, *others = program.packets()
            return cls(artefact.scheme.packets(), [first, inputs, *others], program.result_words)
        words = packets.result_words(program, report=False)
        return cls(artefact.scheme.packets(), [inputs, *packets.packet_list(program, report=False)], words)

    def kinds(self) -> list[int]:
        """Type of each packet."""
        return [int(packet[0]) & 0xFF for packet in self.packets]

    def layers(self) -> list[int]:
        """Places of the LAYER packets."""
        return [place for place, kind in enumerate(self.kinds()) if kind == Packet.LAYER]

    def changed(self, order: list[np.ndarray]) -> Stream:
        """With other packets after the challenge."""
        return replace(self, packets=order)

    def sent(self, probe: Probe, more_words: int = 0) -> Reply:
        """Reset, send, and wait for the answer, or for so many words more."""
        return probe.ask([self.head, *self.packets], self.result_words + more_words)


def reported_cycles(probe: Probe, scheme: LockScheme, program: Program, x: np.ndarray) -> list[int]:
    """Cycles of each tile of a program in clear, or under a lock of the vault `aes`, as the device reports them to anyone."""
    inputs = packets.inputs_packet(program, x)
    reply = probe.ask([scheme.packets(), inputs, packets.program_packets(program)], packets.result_words(program))
    return [tile.cycles for tile in reply.tiles]
