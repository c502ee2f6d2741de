"""What a model is worth on every target: accuracy of each, the worst of each family and of each split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from bitting.errors import BittingError
from bitting.program.layers import Program
from bitting.targets.families import Split, every_target, split_of
from bitting.targets.stolen import Stolen
from bitting.targets.target import OWN_ENGINE, Target

#: Called after every target with (targets that are done, targets, the last one's result).
Progress = Callable[[int, int, "Judged"], None]
#: Unlabelled samples that targets are calibrated on.
CALIBRATION_SAMPLES = 512


@dataclass(frozen=True)
class Judged:
    """One target's result. `accuracy`: share of right answers, 0..1."""

    target: str
    family: str
    split: str
    accuracy: float


@dataclass(frozen=True)
class Judgement:
    """All results.

    Attributes:
        authorised: accuracy of the unit itself.
        results: of every target, in the order in which they were run.
        samples: that were answered.
    """

    authorised: float
    results: tuple[Judged, ...]
    samples: int

    def worst_of_families(self) -> dict[str, Judged]:
        """The target of each family that gives a thief the most."""
        worst: dict[str, Judged] = {}
        for result in self.results:
            if result.family not in worst or result.accuracy > worst[result.family].accuracy:
                worst[result.family] = result
        return worst

    def worst(self, split: Split | str) -> Judged:
        """The target of a split that gives a thief the most.

        Raises:
            BittingError: if no target of it was judged.
        """
        own = [result for result in self.results if result.split == split]
        if not own:
            raise BittingError(f"no target of split {split!r} was judged; judged were {len(self.results)} of other splits")
        return max(own, key=lambda result: result.accuracy)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def accuracy(answers: torch.Tensor, labels: np.ndarray) -> float:
    """Share of right answers, 0..1: the largest of several sums wins, one sum alone says yes if it is positive.

    Args:
        answers: (samples, outputs); what is no number is wrong.
        labels: (samples,) classes.
    """
    found = answers.argmax(1) if answers.shape[1] > 1 else (answers[:, 0] > 0).long()
    right = (found == torch.as_tensor(labels)) & answers.isfinite().all(1)
    return float(right.double().mean())


def judge(
    program: Program | Stolen,
    x: torch.Tensor | np.ndarray,
    labels: np.ndarray,
    targets: Sequence[Target] | None = None,
    calibration: torch.Tensor | np.ndarray | None = None,
    progress: Progress | None = None,
    score: Callable[[torch.Tensor, np.ndarray], float] = accuracy,
) -> Judgement:
    """Run an unlocked model on every target.

    Args:
        program: in clear: codes are value indices; or what a thief has made of it (`bitting.targets.repair`).
        x: (samples, input_words) activations.
        labels: what `score` compares with: (samples,) classes.
        targets: by default all of `families.toml`.
        calibration: (n, input_words) activations without labels, best of training; by default the first
            `CALIBRATION_SAMPLES` of `x`, which favours the thief a little.
        progress: see `Progress`.
        score: of (samples, outputs) answers in units of the accumulator; the higher, the better for a thief.

    Raises:
        BittingError: if there are not as many labels as samples, or none.
        ProgramError: if the activations have another shape.
        ExtraError: if a runtime that a target needs is not installed; before any target is run.
    """
    inputs = torch.as_tensor(x)
    if len(inputs) != len(labels) or not len(labels):
        raise BittingError(f"{len(inputs)} samples have {len(labels)} labels; they must be as many, and at least one")
    chosen = every_target(program.spec.acc_bits) if targets is None else targets
    seen = inputs[:CALIBRATION_SAMPLES] if calibration is None else torch.as_tensor(calibration)[:CALIBRATION_SAMPLES]
    stolen = program if isinstance(program, Stolen) else Stolen.of(program)
    for engine in sorted({target.engine for target in chosen} - {OWN_ENGINE}):
        from bitting.targets import native  # runtimes are heavy to load

        native.require(engine)
    results: list[Judged] = []
    for target in chosen:
        answers = target.run(stolen, seen)(inputs)
        results.append(Judged(target.name, target.family, split_of(target.family).value, score(answers, labels)))
        if progress:
            progress(len(results), len(chosen), results[-1])
    return Judgement(score(stolen(inputs), labels), tuple(results), len(labels))
