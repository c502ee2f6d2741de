"""About how many clocks a program takes: the timing law's cycles, and what lies between tiles."""

from __future__ import annotations

from collections.abc import Sequence

from bitting.program.layers import Layer, Program
from bitting.unit import timing
from bitting.unit.protocol import FRAME_WORDS, LAYER_FIXED_WORDS, TILE_FIXED_WORDS


def clocks(program: Program, cycles: Sequence[Sequence[int]]) -> int:
    """Clocks of all layers, within some percent: without challenge, input and the results, which come before and after.

    A tile runs while the next one is loaded, a code a clock.

    Args:
        program: its codes are not looked at.
        cycles: of every tile of every layer.
    """
    return sum(layer_clocks(layer, counts) for layer, counts in zip(program.layers, cycles, strict=True))


def layer_clocks(layer: Layer, cycles: Sequence[int]) -> int:
    """The same of one layer, whose codes are not looked at either. `cycles`: of every tile."""
    load = layer.tile_codes + TILE_FIXED_WORDS + FRAME_WORDS
    return LAYER_FIXED_WORDS + layer.tile_codes + load + sum(max(load, count + timing.TILE_GAP) for count in cycles)
