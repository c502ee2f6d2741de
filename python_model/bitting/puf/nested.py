"""The choice itself on boards that are not judged: two thirds of them choose constants, reads, share and code for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bitting.puf import choice, failure, holdout, masks
from bitting.puf.choice import Choice
from bitting.puf.judging import Boards
from bitting.puf.measurements import Measurements


@dataclass(frozen=True)
class Nested:
    """What some boards choose among themselves, and what it is worth on the others.

    Attributes:
        boards: that chose.
        choice: of theirs.
        judged: boards that were judged.
        failure: of the key of the judged board that fails most, at `choice.MARGIN` times its rate.
        failing: judged boards that fail more often than `choice.MOST_FAILURES` then.
        left: bits that are left on the judged boards, by their conservative estimate.
    """

    boards: int
    choice: Choice
    judged: int
    failure: float
    failing: int
    left: float


def averaged(boards: Boards) -> list[int]:
    """Numbers of reads of a boot that can be looked at."""
    return [reads for reads in failure.AVERAGED if boards.reference + reads <= boards.measured.reads]


def nested(measured: Measurements, seed: int, progress: Callable[[], None]) -> Iterator[Nested]:
    """For each third of the boards in one random partition; none where the others find no key.

    Args:
        measured: as many boards as it takes to split two thirds of them once more.
        seed: of the partitions.
        progress: called once for each third.
    """
    for split in holdout.splits(measured.boards, 1, seed):
        if len(split.chosen) >= holdout.LEAST_BOARDS:
            own = measured.of(split.chosen)
            inside = Boards.of(own, list(holdout.splits(own.boards, 1, seed)))
            entropy = {share: inside.judge(left_out=share).worth.conservative for share in masks.SHARES}
            found = choice.best(choice.choices([inside.rates(reads) for reads in averaged(inside)], entropy))
            if found is not None:
                outside = Boards.of(measured, [split])
                fails = choice.key_failures(outside.rates(found.reads), found.key, found.left_out, choice.MARGIN)
                left = choice.left(found.key, outside.judge(left_out=found.left_out).worth.conservative)
                failing = int((fails > choice.MOST_FAILURES).sum())
                yield Nested(own.boards, found, len(split.judged), float(fails.max()), failing, left)
        progress()
