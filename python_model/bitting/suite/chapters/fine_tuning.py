"""Fine-tuning from the stolen file, beside the same data and compute from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bitting.attack import fine_tuning
from bitting.suite import figures
from bitting.suite.attack import Attack, Said
from bitting.suite.cases import Case, Material
from bitting.suite.efforts import Effort
from bitting.suite.format import Verdict
from bitting.suite.jobs import Answer, Outcome, derived
from bitting.targets.relearning import Effort as Training
from bitting.targets.stolen import Stolen

STOLEN = "stolen"
#: Two ways to begin without the file: weights of the spread that training begins with, and codes at random.
SCRATCH = ("random weights", "random codes")
#: A stolen file may be better than nothing by so much, 0..1; more counts if it is not by chance.
ALLOWED = 0.005
#: One-sided chance that repeats show a gain where there is none, at any of the shares together.
_CHANCE = 0.01


class FineTuning(Attack):
    """See `bitting.attack.fine_tuning`. Its control is the model in clear."""

    name, chapter, attacker, unit = "fine-tuning", "fine-tuning", "thief of the file", "points over from scratch"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """A job for each share of the data and each subset; of the control also those from scratch."""
        if not (case.locked or case.control):
            return []
        starts = (STOLEN, *SCRATCH) if case.control else (STOLEN,)
        return [
            {
                "start": start, "share": share, "repeat": repeat, "rates": effort.rates, "starts": effort.mappings,
                "steps": effort.steps, "subset": derived(effort.seed, self.name, "subset", repeat),
            }
            for start in starts for share in effort.shares for repeat in range(effort.repeats)
        ]  # fmt: skip

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """All tries from one kind of beginning, on one subset."""
        found = fine_tuning.tries(
            self._starts(material, parameters["start"], parameters["starts"], seed),
            material.data,
            material.model.interface,
            parameters["share"],
            parameters["rates"],
            Training(steps=parameters["steps"], seed=parameters["subset"]),
        )
        best = max(found, key=lambda one: one.accuracy)
        of_scopes = {scope: max(one.accuracy for one in found if one.scope is scope) for scope in fine_tuning.Scope}
        return Outcome({"best": best.accuracy, "rate": best.rate, "scope": best.scope.value} | {"scopes": of_scopes})

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if at some share the stolen file gains more than half a point, and not by chance."""
        stolen = _by_share(own, STOLEN)
        scratch = {name: _by_share(control, name) for name in SCRATCH}
        shares = sorted(stolen)
        # The better of two ways to begin, on average, is what the thief would do without the file.
        base = [max((scratch[name][share] for name in SCRATCH), key=lambda row: float(np.mean(row))) for share in shares]
        gains = [np.array(stolen[share]) - np.array(row) for share, row in zip(shares, base, strict=True)]
        means = [float(gain.mean()) for gain in gains]
        surely = [float(gain.mean()) > ALLOWED and _least(gain, _CHANCE / len(gains)) > 0 for gain in gains]
        at = int(np.argmax([mean if sure or not any(surely) else -1.0 for mean, sure in zip(means, surely, strict=True)]))
        verdict = Verdict.BROKEN if any(surely) else Verdict.HOLDS
        note = " by more than chance" if any(surely) else f" (standard error {100 * _error(gains[at]):.2f})"
        summary = (
            f"At most {100 * means[at]:+.2f} points over from scratch{note}, at {_percent(shares[at])} of the data: "
            f"{_percent(float(np.mean(stolen[shares[at]])))} against {_percent(float(np.mean(base[at])))}, "
            f"mean of {len(gains[at])} subsets."
        )
        role = "control" if case.control else "lock"
        curve = figures.plot(
            "curve", "Accuracy after fine-tuning", "share of the training data", "accuracy, best of all tries", [
                figures.line("from the file", role, shares, [float(np.mean(stolen[share])) for share in shares]),
                figures.line("from scratch", "baseline", shares, [float(np.mean(row)) for row in base]),
                *(
                    figures.line(f"from the file, {scope}", role, shares, _scopes(own, scope, shares))
                    for scope in fine_tuning.Scope
                ),
            ],
        )  # fmt: skip
        return Said(verdict, summary, means[at], [curve])

    def _starts(self, material: Material, kind: str, count: int, seed: int) -> list[Stolen]:
        architecture = material.architecture
        if kind == STOLEN:
            if material.artefact is None:
                return [Stolen.of(architecture)]
            return fine_tuning.starts_of_file(material.artefact, architecture, count, seed)
        x, _ = material.train(256)
        if kind == SCRATCH[0]:
            return fine_tuning.starts_from_scratch(architecture, x, count, seed)
        return fine_tuning.starts_of_random_codes(architecture, count, seed)


def _by_share(answers: Sequence[Answer], start: str) -> dict[float, list[float]]:
    """Best accuracies by share, in the order of the subsets."""
    found: dict[float, list[float]] = {}
    for answer in sorted(answers, key=lambda one: one.parameters["repeat"]):
        if answer.parameters["start"] == start:
            found.setdefault(answer.parameters["share"], []).append(answer.values["best"])
    return found


def _scopes(answers: Sequence[Answer], scope: str, shares: Sequence[float]) -> list[float]:
    own = [one for one in answers if one.parameters["start"] == STOLEN]
    return [float(np.mean([one.values["scopes"][scope] for one in own if one.parameters["share"] == s])) for s in shares]


def _error(gains: np.ndarray) -> float:
    """Standard error of the mean; of one repeat unknown."""
    return float(gains.std(ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else float("inf")


def _least(gains: np.ndarray, chance: float) -> float:
    """Lower bound of the mean gain, by Student's t; a one-sided `chance` to be wrong."""
    from scipy.stats import t

    if len(gains) < 2:
        return float("-inf")
    return float(gains.mean() - t.ppf(1 - chance, len(gains) - 1) * _error(gains))


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"
