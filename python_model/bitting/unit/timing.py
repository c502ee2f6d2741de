"""The timing law: how many clock cycles the engine takes, exactly. Knows specs only; pure integers.

A code takes max(1, digits) MAC cycles. A tile runs its codes once per position, positions back to back, and then drains the
pipeline once. Nothing depends on activations. Waiting for the next tile, or for the result stream, is not tile time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: Cycles a tile takes beyond its MAC cycles: the stages before the first accumulation, and the fold that ends the last.
TILE_OVERHEAD = 8

#: Clocks between tiles that belong to none of them, if the next tile is there in time: start, report, count. Result words of
#: the tile (if its layer emits or is reported) come on top, one a clock unless the receiver holds back.
TILE_GAP = 3


def tile_cycles(cycles: Sequence[int], codes: Iterable[int], positions: int) -> int:
    """Clock cycles of one tile from its first code to its last write.

    Args:
        cycles: MAC cycles of each code on the device (`Decoding.cycles`).
        codes: the tile's codes.
        positions: how often the codes are run.
    """
    return positions * sum(cycles[code] for code in codes) + TILE_OVERHEAD
