"""Random layer programs of every shape the engine takes, from a seed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bitting.program import bands, packets
from bitting.program.layers import Layer, Program
from bitting.unit.golden import Unit
from bitting.unit.spec import UnitSpec


def random_program(spec: UnitSpec, rng: np.random.Generator) -> Program:
    """One to three gather layers and an emitting one: strides, several positions, groups, odd sizes."""
    words = int(rng.integers(4, 40))
    base = int(rng.integers(0, 8))
    layers = []
    low, high = base, base + words  # activations that have been written
    for _ in range(int(rng.integers(1, 4))):
        layer = _gather(spec, rng, low, high)
        start, high = high, int(layer.out_base.max() + layer.out_position_offsets().max()) + 1
        layers += [_zeros(start, high), layer]
        low = start if rng.random() < 0.5 else low
    layers.append(_linear(spec, rng, low, high))
    program = Program(spec, tuple(layers), base, words)
    program.validate()
    return program


def table_program(spec: UnitSpec, rng: np.random.Generator) -> Program:
    """A random program of table codes only: what training gives."""
    program = random_program(spec, rng)
    return program.map_secret(lambda layer: replace(layer, codes=layer.codes % spec.codes, plain=False))


def _gather(spec: UnitSpec, rng: np.random.Generator, low: int, high: int) -> Layer:
    tiles, count = int(rng.integers(1, 6)), int(rng.integers(1, 14))
    span = high - low
    rows, columns = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    row_stride, column_stride = int(rng.integers(0, max(1, span // 6) + 1)), int(rng.integers(0, 3))
    reach = (rows - 1) * row_stride + (columns - 1) * column_stride
    if reach >= span:
        rows, columns, reach = 1, 1, 0
    offsets = rng.integers(0, span - reach, count)
    slack = span - reach - int(offsets.max())
    pitch, gap = columns + int(rng.integers(0, 3)), int(rng.integers(1, 3))
    plane = rows * pitch * gap
    return Layer(
        **_codes(spec, rng, tiles, count),
        bias=_biases(spec, rng, tiles),
        offsets=offsets.astype(np.int32),
        in_base=(low + rng.integers(0, slack, tiles)).astype(np.int32),
        out_base=(high + plane * np.arange(tiles)).astype(np.int32),
        positions=(rows, columns),
        strides=(row_stride, column_stride),
        out_strides=(pitch * gap, gap),
        shift=int(rng.integers(0, spec.max_shift + 1)),
    )


def _zeros(start: int, stop: int) -> Layer:
    """A constant layer that clears what the next one leaves out."""
    return Layer(
        codes=np.zeros((1, 1), np.uint8),
        bias=np.zeros(1, np.int32),
        offsets=np.zeros(1, np.int32),
        in_base=np.zeros(1, np.int32),
        out_base=np.array([start], np.int32),
        positions=(1, stop - start),
        plain=True,
        constant=True,
    )


def _linear(spec: UnitSpec, rng: np.random.Generator, low: int, high: int) -> Layer:
    parts, count = int(rng.integers(1, 4)), int(rng.integers(1, 20))
    tiles = parts * int(rng.integers(1, 5))
    return Layer(
        **_codes(spec, rng, tiles, count),
        bias=_biases(spec, rng, tiles),
        offsets=rng.integers(0, high - low, count).astype(np.int32),
        in_base=np.full(tiles, low, np.int32),
        out_base=np.zeros(tiles, np.int32),
        emits=True,
        parts=parts,
    )


def _codes(spec: UnitSpec, rng: np.random.Generator, tiles: int, count: int) -> dict[str, Any]:
    """Codes of the table, or now and then plain weights of any value."""
    plain = bool(spec.plain_bits) and rng.random() < 0.25
    return {"codes": rng.integers(0, 256 if plain else spec.codes, (tiles, count)).astype(np.uint8), "plain": plain}


def _biases(spec: UnitSpec, rng: np.random.Generator, tiles: int) -> np.ndarray:
    half = 1 << (spec.acc_bits - 1)
    return rng.integers(-half, half, tiles).astype(np.int32)


def random_table(spec: UnitSpec, rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(v) for v in rng.permutation(spec.codes))


def random_activations(spec: UnitSpec, rng: np.random.Generator, samples: int, words: int) -> np.ndarray:
    return rng.integers(spec.act_min, spec.act_max + 1, (samples, words)).astype(np.int8)


def golden_run(program: Program, table: tuple[int, ...], activations: np.ndarray) -> np.ndarray:
    """(samples, outputs) logits, in plain integers."""
    unit = Unit(program.spec, table)
    lanes = bands.split(activations, program.picture, program.spec.stripes).tolist()
    logits = []
    for first in range(0, len(lanes), program.spec.stripes):
        together = lanes[first : first + program.spec.stripes]
        scratches = [[0] * program.spec.scratch_words for _ in together]
        for scratch, inputs in zip(scratches, together, strict=True):
            scratch[program.input_base : program.input_base + program.input_words] = inputs
        rows: list[list[int]] = [[] for _ in together]
        for layer in program.layers:
            sums = unit.run_bands(layer, scratches)
            for row, emitted in zip(rows, sums if layer.emits else (), strict=False):
                row += emitted
        logits += rows[:: program.bands]
    return np.array(logits, np.int32)


def golden_cycles(program: Program, table: tuple[int, ...]) -> list[int]:
    """Cycles of every tile, in order, by the readable law."""
    unit = Unit(program.spec, table)
    return [unit.tile_cycles(layer, channel) for layer in program.layers for channel in range(layer.tiles)]


def sums_of(words: np.ndarray) -> list[np.ndarray]:
    """Accumulators of each tile in result words, all of which have them."""
    found = []
    for tile in packets.parse_results(words):
        assert tile.accumulators is not None
        found.append(tile.accumulators)
    return found
