"""Random networks of operations for lanes that share samples, and random gather programs that read across lanes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import bitting
from bitting.program.bands import Shape
from bitting.program.comparing import MaxPool, Rectifier
from bitting.program.layers import Program
from bitting.program.lowering import INPUT, Add, Concatenation, Operation, Pool, Product, lower
from bitting.program.moves import ChannelMean, Pad, Permutation, Reshape, Upsample
from bitting.unit.spec import UnitSpec
from tb.programs import random_program


class Builder:
    """Operations one after another, each of a shape that is known."""

    def __init__(self, spec: UnitSpec, rng: np.random.Generator, shape: Shape):
        self.spec, self.rng = spec, rng
        self.operations: list[Operation] = []
        self.shapes: dict[str, Shape] = {INPUT: shape}
        self.last = INPUT

    def add(self, kind: type[Any], made: Shape, *sources: str, **options: Any) -> None:
        """An operation on the last tensor, or on those that are named."""
        name = f"t{len(self.operations)}"
        self.operations.append(kind(name=name, sources=sources or (self.last,), **options))
        self.shapes[name] = made
        self.last = name

    def product(self, outputs: int, kernel: tuple[int, int], emits: bool = False, **options: Any) -> None:
        """A convolution of random codes with options as of `Product`."""
        channels, *sizes = self.shapes[self.last]
        groups = options.get("groups", 1)
        padding, stride = options.get("padding", (0, 0)), options.get("stride", (1, 1))
        dilation = options.get("dilation", (1, 1))
        rows, columns = (
            (size + 2 * pad - step * (window - 1) - 1) // by + 1
            for size, pad, step, window, by in zip(sizes, padding, dilation, kernel, stride, strict=True)
        )
        half = 1 << (self.spec.acc_bits - 1)
        self.add(
            Product, (outputs, rows, columns), emits=emits,
            codes=self.rng.integers(0, self.spec.codes, (outputs, channels // groups, *kernel)).astype(np.uint8),
            bias=self.rng.integers(-half, half, outputs), shift=int(self.rng.integers(0, self.spec.max_shift + 1)), **options,
        )  # fmt: skip

    def dense(self, outputs: int, emits: bool) -> None:
        """All of the last tensor."""
        shape = self.shapes[self.last]
        count = int(np.prod(shape))
        half = 1 << (self.spec.acc_bits - 1)
        self.add(
            Product, (outputs, 1, 1), emits=emits,
            codes=self.rng.integers(0, self.spec.codes, (outputs, count)).astype(np.uint8),
            bias=self.rng.integers(-half, half, outputs), shift=0,
        )  # fmt: skip


def random_operations(spec: UnitSpec, rng: np.random.Generator, shape: Shape) -> list[Operation]:
    """Two to five operations of every kind, and a dense layer that emits; `spec` has a lane for each sample."""
    build = Builder(spec, rng, shape)
    for _ in range(int(rng.integers(2, 6))):
        channels, rows, columns = build.shapes[build.last]
        kind = rng.choice(("same", "stride", "asymmetric", "pool", "largest", "residual", "joined", "move", "rectify", "valid"))
        outputs = int(rng.integers(1, 4))
        fill = int(rng.choice([0, spec.act_min, 1]))
        size = int(rng.choice([1, 3, 3, 5]))
        if kind == "same" or min(rows, columns) < 4:
            groups = channels if rng.random() < 0.3 else 1
            wide = outputs * groups
            build.product(wide, (size, 3), padding=(size // 2, 1), groups=groups, fill=fill)
        elif kind == "stride":
            build.product(outputs, (3, 3), padding=(1, 1), stride=(2, 2), fill=fill)
        elif kind == "asymmetric":
            build.add(Pad, (channels, rows + 1, columns + 1), before=(0, 0), after=(1, 1), fill=fill)
            build.product(outputs, (3, 3), stride=(2, 2))
        elif kind == "valid":
            build.product(outputs, (2, 3), dilation=(2, 1))
        elif kind == "pool":
            build.add(
                Pool, (channels, rows // 2, columns // 2), kernel=(2, 2), stride=(2, 2), padding=(0, 0),
                weight=int(rng.integers(1, 8)), shift=int(rng.integers(0, spec.max_shift + 1)), start=int(rng.integers(-9, 9)),
            )  # fmt: skip
        elif kind == "largest":
            pad = int(rng.integers(0, 2))
            down, across = ((size + 2 * pad - 2) // 2 + 1 for size in (rows, columns))
            build.add(
                MaxPool, (channels, down, across), kernel=(2, 2), stride=(2, 2), padding=(pad, pad), fill=spec.act_min
            )  # fmt: skip
        elif kind == "residual":
            before = build.last
            build.product(channels, (3, 3), padding=(1, 1), fill=fill)
            bias = rng.integers(-9, 9, channels)
            build.add(Add, (channels, rows, columns), before, build.last, weights=(4, -3), bias=bias, shift=spec.max_shift)
        elif kind == "joined":
            before = build.last
            build.product(outputs, (3, 1), padding=(1, 0), fill=fill)
            build.add(Concatenation, (channels + outputs, rows, columns), before, build.last)
        elif kind == "rectify":
            build.add(Rectifier, (channels, rows, columns), floor=int(rng.integers(-2, 2)))
        else:
            move = int(rng.integers(4))
            if move == 0 and channels * rows * columns < 200:
                build.add(Upsample, (channels, 2 * rows, columns), factors=(2, 1))
            elif move == 1:
                build.add(ChannelMean, (1, rows, columns), weight=3, shift=spec.max_shift)
            elif move == 2:
                build.add(Permutation, (rows, channels, columns), order=(1, 0, 2))
            else:
                build.add(Reshape, (channels * rows, 1, columns), shape=(-1, 1, columns))
    if rng.random() < 0.5:
        build.dense(int(rng.integers(1, 6)), emits=False)
    build.dense(int(rng.integers(1, 5)), emits=True)
    return build.operations


def banded_program(spec: UnitSpec, rng: np.random.Generator) -> Program:
    """A random gather program of which some layers read across lanes, for lanes that all have an input and emit."""
    program = random_program(replace(spec, stripes=1), rng)
    layers = []
    for layer in program.layers:
        reached = layer.reached()
        first, last = int(reached[0]), int(reached[-1])
        span = last - first + 1
        # A band within what is reached, so that at most as much lies before and after it.
        words = int(rng.integers(-(-span // 3), span + 1))
        start = first + int(rng.integers(max(0, span - 2 * words), min(words, span - words) + 1))
        if rng.random() < 0.7:
            edge = int(rng.integers(spec.act_min, spec.act_max + 1))
            layer = replace(layer, band=(start, words), edge=edge)
        layers.append(replace(layer, every_lane=layer.emits))
    program = Program(spec, tuple(layers), program.input_base, program.input_words)
    program.validate()
    return program


def banded_model(spec: UnitSpec, seed: int = 0, shape: Shape = (2, 8, 5)) -> bitting.Model:
    """Convolutions, an addition and pooling, then dense layers: unlocked, for lanes that share samples (or not)."""
    rng = np.random.default_rng(seed)
    build = Builder(spec, rng, shape)
    build.product(3, (3, 3), padding=(1, 1))
    first = build.last
    build.product(3, (3, 3), padding=(1, 1))
    build.add(Add, build.shapes[first], first, build.last, weights=(4, 3), bias=np.zeros(3, np.int64), shift=3)
    build.add(Pool, (3, shape[1] // 2, shape[2] // 2), kernel=(2, 2), stride=(2, 2), padding=(0, 0), weight=3, shift=3)
    build.dense(6, emits=False)
    build.dense(4, emits=True)
    return bitting.Model(lower(spec, shape, build.operations))
