"""The public challenge of a family: a small program and activations that make a unit show its timing and its arithmetic.

Three layers, n = 2^b codes, everything pseudo-random drawn from the spec's id:

* *timing*: a tile for every four codes, the k-th repeated T^k times (T: most cycles of a code), at 2 x 2 positions, folded.
  The cycles of a tile are a number in base T whose digits are the cycles of its four codes, so all counts together tell the
  cycles of every code, and nothing else.
* *values*: every code once a tile, each tile rotated, over the input. All lanes and tiles together are a linear system for
  the weights of the codes that has one solution modulo 2^W (its matrix has full rank over GF(2)).
* *fold*: every code once a tile, twice, over what the first layer wrote: no folded activation may be wrong unnoticed.

Min-entropy, with n_c codes of c cycles each, for a table drawn as `bitting.device` says:

    clock:    log2(n! / prod n_c!)   minus the table's 0.05 bits (64 codes)      numeric:  log2(n!)   minus the same

at level *key*, for whoever knows the family but not the root secret; both are capped by the 128 bits of the root. At level
*family* the table is public, and both are 0: a fingerprint anyone can compute binds, but it keeps no secret.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bitting.device import ROOT_BYTES
from bitting.errors import LockError
from bitting.program import Layer, Program
from bitting.protocol import DRAW_BITS
from bitting.spec import UnitSpec

#: Codes of a timing tile, and its positions.
_GROUP = 4
_POSITIONS = (2, 2)
_STRIDES = (2, 1)


@dataclass(frozen=True, eq=False)
class Challenge:
    """A program of linear and folded layers, and (L, words) int8 activations to run it on."""

    program: Program
    activations: np.ndarray

    @property
    def tiles(self) -> int:
        return sum(layer.tiles for layer in self.program.layers)

    @classmethod
    @functools.lru_cache(maxsize=16)
    def of(cls, spec: UnitSpec) -> Challenge:
        """The challenge of a family.

        Raises:
            LockError: if the spec's memories are too small for it.
        """
        codes = spec.codes
        needed = max(codes, _timing_codes(spec))
        if spec.tile_codes < needed or spec.scratch_words < 2 * codes:
            raise LockError(
                f"spec {spec.name!r} can not run a challenge: it needs tile_codes of at least {needed} and scratch_words of at "
                f"least {2 * codes}, found {spec.tile_codes} and {spec.scratch_words}; enlarge them"
            )
        draws = _draws(spec)
        activations = np.array(
            [[next(draws) % (1 << spec.act_bits) + spec.act_min for _ in range(codes)] for _ in range(spec.lanes)], np.int8
        )
        layers = (_timing(spec, draws), _values(spec, draws), _fold(spec, draws))
        program = Program(spec, layers, input_base=0, input_words=codes)
        program.validate()
        return cls(program, activations)


def _draws(spec: UnitSpec) -> Iterator[int]:
    """Public pseudo-random 16-bit numbers (SHAKE-256 of the id)."""
    stream = hashlib.shake_256(b"bitting challenge " + spec.id.encode()).digest(1 << 17)
    return (int.from_bytes(stream[i : i + 2]) for i in range(0, len(stream), 2))


def _timing_codes(spec: UnitSpec) -> int:
    base = max(spec.value_cycles)
    return sum(base**k for k in range(_GROUP))


def _timing(spec: UnitSpec, draws: Iterator[int]) -> Layer:
    base, count = max(spec.value_cycles), _timing_codes(spec)
    rows = [[first + k for k in range(_GROUP) for _ in range(base**k)] for first in range(0, spec.codes, _GROUP)]
    reach = sum((size - 1) * stride for size, stride in zip(_POSITIONS, _STRIDES, strict=True))
    # The shift that brings the sums nearest to the fold's first crest.
    typical = spec.value_set.sigma * 2 ** (spec.act_bits - 2) * math.sqrt(sum(base ** (2 * k) for k in range(_GROUP)))
    return Layer(
        codes=np.array(rows, np.uint8),
        bias=_biases(spec, draws, len(rows)),
        offsets=np.array([next(draws) % (spec.codes - reach) for _ in range(count)], np.int32),
        in_base=np.zeros(len(rows), np.int32),
        out_base=(spec.codes + math.prod(_POSITIONS) * np.arange(len(rows))).astype(np.int32),
        positions=_POSITIONS,
        strides=_STRIDES,
        shift=min(spec.max_shift, max(0, spec.acc_bits - 2 - int(typical).bit_length())),
    )


def _values(spec: UnitSpec, draws: Iterator[int]) -> Layer:
    return _rotations(spec, draws, tiles=-(-spec.codes // spec.lanes) + 1, base=0)


def _fold(spec: UnitSpec, draws: Iterator[int]) -> Layer:
    return _rotations(spec, draws, tiles=2, base=spec.codes)


def _rotations(spec: UnitSpec, draws: Iterator[int], tiles: int, base: int) -> Layer:
    """Linear tiles of every code once, the t-th rotated by another amount."""
    step = max(1, spec.codes // tiles)
    codes = (np.arange(spec.codes)[None, :] + step * np.arange(tiles)[:, None]) % spec.codes
    return Layer(
        codes=codes.astype(np.uint8),
        bias=_biases(spec, draws, tiles),
        offsets=np.arange(spec.codes, dtype=np.int32),
        in_base=np.full(tiles, base, np.int32),
        out_base=np.zeros(tiles, np.int32),
        linear=True,
    )


def _biases(spec: UnitSpec, draws: Iterator[int], count: int) -> np.ndarray:
    half = 1 << (spec.acc_bits - 1)
    return np.array([(next(draws) << 16 | next(draws)) % (2 * half) - half for _ in range(count)], np.int32)


def min_entropy(spec: UnitSpec, fingerprint: str, level: str) -> float:
    """Bits of min-entropy of a fingerprint, by the formula above.

    Args:
        fingerprint: "clock" or "numeric".
        level: "family" or "key".
    """
    if level == "family":
        return 0.0

    def log2_factorial(number: int) -> float:
        return math.lgamma(number + 1) / math.log(2)

    bits = log2_factorial(spec.codes)
    if fingerprint == "clock":
        bits -= sum(map(log2_factorial, Counter(spec.value_cycles).values()))
    unevenness = sum(math.log2(1 + (i + 1) / (1 << DRAW_BITS)) for i in range(1, spec.codes))
    return max(0.0, min(bits - unevenness, 8.0 * ROOT_BYTES))
