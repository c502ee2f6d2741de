"""About how many clocks a program takes: the timing law's cycles, and what lies between tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bitting.program.layers import Layer, Program
from bitting.unit import timing
from bitting.unit.protocol import FRAME_WORDS, LAYER_FIXED_WORDS, TILE_FIXED_WORDS


@dataclass(frozen=True)
class LayerClocks:
    """Where the clocks of a layer go.

    Attributes:
        mac: in which lanes add a digit; a weight of 0 takes one too.
        ends: in which tiles fill and drain the pipeline (`timing.TILE_OVERHEAD`). With `mac` the timing law: exact.
        gaps: between tiles, if the next one is there in time (`timing.TILE_GAP`).
        waits: for tiles that are not: they run shorter than the next one takes to come.
        begins: until the first tile has come; the tile before it, of another layer, has ended by then.
        load: in which one tile comes, a code a clock.
    """

    mac: int
    ends: int
    gaps: int
    waits: int
    begins: int
    load: int

    @property
    def tiles(self) -> int:
        """Cycles of all tiles, by the timing law."""
        return self.mac + self.ends

    @property
    def total(self) -> int:
        """All clocks."""
        return self.tiles + self.gaps + self.waits + self.begins


def clocks(program: Program, cycles: Sequence[Sequence[int]]) -> int:
    """Clocks of all layers, within some percent: without challenge, input and the results, which come before and after.

    A tile runs while the next one is loaded, a code a clock.

    Args:
        program: its codes are not looked at.
        cycles: of every tile of every layer.
    """
    return sum(layer_clocks(layer, counts).total for layer, counts in zip(program.layers, cycles, strict=True))


def layer_clocks(layer: Layer, cycles: Sequence[int]) -> LayerClocks:
    """The same of one layer, whose codes are not looked at either. `cycles`: of every tile."""
    load = layer.tile_codes + TILE_FIXED_WORDS + FRAME_WORDS
    ends, gaps = (count * len(cycles) for count in (timing.TILE_OVERHEAD, timing.TILE_GAP))
    return LayerClocks(
        mac=sum(cycles) - ends,
        ends=ends,
        gaps=gaps,
        waits=sum(max(0, load - count - timing.TILE_GAP) for count in cycles),
        begins=LAYER_FIXED_WORDS + layer.tile_codes + load,
        load=load,
    )
