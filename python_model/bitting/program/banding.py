"""Tensors in bands of rows, one in each of the p lanes that share a sample; and whole again, where rows do not come out even.

Knows placements and numpy. A window reads the rows above and below its lane's band in the neighbours' (`Layer.band`), so that
convolutions and pooling stay in bands while every lane has as many rows and moves by as many. Where that ends, all bands are
copied into one whole tensor in the first lane of each sample, and from there on that lane computes as if it were alone; what
the others compute meanwhile is nobody's answer. So a program gives the same sums for every p.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bitting.program.bands import Shape
from bitting.program.constants import identity_scale
from bitting.program.moves import MoveLowering
from bitting.program.placement import Placed


class BandLowering(MoveLowering):
    """Writes what bands need."""

    picture: Shape | None

    def _banded_input(self, block: int) -> Placed:
        assert self.picture
        channels, rows, columns = self.picture
        return Placed.banded((channels, rows // self.spec.stripes, columns), 0, block)

    def _rows(self, source: Placed) -> int:
        """Rows of a tensor or view, all lanes of a sample together."""
        return source.shape[1] * self.spec.stripes + sum(source.outside) if source.band else source.shape[1]

    def _misfit(self, source: Placed, reach: int, stride: int, padding: int) -> str:
        """Why windows over a tensor in bands make none in bands, in words; empty if they do.

        Every lane must make as many rows, from the same rows of its own band, and reach no further than the neighbours.

        Args:
            source: in bands.
            reach: rows from the first to the last row of a window, at least 1.
            stride: rows.
            padding: rows before and after.
        """
        stripes, own, before = self.spec.stripes, source.shape[1], source.outside[0] + padding
        rows = (self._rows(source) + 2 * padding - reach) // stride + 1
        if rows % stripes or rows // stripes * stride != own:
            return f"{own * stripes} rows become {rows}, which {stripes} lanes do not share alike, each from its own rows"
        if before > own or (rows // stripes - 1) * stride - before + reach > 2 * own:
            return f"windows of {reach} rows reach beyond a neighbour's band of {own}: {stripes} stripes are too many"
        return ""

    def _owns(self, name: str) -> bool:
        """It is no view of another tensor, with padding around it."""
        return self._owner(name) == name

    def _gather(self, name: str) -> None:
        """A tensor in bands becomes a whole one, in the first lane of each sample; its views follow."""
        if not self.placed[name].band:
            return
        owner = self._owner(name)
        source, self.in_bands = self.placed[owner], False
        channels, rows, columns = source.shape
        target = self._place(owner, (channels, rows * self.spec.stripes, columns))
        self._collect(owner, source, target)
        self.scratch.give_back(source.block)
        for operation in self.operations:
            if operation.name in self.placed and operation.name != owner and self._owner(operation.name) == owner:
                self._move(operation)  # type: ignore[arg-type]  # only moves are views

    def _collect(self, name: str, source: Placed, target: Placed) -> None:
        """Band j of the source to rows of the target, in the first lane: all bands move a lane down, j times.

        Args:
            name: for errors.
            source: all channels of a tensor in bands, or some of them.
            target: whole, with as many channels.
        """
        channels, rows, columns = source.shape
        compact = source
        if source.pitch - channels * source.plane >= source.plane:  # there are more channels
            words = rows * channels * columns
            compact = Placed.banded(source.shape, 0, self.scratch.take(words, f"{name} (some channels)"))
            self._copy(source, compact, 0)
        free = [self.scratch.take(compact.band, f"{name} (bands)") for _ in range(min(2, self.spec.stripes - 1))]
        current, taken = compact, list(free)
        for lane in range(self.spec.stripes):
            if lane:
                block = free.pop(0)
                self._shift(current, block)
                if current is not compact:
                    free.append(current.block)
                current = replace(current, block=block, origin=block + current.origin - current.block)
            self._copy(current, replace(target, shape=source.shape, origin=target.origin + lane * rows * target.pitch), 0)
        for block in taken:
            self.scratch.give_back(block)
        if compact is not source:
            self.scratch.give_back(compact.block)

    def _shift(self, source: Placed, block: int) -> None:
        """The band of the next lane, whole, to `block`."""
        weight, shift = identity_scale(self.spec)
        start = np.array([source.block + source.band])
        self._constant(
            np.array([[weight]]), np.zeros(1), start, np.array([block]), (1, source.band), (0, 1), (0, 1), shift,
        )  # fmt: skip
        self.layers[-1] = self._across(self.layers[-1], source, 0)

    def _pooled_parts(self, name: str, source: Placed) -> Iterator[tuple[int, Placed]]:
        """A tensor that is to be read whole, as (first channel, some channels); of one in bands a band's worth at a time."""
        if not source.band or self.in_bands:
            yield 0, source
            return
        channels, rows, columns = source.shape
        share = max(1, channels // self.spec.stripes)
        for first in range(0, channels, share):
            shape = (min(share, channels - first), rows, columns)
            part = replace(source, shape=shape, origin=source.origin + first * source.plane)
            whole = (shape[0], rows * self.spec.stripes, columns)
            words = whole[0] * whole[1] * whole[2]
            target = Placed.bordered(whole, (0, 0), self.scratch.take(words, f"{name} (some channels)"))
            self._collect(name, part, target)
            yield first, target
            self.scratch.give_back(target.block)
