"""Shorter gather lists: what a layer would multiply by 0 is not read, and costs no clock.

Lists stand in clear beside codes that the vault `aes` enciphers, and of a sealed program the lengths still show. So this tells
which weights are 0, and whoever lowers a network has to ask for it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bitting.program import latency
from bitting.program.layers import Layer
from bitting.unit.spec import UnitSpec


def without_zeros(spec: UnitSpec, layer: Layer) -> list[Layer]:
    """Layers that together give the same sums in the same order, in fewer clocks if that can be.

    Either one layer that reads what any of its channels needs, or one for each run of channels that need the same: whichever
    takes fewer clocks, for every layer sends a list of its own.

    Args:
        spec: of the unit.
        layer: its codes are value indices; without chains (`parts` is 1).
    """
    needed = layer.codes != spec.values.index(0)
    changes = 1 + np.flatnonzero((needed[1:] != needed[:-1]).any(axis=1))
    runs = np.split(np.arange(layer.tiles), changes)
    ways = ([_part(layer, needed, np.arange(layer.tiles))], [_part(layer, needed, run) for run in runs])
    return min(ways, key=lambda layers: sum(_clocks(spec, each) for each in layers))


def _part(layer: Layer, needed: np.ndarray, channels: np.ndarray) -> Layer:
    """Some channels of a layer, with the list that they need; one word at least, for a tile without codes is none."""
    columns = np.flatnonzero(needed[channels].any(axis=0))
    columns = columns if len(columns) else np.arange(1)
    return replace(
        layer, codes=layer.codes[np.ix_(channels, columns)], bias=layer.bias[channels], offsets=layer.offsets[columns],
        in_base=layer.in_base[channels], out_base=layer.out_base[channels],
    )  # fmt: skip


def _clocks(spec: UnitSpec, layer: Layer) -> int:
    return latency.layer_clocks(layer, layer.tile_cycles(spec.decoding(range(spec.codes), layer.plain))).total
