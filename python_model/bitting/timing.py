"""The timing law: how many clock cycles the engine takes, exactly. Knows specs only; pure integers.

A code takes max(1, digits) MAC cycles. A tile runs its codes once per position, positions back to back, and then drains the
pipeline once. Nothing depends on activations. Waiting for the next tile, or for the result stream, is not tile time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: Cycles a tile takes beyond its MAC cycles: the stages before the first accumulation, and the fold that ends the last.
TILE_OVERHEAD = 5

#: Clocks between tiles that belong to none of them, if the next tile is there in time: start, report, count. Result words of
#: the tile (if its layer is linear or reported) come on top, one a clock unless the receiver holds back.
TILE_GAP = 3


def code_cycles(value_cycles: Sequence[int], table: Sequence[int], code: int) -> int:
    """MAC cycles of one code on a device with this bitting table (code -> value index)."""
    return value_cycles[table[code]]


def tile_cycles(value_cycles: Sequence[int], table: Sequence[int], codes: Iterable[int], positions: int) -> int:
    """Clock cycles of one tile from its first code to its last write.

    Args:
        value_cycles: cycles of each value index (`UnitSpec.value_cycles`).
        table: bitting table, code -> value index.
        codes: the tile's codes.
        positions: how often the codes are run.
    """
    return positions * sum(code_cycles(value_cycles, table, code) for code in codes) + TILE_OVERHEAD
