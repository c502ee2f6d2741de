"""Everything that measurements say of a key, in one pass: which pairing, how much entropy, how many errors, which code.

Constants are always chosen on other boards than those that are judged (`holdout`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bitting.errors import MeasurementError
from bitting.puf import choice, entropy, failure, holdout, pairing, population, prediction
from bitting.puf.choice import Choice
from bitting.puf.entropy import Entropy, Spread
from bitting.puf.failure import ErrorRates
from bitting.puf.holdout import Split
from bitting.puf.measurements import Measurements
from bitting.puf.population import Population
from bitting.puf.prediction import Attack
from bitting.unit.bch import BLOCK_BITS, BchCode

#: Random partitions that a candidate is judged on.
REPEATS = 5
#: Reads that errors need at least: some for the reference, others for boots.
LEAST_READS = 3
#: Errors of a boot beyond which the model's tail is held beside what was seen.
TAIL_ERRORS = 4

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Worth:
    """Bits of min-entropy for each response bit, after what other bits tell.

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
class Candidate:
    """A pairing on boards that chose nothing.

    Attributes:
        name: in `pairing.CANDIDATES`.
        entropy: means over splits.
        deviation: standard deviation of `entropy.corrected` over splits.
        attacks: over all splits.
        worth: of both.
        error_rate: share of wrong bits if a boot takes one read.
    """

    name: str
    entropy: Entropy
    deviation: float
    attacks: tuple[Attack, ...]
    worth: Worth
    error_rate: float


@dataclass(frozen=True, eq=False)
class Report:
    """What `bitting puf report` prints and draws; `default` says more of the pairing that the key is made with."""

    boards: int
    oscillators: int
    reads: int
    reference: int
    splits: int
    judged: int
    candidates: tuple[Candidate, ...]
    spread: Spread
    standard: dict[str, tuple[float, float]]
    coins: Entropy  # what fair coins of so many boards and bits show
    coins_standard: dict[str, float]
    few_constants: Attack
    rates: tuple[ErrorRates, ...]
    fitted: Population
    between: np.ndarray  # fractional distances of boards, each judged board with each of its split
    aliasing: np.ndarray  # (bits,) share of ones on the judged boards of one split

    @property
    def default(self) -> Candidate:
        """The pairing that the key is made with."""
        return next(one for one in self.candidates if one.name == pairing.DEFAULT)

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """For each number of reads, by the conservative entropy."""
        return tuple(choice.choices(self.rates, self.default.worth.conservative))

    @property
    def best(self) -> Choice | None:
        """The default for a key, if anything meets the requirement."""
        return choice.best(self.choices)

    def rates_of(self, reads: int) -> ErrorRates:
        """Of boots that average so many reads."""
        return next(one for one in self.rates if one.reads == reads)

    @property
    def boots(self) -> ErrorRates:
        """Of boots as the default for a key takes them; if nothing meets the requirement, of the most reads."""
        return self.rates_of(self.best.reads) if self.best else self.rates[-1]

    def failures(self, reads: int) -> list[tuple[BchCode, list[tuple[float, float]]]]:
        """Of each code: probabilities that a block fails at `choice.FACTORS` of the worst rate, by unequal and equal bits."""
        rates = self.rates_of(reads)
        rate, margins = float(rates.modelled[rates.worst]), rates.margins[rates.worst]
        return [
            (code, [choice.block_failures(code, factor * rate, margins) for factor in choice.FACTORS if factor * rate < 0.5])
            for code in failure.codes()
        ]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: no figure of a single oscillator is in it."""
        best = self.best
        return {
            "measured": {"boards": self.boards, "oscillators": self.oscillators, "reads": self.reads},
            "judging": {"splits": self.splits, "judged_boards": self.judged, "reference_reads": self.reference},
            "candidates": [_candidate(one) for one in self.candidates],
            "default": {
                "name": self.default.name,
                **asdict(self.spread),
                "sp800_90b": {
                    name: {"board_order": board, "position_order": position, "fair_coins": self.coins_standard[name]}
                    for name, (board, position) in self.standard.items()
                },
                "fair_coins": asdict(self.coins),
                "constants_of_half_the_boards": asdict(self.few_constants),
            },
            "error_rates": [_rates(one) for one in self.rates],
            "choices": [asdict(one) for one in self.choices],
            "best": asdict(best) if best else None,
            "left_of_one_block": self.one_block(best) if best else None,
            "population": asdict(self.fitted),
        }

    def one_block(self, of: Choice) -> dict[str, float]:
        """Bits left of a single block, which is all that a recorded board has."""
        worth = self.default.worth
        return {name: choice.left(of.code, value) for name, value in asdict(worth).items()}


def _candidate(one: Candidate) -> dict[str, Any]:
    return {**asdict(one), "attacks": [{**asdict(attack), "remaining": attack.remaining} for attack in one.attacks]}


def _rates(one: ErrorRates) -> dict[str, Any]:
    counted = int(one.counted.argmax())
    expected, seen = one.tail(TAIL_ERRORS)
    return {
        "reads": one.reads,
        "boots": int(one.errors.shape[1]),
        "mean_counted": float(one.counted.mean()),
        "mean_modelled": float(one.modelled.mean()),
        "worst_counted": float(one.counted[counted]),
        "worst_counted_interval": one.bounds(counted),
        "worst_modelled": float(one.modelled[one.worst]),
        "most_errors": int(one.errors.max()),
        "deepest_wrong_margin": float(one.deepest.max()),
        f"boots_over_{TAIL_ERRORS}_errors": {"expected": expected, "seen": seen},
    }


def make(measured: Measurements, seed: int = 0, progress: Progress = lambda done, total: None) -> Report:
    """Judge all candidates and everything about the default one.

    Args:
        measured: boards with at least `BLOCK_BITS` pairs, and 3 reads.
        seed: of the partitions.
        progress: called with (done, total).

    Raises:
        MeasurementError: if there are too few boards, oscillators or reads.
    """
    if measured.oscillators < 2 * BLOCK_BITS:
        raise MeasurementError(
            f"oscillators of a board: {measured.oscillators}; a block needs {2 * BLOCK_BITS}: measure more of them"
        )
    if measured.reads < LEAST_READS:
        raise MeasurementError(f"reads of an oscillator: {measured.reads}; errors need {LEAST_READS} at least: read more often")
    splits = list(holdout.splits(measured.boards, REPEATS, seed))
    reference = min(failure.REFERENCE_READS, max(1, measured.reads * failure.REFERENCE_READS // 100))
    averaged = [reads for reads in failure.AVERAGED if reference + reads <= measured.reads]
    total = len(pairing.CANDIDATES) + len(averaged)
    mean = measured.mean()
    _, places, count = np.unique(mean, axis=0, return_index=True, return_counts=True)
    if count.max() > 1:
        number = measured.board[places[int(count.argmax())]]
        raise MeasurementError(
            f"{int(count.max())} boards have the very frequencies of board {number}; each die is to be there once: leave "
            "copies out"
        )
    fields = [prediction.field_covariance(mean[split.chosen], measured.columns) for split in splits]
    candidates, rates = [], []
    for name in pairing.CANDIDATES:
        candidates.append(_judge(name, measured, mean, splits, fields, reference))
        progress(len(candidates), total)
    for reads in averaged:
        rates.append(_rates_of(pairing.DEFAULT, measured, mean, splits, reads, reference))
        progress(len(candidates) + len(rates), total)
    responses = [_response(mean, split, measured.columns) for split in splits]
    generator = np.random.default_rng(seed)
    coins = [generator.random(bits.shape) < 0.5 for bits in responses]
    return Report(
        boards=measured.boards,
        oscillators=measured.oscillators,
        reads=measured.reads,
        reference=reference,
        splits=len(splits),
        judged=min(len(split.judged) for split in splits),
        candidates=tuple(candidates),
        spread=Spread(**_means([asdict(entropy.spread(bits)) for bits in responses])),
        standard=_standard(responses),
        coins=Entropy(**_means([asdict(entropy.per_bit(bits)) for bits in coins])),
        coins_standard={name: board for name, (board, _) in _standard(coins).items()},
        few_constants=_few_constants(mean, splits, fields, measured.columns),
        rates=tuple(rates),
        fitted=population.fitted(measured),
        between=np.concatenate([entropy.distances(bits) for bits in responses[: holdout.FOLDS]]),
        aliasing=responses[0].mean(0),
    )


def _standard(responses: Sequence[np.ndarray]) -> dict[str, tuple[float, float]]:
    """The standard's estimates, averaged over splits."""
    found = [entropy.standard_estimates(bits) for bits in responses]
    return {
        name: (float(np.mean([one[name][0] for one in found])), float(np.mean([one[name][1] for one in found])))
        for name in found[0]
    }


def _means(of: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in of])) for name in of[0]}


def _response(mean: np.ndarray, split: Split, columns: int) -> np.ndarray:
    return pairing.block(mean[split.chosen], columns).response(mean[split.judged])


def _rates_of(
    name: str, measured: Measurements, mean: np.ndarray, splits: Sequence[Split], reads: int, reference: int
) -> ErrorRates:
    """Of every board once in each partition: with other constants other bits have small margins."""
    return failure.joined(
        [
            failure.error_rates(
                measured.of(split.judged), pairing.block(mean[split.chosen], measured.columns, name), reads, reference
            )
            for split in splits
        ]
    )


def _judge(
    name: str,
    measured: Measurements,
    mean: np.ndarray,
    splits: Sequence[Split],
    fields: Sequence[np.ndarray],
    reference: int,
) -> Candidate:
    found: list[Entropy] = []
    right: dict[str, list[np.ndarray]] = {}
    for split, field in zip(splits, fields, strict=True):
        pairs = pairing.block(mean[split.chosen], measured.columns, name)
        found.append(entropy.per_bit(pairs.response(mean[split.judged])))
        for attack, hits in prediction.predictions(pairs, mean[split.chosen], mean[split.judged], field):
            right.setdefault(attack, []).append(hits)
    # Every partition judges the same boards again: more partitions make no more boards.
    attacks = tuple(prediction.attacks(right, len(splits) // holdout.FOLDS))
    together = Entropy(**_means([asdict(one) for one in found]))
    return Candidate(
        name,
        together,
        float(np.std([one.corrected for one in found])),
        attacks,
        worth(together, attacks),
        float(_rates_of(name, measured, mean, splits[: holdout.FOLDS], 1, reference).counted.mean()),
    )


def _few_constants(mean: np.ndarray, splits: Sequence[Split], fields: Sequence[np.ndarray], columns: int) -> Attack:
    """Constants from half of the boards, an attacker with twice as many: he knows the constants' errors."""
    right: dict[str, list[np.ndarray]] = {}
    for split, field in zip(splits, fields, strict=True):
        pairs = pairing.block(mean[split.chosen[: math.ceil(len(split.chosen) / 2)]], columns)
        for attack, hits in prediction.predictions(pairs, mean[split.chosen], mean[split.judged], field):
            right.setdefault(attack, []).append(hits)
    return max(prediction.attacks(right, len(splits) // holdout.FOLDS), key=lambda attack: attack.accuracy)
