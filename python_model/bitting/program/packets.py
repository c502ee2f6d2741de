"""Programs and activations to command words, result words back to accumulators and cycles. Knows protocol, programs, numpy."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bitting.errors import FaultError, SimulationError
from bitting.program import bands
from bitting.program.layers import Layer, Program
from bitting.unit.flash_image import FlashFault
from bitting.unit.protocol import (
    BIAS_FIELD_BITS,
    FRAME_WORDS,
    PUF_REPLY_WORDS,
    TILE_DONE_FIXED_WORDS,
    ErrorCode,
    LayerFlag,
    Packet,
    Result,
)
from bitting.unit.spec import UnitSpec

WORDS = np.dtype("<u4")


def crc32(words: np.ndarray) -> int:
    """CRC-32 (ISO-HDLC) of words as little-endian bytes."""
    return zlib.crc32(words.astype(WORDS, copy=False).tobytes())


def frame(kind: int, payload: np.ndarray) -> np.ndarray:
    """A packet: header, payload, CRC; uint32."""
    words = np.empty(len(payload) + FRAME_WORDS, WORDS)
    words[0] = kind | len(payload) << 16
    words[1:-1] = payload
    words[-1] = crc32(words[:-1])
    return words


def packed(values: np.ndarray, per_word: int) -> np.ndarray:
    """Unsigned or two's-complement integers along the last axis, `per_word` in a word, first one lowest; zero padded."""
    bits = 32 // per_word
    padding = -values.shape[-1] % per_word
    fields = np.pad(values.astype(np.int64), [(0, 0)] * (values.ndim - 1) + [(0, padding)]) & ((1 << bits) - 1)
    grouped = fields.reshape(*values.shape[:-1], -1, per_word).astype(np.uint64)
    return (grouped << (np.arange(per_word, dtype=np.uint64) * np.uint64(bits))).sum(axis=-1).astype(WORDS)


def layer_packet(layer: Layer, report: bool) -> np.ndarray:
    """The LAYER packet of a layer; `report` asks for every tile's cycles."""
    flags = layer.flags | (LayerFlag.REPORT if report else 0)
    pairs = (layer.positions, layer.strides, layer.out_strides)
    band = [layer.band[0] | layer.band[1] << 16, layer.edge & 0xFF] if layer.band[1] else []
    fixed = np.array(
        [layer.tile_codes | flags << 16 | layer.shift << 24, *(column | row << 16 for row, column in pairs), *band], WORDS
    )
    return frame(Packet.LAYER, np.concatenate([fixed, packed(layer.offsets, 2)]))


def tile_packets(layer: Layer) -> list[np.ndarray]:
    """One TILE packet for each tile of a layer."""
    codes = packed(layer.codes, 4)
    bases = packed(np.stack([layer.in_base, layer.out_base], axis=1), 2)
    biases = (layer.bias.astype(np.int64) & ((1 << BIAS_FIELD_BITS) - 1) | layer.tile_flags() << BIAS_FIELD_BITS).astype(WORDS)
    return [frame(Packet.TILE, np.concatenate([bases[i], biases[i : i + 1], codes[i]])) for i in range(layer.tiles)]


def activations_packet(spec: UnitSpec, address: int, activations: np.ndarray) -> np.ndarray:
    """ACTIVATIONS for (lanes, words) int activations, at most L lanes; missing lanes are zero."""
    samples, count = activations.shape
    vectors = np.zeros((count, spec.lanes), np.int8)
    vectors[:, :samples] = activations.T
    fixed = np.array([address | count << 16], WORDS)
    return frame(Packet.ACTIVATIONS, np.concatenate([fixed, vectors.view(WORDS).reshape(-1)]))


class Asked(Protocol):
    """What has an input: a program, sealed or not."""

    @property
    def spec(self) -> UnitSpec:
        """Of the unit."""

    @property
    def input_base(self) -> int:
        """Its scratch address."""

    @property
    def picture(self) -> bands.Shape | None:
        """Of a sample, if lanes share samples."""


def inputs_packet(program: Asked, samples: np.ndarray) -> np.ndarray:
    """ACTIVATIONS for (samples, sample_words) int activations of a batch at most, each in its lane or its lanes."""
    lanes = bands.split(samples, program.picture, program.spec.stripes)
    return activations_packet(program.spec, program.input_base, lanes)


def status_packet() -> np.ndarray:
    """The engine answers with a STATUS_REPLY packet: `STATUS_WORDS + FRAME_WORDS` words."""
    return frame(Packet.STATUS, np.empty(0, WORDS))


def helper_packet(words: Sequence[int]) -> np.ndarray:
    """Helper data for an engine with a PUF, which answers with a PUF_REPLY: `PUF_REPLY_WORDS + FRAME_WORDS` words."""
    return frame(Packet.HELPER, np.array(words, WORDS))


def enrol_packet() -> np.ndarray:
    """An engine with a PUF, if its fuse `sealed` is not blown, answers with SUMS: a word for each pair, and `FRAME_WORDS`."""
    return frame(Packet.ENROL, np.empty(0, WORDS))


@dataclass(frozen=True)
class PufReply:
    """What a PUF_REPLY says.

    Attributes:
        spec_id: the low 32 bits of it.
        rooted: there is a root secret: the engine boots, and takes all packets from now on.
        sealed: the fuse of that name is blown.
        attempts: to make the root secret since reset, the last one counted; 255 or more are 255.
    """

    spec_id: int
    rooted: bool
    sealed: bool
    attempts: int

    @classmethod
    def of(cls, words: np.ndarray) -> PufReply:
        """Of a packet.

        Raises:
            FaultError: naming the error that the engine reported.
            SimulationError: for anything else.
        """
        if not len(words):
            raise SimulationError(
                "no answer came; a board with a PUF measures for seconds first: is it the right line, and is it powered?"
            )
        found = list(split(words))
        for kind, payload in found:
            _raise_fault(kind, payload)
        if [(kind, len(payload)) for kind, payload in found] != [(Result.PUF_REPLY, PUF_REPLY_WORDS)]:
            raise SimulationError(f"{len(words)} words came that are no PUF_REPLY: this engine has no PUF; take one that has")
        (_, payload) = found[0]
        state = int(payload[1])
        return cls(int(payload[0]), bool(state & 1), bool(state & 2), state >> 8 & 0xFF)


def unlock_packet() -> np.ndarray:
    """Ends a challenge; with a key in place, begins the locked program again. There is no answer."""
    return frame(Packet.UNLOCK, np.empty(0, WORDS))


def layer_packets(layer: Layer, report: bool = True) -> list[np.ndarray]:
    """A layer's packet, and after it those of its tiles; `report` asks for every tile's cycles."""
    return [layer_packet(layer, report), *tile_packets(layer)]


def packet_list(program: Program, report: bool = True) -> list[np.ndarray]:
    """The packets of all layers, one after another; `report` as in `layer_packets`."""
    return [packet for layer in program.layers for packet in layer_packets(layer, report)]


def program_packets(program: Program, report: bool = True) -> np.ndarray:
    """All layers and tiles of a program, as one run of words; the same for every batch of samples."""
    return np.concatenate(packet_list(program, report))


def result_words(program: Program, report: bool = True) -> int:
    """How many result words `program_packets` makes the engine send."""
    total = 0
    for layer in program.layers:
        if report:
            total += layer.tiles * (TILE_DONE_FIXED_WORDS + FRAME_WORDS)
        if layer.emits:
            fixed = 0 if report else TILE_DONE_FIXED_WORDS + FRAME_WORDS
            total += layer.channels * (emitted(program.spec, layer) + fixed)
    return total


def emitted(spec: UnitSpec, layer: Layer) -> int:
    """How many lanes' accumulators a tile of an emitting layer sends."""
    return spec.lanes if layer.every_lane else spec.samples


@dataclass(frozen=True, eq=False)
class ExpectedResults:
    """The result words of a whole program, for an engine fresh from reset.

    Attributes:
        template: all words, with zeros for logits and for the CRCs of packets that carry some.
        logit_positions: (outputs, S) where each accumulator goes, S of them (`emitted`) in a packet.
        cycle_positions: (tiles,) where each cycle count is.
        packet_bounds: (outputs, 2) first word and CRC word of the packets that carry logits.
    """

    template: np.ndarray
    logit_positions: np.ndarray
    cycle_positions: np.ndarray
    packet_bounds: np.ndarray

    @classmethod
    def of(
        cls, program: Program, cycles: Sequence[Sequence[int]], report: bool = True, first_tile: int = 0, told: bool = True
    ) -> ExpectedResults:
        """What an engine answers.

        Args:
            program: the program.
            cycles: of every tile of every layer.
            report: every tile is reported.
            first_tile: how many tiles ran before.
            told: else zeros stand in the place of numbers and cycles of tiles, as a sealed device puts them.
        """
        parts, positions, counts, bounds = [], [], [], []
        start, index = 0, first_tile
        for layer, tile_cycles in zip(program.layers, cycles, strict=True):
            for tile, count in enumerate(tile_cycles):
                emits = layer.emits and (tile + 1) % layer.parts == 0
                if emits or report:
                    lanes = emitted(program.spec, layer) if emits else 0
                    fixed = np.array([index & 0xFFFFFFFF, count] if told else [0, 0], WORDS)
                    packet = frame(Result.TILE_DONE, np.concatenate([fixed, np.zeros(lanes, WORDS)]))
                    if lanes:
                        first = start + 1 + TILE_DONE_FIXED_WORDS
                        positions.append(np.arange(first, first + lanes))
                        bounds.append((start, start + len(packet) - 1))
                    parts.append(packet)
                    counts.append(start + TILE_DONE_FIXED_WORDS)
                    start += len(packet)
                index += 1
        return cls(np.concatenate(parts), np.array(positions), np.array(counts), np.array(bounds))

    def __len__(self) -> int:
        return len(self.template)

    def words(self, logits: np.ndarray) -> np.ndarray:
        """All words for (S, outputs) int32 logits."""
        words = self.template.copy()
        words[self.logit_positions] = logits.T.astype(np.int32).view(WORDS)
        for first, last in self.packet_bounds:
            words[last] = crc32(words[first:last])
        return words

    def logits(self, words: np.ndarray) -> np.ndarray:
        """(S, outputs) int32 logits of received words of the right number."""
        return words[self.logit_positions].view(np.int32).T


@dataclass(frozen=True, eq=False)
class TileResult:
    """One TILE_DONE: index since reset, cycles, and for emitting layers (S,) accumulators (`emitted`)."""

    index: int
    cycles: int
    accumulators: np.ndarray | None

    @classmethod
    def of(cls, payload: np.ndarray) -> TileResult:
        """From a packet's payload."""
        body = payload[TILE_DONE_FIXED_WORDS:]
        accumulators = body.astype(np.uint32).view(np.int32) if len(body) else None
        return cls(int(payload[0]), int(payload[1]), accumulators)


def split(words: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Result words to (type, payload), checking framing and CRC.

    Raises:
        SimulationError: for an unknown type, a packet that ends early, or a wrong CRC.
    """
    position = 0
    while position < len(words):
        header = int(words[position])
        kind, length = header & 0xFF, header >> 16
        end = position + length + FRAME_WORDS
        if kind not in set(Result) or header & 0xFF00:
            raise SimulationError(f"result word {position} is {header:#010x}, which begins no result packet")
        if end > len(words):
            raise SimulationError(f"result packet at word {position} ends after {end} words, only {len(words)} came")
        if crc32(words[position : end - 1]) != int(words[end - 1]):
            raise SimulationError(f"result packet at word {position} has a wrong CRC ({int(words[end - 1]):#010x})")
        yield kind, words[position + 1 : end - 1]
        position = end


#: What a player found wrong, and what to do.
_PLAYER = {
    FlashFault.NO_IMAGE: "its flash holds no image of this version; write one with `bitting flash`",
    FlashFault.IMAGE_FAMILY: "the image is of another family than the engine; write that of an artefact for this board",
    FlashFault.IMAGE_LENGTH: "the image's length is wrong; write it again",
    FlashFault.IMAGE_CRC: "the image's checksum is wrong; write it again",
    FlashFault.IMAGE_PACKETS: "the image's packets or markers are wrong; write it again with `bitting flash`",
    FlashFault.HOST_PACKET: "it takes STATUS and the ACTIVATIONS of its image only; is the image that of the artefact, and was "
    "the host told that the program is in flash (--flash)?",
}


def _raise_fault(kind: int, payload: np.ndarray) -> None:
    """Raises FaultError if a packet is one."""
    if kind == Result.FAULT:
        if not len(payload):
            raise SimulationError("the engine reported an error and did not say which; is it one of this version?")
        code = int(payload[0]) & 0xFF
        if code in set(FlashFault):
            raise FaultError(f"the board's flash player reported {FlashFault(code).name}: {_PLAYER[FlashFault(code)]}", code)
        name = ErrorCode(code).name if code in set(ErrorCode) else f"the unknown error {code}"
        raise FaultError(f"the engine reported {name} after {int(payload[0]) >> 8} tiles", code)


def parse_results(words: np.ndarray) -> list[TileResult]:
    """TILE_DONE packets of a run.

    Raises:
        FaultError: naming the error that the engine reported.
        SimulationError: for anything else.
    """
    results = []
    for kind, payload in split(words):
        _raise_fault(kind, payload)
        if kind != Result.TILE_DONE:
            raise SimulationError(f"unexpected result packet of type {kind:#04x}")
        results.append(TileResult.of(payload))
    return results
