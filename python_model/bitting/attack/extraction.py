"""All weights of a locked program, read through the port. Needs nothing but the artefact and its device.

Attacker: owner of the chip. The locks of the vault `aes` encipher codes, and nothing else of a program is guarded. So a locked
tile is run with other offsets, bases, biases and positions: each position, in each lane, reads one weight. What a hidden layer
writes is folded; a layer of constants, which no key touches, prints it. Flipped bits of codes are flipped on the device too:
with the bitting table, which is read first, a few folded sums tell each code. UNLOCK begins the program again, and constant
tiles stand in for those before the one that is wanted. Under `aes-clocked` they take the same cycles.

What stops it: a tag over every packet, and a number in every nonce.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.attack import table_readout
from bitting.attack.findings import Finding
from bitting.attack.port import PATIENCE, Probe, layer_words, printing, sums_words, value_indices, waiting
from bitting.attack.questions import Question, answer, questions
from bitting.attack.streams import reported_cycles
from bitting.errors import LockError
from bitting.locking.kinds import Transform
from bitting.program import packets
from bitting.program.layers import Layer, Program
from bitting.unit import timing

#: Called with (layers done, layers).
Progress = Callable[[int, int], None]

#: The last word of the scratch memory is what tiles that only wait write to.
_JUNK_WORDS = 1
#: Activations under one bias, at most: each takes a window of the scratch memory.
_MOST_WINDOWS = 4
#: Stands where no sum came; no folded sum is so large.
_NOTHING = 127


def extract(probe: Probe, artefact: Artefact, *, layers: int | None = None, progress: Progress | None = None) -> Finding:
    """Read the weights of the first so many secret layers, or of all.

    Returns:
        A finding of the weights as one row of value indices, layer after layer; -1 where nothing was learnt.

    Raises:
        LockError: if the artefact is sealed, or has no lock key.
    """
    locked, scheme = artefact.locked_layers(), artefact.scheme
    if not scheme.keyed:
        raise LockError("the artefact has no lock key: its codes are read with the bitting table alone")
    table = table_readout.read_table(probe).found
    cycles = None
    if scheme.transform == Transform.AES_CLOCKED:
        cycles = reported_cycles(probe, scheme, locked, np.zeros((1, locked.sample_words), np.int8))
    wanted = [index for index, layer in enumerate(locked.layers) if not layer.constant][:layers]
    read = []
    for done, index in enumerate(wanted):
        reader = _Reader(probe, scheme.packets(), locked, index, cycles, table)
        read.append(reader.read().reshape(-1))
        if progress:
            progress(done + 1, len(wanted))
    indices = np.concatenate(read)
    got = int((indices >= 0).sum())
    note = f"{scheme.fingerprint} x {scheme.transform}: table, flipped bits, other offsets, bases, biases; constants print"
    return Finding.of_probe(probe, "weight extraction", "owner of the chip", "weights", got, len(indices), note, indices)


class _Reader:
    """Reads one layer.

    In window r of the scratch memory all words are 0, but for one in each lane; at position (r, c) lane l then reads code
    l * columns + c alone, times the activation of that window.
    """

    def __init__(
        self, probe: Probe, head: np.ndarray, locked: Program, index: int, cycles: list[int] | None, table: np.ndarray
    ):
        self._probe, self._head, self._locked, self._cycles, self._table = probe, head, locked, cycles, table
        self._spec = locked.spec
        self._layer = locked.layers[index]
        self._first = sum(layer.tiles for layer in locked.layers[:index])
        self._columns = -(-self._layer.tile_codes // self._spec.lanes)
        self._span = self._layer.tile_codes - 1 + self._columns  # words of a window

    def read(self) -> np.ndarray:
        """(tiles, K) value indices."""
        return self._emitted() if self._layer.emits else self._folded()

    def _emitted(self) -> np.ndarray:
        """A layer that emits shows its sums whole; it has one position, so each column is a run."""
        layer, columns = self._layer, self._columns
        weights = np.zeros((layer.tiles, self._spec.lanes, columns), np.int64)
        tiles = np.arange(layer.tiles)
        parts = [self._head, *self._windows((1,))]
        for column in range(columns):
            run = replace(self._moved(tiles, 0, (1, 1)), in_base=np.full(layer.tiles, column, np.int32))
            parts += [*self._before(self._first), *layer_words(run)]
        sums = self._probe.ask(parts, sums_words(self._spec, columns * layer.tiles), patience=self._patience(1)).sums
        if len(sums) == columns * layer.tiles:
            weights = sums.reshape(columns, layer.tiles, -1).transpose(1, 2, 0)
            return self._indices(weights.reshape(layer.tiles, -1))
        return np.full(layer.codes.shape, -1)

    def _folded(self) -> np.ndarray:
        """A folded layer: enough questions for its fold to tell all weights apart, and those that answer as was seen."""
        spec, layer, columns = self._spec, self._layer, self._columns
        room = spec.scratch_words - _JUNK_WORDS
        windows = max(1, min(_MOST_WINDOWS, room // (self._span + (2 if self._cycles else 1) * columns)))
        value_of = np.arange(spec.codes) if layer.plain else self._table
        weights = np.array(spec.values)[value_of]
        asked = questions(spec, layer.shift, windows, weights, flips=not layer.plain)
        known = np.concatenate([answer(spec, layer.shift, question, weights) for question in asked], axis=1)
        seen = np.concatenate([self._ask(question) for question in asked], axis=2)  # (tiles, lanes * columns, answers)
        index_of = {row.tobytes(): index for index, row in zip(value_of.tolist(), known.astype(np.int8), strict=True)}
        flat = seen.astype(np.int8).reshape(-1, seen.shape[2])
        indices = np.array([index_of.get(row.tobytes(), -1) for row in flat]).reshape(layer.tiles, -1)
        return indices[:, : layer.tile_codes]

    def _ask(self, question: Question) -> np.ndarray:
        """(tiles, lanes * columns, windows) folded sums, code after code, for one question."""
        layer, spec, columns = self._layer, self._spec, self._columns
        windows = len(question.activations)
        each = windows * columns  # words that a tile writes
        room = (spec.scratch_words - _JUNK_WORDS - windows * self._span) // each
        at_once = min(room, 2 if self._cycles else layer.tiles)
        start = windows * self._span
        shown = []
        for first in range(0, layer.tiles, at_once):
            tiles = np.arange(first, min(first + at_once, layer.tiles))
            run = self._moved(tiles, question.bias, (windows, columns), question.flip)
            run = replace(run, out_base=(start + each * np.arange(len(tiles))).astype(np.int32))
            printed = printing(spec, np.arange(start, start + each * len(tiles)))
            parts = [self._head, *self._windows(question.activations)] if first == 0 else []
            parts += [*self._before(self._first + first), *layer_words(run), *layer_words(printed)]
            patience = self._patience(windows * columns)
            reply = self._probe.ask(parts, sums_words(spec, printed.tiles), reset=first == 0, patience=patience)
            if len(reply.sums) != printed.tiles:
                return np.full((layer.tiles, spec.lanes * columns, windows), _NOTHING)
            shown.append(reply.sums.reshape(len(tiles), windows, columns, spec.lanes))
        return np.concatenate(shown).transpose(0, 3, 2, 1).reshape(layer.tiles, spec.lanes * columns, windows)

    def _moved(self, tiles: np.ndarray, bias: int, positions: tuple[int, int], flip: int = 0) -> Layer:
        """The locked tiles, which read the windows. Only number of codes, flags and shift must stay."""
        layer = self._layer
        return replace(
            layer,
            codes=layer.codes[tiles] ^ np.uint8(flip),
            bias=np.full(len(tiles), bias, np.int32),
            offsets=np.arange(layer.tile_codes - 1, -1, -1, dtype=np.int32),
            in_base=np.zeros(len(tiles), np.int32),
            out_base=np.zeros(len(tiles), np.int32),
            positions=positions,
            strides=(self._span, 1) if positions != (1, 1) else (0, 0),
            out_strides=(positions[1], 1),
            parts=1,
            band=(0, 0),
            edge=0,
            every_lane=layer.emits and self._spec.stripes > 1,
        )

    def _windows(self, activations: tuple[int, ...]) -> list[np.ndarray]:
        spec, count = self._spec, self._layer.tile_codes
        words = np.zeros((spec.lanes, len(activations) * self._span), np.int8)
        for window, value in enumerate(activations):
            for lane in range(spec.lanes):
                if lane * self._columns < count:
                    words[lane, window * self._span + count - 1 - lane * self._columns] = value
        return [packets.activations_packet(spec, 0, words)]

    def _before(self, number: int) -> list[np.ndarray]:
        """Begin the program again, and let constant tiles run in the place of those before tile `number`."""
        parts = [packets.unlock_packet()]
        if self._cycles is None:
            return parts + (layer_words(waiting(self._spec, tiles=number)) if number else [])
        return parts + [word for cycles in self._cycles[:number] for word in self._lasting(cycles)]

    def _lasting(self, cycles: int) -> list[np.ndarray]:
        """A constant tile of so many cycles."""
        wait = cycles - timing.TILE_OVERHEAD
        most = self._spec.scratch_words
        rows = next((rows for rows in range(1, most) if wait % rows == 0 and wait // rows < most), 0)
        if not rows:
            raise LockError(f"no constant tile takes {cycles} cycles, so this attack can not stand in for the one that does")
        return layer_words(waiting(self._spec, (rows, wait // rows)))

    def _patience(self, positions: int) -> int:
        return PATIENCE + positions * self._layer.tile_codes * self._spec.slot_digits

    def _indices(self, weights: np.ndarray) -> np.ndarray:
        """(tiles, K) value indices of (tiles, lanes * columns) weights."""
        return value_indices(self._spec, weights[:, : self._layer.tile_codes])
