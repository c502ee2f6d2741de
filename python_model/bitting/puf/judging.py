"""What a pairing is worth: entropy and attacks on boards that chose nothing, all pairs of a board or its strongest.

The bits that are judged are those of enrolment, the mean of a board's first reads; so is the mask, if weak pairs are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from bitting.puf import entropy, failure, holdout, masks, pairing, prediction
from bitting.puf.entropy import Entropy
from bitting.puf.failure import ErrorRates
from bitting.puf.holdout import Split
from bitting.puf.masks import MaskSpread
from bitting.puf.measurements import Measurements
from bitting.puf.prediction import Attack


@dataclass(frozen=True)
class Worth:
    """Bits of min-entropy for each response bit that is kept, after what other bits tell.

    Attributes:
        likely: `Entropy.corrected` less what the best attack that uses nothing but other bits gains over a coin.
        conservative: the same of `Entropy.bound` and of the attack's upper bound, and no more than the best attack of any kind
            leaves, by its upper bound. Every figure of a key is from this one.
    """

    likely: float
    conservative: float


def worth(of: Entropy, attacks: Sequence[Attack]) -> Worth:
    """From the bias of single bits and from attacks on the same boards."""
    others = [attack for attack in attacks if attack.others_only]
    gained = 1 - entropy.min_entropy(max(attack.accuracy for attack in others))
    gained_bound = 1 - min(attack.remaining for attack in others)
    conservative = min([of.bound - gained_bound, *(attack.remaining for attack in attacks)])
    return Worth(of.corrected - gained, max(0.0, conservative))


@dataclass(frozen=True)
class Judged:
    """A pairing on boards that chose nothing.

    Attributes:
        name: in `pairing.CANDIDATES`.
        left_out: share of each board's pairs, its weakest.
        kept: pairs of each board.
        entropy: of kept bits, means over splits.
        deviation: standard deviation of `entropy.corrected` over splits.
        bias: root mean square of what the probability of a kept bit differs from 1/2, without that of chance.
        attacks: over all splits.
        worth: of both.
        mask: how masks lie over the judged boards, means over splits; nothing if all pairs are kept.
    """

    name: str
    left_out: float
    kept: int
    entropy: Entropy
    deviation: float
    bias: float
    attacks: tuple[Attack, ...]
    worth: Worth
    mask: MaskSpread | None


@dataclass(frozen=True, eq=False)
class KeptErrors:
    """Errors of the bits that boards keep, by the model and as they were counted, at more noise than was measured.

    Attributes:
        left_out: share of each board's pairs, its weakest.
        factor: times each board's error rate, of all its pairs.
        rates: (boards, kept) modelled error rates.
        errors: (boards, boots) wrong bits in the recorded boots, what each difference moves by being so much larger.
    """

    left_out: float
    factor: float
    rates: np.ndarray
    errors: np.ndarray

    @property
    def modelled(self) -> float:
        """Mean error rate of kept bits."""
        return float(self.rates.mean())

    @property
    def worst(self) -> float:
        """Mean error rate of the kept bits of the board where it is highest."""
        return float(self.rates.mean(1).max())

    @property
    def counted(self) -> float:
        """Share of wrong ones among kept bits."""
        return float(self.errors.mean()) / self.rates.shape[1]

    def over(self, errors: int) -> tuple[float, float]:
        """(by the model, counted): share of boots with more than `errors` wrong kept bits."""
        return float(failure.error_distribution(self.rates)[:, errors + 1 :].sum(1).mean()), float(
            (self.errors > errors).mean()
        )


@dataclass(frozen=True, eq=False)
class Boards:
    """Measurements, what enrolment makes of them, and who judges whom.

    Attributes:
        measured: reads.
        mean: (boards, oscillators) over all reads: what a calibration board is known by, and an attacker's own.
        enrolled: (boards, oscillators) over the first `reference` reads.
        reference: reads that enrolment averages.
        splits: who chooses and who is judged.
        fields: `prediction.field_covariance` of those who choose, of each split.
    """

    measured: Measurements
    mean: np.ndarray
    enrolled: np.ndarray
    reference: int
    splits: Sequence[Split]
    fields: Sequence[np.ndarray]

    @classmethod
    def of(cls, measured: Measurements, splits: Sequence[Split]) -> Boards:
        """With as much of the reads for the reference as of the recorded ones."""
        mean = measured.mean()
        reference = min(failure.REFERENCE_READS, max(1, measured.reads * failure.REFERENCE_READS // 100))
        fields = [prediction.field_covariance(mean[split.chosen], measured.columns) for split in splits]
        return cls(measured, mean, next(measured.averages(reference)), reference, splits, fields)

    @property
    def times(self) -> int:
        """How often each board is judged: more partitions make no more boards."""
        return math.ceil(len(self.splits) / holdout.FOLDS)

    def pairs(self, split: Split, name: str = pairing.DEFAULT) -> pairing.Pairing:
        """With the constants that the split's boards choose."""
        return pairing.block(self.mean[split.chosen], self.measured.columns, name)

    def judge(self, name: str = pairing.DEFAULT, left_out: float = 0.0) -> Judged:
        """Entropy and attacks, on every split.

        Args:
            name: in `pairing.CANDIDATES`.
            left_out: share of each board's pairs.
        """
        found: list[Entropy] = []
        squares: list[float] = []
        spreads: list[MaskSpread] = []
        right: dict[str, list[np.ndarray]] = {}
        kept = 0
        for split, field in zip(self.splits, self.fields, strict=True):
            pairs, judged = self.pairs(split, name), self.enrolled[split.judged]
            kept = masks.kept(pairs.bits, left_out)
            differences = pairs.differences(judged)
            bits, mask = differences > 0, masks.strongest(differences, kept)
            found.append(entropy.per_bit(bits, mask))
            squares.append(float(entropy.agreement(bits, mask).mean()) / 4)
            if kept < pairs.bits:
                spreads.append(masks.spread(mask))
            own = self.mean[split.chosen]
            for attack, hits in prediction.predictions(pairs, self.measured.columns, own, judged, field, kept):
                right.setdefault(attack, []).append(hits)
        attacks = tuple(prediction.attacks(right, self.times))
        together = Entropy(**means([asdict(one) for one in found]))
        return Judged(
            name,
            left_out,
            kept,
            together,
            float(np.std([one.corrected for one in found])),
            math.sqrt(max(0.0, float(np.mean(squares)))),
            attacks,
            worth(together, attacks),
            MaskSpread(**means([asdict(one) for one in spreads])) if spreads else None,
        )

    def rates(self, reads: int, name: str = pairing.DEFAULT) -> ErrorRates:
        """Of every board once in each partition: with other constants other bits have small margins."""
        return failure.joined([
            failure.error_rates(self.measured.of(split.judged), self.pairs(split, name), reads, self.reference)
            for split in self.splits
        ])  # fmt: skip

    def errors_of_a_read(self, name: str) -> float:
        """Share of wrong bits of boots that take one read, every board once."""
        return float(replace(self, splits=self.splits[: holdout.FOLDS]).rates(1, name).counted.mean())


def kept_errors(boards: Boards, reads: int, factor: float, shares: Sequence[float]) -> list[KeptErrors]:
    """Of the first partition, every board once: one for each share that is left out.

    Args:
        boards: measured ones.
        reads: of a boot.
        factor: times each board's error rate.
        shares: of each board's pairs, its weakest.
    """
    counted, modelled = [], []
    kept: list[int] = []
    for split in boards.splits[: holdout.FOLDS]:
        pairs, some = boards.pairs(split), boards.measured.of(split.judged)
        kept = [masks.kept(pairs.bits, share) for share in shares]
        rates = failure.error_rates(some, pairs, reads, boards.reference)
        counted.append(failure.kept_errors(some, pairs, rates, factor, kept, boards.reference))
        modelled.append([rates.kept_rates(factor, count) for count in kept])
    return [
        KeptErrors(
            share, factor, np.concatenate([part[at] for part in modelled]), np.concatenate([part[at] for part in counted])
        )
        for at, share in enumerate(shares)
    ]


def means(of: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of each entry."""
    return {name: float(np.mean([one[name] for one in of])) for name in of[0]}
