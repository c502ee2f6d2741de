"""How much of each attack a suite does. The digits suite takes minutes, the standard one a night, the full one longer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bitting.errors import BittingError

#: From so many multiply-adds a sample on a network is of middle size, or large: training it is not a matter of seconds for a
#: thief. On an EPYC with one thread a step of 64 samples takes 2 ms of an MLP (0.2 million), 8 ms of LeNet (0.4), 0.28 s of
#: ResNet8 (13 million), and its answers to 500 samples 0.9 s.
MIDDLE_MACS, LARGE_MACS = 300_000, 4_000_000


@dataclass(frozen=True)
class Effort:
    """Sizes of all attacks, and the seed of the run.

    Attributes:
        suite: its name.
        seed: all that is random follows from it.
        rtl: attack simulated RTL through its ports too, which must be built first.
        samples: test samples that are answered under each wrong key.
        shares: of the training set, that a thief who fine-tunes has.
        rates, mappings, repeats, steps: learning rates; guessed tables, or initialisations; subsets; steps of each training.
        scratch_ways: ways to begin without the file: weights at random, then codes at random. The better one counts, so with
            one alone a lock looks weaker, if anything, and its control too.
        tuned_on: test samples on which he chooses among his tries, the first ones; None: all.
        random_keys: wrong keys, beside the 128 one-bit neighbours and as many random networks.
        screened: wrong keys that a right one is to be told from: of a few more than twenty ways to tell it, 450 for a chance of
            5% that one of them does by accident.
        labels: numbers of labelled samples for screening.
        unknown_bits: of the root secret, in the exhaustive search.
        climbs, climb_steps: hill climbs, and guesses in each.
        climbed_last: climbing has a second weak lock, of the last layer alone: in a large network a few wrong bits for all
            layers leave nothing to climb by. Either of the two shows that a climb finds keys.
        known_bits: of the root secret, in the partial-key curves.
        partial_keys: keys for each number of known bits.
        table_labels, table_starts, table_steps: of the gradient descent on a free table.
        questions: numbers of inputs that the right device is asked.
        copy_steps: of training a copy.
        copy_alike: copies are networks of the kind that the stolen one was trained as, if that is a convolutional one of ours;
            else they have three dense layers.
        edits: random edits of a program, sent to the RTL.
        retrained_epochs: of training a model again that ships its seed; None: as many as it was trained for.
        traces: tiles or batches of each population whose time is compared.
        helper_queries: changed helper data.
        judged: test samples of a soft-locked model on every target.
    """

    suite: str
    seed: int = 0
    rtl: bool = True
    samples: int = 450
    shares: tuple[float, ...] = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5)
    rates: tuple[float, ...] = (0.03, 0.1)
    mappings: int = 2
    repeats: int = 5
    steps: int = 80
    scratch_ways: int = 2
    tuned_on: int | None = None
    random_keys: int = 1000
    screened: int = 500
    labels: tuple[int, ...] = (1, 3, 10, 30, 100)
    unknown_bits: int = 8
    climbs: int = 2
    climb_steps: int = 300
    climbed_last: bool = False
    known_bits: tuple[int, ...] = (0, 32, 64, 96, 112, 120, 124, 126, 127)
    partial_keys: int = 10
    table_labels: int = 200
    table_starts: int = 12
    table_steps: int = 400
    questions: tuple[int, ...] = (100, 300, 1000)
    copy_steps: int = 1000
    copy_alike: bool = False
    edits: int = 50
    retrained_epochs: int | None = None
    traces: int = 200
    helper_queries: int = 600
    judged: int = 450

    def sized(self, macs: int) -> Effort:
        """The sizes for a network of so many multiply-adds a sample."""
        if macs >= LARGE_MACS:
            return replace(self, **_LARGE.get(self.suite, {}))
        return replace(self, **_MIDDLE.get(self.suite, {})) if macs >= MIDDLE_MACS else self


#: Of the data set digits 0.1% would be one sample.
_DIGITS = Effort("digits", shares=(0.01, 0.05, 0.1, 0.2, 0.5))
_STANDARD = Effort(
    "standard", samples=2000, rates=(0.01, 0.03, 0.1), mappings=3, steps=600, screened=1000, unknown_bits=12, climbs=4,
    climb_steps=1000, partial_keys=30, table_labels=500, table_starts=16, questions=(100, 1000, 10000), copy_steps=4000,
    edits=500, traces=1000, helper_queries=2000, judged=2000,
)  # fmt: skip
_FULL = replace(
    _STANDARD, suite="full", samples=10000, rates=(0.003, 0.01, 0.03, 0.1), mappings=5, repeats=10, steps=3000,
    unknown_bits=16, climbs=10, climb_steps=5000, partial_keys=100, table_labels=1000, table_starts=32,
    questions=(100, 1000, 10000, 50000), edits=5000, traces=5000, helper_queries=10000, judged=10000,
)  # fmt: skip
#: What is smaller for networks of middle size.
_MIDDLE: dict[str, dict[str, Any]] = {
    "digits": {"mappings": 1, "tuned_on": 2000},
    "standard": {"rates": (0.01, 0.03), "mappings": 2, "steps": 300, "tuned_on": 2000, "table_starts": 6},
    "full": {},
}
#: And for large ones. The standard suite fine-tunes one lock of ResNet8 and its control 110 times at 2 rates, 100 steps of the
#: whole network and 100 of its last layer: 70 s each, an hour on two cores. Codes at random are no beginning there (with 50
#: samples 11%, weights at random 21%). Copies are networks like the stolen one, for dense layers learn little of pictures in
#: colour, and take some seven minutes of a core for each number of questions.
_LARGE: dict[str, dict[str, Any]] = {
    "digits": {
        "shares": (0.01, 0.1), "rates": (0.03,), "mappings": 1, "steps": 30, "scratch_ways": 1, "tuned_on": 500, "samples": 100,
        "climb_steps": 1000, "climbed_last": True, "partial_keys": 3, "table_starts": 1, "table_steps": 20,
        "retrained_epochs": 1, "questions": (10000,), "copy_steps": 2000, "copy_alike": True,
    },
    "standard": {
        "rates": (0.01, 0.03), "mappings": 1, "steps": 100, "scratch_ways": 1, "tuned_on": 500, "samples": 500,
        "climbed_last": True, "partial_keys": 10, "table_starts": 3, "table_steps": 60, "edits": 100, "judged": 500,
        "retrained_epochs": 1, "questions": (10000, 50000), "copy_steps": 2000, "copy_alike": True,
    },
    "full": {
        "steps": 1000, "mappings": 2, "repeats": 5, "samples": 2000, "climbs": 4, "climb_steps": 1000, "climbed_last": True,
        "partial_keys": 30, "questions": (1000, 10000, 50000), "copy_alike": True,
    },
}  # fmt: skip
EFFORTS = {effort.suite: effort for effort in (_DIGITS, _STANDARD, _FULL)}


def effort_of(suite: str, seed: int = 0, rtl: bool = True) -> Effort:
    """The sizes of a suite. Raises BittingError if there is none of this name."""
    if suite not in EFFORTS:
        raise BittingError(f"unknown suite {suite!r}; allowed: {', '.join(EFFORTS)}")
    return replace(EFFORTS[suite], seed=seed, rtl=rtl)
