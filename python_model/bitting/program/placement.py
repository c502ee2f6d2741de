"""Where activations lie in the scratch memory: layouts with borders of zeros, and who may have whose words.

Knows specs only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bitting.errors import ProgramError
from bitting.program.bands import Shape
from bitting.unit.spec import ADDRESS_FIELD_BITS, UnitSpec, spec_text

#: (rows, columns).
Pair = tuple[int, int]


@dataclass(frozen=True)
class Placed:
    """A tensor in the scratch memory, or a view of one.

    Attributes:
        shape: of what is read here; of a tensor in bands, those of a lane.
        block: address where the words of the tensor begin.
        origin: address of the first activation.
        pitch: words from a row to the next.
        plane: words from a channel to the next.
        band: words of a lane's band of a tensor that p lanes share, rows outermost; 0: every lane has a whole tensor.
        outside: (above, below) rows of a view of such a tensor that lie beyond its first and last row.
    """

    shape: Shape
    block: int
    origin: int
    pitch: int
    plane: int
    band: int = 0
    outside: Pair = (0, 0)

    @classmethod
    def bordered(cls, shape: Shape, border: Pair, block: int) -> Placed:
        """A tensor of its own at `block`, behind an upper border, and the left border of the first row.

        `border`: rows below each channel, which are the next one's upper border, and columns to the right of each row.
        """
        pitch = shape[2] + border[1]
        return cls(shape, block, block + border[0] * pitch + border[1], pitch, (shape[1] + border[0]) * pitch)

    @classmethod
    def banded(cls, shape: Shape, columns: int, block: int) -> Placed:
        """A tensor that lanes share; `shape` of a lane's band, `columns` of border before a row and after each of its channels.

        So all that a window reads of a row lies in that row, and no window reaches further than its rows do. Rows above and
        below are the neighbours'.
        """
        plane = shape[2] + columns
        pitch = columns + shape[0] * plane
        return cls(shape, block, block + columns, pitch, plane, shape[1] * pitch)

    @property
    def border(self) -> Pair:
        """(rows, columns) that follow each channel, and each row."""
        if self.band:
            return 0, self.pitch - self.shape[0] * self.plane
        return self.plane // self.pitch - self.shape[1], self.pitch - self.shape[2]

    @property
    def words(self) -> int:
        """With all borders, counted from `block`."""
        return self.band or self.origin - self.block + self.shape[0] * self.plane

    def padded(self, before: Pair, after: Pair) -> Placed:
        """The same words seen with (rows, columns) of their border before and after; negative ones are cut off."""
        channels, rows, columns = self.shape
        if self.band:
            return replace(
                self, shape=(channels, rows, columns + before[1] + after[1]), origin=self.origin - before[1],
                outside=(self.outside[0] + before[0], self.outside[1] + after[0]),
            )  # fmt: skip
        shape = (channels, rows + before[0] + after[0], columns + before[1] + after[1])
        return replace(self, shape=shape, origin=self.origin - before[0] * self.pitch - before[1])


@dataclass
class _Block:
    """Words that are in use from one event to another."""

    name: str
    words: int
    first: int
    last: int = -1
    start: int = -1

    def meets(self, other: _Block) -> bool:
        return self.first <= other.last and other.first <= self.last


class LifetimeRecorder:
    """Records what is taken and given back, at addresses that never collide."""

    def __init__(self) -> None:
        self.blocks: list[_Block] = []
        self._next = 0
        self._events = 0
        self._by_start: dict[int, _Block] = {}

    def take(self, words: int, name: str) -> int:
        """Address of a new block that lives until it is given back; errors call it `name`."""
        start = self._next
        self._next += words
        self._by_start[start] = _Block(name, words, self._event())
        self.blocks.append(self._by_start[start])
        return start

    def give_back(self, start: int) -> None:
        """The block at `start` lives no longer: other blocks may have its words."""
        self._by_start.pop(start).last = self._event()

    def _event(self) -> int:
        self._events += 1
        return self._events


class ScratchAllocator:
    """Addresses for all blocks: the largest first, each at the lowest place that is free for as long as it lives."""

    def __init__(self, spec: UnitSpec, lifetimes: LifetimeRecorder):
        blocks = lifetimes.blocks
        for block in blocks:
            if block.last < 0:  # never given back: lives to the end
                block.last = len(blocks) * 2 + 1
        placed: list[_Block] = []
        for block in sorted(blocks, key=lambda block: -block.words):
            block.start = 0
            for other in sorted((b for b in placed if b.meets(block)), key=lambda b: b.start):
                if other.start - block.start >= block.words:
                    break
                block.start = max(block.start, other.start + other.words)
            placed.append(block)
        needed = max(block.start + block.words for block in blocks)
        if needed > spec.scratch_words:

            def alive(block: _Block) -> list[_Block]:
                return [b for b in blocks if b.first <= block.first <= b.last]

            worst = max(blocks, key=lambda block: sum(b.words for b in alive(block)))
            inventory = ", ".join(f"{b.name} ({b.words} words)" for b in alive(worst))
            raise ProgramError(
                f"layer {worst.name} does not fit: scratch_words = {spec.scratch_words} of spec {spec.name!r} can not hold "
                f"what is alive then, {inventory}; {_remedy(spec, needed)}"
            )
        self._starts = iter([block.start for block in blocks])

    def take(self, words: int, name: str) -> int:
        """Address of the next block: they have to be taken in the order that was recorded."""
        return next(self._starts)

    def give_back(self, start: int) -> None:
        """Does nothing: the lifetimes that were recorded already tell when a block ends."""


def _remedy(spec: UnitSpec, needed: int) -> str:
    """Which scratch memory would do."""
    words = 1 << (needed - 1).bit_length()
    if words > 1 << ADDRESS_FIELD_BITS:
        return f"no spec would do: addresses have {ADDRESS_FIELD_BITS} bits; use fewer channels or smaller images"
    return f"{spec_text(spec.replace(scratch_words=words))} would do"
