"""Fine-tuning from the stolen file, beside the same data and compute from scratch.

To a thief without the key a file is one network at random, and one such network learns better than another, whatever is
asked of it. So a first round, of one file, may find a gain that is its luck; the second locks the model anew for each subset.
(Under the table alone every file is the same: nothing in it is random.)
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bitting.attack import fine_tuning
from bitting.suite import figures
from bitting.suite.attack import Attack, Repeat, Said
from bitting.suite.cases import Case, Material
from bitting.suite.chapters.locks import locked_for
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
#: One-sided chance that a round shows a gain where there is none: the first at any of the shares together, the second at the
#: shares that it repeats with fresh ones together. Both must show it; how rarely a worthless file does is in docs/attacks.md.
CHANCES = (0.05, 0.01)
#: A first round with so small a chance is tried again at one share only.
_PLAIN = 1e-4
#: One round of so many misses a gain that is said to be mostly seen.
_MISSED = 0.2


class FineTuning(Attack):
    """See `bitting.attack.fine_tuning`. Its control is the model in clear."""

    name, chapter, attacker, unit = "fine-tuning", "fine-tuning", "thief of the file", "points over from scratch"
    weak = "the model in clear"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """A job for each share of the data and each subset; of the control also those from scratch."""
        if not (case.locked or case.control):
            return []
        starts = (STOLEN, *SCRATCH[: effort.scratch_ways]) if case.control else (STOLEN,)
        return [part for start in starts for share in effort.shares for part in self.subsets(effort, start, share, 1)]

    def again(self, case: Case, effort: Effort, own: Sequence[Answer], control: Sequence[Answer]) -> Repeat:
        """Shares with a sure gain, if any has one, with twice as many fresh subsets, beginnings and files."""
        shares = _repeated(case, _gains(own, control, 1))
        if not shares:
            return Repeat()
        stolen, *scratch = (
            [part for share in shares for part in self.subsets(effort, start, share, 2)]
            for start in (STOLEN, *SCRATCH[: effort.scratch_ways])
        )
        base = [part for way in scratch for part in way]
        return Repeat([*stolen, *base]) if case.control else Repeat(stolen, base)

    def subsets(self, effort: Effort, start: str, share: float, turn: int) -> list[dict[str, Any]]:
        """The jobs of a round from one kind of beginning at one share, which is 0..1: one for each subset."""
        return [
            {
                "start": start, "share": share, "round": turn, "repeat": repeat, "rates": effort.rates,
                "starts": effort.mappings, "steps": effort.steps, "judged": effort.tuned_on,
                "subset": derived(effort.seed, self.name, "subset", turn, repeat),
            }
            for repeat in range(effort.repeats * turn)
        ]  # fmt: skip

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """All tries from one kind of beginning, on one subset; after the first round from a file of its own."""
        found = fine_tuning.tries(
            self._starts(material, parameters, seed),
            material.data,
            material.model.interface,
            parameters["share"],
            parameters["rates"],
            Training(steps=parameters["steps"], seed=parameters["subset"]),
            judged=parameters["judged"],
        )
        best = max(found, key=lambda one: one.accuracy)
        of_scopes = {scope: max(one.accuracy for one in found if one.scope is scope) for scope in fine_tuning.Scope}
        return Outcome(
            {
                "best": best.accuracy, "rate": best.rate, "scope": best.scope.value, "scopes": of_scopes,
                "beginnings": len({one.start for one in found}),
            }
        )  # fmt: skip

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if at some share the stolen file gains more than half a point, not by chance, and again with fresh subsets."""
        stolen, base = _by_share(own, STOLEN, 1), _scratch(control, 1)
        gains = _gains(own, control, 1)
        shares, repeated = sorted(gains), _repeated(case, gains)
        each, again = CHANCES[1] / max(1, len(repeated)), _gains(own, control, 2) if repeated else {}
        if repeated:
            at = max(repeated, key=lambda share: _beyond(again[share], each))
        else:
            at = max(shares, key=lambda share: float(gains[share].mean()))
        best = "" if repeated else ", the share that is best for him,"
        gain, broken = float(gains[at].mean()), False
        summary = (
            f"At {_percent(at)} of the data{best} the file is worth {_points(gain)} over from scratch: "
            f"{_mean(stolen[at])} against {_mean(base[at])}, means of {len(gains[at])} subsets"
        )
        if repeated:
            gain, broken = float(again[at].mean()), _beyond(again[at], each) > 0
            files = " and as many fresh files" if case.keyed else ""
            summary += f"; with {len(again[at])} fresh subsets{files} {_points(gain)}, " + (
                "so it is no chance."
                if broken
                else f"so the first was chance: a gain is seen from {_points(_least_seen(again[at], each))} on there."
            )
        else:
            summary += f", standard error {100 * _error(gains[at]):.2f} points, and no gain beyond chance, nor at other shares."
        chance = CHANCES[0] / len(gains)
        if not broken:
            seen = {share: _mostly_seen(row, chance) for share, row in gains.items()}
            worst = max(seen, key=lambda share: seen[share])
            elsewhere = "" if worst == at else f" (at {_percent(worst)}, where they scatter most, of {_points(seen[worst])})"
            summary += f" Four of five such rounds would see a gain of {_points(seen[at])} there{elsewhere}."
        if gain < 0:
            summary += " At equal data and steps it is better to begin without the file."
        summary += f" {_tried(own, control)}"
        columns = (
            "share of the data", "from the file", "from scratch", "gain", "standard error", "counts from", "mostly seen from",
        )  # fmt: skip
        rows = [
            [
                _percent(share), _mean(stolen[share]), _mean(base[share]), _points(float(row.mean())), _points(_error(row)),
                _points(_least_seen(row, chance)), _points(_mostly_seen(row, chance)),
            ]
            for share, row in sorted(gains.items())
        ]  # fmt: skip
        table = figures.table(f"The first round, means of {len(gains[at])} subsets", columns, rows)
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
        return Said(Verdict.BROKEN if broken else Verdict.HOLDS, summary, gain, [curve, table])

    def _starts(self, material: Material, parameters: Mapping[str, Any], seed: int) -> list[Stolen]:
        architecture, artefact = material.architecture, material.artefact
        kind, count = parameters["start"], parameters["starts"]
        if kind == STOLEN:
            if artefact is None:
                return [Stolen.of(architecture)]
            if parameters["round"] > 1:
                scheme = artefact.scheme
                artefact = locked_for(material, material.owner, scheme.fingerprint, scheme.transform, seed)
            his = fine_tuning.samples_of(material.data, material.model.interface, parameters["share"], parameters["subset"])
            return fine_tuning.starts_of_file(artefact, architecture, count, seed, his)
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
    """By share the better of the ways to begin that were tried, on average: what the thief would do without the file."""
    ways = [way for name in SCRATCH if (way := _by_share(control, name, turn))]
    return {share: better([way[share] for way in ways]) for share in ways[0]}


def better(ways: Sequence[list[float]]) -> list[float]:
    """Of accuracies of several ways to begin those that are better on average."""
    return max(ways, key=lambda row: float(np.mean(row)))


def _gains(own: Sequence[Answer], control: Sequence[Answer], turn: int) -> dict[float, np.ndarray]:
    """(subsets,) gains of a round by share."""
    base = _scratch(control, turn)
    return {share: np.array(row) - np.array(base[share]) for share, row in _by_share(own, STOLEN, turn).items()}


def _repeated(case: Case, gains: Mapping[float, np.ndarray]) -> list[float]:
    """Shares to try again: those with a sure gain.

    The surest of them is enough of a control, and of a lock where hardly anything is left to doubt: they are broken at one.
    """
    for chance in (_PLAIN, CHANCES[0]):
        beyond = {share: _beyond(row, chance / len(gains)) for share, row in gains.items()}
        sure = [share for share in sorted(gains) if beyond[share] > 0]
        if sure and (case.control or chance == _PLAIN):
            return [max(sure, key=lambda share: beyond[share])]
    return sure


def _scopes(answers: Sequence[Answer], scope: str, shares: Sequence[float]) -> list[float]:
    own = [one for one in answers if (one.parameters["start"], one.parameters["round"]) == (STOLEN, 1)]
    return [float(np.mean([one.values["scopes"][scope] for one in own if one.parameters["share"] == s])) for s in shares]


def _tried(own: Sequence[Answer], control: Sequence[Answer]) -> str:
    """What counts as one accuracy, with the sizes that were chosen."""
    parameters = own[0].parameters
    judged = f"the first {parameters['judged']} test samples" if parameters["judged"] else "all test samples"
    of_file, scratch = (
        next(one.values["beginnings"] for one in answers if one.parameters["start"] in starts)
        for answers, starts in ((own, (STOLEN,)), (control, SCRATCH))
    )
    ways = [way for way in SCRATCH if any(one.parameters["start"] == way for one in control)]
    scratch = f"{scratch} from scratch" + f" ({ways[0]})" * (len(ways) == 1)
    return (
        f"Each is the best on {judged} of {of_file} beginning{'s' * (of_file > 1)} from the file, or {scratch}, x "
        f"rates {', '.join(f'{rate:g}' for rate in parameters['rates'])} x all layers or the last, {parameters['steps']} steps "
        "each."
    )


def _error(gains: np.ndarray) -> float:
    """Standard error of the mean; of one repeat unknown."""
    return float(gains.std(ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else float("inf")


def _least_seen(gains: np.ndarray, chance: float) -> float:
    """The smallest mean that would be sure with this scatter: more than `ALLOWED`, and by Student's t, one-sided, no chance."""
    return max(ALLOWED, _quantile(chance, len(gains)) * _error(gains)) if len(gains) > 1 else float("inf")


def _mostly_seen(gains: np.ndarray, chance: float) -> float:
    """A gain that with this scatter four rounds of five would count, by Student's t."""
    return _least_seen(gains, chance) + _quantile(_MISSED, len(gains)) * _error(gains) if len(gains) > 1 else float("inf")


def _beyond(gains: np.ndarray, chance: float) -> float:
    """By how much the mean gain is more than `_least_seen`; above 0 it is sure, with this one-sided chance to be wrong."""
    return float(gains.mean()) - _least_seen(gains, chance)


@functools.cache
def _quantile(chance: float, count: int) -> float:
    from scipy.stats import t

    return float(t.ppf(1 - chance, count - 1))


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def _mean(row: Sequence[float]) -> str:
    return f"{100 * float(np.mean(row)):.2f}%"


def _points(share: float) -> str:
    return f"{100 * share:+.2f} points"
