"""What an attacker has of a chip: a port that takes command words and gives result words, and a count of what he spent.

The port is given to him: a simulated engine (`bitting.sim.native.NativeEngine` is one), or a board. He sees words, clocks and
the pin `error`, as everyone does who holds the chip; nothing of what is inside.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from bitting.errors import SimulationError
from bitting.program import packets
from bitting.program.layers import Layer
from bitting.unit.protocol import FAULT_WORDS, FRAME_WORDS, TILE_DONE_FIXED_WORDS, ErrorCode, Result
from bitting.unit.spec import UnitSpec

#: Words of the one answer to a mistake.
FAULT_PACKET = FAULT_WORDS + FRAME_WORDS
#: Clocks without a word moving after which an attacker stops waiting, unless he has seen that tiles take longer.
PATIENCE = 1 << 16
#: Clocks of silence after which he looks whether the chip has refused what was sent.
_SOON = 1 << 13


class Answer(Protocol):
    """What one run gave."""

    @property
    def words(self) -> np.ndarray:
        """Result words, uint32."""

    @property
    def cycles(self) -> int:
        """Clocks it took."""

    @property
    def error(self) -> int:
        """The pin of that name, an `ErrorCode`."""

    @property
    def taken(self) -> int:
        """How many command words were taken."""


class Port(Protocol):
    """A chip, from outside."""

    def reset(self) -> None:
        """Pull the reset pin."""

    def run(self, commands: np.ndarray, expected: int, *, quiet_limit: int) -> Answer:
        """Feed words until all are taken and `expected` result words came, or nothing moved for `quiet_limit` clocks."""


@dataclass(frozen=True, eq=False)
class Reply:
    """An answer, cut into packets.

    Attributes:
        tiles: the TILE_DONE packets.
        error: the pin `error`.
        words: all its words.
    """

    tiles: list[packets.TileResult]
    error: ErrorCode
    words: np.ndarray

    @classmethod
    def of(cls, words: np.ndarray, error: int) -> Reply:
        """From result words and the pin `error`."""
        tiles = []
        with contextlib.suppress(SimulationError):  # cut within a packet
            for kind, payload in packets.split(words):
                if kind == Result.TILE_DONE:
                    tiles.append(packets.TileResult.of(payload))
        return cls(tiles, ErrorCode(error), words)

    @property
    def sums(self) -> np.ndarray:
        """(tiles, L) int32 accumulators of the tiles that sent some; where lanes share a sample, and not all emit, fewer."""
        return np.array([tile.accumulators for tile in self.tiles if tile.accumulators is not None], np.int32)

    def tells_more_than(self, rightful: np.ndarray) -> bool:
        """Something came that is neither the beginning of the rightful answer to the same input nor a FAULT behind that.

        Either may be cut anywhere, also within a packet: whoever asks takes as many words as he waits for.
        """
        shared = min(len(self.words), len(rightful))
        differing = np.flatnonzero(self.words[:shared] != rightful[:shared])
        rest = self.words[differing[0] if len(differing) else shared :]
        return bool(len(rest)) and not self._is_fault(rest)

    def _is_fault(self, words: np.ndarray) -> bool:
        """One word or more are a FAULT, or its beginning: the error in the low byte, tiles that ran above it, and a CRC."""
        head, *told = (int(word) for word in words)
        error = all(word & 0xFF == self.error for word in told[:1])
        return bool(self.error) and len(words) <= FAULT_PACKET and head == FAULT_WORDS << 16 | Result.FAULT and error


@dataclass
class Probe:
    """A port, and what has been spent on it.

    Attributes:
        port: the chip.
        spec: its family, which is public.
        patience: clocks without a word moving after which he stops waiting: see `bitting.attack.streams.patience_for`.
        queries: how many streams of words were sent.
        words, clocks: how many in all.
        refusals: errors by name.
    """

    port: Port
    spec: UnitSpec
    patience: int = PATIENCE
    queries: int = 0
    words: int = 0
    clocks: int = 0
    refusals: Counter[str] = field(default_factory=Counter)

    def ask(self, parts: Iterable[np.ndarray], expected: int, *, reset: bool = True, patience: int = 0) -> Reply:
        """Send words, after a reset unless told otherwise, and take what comes. `patience`: if more is wanted than is usual."""
        patience = max(patience, self.patience)
        if reset:
            self.port.reset()
        commands = np.concatenate([np.asarray(part, packets.WORDS) for part in parts])
        self.queries += 1
        self.words += len(commands)
        soon = min(_SOON, patience)
        first = rest = self.port.run(commands, expected, quiet_limit=soon)
        self.clocks += first.cycles
        words, waited = first.words, soon
        if not first.error and (len(words) < expected or first.taken < len(commands)):
            # Nothing was refused: the silence may be that of a long tile.
            rest = self.port.run(commands[first.taken :], expected - len(words), quiet_limit=patience)
            self.clocks += rest.cycles
            words, waited = np.concatenate([words, rest.words]), patience
        if len(words) < expected:
            self.clocks -= waited  # nobody would have waited who knew that nothing comes
        if rest.error:
            self.refusals[ErrorCode(rest.error).name] += 1
        return Reply.of(words, rest.error)


def clear_layer(
    spec: UnitSpec,
    codes: np.ndarray,
    *,
    reads: Sequence[int] | np.ndarray,
    bias: Sequence[int] | np.ndarray | None = None,
    plain: bool = True,
) -> Layer:
    """An emitting layer of (tiles, K) codes, in clear; tile t reads the K scratch words from `reads[t]` on, in every lane.

    Lanes that share a sample are told to emit all of them: an attacker writes the flags of his layers himself. If `plain`, its
    codes are weights that everyone knows, so no key touches it.
    """
    tiles, count = codes.shape
    return Layer(
        codes=codes.astype(np.uint8),
        bias=np.zeros(tiles, np.int32) if bias is None else np.asarray(bias, np.int32),
        offsets=np.arange(count, dtype=np.int32),
        in_base=np.asarray(reads, np.int32),
        out_base=np.zeros(tiles, np.int32),
        emits=True,
        plain=plain,
        constant=plain,
        every_lane=spec.stripes > 1,
    )


def printing(spec: UnitSpec, addresses: Sequence[int] | np.ndarray) -> Layer:
    """A layer that sends scratch words of every lane as they are, one a tile: weight 1 times the word."""
    return clear_layer(spec, np.ones((len(addresses), 1)), reads=addresses)


def waiting(spec: UnitSpec, positions: tuple[int, int] = (1, 1), tiles: int = 1) -> Layer:
    """Tiles of the constant 1 that write the last word of the scratch memory, again and again: they only take time."""
    return replace(
        printing(spec, np.zeros(tiles)),
        emits=False,
        every_lane=False,
        out_base=np.full(tiles, spec.scratch_words - 1, np.int32),
        positions=positions,
        out_strides=(0, 0),
    )


def layer_words(layer: Layer) -> list[np.ndarray]:
    """Its packets, in clear, without reports."""
    return packets.layer_packets(layer, report=False)


def value_indices(spec: UnitSpec, weights: np.ndarray) -> np.ndarray:
    """The value index of each weight; -1 for what is no value of the family."""
    values = np.array(spec.values)
    places = np.searchsorted(values, weights).clip(max=len(values) - 1)
    return np.where(values[places] == weights, places, -1)


def sums_words(spec: UnitSpec, count: int) -> int:
    """Result words of so many tiles that send their sums."""
    return count * (TILE_DONE_FIXED_WORDS + FRAME_WORDS + spec.lanes)
