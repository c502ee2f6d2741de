"""About how many clocks a program takes: the timing law's cycles, and what lies between tiles."""

from __future__ import annotations

from collections.abc import Sequence

from bitting.program.layers import Program
from bitting.unit import timing
from bitting.unit.protocol import FRAME_WORDS, LAYER_FIXED_WORDS, TILE_FIXED_WORDS


def clocks(program: Program, cycles: Sequence[Sequence[int]]) -> int:
    """Clocks of all layers, within some percent: without challenge, input and the results, which come before and after.

    A tile runs while the next one is loaded, a code a clock.

    Args:
        program: its codes are not looked at.
        cycles: of every tile of every layer.
    """
    total = 0
    for layer, counts in zip(program.layers, cycles, strict=True):
        load = layer.tile_codes + TILE_FIXED_WORDS + FRAME_WORDS
        total += LAYER_FIXED_WORDS + layer.tile_codes + load + sum(max(load, count + timing.TILE_GAP) for count in counts)
    return total
