"""The extractor at work on boards that were measured: enrolled from their first reads, then booted from all others.

Constants are chosen by boards of other thirds, as everywhere. A board has as many pairs as were measured, which may be fewer
than a key needs (docs/puf.md): what is looked at is whether keys come back, and not what they are worth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bitting.errors import MeasurementError, PufError
from bitting.puf import holdout, masks, pairing
from bitting.puf.extractor import FuzzyExtractor, Helper
from bitting.puf.measurements import Measurements
from bitting.unit.bch import BchCode
from bitting.unit.puf_key import PufKey
from bitting.unit.spec import UnitSpec

#: (reads of enrolment, reads of a boot) that are looked at: many and one of each.
KINDS = ((36, 64), (36, 1), (1, 64), (1, 1))


@dataclass(frozen=True)
class Reconstruction:
    """Boots of one kind.

    Attributes:
        enrolled: first reads that enrolment averages.
        reads: later ones that a boot averages; no read is in two boots.
        boots: of all boards.
        failed: boots that did not give the secret of enrolment.
        boards_failed: boards with such a boot.
        most_wrong: wrong bits of those that are kept, in any boot.
    """

    enrolled: int
    reads: int
    boots: int
    failed: int
    boards_failed: int
    most_wrong: int


@dataclass(frozen=True)
class Strangers:
    """Boards with helper data of other boards.

    Attributes:
        tries: pairs of two boards.
        opened: secrets that came of them.
        nearest: the fewest wrong bits of those that are kept.
    """

    tries: int
    opened: int
    nearest: int


def key(measured: Measurements, left_out: float, corrects: int) -> PufKey:
    """Of all pairs that a board has: one word, or as many as it takes, of a code of 255 bits.

    Args:
        measured: says how many pairs there are.
        left_out: share of them.
        corrects: errors in each word.
    """
    pairs = measured.oscillators // 2
    code = BchCode(8, corrects)
    bits = masks.kept(pairs, left_out)
    blocks = -(-bits // code.n)
    return PufKey(code, blocks, bits // blocks, pairs)


@dataclass(frozen=True, eq=False)
class Trial:
    """Boards, and how they are enrolled.

    Attributes:
        measured: reads.
        extractor: with as many pairs as a board has.
        seed: of the partition into those that choose constants and those that are enrolled.
    """

    measured: Measurements
    extractor: FuzzyExtractor
    seed: int = 0

    def __post_init__(self) -> None:
        if self.extractor.key.pairs != self.measured.oscillators // 2:
            raise MeasurementError(
                f"a key of {self.extractor.key.pairs} pairs, boards of {self.measured.oscillators} oscillators; allowed are "
                "two for each pair"
            )

    def _parts(self) -> list[tuple[pairing.Pairing, np.ndarray]]:
        """Pairs with the constants that the others chose, and the boards that are enrolled with them."""
        mean, columns = self.measured.mean(), self.measured.columns
        make = pairing.CANDIDATES[pairing.DEFAULT]
        splits = holdout.splits(self.measured.boards, 1, self.seed)
        return [(make(mean[split.chosen], columns), split.judged) for split in splits]

    def _enrolled(self, pairs: pairing.Pairing, boards: np.ndarray, reads: int) -> tuple[np.ndarray, list[Helper]]:
        """(bits of enrolment, helper data) of some boards."""
        differences = pairs.differences(next(self.measured.of(boards).averages(reads)))
        return differences > 0, [self.extractor.enrol(board) for board in differences]

    def boots(self, enrolled: int, reads: int, progress: Callable[[], None] = lambda: None) -> Reconstruction:
        """Every boot of every board.

        Args:
            enrolled: first reads that enrolment averages.
            reads: later ones that a boot averages.
            progress: called once for each third of the boards.

        Raises:
            MeasurementError: if there are too few reads.
        """
        if min(enrolled, reads) < 1 or enrolled + reads > self.measured.reads:
            raise MeasurementError(
                f"{self.measured.reads} reads of each oscillator are too few to enrol {enrolled} and boot with {reads}; "
                "allowed are at least one of each that sum to no more"
            )
        boots = most = 0
        failed = np.zeros(self.measured.boards, int)
        for pairs, boards in self._parts():
            right, helpers = self._enrolled(pairs, boards, enrolled)
            roots = [self.extractor.reproduce(bits, helper) for bits, helper in zip(right, helpers, strict=True)]
            for boot in self.measured.of(boards).averages(reads, enrolled):
                for at, bits in enumerate(pairs.response(boot)):
                    boots += 1
                    most = max(most, self._wrong(bits, right[at], helpers[at]))
                    failed[boards[at]] += self._secret(bits, helpers[at]) != roots[at]
            progress()
        return Reconstruction(enrolled, reads, boots, int(failed.sum()), int((failed > 0).sum()), most)

    def strangers(self, enrolled: int, progress: Callable[[], None] = lambda: None) -> Strangers:
        """Every board, the mean of all its reads, with the helper data of every other one."""
        tries = opened = 0
        nearest = self.extractor.key.bits
        mean = self.measured.mean()
        for pairs, boards in self._parts():
            right, helpers = self._enrolled(pairs, boards, enrolled)
            responses = pairs.response(mean)
            for at, own in enumerate(boards):
                for other in np.flatnonzero(np.arange(self.measured.boards) != own):
                    tries += 1
                    opened += self._secret(responses[other], helpers[at]) is not None
                    nearest = min(nearest, self._wrong(responses[other], right[at], helpers[at]))
            progress()
        return Strangers(tries, opened, nearest)

    def _secret(self, bits: np.ndarray, helper: Helper) -> bytes | None:
        try:
            return self.extractor.reproduce(bits, helper)
        except PufError:
            return None

    @staticmethod
    def _wrong(bits: np.ndarray, right: np.ndarray, helper: Helper) -> int:
        return int(((bits != right) & (helper.mask == 1)).sum())


def make(
    measured: Measurements,
    spec: UnitSpec,
    sizes: PufKey,
    kinds: Sequence[tuple[int, int]],
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Reconstruction], Strangers]:
    """All kinds of boots, and strangers at the first kind's enrolment.

    Args:
        measured: boards.
        spec: of the unit, which enters the secret.
        sizes: of the key.
        kinds: (reads of enrolment, reads of a boot).
        seed: of the partition.
        progress: called with (done, total).
    """
    trial, done = Trial(measured, FuzzyExtractor(spec, sizes), seed), 0
    total = holdout.FOLDS * (len(kinds) + 1)

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    found = [trial.boots(enrolled, reads, step) for enrolled, reads in kinds]
    return found, trial.strangers(kinds[0][0], step)
