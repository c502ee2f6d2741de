"""What docs/locks.md says of an attack suite: locks ranked, what every attack got, and the command of each figure.

The page is made of results that are committed beside it, so they are thinned: a page in Markdown draws nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bitting.report import markdown, numbers
from bitting.report.blocks import Block, Inline, Mark, Table, Text
from bitting.report.results import Finding, Results
from bitting.report.verdicts import Judgement, Lock, Standing, worst_first

#: What stands around the part of the page that is made.
BEGIN, END = "<!-- made by `make report` from attacks.json: -->", "<!-- end of what is made -->"
#: Points of a series, and tiles of a case, that are kept.
_POINTS = 24
#: Digits of a number that are kept.
_DIGITS = 5
#: Columns of the ranking, with what they are called there.
_COLUMNS = {
    Standing.FALLS: "falls to", Standing.VOID: "nothing is shown for", Standing.CONCEDED: "concedes something to",
    Standing.HOLDS: "stops", Standing.UNTESTED: "not tried by",
}  # fmt: skip


def thinned(results: Mapping[str, Any]) -> str:
    """Results as JSON, a line a case and a finding, with fewer points in figures: `bitting report` reads it as the whole.

    Of a histogram the order statistics that are evenly far apart are kept, of other series the points that are; the first and
    the last always.
    """
    rest = {key: value for key, value in results.items() if key not in ("cases", "findings")}
    cases = [{**case, "cycles": _some(case["cycles"])} for case in results["cases"]]
    findings = [{**found, "figures": [_thin(figure) for figure in found["figures"]]} for found in results["findings"]]
    parts = [f"{json.dumps(key)}: {_json(value)}" for key, value in rest.items()]
    for key, items in (("cases", cases), ("findings", findings)):
        parts.append(f'"{key}": [\n' + ",\n".join(map(_json, items)) + "\n]")
    return "{" + ",\n".join(parts) + "}\n"


def _json(value: Any) -> str:
    return json.dumps(_rounded(value), sort_keys=True, allow_nan=False, separators=(",", ":"))


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def _some(items: Sequence[Any]) -> list[Any]:
    if len(items) <= _POINTS:
        return list(items)
    return [items[round(place * (len(items) - 1) / (_POINTS - 1))] for place in range(_POINTS)]


def _thin(figure: Mapping[str, Any]) -> dict[str, Any]:
    if "series" not in figure:
        return dict(figure)
    series = []
    for one in figure["series"]:
        kept = {"values": _some(sorted(one["values"]))} if "values" in one else {axis: _some(one[axis]) for axis in ("x", "y")}
        series.append({**one, **kept})
    return {**figure, "series": series}


def rewritten(page: str, results: Results) -> str:
    """A page with another text between `BEGIN` and `END`, each of which it holds once."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{section(results)}\n\n{END}{after}"


def section(results: Results) -> str:
    """The part of the page that is made, as Markdown."""
    judgement, made = Judgement(results), results.made
    commit = f", commit {made.commit}" if made.commit else ""
    networks = ", ".join(dict.fromkeys(f"{case.network} on {case.data}" for case in results.cases))
    lead = f"Suite {made.suite}, seed {made.seed}: {networks}; bitting {made.version}{commit}, begun {made.started}."
    return markdown.written([Text((lead,)), _ranked(judgement), _findings(judgement), _attacks(judgement)])


def _ranked(judgement: Judgement) -> Table:
    rows: list[tuple[Inline, ...]] = []
    for rank, lock in enumerate(judgement.ranked, 1):
        case = lock.cases[0]
        who = (", ".join(judgement.attackers_at(lock, standing)) or "nobody" for standing in _COLUMNS)
        accuracy = f"{numbers.percent(case.authorised)} (twin {numbers.percent(case.twin)})"
        rows.append((str(rank), judgement.short(lock), ", ".join(lock.levels), *who, accuracy))
    columns = ("", "lock", "level", *_COLUMNS.values(), "right device")
    caption = "Locks, the best first: those that stop most attackers, then those that fall to fewest"
    return Table(caption, columns, tuple(rows))


def _findings(judgement: Judgement) -> Table:
    """A row for all locks that stand alike against an attack, with the words of the one it gained most on."""
    rows: list[tuple[Inline, ...]] = []
    for attack in _names(judgement):
        found = [item for item in judgement.attacks if item.attack == attack]
        for standing in Standing:
            alike = [item for item in found if judgement.standing_of(item) == standing]
            if alike:
                worst = worst_first(judgement, alike)[0]
                locks = "; ".join(dict.fromkeys(judgement.short(_lock(judgement, item)) for item in alike))
                rows.append(
                    (attack, worst.attacker, Mark(standing), locks, numbers.gain(worst.gain, worst.unit), worst.summary)
                )
    columns = ("attack", "attacker", "verdict", "locks", "most gained", "there, in words")
    return Table("What every attack got", columns, tuple(rows))


def _attacks(judgement: Judgement) -> Block:
    rows: list[tuple[Inline, ...]] = []
    for attack in _names(judgement):
        found = [item for item in judgement.results.findings if item.attack == attack]
        weak = [item for item in found if item.control]
        said = " ".join(item.summary for item in weak) or "none was tried"
        commands = dict.fromkeys(item.command for item in found)
        rows.append((attack, ", ".join(dict.fromkeys(item.verdict for item in weak)), said, "; ".join(commands)))
    columns = ("attack", "weak lock", "in words", "command")
    return Table("Weak locks, which attacks must break to count, and the command of each row above", columns, tuple(rows))


def _names(judgement: Judgement) -> list[str]:
    return list(dict.fromkeys(item.attack for item in judgement.attacks))


def _lock(judgement: Judgement, finding: Finding) -> Lock:
    return next(lock for lock in judgement.locks if any(case.id == finding.case for case in lock.cases))
