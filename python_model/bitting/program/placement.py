"""Where activations lie in the scratch memory: layouts with borders of zeros, and who may have whose words.

Knows specs only.
"""

from __future__ import annotations

from dataclasses import dataclass

from bitting.errors import ProgramError
from bitting.unit.spec import ADDRESS_FIELD_BITS, PRESETS, UnitSpec

#: (channels, rows, columns).
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Placed:
    """A tensor in the scratch memory: `origin` is the address of its first activation, `block` where its words begin."""

    shape: Shape
    border: int
    block: int

    @property
    def pitch(self) -> int:
        """Words from a row to the next."""
        return self.shape[2] + self.border

    @property
    def plane(self) -> int:
        """Words from a channel to the next."""
        return (self.shape[1] + self.border) * self.pitch

    @property
    def origin(self) -> int:
        """Behind the upper border, and the left border of the first row."""
        return self.block + self.border * (self.pitch + 1)

    @property
    def words(self) -> int:
        """With all borders, counted from `block`."""
        return self.border * (self.pitch + 1) + self.shape[0] * self.plane


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
    for name, preset in PRESETS.items():
        if spec.replace(scratch_words=words).parameters() == preset.replace(scratch_words=words).parameters():
            return f"{name}:scratch_words={words} would do"
    return f"the same spec with scratch_words={words} would do"
