"""The rightful stream of an artefact as a list of packets, for attackers to change."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.attack.port import PATIENCE, Port, Probe, Reply
from bitting.errors import SimulationError
from bitting.locking.scheme import LockScheme
from bitting.locking.sealed_program import SealedProgram
from bitting.program import packets
from bitting.program.layers import Program
from bitting.unit.protocol import Packet
from bitting.unit.spec import UnitSpec

#: Nobody waits longer than so many clocks for the rightful answer.
_LONGEST = 1 << 28
#: By how much more wrong keys may make tiles longer: their codes are others, of more digits.
_LONGER = 2


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

    def some_of(self, places: list[int], most: int) -> list[int]:
        """Of places of packets at most so many: one of each type and length, so that no kind is left out; the rest spread."""
        if len(places) <= most:
            return places
        kinds = self.kinds()
        of_each = list({(kinds[place], len(self.packets[place])): place for place in reversed(places)}.values())[:most]
        others = [place for place in places if place not in of_each]
        spread = np.unique(np.linspace(0, len(others) - 1, most - len(of_each)).round().astype(int))
        return sorted([*of_each, *(others[at] for at in spread)])

    def changed(self, order: list[np.ndarray]) -> Stream:
        """With other packets after the challenge."""
        return replace(self, packets=order)

    def sent(self, probe: Probe, more_words: int = 0) -> Reply:
        """Reset, send, and wait for the answer, or for so many words more."""
        return probe.ask([self.head, *self.packets], self.result_words + more_words)


def patience_for(port: Port, spec: UnitSpec, stream: Stream) -> int:
    """Clocks of silence within which the rightful answer comes: large layers take long, and say nothing meanwhile.

    Whoever holds the chip finds out by waiting longer.

    Args:
        port: of the right chip.
        spec: its family.
        stream: rightful.

    Returns:
        `PATIENCE`, if that is enough; otherwise at least twice what is.

    Raises:
        SimulationError: if the chip does not answer its own stream, so that nothing could be learnt from its silence.
    """
    patience = PATIENCE
    while True:
        reply = stream.sent(Probe(port, spec, patience))
        if not reply.error and len(reply.words) == stream.result_words:
            return patience if patience == PATIENCE else _LONGER * patience
        if reply.error or patience >= _LONGEST:
            why = f"refused it with {reply.error.name}" if reply.error else f"was silent for {patience} clocks"
            raise SimulationError(f"a rightful stream goes to a chip that {why}: attack the chip that it is for")
        patience *= 2


def reported_cycles(probe: Probe, scheme: LockScheme, program: Program, x: np.ndarray) -> list[int]:
    """Cycles of each tile of a program in clear, or under a lock of the vault `aes`, as the device reports them to anyone."""
    inputs = packets.inputs_packet(program, x)
    reply = probe.ask([scheme.packets(), inputs, packets.program_packets(program)], packets.result_words(program))
    return [tile.cycles for tile in reply.tiles]
