"""What pages of the docs say of attack suites: locks ranked, what every attack got, and the command of each figure.

They are made of results that are committed beside them, so these are thinned: a page in Markdown draws nothing. A page says
itself which results it is made of, in a comment before the part that is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bitting.report import markdown, numbers
from bitting.report.blocks import Block, Inline, Mark, Table, Text
from bitting.report.results import Finding, Results
from bitting.report.verdicts import Judgement, Lock, Standing, worst_first

#: A part of a page that is made, with what stands around it and the file of its results.
_MADE = re.compile(r"(<!-- made of (\S+\.json): -->).*?(<!-- end of what is made -->)", re.DOTALL)
#: Points of a series, and tiles of a case, that are kept.
_POINTS = 8
#: Digits of a number that are kept.
_DIGITS = 5
#: The attack with a table of its own, the first column of that, and the column that is shown.
_TUNING, _SHARE, _GAIN = "fine-tuning", ("share of the data",), "gain"
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


def sources(page: str) -> list[str]:
    """File names of the results that a page is made of, in their order."""
    return [found[2] for found in _MADE.finditer(page)]


def rewritten(page: str, read: Callable[[str], Results]) -> str:
    """A page with all parts that are made made again. `read`: gives the results of a file name."""
    return _MADE.sub(lambda found: f"{found[1]}\n\n{section(read(found[2]))}\n\n{found[3]}", page)


def section(results: Results) -> str:
    """The part of the page that is made, as Markdown."""
    judgement, made = Judgement(results), results.made
    commit = f", commit {made.commit}" if made.commit else ""
    networks = ", ".join(dict.fromkeys(f"{case.network} on {case.data}" for case in results.cases))
    lead = f"Suite {made.suite}, seed {made.seed}: {networks}; bitting {made.version}{commit}, begun {made.started}."
    return markdown.written([
        Text((lead,)), _ranked(judgement), _findings(judgement), *_tuned(judgement), _attacks(judgement),
    ])  # fmt: skip


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


def _tuned(judgement: Judgement) -> list[Block]:
    """What each stolen file was worth to a thief with some data; nothing if nobody fine-tuned."""
    rows: list[tuple[Inline, ...]] = []
    shares: list[str] = []
    tuned = [item for item in judgement.results.findings if item.attack == _TUNING]
    for found, table in ((item, figure) for item in tuned for figure in item.figures):
        if table.columns[:1] != _SHARE or _GAIN not in table.columns:
            continue
        at = table.columns.index(_GAIN)
        gains = {str(row[0]): str(row[at]) for row in table.rows}
        shares = shares or list(gains)
        lock = found.weak if found.control else judgement.short(_lock(judgement, found))
        rows.append((lock or found.case, *(gains.get(share, "") for share in shares)))
    caption = "Gain over from scratch of who fine-tunes the stolen file, by the share of the training data that he has"
    return [Table(caption, ("lock", *shares), tuple(rows))] if rows else []


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
