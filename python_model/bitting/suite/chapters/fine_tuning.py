"""Fine-tuning from the stolen file, beside the same data and compute from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bitting.attack import fine_tuning
from bitting.suite import figures
from bitting.suite.attack import Attack, Repeat, Said
from bitting.suite.cases import Case, Material
from bitting.suite.efforts import Effort, Tuning
from bitting.suite.format import Verdict
from bitting.suite.jobs import Answer, Outcome, derived
from bitting.targets.relearning import Effort as Training
from bitting.targets.stolen import Stolen

STOLEN = "stolen"
#: Two ways to begin without the file: weights of the spread that training begins with, and codes at random.
SCRATCH = ("random weights", "random codes")
#: A stolen file may be better than nothing by so much, 0..1; more counts if it is not by chance.
ALLOWED = 0.005
#: One-sided chance that a round shows a gain where there is none: the first at any of the shares together, the second at the
#: one share that it repeats with fresh ones. Both must show it: a file that is worth nothing is called broken once in 2000.
CHANCES = (0.05, 0.01)


class FineTuning(Attack):
    """See `bitting.attack.fine_tuning`. Its control is the model in clear."""

    name, chapter, attacker, unit = "fine-tuning", "fine-tuning", "thief of the file", "points over from scratch"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """A job for each share of the data and each subset; of the control also those from scratch."""
        if not (case.locked or case.control):
            return []
        starts = (STOLEN, *SCRATCH) if case.control else (STOLEN,)
        tuning = effort.tuning(case.macs)
        return [
            part for start in starts for share in tuning.shares for part in self._parts(tuning, start, share, 1, effort.seed)
        ]

    def again(self, case: Case, effort: Effort, own: Sequence[Answer], control: Sequence[Answer]) -> Repeat:
        """The share with the surest gain, if any is sure, with twice as many fresh subsets, and fresh beginnings."""
        share = _surest(_gains(own, control, 1), CHANCES[0])
        if share is None:
            return Repeat()
        tuning = effort.tuning(case.macs)
        stolen = self._parts(tuning, STOLEN, share, 2, effort.seed)
        scratch = [part for start in SCRATCH for part in self._parts(tuning, start, share, 2, effort.seed)]
        return Repeat([*stolen, *scratch]) if case.control else Repeat(stolen, scratch)

    def _parts(self, tuning: Tuning, start: str, share: float, turn: int, seed: int) -> list[dict[str, Any]]:
        return [
            {
                "start": start, "share": share, "round": turn, "repeat": repeat, "rates": tuning.rates,
                "starts": tuning.mappings, "steps": tuning.steps, "judged": tuning.judged,
                "subset": derived(seed, self.name, "subset", turn, repeat),
            }
            for repeat in range(tuning.repeats * turn)
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
            judged=parameters["judged"],
        )
        best = max(found, key=lambda one: one.accuracy)
        of_scopes = {scope: max(one.accuracy for one in found if one.scope is scope) for scope in fine_tuning.Scope}
        return Outcome({"best": best.accuracy, "rate": best.rate, "scope": best.scope.value} | {"scopes": of_scopes})

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if at some share the stolen file gains more than half a point, not by chance, and again with fresh subsets."""
        stolen, base = _by_share(own, STOLEN, 1), _scratch(control, 1)
        shares, gains = sorted(stolen), _gains(own, control, 1)
        sure = _surest(gains, CHANCES[0])
        at = max(shares, key=lambda share: float(gains[share].mean())) if sure is None else sure
        gain = float(gains[at].mean())
        summary = (
            f"At {_percent(at)} of the data the file is worth {_points(gain)} over from scratch: {_mean(stolen[at])} against "
            f"{_mean(base[at])}, means of {len(gains[at])} subsets"
        )
        broken = False
        if sure is None:
            summary += f", standard error {100 * _error(gains[at]):.2f} points, and no gain beyond chance, nor at other shares."
        else:
            repeated = _gains(own, control, 2)[at]
            gain, broken = float(repeated.mean()), _is_sure(repeated, CHANCES[1])
            summary += f"; with {len(repeated)} fresh subsets {_points(gain)}, " + (
                "so it is no chance." if broken else "so the first was chance."
            )
        summary += f" {_tried(own[0].parameters)}"
        role = "control" if case.control else "lock"
        curve = figures.plot(
            "curve", "Accuracy after fine-tuning", "share of the training data", "accuracy, best of all tries", [
                figures.line("from the file", role, shares, [float(np.mean(stolen[share])) for share in shares]),
                figures.line("from scratch", "baseline", shares, [float(np.mean(base[share])) for share in shares]),
                *(
                    figures.line(f"from the file, {scope}", role, shares, _scopes(own, scope, shares))
                    for scope in fine_tuning.Scope
                ),
            ],
        )  # fmt: skip
        return Said(Verdict.BROKEN if broken else Verdict.HOLDS, summary, gain, [curve])

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


def _by_share(answers: Sequence[Answer], start: str, turn: int) -> dict[float, list[float]]:
    """Best accuracies of a round by share, in the order of the subsets."""
    found: dict[float, list[float]] = {}
    for answer in sorted(answers, key=lambda one: one.parameters["repeat"]):
        if (answer.parameters["start"], answer.parameters["round"]) == (start, turn):
            found.setdefault(answer.parameters["share"], []).append(answer.values["best"])
    return found


def _scratch(control: Sequence[Answer], turn: int) -> dict[float, list[float]]:
    """By share the better of two ways to begin, on average: what the thief would do without the file."""
    ways = [_by_share(control, name, turn) for name in SCRATCH]
    return {share: max((way[share] for way in ways), key=lambda row: float(np.mean(row))) for share in ways[0]}


def _gains(own: Sequence[Answer], control: Sequence[Answer], turn: int) -> dict[float, np.ndarray]:
    """(subsets,) gains of a round by share."""
    base = _scratch(control, turn)
    return {share: np.array(row) - np.array(base[share]) for share, row in _by_share(own, STOLEN, turn).items()}


def _surest(gains: Mapping[float, np.ndarray], chance: float) -> float | None:
    """The share whose gain is furthest beyond chance, if any is; `chance`: at all of them together."""
    each = chance / len(gains)
    sure = [share for share, row in gains.items() if _is_sure(row, each)]
    return max(sure, key=lambda share: _least(gains[share], each), default=None)


def _is_sure(gains: np.ndarray, chance: float) -> bool:
    return float(gains.mean()) > ALLOWED and _least(gains, chance) > 0


def _scopes(answers: Sequence[Answer], scope: str, shares: Sequence[float]) -> list[float]:
    own = [one for one in answers if (one.parameters["start"], one.parameters["round"]) == (STOLEN, 1)]
    return [float(np.mean([one.values["scopes"][scope] for one in own if one.parameters["share"] == s])) for s in shares]


def _tried(parameters: Mapping[str, Any]) -> str:
    """What counts as one accuracy, with the sizes that were chosen."""
    beginnings, rates = parameters["starts"], parameters["rates"]
    judged = f"the first {parameters['judged']} test samples" if parameters["judged"] else "all test samples"
    return (
        f"Each is the best on {judged} of {beginnings} beginning{'s' * (beginnings > 1)} x rates "
        f"{', '.join(f'{rate:g}' for rate in rates)} x all layers or the last, {parameters['steps']} steps each."
    )


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


def _mean(row: Sequence[float]) -> str:
    return f"{100 * float(np.mean(row)):.2f}%"


def _points(share: float) -> str:
    return f"{100 * share:+.2f} points"
