"""The readable truth: one sample through the unit, in plain integers. Knows specs only.

Slow on purpose. The emulator and the RTL are judged against this file, so it does what DESIGN says and nothing clever.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from bitting.unit import timing
from bitting.unit.digits import Decoding, Digit
from bitting.unit.spec import UnitSpec


def wrap(value: int, bits: int) -> int:
    """`value` modulo 2^bits, as a signed integer in [-2^(bits-1), 2^(bits-1))."""
    half = 1 << (bits - 1)
    return (value + half) % (1 << bits) - half


def fold(spec: UnitSpec, accumulator: int, shift: int) -> int:
    """The triangular wave of the accumulator, and its top bits.

    After a left shift modulo 2^W, if the two top bits differ the low W-1 bits are inverted; they are a signed number in
    [-2^(W-2), 2^(W-2)), and its top `act_bits` bits (floor) are the activation.

    Args:
        spec: of the unit.
        accumulator: signed W-bit integer.
        shift: 0..max_shift.
    """
    width = spec.acc_bits
    shifted = wrap(accumulator << shift, width)
    quarter = 1 << (width - 2)
    low = wrap(shifted, width - 1)
    if not -quarter <= shifted < quarter:
        low = ~low
    return low >> (width - 1 - spec.act_bits)


class Step(NamedTuple):
    """One MAC cycle of one code: digit is None for a code of value 0."""

    k: int
    code: int
    digit: Digit | None
    activation: int
    before: int
    after: int


#: Nested sequences or an array of integers: golden must not know numpy.
Integers = Any


class GatherLayer(Protocol):
    """What golden needs of a layer of M tiles with K codes each; `bitting.program.layers.Layer` says what each is."""

    @property
    def codes(self) -> Integers:
        """(M, K), 0..2^b-1; bytes if `plain`."""

    @property
    def bias(self) -> Integers:
        """(M,), signed."""

    @property
    def offsets(self) -> Integers:
        """(K,), words."""

    @property
    def in_base(self) -> Integers:
        """(M,), addresses; before the band's start they may be negative."""

    @property
    def out_base(self) -> Integers:
        """(M,), addresses."""

    @property
    def band(self) -> tuple[int, int]:
        """(address, words) of the bands that are read across lanes; words 0: every lane reads its own scratch only."""

    @property
    def edge(self) -> int:
        """The activation that is found beyond a sample's first and last band."""

    @property
    def positions(self) -> tuple[int, int]:
        """(rows, columns)."""

    @property
    def strides(self) -> tuple[int, int]:
        """(row, column), words."""

    @property
    def out_strides(self) -> tuple[int, int]:
        """(row, column), words."""

    @property
    def parts(self) -> int:
        """At least 1; divides M."""

    @property
    def shift(self) -> int:
        """0..max_shift, bits to the left."""

    @property
    def emits(self) -> bool:
        """Accumulators are the result, and no activations are written."""

    @property
    def plain(self) -> bool:
        """The table is not used."""


@dataclass(frozen=True)
class Unit:
    """One device's arithmetic: a spec and a bitting table (code -> value index)."""

    spec: UnitSpec
    table: Sequence[int]

    @functools.cached_property
    def _decodings(self) -> tuple[Decoding, Decoding]:
        return self.spec.decoding(self.table), self.spec.decoding(self.table, plain=True)

    def decoding(self, plain: bool = False) -> Decoding:
        """What the codes of a layer mean."""
        return self._decodings[plain]

    def steps(self, codes: Sequence[int], activations: Sequence[int], bias: int, plain: bool = False) -> Iterator[Step]:
        """Every MAC cycle of one position: acc <- acc + s (x << e) mod 2^W, starting at the bias."""
        accumulator = wrap(bias, self.spec.acc_bits)
        digits = self.decoding(plain).digits
        for k, (code, x) in enumerate(zip(codes, activations, strict=True)):
            for digit in digits[code] or (None,):
                before = accumulator
                if digit is not None:
                    term = x << digit.exponent
                    accumulator = wrap(before - term if digit.negative else before + term, self.spec.acc_bits)
                yield Step(k, code, digit, x, before, accumulator)

    def accumulate(self, codes: Sequence[int], activations: Sequence[int], bias: int, plain: bool = False) -> int:
        """The accumulator after one position; signed, W bits."""
        accumulator = wrap(bias, self.spec.acc_bits)
        for step in self.steps(codes, activations, bias, plain):
            accumulator = step.after
        return accumulator

    def tile_cycles(self, layer: GatherLayer, channel: int) -> int:
        """Clock cycles of one tile."""
        positions = layer.positions[0] * layer.positions[1]
        return timing.tile_cycles(self.decoding(layer.plain).cycles, map(int, layer.codes[channel]), positions)

    def run_layer(self, layer: GatherLayer, scratch: list[int]) -> list[int]:
        """`run_bands` for a sample in one lane."""
        return self.run_bands(layer, [scratch])[0]

    def run_bands(self, layer: GatherLayer, scratches: Sequence[list[int]]) -> list[list[int]]:
        """Run one layer for one sample that lies in p lanes.

        Args:
            layer: in clear.
            scratches: activations of each lane, changed in place unless the layer emits them.

        Returns:
            For each lane the accumulators of all sums, in order (one per chain of tiles and position).
        """
        lanes = range(len(scratches))
        accumulators: list[list[int]] = [[] for _ in lanes]
        accumulator = [0 for _ in lanes]
        for tile, codes in enumerate(layer.codes):
            indices = [int(code) for code in codes]
            begins, ends = tile % layer.parts == 0, tile % layer.parts == layer.parts - 1
            bases = position_addresses(int(layer.in_base[tile]), layer.positions, layer.strides)
            targets = position_addresses(int(layer.out_base[tile]), layer.positions, layer.out_strides)
            for base, target in zip(bases, targets, strict=True):
                addresses = [base + int(offset) for offset in layer.offsets]
                # All lanes read before any of them writes.
                gathered = [[read(scratches, lane, address, layer.band, layer.edge) for address in addresses] for lane in lanes]
                for lane in lanes:
                    start = int(layer.bias[tile]) if begins else accumulator[lane]
                    accumulator[lane] = self.accumulate(indices, gathered[lane], start, layer.plain)
                    if ends:
                        accumulators[lane].append(accumulator[lane])
                        if not layer.emits:
                            scratches[lane][target] = fold(self.spec, accumulator[lane], layer.shift)
        return accumulators


def read(scratches: Sequence[list[int]], lane: int, address: int, band: tuple[int, int], edge: int) -> int:
    """What a lane finds at an address.

    An address before the band lies in the band of the lane before, counted from its end; one after it in that of the next
    lane, counted from its start. Beyond the first and the last lane of a sample there is `edge`.
    """
    start, words = band
    if words and address < start:
        lane, address = lane - 1, address + words
    elif words and address >= start + words:
        lane, address = lane + 1, address - words
    return scratches[lane][address] if 0 <= lane < len(scratches) else edge


def position_addresses(base: int, positions: tuple[int, int], strides: tuple[int, int]) -> Iterator[int]:
    """Scratch address of each position, row after row."""
    for row in range(positions[0]):
        for column in range(positions[1]):
            yield base + row * strides[0] + column * strides[1]
