"""Everything that measurements say of a key, in one pass: which pairing, how much entropy, how many errors, which code.

Constants are always chosen on other boards than those that are judged (`holdout`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from bitting.errors import MeasurementError
from bitting.puf import choice, confirmation, entropy, failure, holdout, masks, nested, pairing, population, prediction
from bitting.puf.choice import Choice
from bitting.puf.confirmation import Confirmation
from bitting.puf.entropy import Entropy, Spread
from bitting.puf.failure import ErrorRates
from bitting.puf.judging import Boards, Judged, KeptErrors, kept_errors, means
from bitting.puf.measurements import Measurements
from bitting.puf.nested import Nested
from bitting.puf.population import Population
from bitting.puf.prediction import Attack
from bitting.unit.bch import BLOCK_BITS
from bitting.unit.puf_key import DEFAULT_KEY, DEFAULT_READS, PufKey

#: Random partitions that a candidate is judged on.
REPEATS = 5
#: Reads that errors need at least: some for the reference, others for boots.
LEAST_READS = 3
#: Errors of a boot beyond which the model's tail is held beside what was seen.
TAIL_ERRORS = 4

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Report:
    """What `bitting puf report` prints and draws; `default` says more of the pairing that the key is made with."""

    boards: int
    oscillators: int
    reads: int
    reference: int
    splits: int
    judged: int
    candidates: tuple[Judged, ...]
    candidate_errors: dict[str, float]  # share of wrong bits of each candidate if a boot takes one read
    shares: tuple[Judged, ...]  # the default pairing, for each share of weak pairs that is left out
    spread: Spread
    standard: dict[str, tuple[float, float]]
    coins: Entropy  # what fair coins of so many boards and bits show
    coins_standard: dict[str, float]
    few_constants: Attack
    rates: tuple[ErrorRates, ...]
    kept_errors: dict[int, tuple[KeptErrors, ...]]  # by reads: as measured, and at `choice.MARGIN` times that
    choices: tuple[Choice, ...]  # for each number of reads and each share, by the conservative entropy
    confirmed: tuple[Confirmation, ...]  # of the best
    nested: tuple[Nested, ...]
    asked: tuple[int, PufKey]  # reads of a boot and a key, whatever is chosen
    fitted: Population
    between: np.ndarray  # fractional distances of boards, each judged board with each of its split
    aliasing: np.ndarray  # (bits,) share of ones on the judged boards of one split

    @property
    def default(self) -> Judged:
        """The pairing that the key is made with, all its pairs."""
        return self.shares[0]

    @property
    def best(self) -> Choice | None:
        """The default for a key, if anything meets the requirement."""
        return choice.best(self.choices)

    @property
    def unmasked(self) -> Choice | None:
        """What would be chosen if no pair could be left out."""
        return choice.best([one for one in self.choices if one.left_out == 0])

    def share(self, left_out: float) -> Judged:
        """With so much left out."""
        return next(one for one in self.shares if one.left_out == left_out)

    def rates_of(self, reads: int) -> ErrorRates:
        """Of boots that average so many reads."""
        return next(one for one in self.rates if one.reads == reads)

    @property
    def boots(self) -> ErrorRates:
        """Of boots as the default for a key takes them; if nothing meets the requirement, of the most reads."""
        return self.rates_of(self.best.reads) if self.best else self.rates[-1]

    def failures(self, of: Choice) -> list[tuple[PufKey, list[float]]]:
        """Of each code, with pairs and blocks as chosen: probabilities that a key fails at `choice.FACTORS` of the rates.

        Factors that leave a board at one half or above have no entry.
        """
        rates = self.rates_of(of.reads)
        factors = [factor for factor in choice.FACTORS if factor * float(rates.modelled.max()) < 0.5]
        keys = [replace(of.key, code=code) for code in failure.codes() if code.check_bits < of.key.kept]
        fails = [choice.failures_of_codes(rates, keys, of.left_out, factor) for factor in factors]
        return [(key, [of_factor[at] for of_factor in fails]) for at, key in enumerate(keys)]

    @property
    def built(self) -> Choice | None:
        """The key that was asked for, judged like the others; without boots of as many reads, none."""
        reads, key = self.asked
        left_out = min(masks.SHARES, key=lambda share: abs(1 - share - key.bits / key.pairs))
        rates = next((one for one in self.rates if one.reads == reads), None)
        if rates is None or choice.MARGIN * rates.modelled.max() >= 0.5:
            return None
        return choice.judged(rates, key, left_out, self.share(left_out).worth.conservative)

    def left_of_a_board(self, of: Choice) -> dict[str, float]:
        """Bits left of the pairs that were measured, with the code and the share of a choice that may need more of them."""
        kept = masks.kept(self.rates[0].bits, of.left_out) // of.key.blocks * of.key.blocks
        worth = asdict(self.share(of.left_out).worth)
        return {name: kept * bits - of.key.entropy_loss for name, bits in worth.items()}

    def to_dict(self) -> dict[str, Any]:
        """For JSON: no figure of a single oscillator is in it."""
        best = self.best
        return {
            "measured": {"boards": self.boards, "oscillators": self.oscillators, "reads": self.reads},
            "judging": {"splits": self.splits, "judged_boards": self.judged, "reference_reads": self.reference},
            "candidates": [{**_judged(one), "error_rate": self.candidate_errors[one.name]} for one in self.candidates],
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
            "left_out": [_judged(one) for one in self.shares],
            "error_rates": [_rates(one) for one in self.rates],
            "kept_errors": {reads: [_kept(one) for one in found] for reads, found in self.kept_errors.items()},
            "choices": [_choice(one) for one in self.choices],
            "best": _choice(best) if best else None,
            "built": _choice(self.built) if self.built else None,
            "left_of_a_board": self.left_of_a_board(best) if best else None,
            "confirmed": [asdict(one) for one in self.confirmed],
            "nested": [{**asdict(one), "choice": _choice(one.choice)} for one in self.nested],
            "population": asdict(self.fitted),
        }


def _judged(one: Judged) -> dict[str, Any]:
    return {**asdict(one), "attacks": [{**asdict(attack), "remaining": attack.remaining} for attack in one.attacks]}


def _choice(one: Choice) -> dict[str, Any]:
    code = {"n": one.key.code.n, "k": one.key.code.k, "t": one.key.code.t}
    return {**asdict(one), "key": {**asdict(one.key), "code": code}, "oscillators": one.oscillators}


def _kept(one: KeptErrors) -> dict[str, Any]:
    return {
        "left_out": one.left_out,
        "factor": one.factor,
        "kept": int(one.rates.shape[1]),
        "modelled": one.modelled,
        "counted": one.counted,
        "worst_modelled": one.worst,
        "most_errors": int(one.errors.max()),
    }


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


def make(
    measured: Measurements,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
    asked: tuple[int, PufKey] = (DEFAULT_READS, DEFAULT_KEY),
) -> Report:
    """Judge all candidates and everything about the default one.

    Args:
        measured: boards with at least `BLOCK_BITS` pairs, and 3 reads.
        seed: of the partitions.
        progress: called with (done, total).
        asked: reads of a boot and a key to judge beside those that are chosen: what devices have if nothing else is said.

    Raises:
        MeasurementError: if there are too few boards, oscillators or reads.
    """
    if measured.oscillators < 2 * BLOCK_BITS:
        raise MeasurementError(
            f"oscillators of a board: {measured.oscillators}; a block needs {2 * BLOCK_BITS}: measure more of them"
        )
    if measured.reads < LEAST_READS:
        raise MeasurementError(f"reads of an oscillator: {measured.reads}; errors need {LEAST_READS} at least: read more often")
    boards = Boards.of(measured, list(holdout.splits(measured.boards, REPEATS, seed)))
    _distinct(boards)
    averaged = nested.averaged(boards)
    total = len(pairing.CANDIDATES) + len(masks.SHARES) - 1 + 2 * len(averaged) + holdout.FOLDS
    done = itertools.count(1)

    def told(value: Any) -> Any:
        progress(next(done), total)
        return value

    candidates = tuple(told(boards.judge(name)) for name in pairing.CANDIDATES)
    default = next(one for one in candidates if one.name == pairing.DEFAULT)
    shares = tuple(told(boards.judge(left_out=share)) if share else default for share in masks.SHARES)
    rates = tuple(told(boards.rates(reads)) for reads in averaged)
    worths = {one.left_out: one.worth.conservative for one in shares}
    found = tuple(one for of in rates for one in told(choice.choices([of], worths)))
    best = choice.best(found)
    responses = [boards.pairs(split).response(boards.enrolled[split.judged]) for split in boards.splits]
    generator = np.random.default_rng(seed)
    coins = [generator.random(bits.shape) < 0.5 for bits in responses]
    by_reads = dict(zip(averaged, rates, strict=True))
    factors = {
        reads: [factor for factor in (1, choice.MARGIN) if factor * of.modelled.max() < 0.5] for reads, of in by_reads.items()
    }
    return Report(
        boards=measured.boards,
        oscillators=measured.oscillators,
        reads=measured.reads,
        reference=boards.reference,
        splits=len(boards.splits),
        judged=min(len(split.judged) for split in boards.splits),
        candidates=candidates,
        candidate_errors={name: boards.errors_of_a_read(name) for name in pairing.CANDIDATES},
        shares=shares,
        spread=Spread(**means([asdict(entropy.spread(bits)) for bits in responses])),
        standard=_standard(responses),
        coins=Entropy(**means([asdict(entropy.per_bit(bits)) for bits in coins])),
        coins_standard={name: board for name, (board, _) in _standard(coins).items()},
        few_constants=_few_constants(boards),
        rates=rates,
        kept_errors={
            reads: tuple(one for factor in of for one in kept_errors(boards, reads, factor, masks.SHARES))
            for reads, of in factors.items()
        },
        choices=found,
        confirmed=tuple(confirmation.confirm(boards, by_reads[best.reads], best, choice.FACTORS, seed)) if best else (),
        nested=tuple(nested.nested(measured, seed, lambda: told(None))),
        asked=asked,
        fitted=population.fitted(measured),
        between=np.concatenate([entropy.distances(bits) for bits in responses[: holdout.FOLDS]]),
        aliasing=responses[0].mean(0),
    )


def _distinct(boards: Boards) -> None:
    _, places, count = np.unique(boards.mean, axis=0, return_index=True, return_counts=True)
    if count.max() > 1:
        number = boards.measured.board[places[int(count.argmax())]]
        raise MeasurementError(
            f"{int(count.max())} boards have the very frequencies of board {number}; each die is to be there once: leave "
            "copies out"
        )


def _standard(responses: Sequence[np.ndarray]) -> dict[str, tuple[float, float]]:
    """The standard's estimates, averaged over splits."""
    found = [entropy.standard_estimates(bits) for bits in responses]
    return {
        name: (float(np.mean([one[name][0] for one in found])), float(np.mean([one[name][1] for one in found])))
        for name in found[0]
    }


def _few_constants(boards: Boards) -> Attack:
    """Constants from half of the boards, an attacker with twice as many: he knows the constants' errors."""
    right: dict[str, list[np.ndarray]] = {}
    mean, columns = boards.mean, boards.measured.columns
    for split, field in zip(boards.splits, boards.fields, strict=True):
        pairs = pairing.block(mean[split.chosen[: math.ceil(len(split.chosen) / 2)]], columns)
        for attack, hits in prediction.predictions(pairs, columns, mean[split.chosen], boards.enrolled[split.judged], field):
            right.setdefault(attack, []).append(hits)
    return max(prediction.attacks(right, boards.times), key=lambda attack: attack.accuracy)
