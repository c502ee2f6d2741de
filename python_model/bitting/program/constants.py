"""Gather layers of constants: copies, means, sums, maxima. Everybody knows their weights, so they are plain, without a key.

Knows specs, programs and numpy.
"""

from __future__ import annotations

import numpy as np

from bitting.errors import ProgramError
from bitting.program.layers import Layer
from bitting.program.placement import Pair
from bitting.unit.spec import UnitSpec


def power_scale(spec: UnitSpec, power: int) -> Pair:
    """(weight, shift) that multiply by 2^power: the smallest plain weight that a shift of the spec can serve.

    Raises:
        ProgramError: if the family's plain weights are too small for it.
    """
    shift = max(0, min(spec.max_shift, power))
    weight = 1 << max(0, power - shift)
    if power < 0 or weight > spec.plain_max:
        raise ProgramError(
            f"spec {spec.name!r} can not copy an activation: that takes a weight of {weight}, its plain weights reach "
            f"{spec.plain_max}; allow a larger max_shift"
        )
    return weight, shift


def identity_scale(spec: UnitSpec) -> Pair:
    """(weight, shift) that reproduce an activation. Raises ProgramError as `power_scale`."""
    return power_scale(spec, spec.acc_bits - 1 - spec.act_bits)


def constant_layer(
    weights: np.ndarray, offsets: np.ndarray, in_base: np.ndarray, out_base: np.ndarray,
    positions: Pair, strides: Pair, out_strides: Pair, shift: int, bias: np.ndarray | None = None,
) -> Layer:  # fmt: skip
    """A layer of plain weights that no key touches.

    Args:
        weights: (tiles, K), or (1, K) for all tiles; -128..127.
        offsets: (K,), words.
        in_base: (tiles,), addresses.
        out_base: (tiles,), addresses.
        positions: (rows, columns), with `strides` read and `out_strides` written.
        strides: (row, column), words.
        out_strides: (row, column), words.
        shift: bits to the left before the fold.
        bias: (tiles,), or nothing for 0.
    """
    tiles = len(in_base)
    return Layer(
        codes=np.broadcast_to(weights.astype(np.int64).astype(np.uint8), (tiles, weights.shape[1])).copy(),
        bias=np.zeros(tiles, np.int32) if bias is None else np.broadcast_to(bias, (tiles,)).astype(np.int32),
        offsets=offsets.astype(np.int32),
        in_base=in_base.astype(np.int32),
        out_base=out_base.astype(np.int32),
        positions=positions,
        strides=strides,
        out_strides=out_strides,
        shift=shift,
        plain=True,
        constant=True,
    )
