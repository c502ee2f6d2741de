"""The public challenge of a family: a small program and activations that make a unit show its timing and its arithmetic.

Three layers, n = 2^b codes, everything pseudo-random drawn from the spec's id:

* *timing*: a tile for every four codes, the k-th repeated T^k times (T: most cycles of a code), folded at enough positions
  for 1024 activations over all lanes. The cycles of a tile are a number in base T whose digits are the cycles of its four
  codes, so all counts together tell the cycles of every code, and nothing else.
* *values*: all codes in turn, each tile rotated, over the input. All lanes and tiles together are a linear system for
  the weights of the codes that has one solution modulo 2^W (its matrix has full rank over GF(2)).
* *fold*: codes in turn, twice, over what the first layer wrote: no folded activation may be wrong unnoticed.

Min-entropy, with n_c codes of c cycles each, for a table drawn as `bitting.locking.device` says:

    clock:    log2(n! / prod n_c!)   minus the table's 0.05 bits (64 codes)      numeric:  log2(n!)   minus the same

at level *key*, for whoever knows the family but not the root secret; both are capped by the 128 bits of the root. At level
*family* the table is public, and both are 0: a fingerprint anyone can compute binds, but it keeps no secret.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from bitting.errors import LockError
from bitting.locking.device import ROOT_BYTES
from bitting.locking.kinds import Fingerprint, Level
from bitting.program.layers import Layer, Program
from bitting.unit.protocol import DRAW_BITS
from bitting.unit.spec import UnitSpec

#: Codes of a timing tile.
_GROUP = 4
#: Activations the fold is tried on, at least.
_FOLDED = 1024
#: Linear equations for the weights beyond the number of codes, in tiles: a random system of just enough is often singular.
_SPARE_TILES = 3


@dataclass(frozen=True, eq=False)
class Challenge:
    """A program of emitting and folded layers, and (L, words) int8 activations to run it on."""

    program: Program
    activations: np.ndarray

    @property
    def tiles(self) -> int:
        """Of all layers together: the fingerprint `clock` is so many cycle counts."""
        return sum(layer.tiles for layer in self.program.layers)

    @classmethod
    @functools.lru_cache(maxsize=16)
    def of(cls, spec: UnitSpec) -> Challenge:
        """The challenge of a family.

        Raises:
            LockError: if the spec's memories are too small for it.
        """
        inputs, folded = spec.codes + _side(spec) ** 2, _timing_tiles(spec) * _side(spec) ** 2
        needed, words = max(folded, spec.codes + 1, _timing_codes(spec)), inputs + folded
        if spec.tile_codes < needed or spec.scratch_words < words:
            raise LockError(
                f"spec {spec.name!r} can not run a challenge: it needs tile_codes of at least {needed} and scratch_words of at "
                f"least {words}, found {spec.tile_codes} and {spec.scratch_words}; enlarge them"
            )
        drawn = (cls._drawn(spec, attempt, inputs, folded) for attempt in itertools.count())
        drawn_well = next(one for one in drawn if _full_rank(one.program.layers[1], one.activations, spec.codes))
        drawn_well.program.validate()
        return drawn_well

    @classmethod
    def _drawn(cls, spec: UnitSpec, attempt: int, inputs: int, folded: int) -> Challenge:
        draws = _draws(spec, attempt)
        activations = np.array(
            [[next(draws) % (1 << spec.act_bits) + spec.act_min for _ in range(inputs)] for _ in range(spec.lanes)], np.int8
        )
        # One code twice, another in each tile: equal sums of cycles would hide a fault that shows at some counts only.
        values = _rotations(spec, draws, tiles=-(-spec.codes // spec.lanes) + _SPARE_TILES, base=0, count=spec.codes + 1)
        timed, folds = _timing(spec, draws, inputs), _rotations(spec, draws, tiles=2, base=inputs, count=folded)
        layers = (timed, values, _across(spec, folds))
        return cls(Program(spec, layers, input_base=0, input_words=inputs), activations)


def _draws(spec: UnitSpec, attempt: int) -> Iterator[int]:
    """Public pseudo-random 16-bit numbers (SHAKE-256 of the id, and of how often it did not do)."""
    stream = hashlib.shake_256(f"bitting challenge {spec.id} {attempt}".encode()).digest(1 << 17)
    return (int.from_bytes(stream[i : i + 2]) for i in range(0, len(stream), 2))


def _full_rank(layer: Layer, activations: np.ndarray, unknowns: int) -> bool:
    """Whether the layer's sums in all lanes, as linear equations for the weights of the codes, have one solution over GF(2)."""
    odd = activations[:, layer.offsets].astype(np.int64) & 1  # (lanes, steps)
    pivots: dict[int, int] = {}
    for codes in layer.codes:
        for lane in odd:
            row = int(sum(1 << int(code) for code in np.flatnonzero(np.bincount(codes[lane == 1], minlength=unknowns) & 1)))
            while row and (top := row.bit_length()) in pivots:
                row ^= pivots[top]
            if row:
                pivots[row.bit_length()] = row
    return len(pivots) == unknowns


def _timing_codes(spec: UnitSpec) -> int:
    base = max(spec.value_cycles)
    return sum(base**k for k in range(_GROUP))


def _timing_tiles(spec: UnitSpec) -> int:
    return spec.codes // _GROUP


def _side(spec: UnitSpec) -> int:
    """Positions of a timing tile, in each direction."""
    return math.isqrt(-(-_FOLDED // (spec.lanes * _timing_tiles(spec))) - 1) + 1


def _timing(spec: UnitSpec, draws: Iterator[int], inputs: int) -> Layer:
    base, count = max(spec.value_cycles), _timing_codes(spec)
    rows = [[first + k for k in range(_GROUP) for _ in range(base**k)] for first in range(0, spec.codes, _GROUP)]
    side = _side(spec)
    # The shift that brings the sums nearest to the fold's first peak.
    typical = spec.value_set.sigma * 2 ** (spec.act_bits - 2) * math.sqrt(sum(base ** (2 * k) for k in range(_GROUP)))
    return Layer(
        codes=np.array(rows, np.uint8),
        bias=_biases(spec, draws, len(rows)),
        offsets=np.array([next(draws) % (inputs - side**2 + 1) for _ in range(count)], np.int32),
        in_base=np.zeros(len(rows), np.int32),
        out_base=(inputs + side**2 * np.arange(len(rows))).astype(np.int32),
        positions=(side, side),
        strides=(side, 1),
        out_strides=(side, 1),
        shift=min(spec.max_shift, max(0, spec.acc_bits - 2 - int(typical).bit_length())),
    )


def _rotations(spec: UnitSpec, draws: Iterator[int], tiles: int, base: int, count: int) -> Layer:
    """Emitting tiles of all codes in turn over `count` words, the t-th rotated by another amount."""
    step = max(1, spec.codes // tiles)
    codes = (np.arange(count)[None, :] + step * np.arange(tiles)[:, None]) % spec.codes
    return Layer(
        codes=codes.astype(np.uint8),
        bias=_biases(spec, draws, tiles),
        offsets=np.arange(count, dtype=np.int32),
        in_base=np.full(tiles, base, np.int32),
        out_base=np.zeros(tiles, np.int32),
        emits=True,
        every_lane=spec.stripes > 1,
    )


def _across(spec: UnitSpec, layer: Layer) -> Layer:
    """A layer of two tiles that read a word of the lane before, and one of the next lane, if lanes share samples."""
    if spec.stripes == 1:
        return layer
    start = int(layer.in_base[0])
    in_base = layer.in_base + np.array([-1, 1], np.int32)
    return replace(layer, in_base=in_base, band=(start, layer.tile_codes), edge=spec.act_max)


def _biases(spec: UnitSpec, draws: Iterator[int], count: int) -> np.ndarray:
    half = 1 << (spec.acc_bits - 1)
    return np.array([(next(draws) << 16 | next(draws)) % (2 * half) - half for _ in range(count)], np.int32)


def min_entropy(spec: UnitSpec, fingerprint: Fingerprint, level: Level) -> float:
    """Bits of min-entropy of a fingerprint, by the formula above.

    Args:
        spec: tells the codes, and the cycles of each.
        fingerprint: `CLOCK` or `NUMERIC`.
        level: of the claim; at `FAMILY` nothing is secret.
    """
    if level == Level.FAMILY:
        return 0.0

    def log2_factorial(number: int) -> float:
        return math.lgamma(number + 1) / math.log(2)

    bits = log2_factorial(spec.codes)
    if fingerprint == Fingerprint.CLOCK:
        bits -= sum(map(log2_factorial, Counter(spec.value_cycles).values()))
    unevenness = sum(math.log2(1 + (i + 1) / (1 << DRAW_BITS)) for i in range(1, spec.codes))
    return max(0.0, min(bits - unevenness, 8.0 * ROOT_BYTES))
