"""A program as a list of sealed packets: what a device with the vault `ascon` takes, and all that an artefact for it holds.

docs/sealed-programs.md says the format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bitting.errors import AuthenticityError, LockError
from bitting.locking import sealing
from bitting.locking.chip import ChipModel
from bitting.program import packets
from bitting.program.bands import Shape, SharedLanes
from bitting.program.layers import Program
from bitting.program.packets import WORDS
from bitting.program.reading import read_layer, read_program
from bitting.unit.protocol import FRAME_WORDS, TAG_WORDS, TILE_DONE_FIXED_WORDS, Packet
from bitting.unit.spec import UnitSpec

#: Words of the PROGRAM packet: header, input region, tag.
PROGRAM_WORDS = 2 + TAG_WORDS


@dataclass(frozen=True, eq=False)
class SealedProgram(SharedLanes):
    """A sealed program, and what is public about it.

    Attributes:
        spec: of the unit.
        words: (n,) uint32, all its packets in their order.
        input_base, input_words: where its input goes.
        outputs: accumulators of each sample.
        tiles: how many the device runs.
        reports: whether it asks for the cycles of every tile.
        picture: of a sample's input, if lanes share samples; as of `bitting.program.layers.Program`.
    """

    spec: UnitSpec
    words: np.ndarray
    input_base: int
    input_words: int
    outputs: int
    tiles: int
    reports: bool = False
    picture: Shape | None = None

    @property
    def head(self) -> np.ndarray:
        """What goes before the input."""
        return self.words[:PROGRAM_WORDS]

    @property
    def body(self) -> np.ndarray:
        """What goes after it."""
        return self.words[PROGRAM_WORDS:]

    @property
    def result_words(self) -> int:
        """How many words the device answers to an input."""
        reported = self.tiles if self.reports else self.outputs
        return reported * (TILE_DONE_FIXED_WORDS + FRAME_WORDS) + self.outputs * self.samples

    def commands(self, before: np.ndarray, activations: np.ndarray) -> np.ndarray:
        """All command words of a batch: what goes before (a challenge, or UNLOCK), the program, and its input in its place.

        Args:
            before: words.
            activations: (samples, sample_words) int8, of a batch at most.
        """
        inputs = packets.inputs_packet(self, activations)
        return np.concatenate([before, self.head, inputs, self.body])

    def packets(self) -> Iterator[np.ndarray]:
        """Each packet with its header and its tag.

        Raises:
            LockError: if the words end within a packet.
        """
        at = 0
        while at < len(self.words):
            end = at + 1 + (int(self.words[at]) >> 16) + TAG_WORDS
            if end > len(self.words):
                raise LockError(f"the sealed packet at word {at} ends after {end} words, there are {len(self.words)}")
            yield self.words[at:end]
            at = end


def seal_program(clear: Program, key: bytes, chip: ChipModel, clocked: bool, reports: bool = False) -> SealedProgram:
    """Seal a program whose codes are in the device's own number format.

    Args:
        clear: the program.
        key: the lock key, 16 bytes; of no other program.
        chip: what it will run on; its cycles count if `clocked`.
        clocked: bind every packet to the cycles before it.
        reports: ask for every tile's cycles.
    """
    plain = [np.array([Packet.PROGRAM | 1 << 16, clear.input_base | clear.input_words << 16], WORDS)]
    plain += [packet[:-1] for packet in packets.packet_list(clear, reports)]  # a tag takes the CRC's place
    before = _cycles_before(clear, chip) if clocked else np.zeros(len(plain), np.int64)
    return SealedProgram(
        spec=clear.spec,
        words=np.concatenate(sealing.seal(key, plain, before)),
        input_base=clear.input_base,
        input_words=clear.input_words,
        outputs=sum(layer.channels for layer in clear.layers if layer.emits),
        tiles=sum(layer.tiles for layer in clear.layers),
        reports=reports,
        picture=clear.picture,
    )


def open_program(sealed: SealedProgram, key: bytes, chip: ChipModel, clocked: bool) -> Program:
    """The program in clear, as a chip opens it: packet after packet, each only if its tag is right.

    Raises:
        AuthenticityError: naming the first packet that is not authentic.
        LockError: if the input region is not the one that the artefact names.
    """
    opened = _clocked(sealed, key, chip) if clocked else _at_once(sealed, key)
    base, count = int(opened[0][1]) & 0xFFFF, int(opened[0][1]) >> 16
    if (base, count) != (sealed.input_base, sealed.input_words):
        raise LockError(
            f"the artefact names {sealed.input_words} input words at {sealed.input_base}, the sealed program {count} at {base}"
        )
    return read_program(sealed.spec, base, count, opened[1:], sealed.picture)


def _refuse(number: int) -> AuthenticityError:
    return AuthenticityError(
        f"packet {number} of the sealed program is not authentic: it is for another device, or it was changed"
    )


def _at_once(sealed: SealedProgram, key: bytes) -> list[np.ndarray]:
    locked = list(sealed.packets())
    if not sealing.opened(key, locked[:1], np.zeros(1, np.int64))[1].all():  # a wrong key costs one packet
        raise _refuse(0)
    opened, right = sealing.opened(key, locked, np.zeros(len(locked), np.int64))
    if not right.all():
        raise _refuse(int(np.argmin(right)))
    return opened


def _clocked(sealed: SealedProgram, key: bytes, chip: ChipModel) -> list[np.ndarray]:
    """One after another, for each needs the cycles of what earlier ones became."""
    opened: list[np.ndarray] = []
    before, last, tiles = 0, 0, 0  # cycles of all tiles but the last, of the last; how many there were
    for number, packet in enumerate(sealed.packets()):
        (clear,), right = sealing.opened(key, [packet], np.array([before]), first=number)
        if not right.all():
            raise _refuse(number)
        opened.append(clear)
        kind = int(clear[0]) & 0xFF
        if kind == Packet.LAYER:
            layer = clear
        elif kind == Packet.TILE:
            tile = read_layer(layer, [clear])
            before += last
            last = int(chip.tile_cycles(tile, tile.codes)[0]) + (chip.glitch == tiles)
            tiles += 1
    return opened


def _cycles_before(clear: Program, chip: ChipModel) -> np.ndarray:
    """For each packet of a program the cycles of all tiles before the last one before it."""
    counts = [0, 0]
    for layer in clear.layers:
        counts += chip.tile_cycles(layer, layer.codes).tolist()
    sums = np.cumsum(counts)
    tiles_before, seen = [0], 0
    for layer in clear.layers:
        tiles_before.append(seen)
        tiles_before += range(seen, seen + layer.tiles)
        seen += layer.tiles
    return sums[np.array(tiles_before)]
