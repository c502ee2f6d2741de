"""Pictures of cases: accuracies of the right device and of others, clocks predicted and measured, cost against strength."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bitting.report import numbers
from bitting.report.blocks import Plot, Table
from bitting.report.charts import INK, POINTS, QUIET, ROWS, Rows, axis, picture, shown, told, tooltip
from bitting.report.results import Case, Tile
from bitting.report.verdicts import Judgement, front

#: Pixels of a row that has its name above it: names are too long to stand beside anything on a phone.
_ROW = 40
_RIGHT, _TWIN, _OTHER, _HELD_OUT, _CHANCE = (
    "right device", "unlocked twin",
    "highest on other hardware", "highest on held-out hardware", "guessing the commonest class",
)  # fmt: skip
_SHARE = {"scale": {"domain": [0, 1]}, "axis": {"format": ".0%"}}
_AS_PREDICTED, _DIFFERS = "as predicted", "differs"


def _rows_of(
    names: Sequence[str], marks: dict[str, Any], x: dict[str, Any], rows: Rows, across: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """Marks in rows (field `row` of `rows`) that are named inside the picture; `across`: layers that reach over all of them."""
    order = {"domain": list(range(len(names)))}
    y = {
        "field": "row",
        "type": "ordinal",
        "axis": {"labels": False, "ticks": False, "title": None, "grid": True},
        "scale": order,
    }
    titles = {
        "data": {"values": [{"row": row, "name": name} for row, name in enumerate(names)]},
        "mark": {"type": "text", "align": "left", "baseline": "bottom", "dy": -7, "limit": 330, "color": INK},
        "encoding": {"x": {"value": 4}, "y": y, "text": {"field": "name", "type": "nominal"}},
    }
    inside = marks | {"encoding": {"y": y, "x": x, **marks["encoding"]}}
    drawn = [layer | {"encoding": {"x": x, **layer["encoding"]}} for layer in across]
    return picture([*drawn, inside, titles], _ROW * max(1, len(names)), rows)


def highest(case: Case, held_out: bool) -> float | None:
    """Highest accuracy on hardware that the network is not meant for; None: there is none."""
    return max((target.metric for target in case.targets if target.held_out or not held_out), default=None)


def accuracies(cases: Sequence[Case]) -> Plot:
    """All cases under one another."""
    rows: Rows = []
    for row, case in enumerate(cases):
        measured = {
            _RIGHT: case.authorised, _TWIN: case.twin, _OTHER: highest(case, False), _HELD_OUT: highest(case, True),
            _CHANCE: case.chance,
        }  # fmt: skip
        rows += [
            {"row": row, "case": case.id, "what": what, "accuracy": share}
            for what, share in measured.items()
            if share is not None
        ]
    present = [what for what in (_RIGHT, _TWIN, _OTHER, _HELD_OUT, _CHANCE) if any(row["what"] == what for row in rows)]
    hover = tooltip(case="case", what="of", accuracy="accuracy")
    points = {
        "mark": {"type": "point", "filled": False, "size": 70, "strokeWidth": 2},
        "encoding": {**told("what", present), "tooltip": hover},
    }
    x = axis("accuracy", "accuracy") | _SHARE
    table = Table("Accuracies", ("case", _RIGHT, _TWIN, _OTHER, _HELD_OUT, _CHANCE), tuple(
        (case.id, *map(numbers.percent, (case.authorised, case.twin, highest(case, False), highest(case, True), case.chance)))
        for case in cases))  # fmt: skip
    words = "Of each case: accuracy on the right device, of its unlocked twin, the highest on other hardware, and of guessing."
    return Plot("Right device and all others", words, _rows_of([case.id for case in cases], points, x, rows), table)


def targets(case: Case) -> Plot:
    """Every piece of other hardware of one case, a row a family."""
    families = list(dict.fromkeys(target.family for target in case.targets))
    rows: Rows = [
        {"row": families.index(target.family), "name": target.name, "family": target.family, "accuracy": target.metric,
         "what": "held out" if target.held_out else "known to the training"}
        for target in case.targets
    ]  # fmt: skip
    present = [what for what in ("known to the training", "held out") if any(row["what"] == what for row in rows)]
    points = {
        "mark": {"type": "point", "filled": False, "size": 60, "strokeWidth": 2},
        "encoding": {**told("what", present), "tooltip": tooltip(name="hardware", family="family", accuracy="accuracy")},
    }
    ends = [{"accuracy": case.authorised, "what": "right device"}, {"accuracy": case.chance, "what": "guessing"}]
    rules = {
        "data": {"values": ends},
        "mark": {"type": "rule", "color": QUIET, "strokeWidth": 2},
        "encoding": {"tooltip": tooltip(what="of", accuracy="accuracy"),
                     "strokeDash": {"field": "what", "type": "nominal",
                                    "scale": {"domain": ["right device", "guessing"], "range": [[1, 0], [4, 3]]},
                                    "legend": {"symbolType": "stroke", "symbolStrokeWidth": 2, "symbolSize": 400}}},
    }  # fmt: skip
    x = axis("accuracy", "accuracy") | _SHARE
    ordered = sorted(case.targets, key=lambda target: -target.metric)
    caption = f"Other hardware, highest first{shown(ordered, 'targets')}"
    table = Table(caption, ("hardware", "family", "held out", "accuracy"), tuple(
        (target.name, target.family, "yes" if target.held_out else "no", numbers.percent(target.metric))
        for target in ordered[:ROWS]))  # fmt: skip
    best = ordered[0]
    words = (
        f"{len(ordered)} targets; the best, {best.name}, reaches {numbers.percent(best.metric)}, where the right device has "
        f"{numbers.percent(case.authorised)} and guessing {numbers.percent(case.chance)}."
    )
    return Plot(f"Accuracy on other hardware: {case.id}", words, _rows_of(families, points, x, rows, [rules]), table)


def cycles(case: Case) -> Plot:
    """Clocks of each tile: on the line the RTL takes what the timing law says."""
    differing = [tile for tile in case.cycles if tile.predicted != tile.measured]
    agreeing = [tile for tile in case.cycles if tile.predicted == tile.measured]
    step = max(1, -(-len(agreeing) // POINTS))
    drawn = [*differing[:POINTS], *agreeing[::step]]
    rows: Rows = [
        {"tile": tile.tile, "predicted": tile.predicted, "measured": tile.measured, "what": _kind(tile)} for tile in drawn
    ]
    present = [what for what in (_AS_PREDICTED, _DIFFERS) if any(row["what"] == what for row in rows)]
    ends = [end for tile in case.cycles for end in (tile.predicted, tile.measured)]
    line = {
        "data": {"values": [{"predicted": end, "measured": end} for end in (min(ends), max(ends))]},
        "mark": {"type": "line", "color": QUIET, "strokeWidth": 1},
        "encoding": {"x": axis("predicted", "clocks, predicted"), "y": axis("measured", "clocks, measured")},
    }
    points = {
        "mark": {"type": "point", "filled": False, "size": 60, "strokeWidth": 2},
        "encoding": {
            "x": axis("predicted", "clocks, predicted"), "y": axis("measured", "clocks, measured"), **told("what", present),
            "tooltip": tooltip(tile="tile", predicted="predicted", measured="measured"),
        },
    }  # fmt: skip
    listed = [*differing, *agreeing]
    caption = f"Clocks of tiles, differing ones first{shown(listed, 'tiles')}"
    table = Table(caption, ("tile", "predicted", "measured", "which"), tuple(
        (tile.tile, str(tile.predicted), str(tile.measured), _kind(tile)) for tile in listed[:ROWS]))  # fmt: skip
    words = f"{len(listed)} tiles, of which {len(differing)} take other clocks than predicted."
    return Plot(f"Clocks of tiles: {case.id}", words, picture([line, points], 260, rows), table)


def _kind(tile: Tile) -> str:
    return _AS_PREDICTED if tile.predicted == tile.measured else _DIFFERS


def pareto(judgement: Judgement, title: str, costs: Sequence[float | None]) -> Plot | None:
    """Cost (one a lock, a share) against the number of attackers that the lock stops; None: fewer than two costs are known.

    Locks are told by their numbers in the table of locks, so that long names do not hide one another.
    """
    known = [(number, lock, cost, len(judgement.stops(lock)), bool(judgement.falls_to(lock)) or not judgement.sound(lock))
             for number, (lock, cost) in enumerate(zip(judgement.locks, costs, strict=True), 1)
             if cost is not None and lock.is_lock]  # fmt: skip
    if len(known) < 2:
        return None
    edge = front([(cost, stopped) for _, _, cost, stopped, fallen in known if stopped and not fallen])
    best_of_all, beaten, idle, broken = kinds = [
        "no lock is better and cheaper", "another is better or cheaper", "stops nobody", "falls, or its RTL differs",
    ]  # fmt: skip

    def kind(cost: float, stopped: int, fallen: bool) -> str:
        if fallen:
            return broken
        if not stopped:
            return idle
        return best_of_all if (cost, stopped) in edge else beaten

    places: dict[tuple[float, int, bool], list[int]] = {}
    for number, _, cost, stopped, fallen in known:
        places.setdefault((cost, stopped, fallen), []).append(number)
    rows: Rows = [
        {"cost": place[0], "stopped": place[1], "label": ", ".join(map(str, found)), "what": kind(*place)}
        for place, found in places.items()
    ]
    y = axis("stopped", "attackers stopped") | {"scale": {"domain": [0, len(judgement.attackers)]}, "axis": {"tickMinStep": 1}}
    x = axis("cost", title) | {"axis": {"format": "+.1%", "tickCount": 5}, "scale": {"nice": True, "zero": True, "padding": 12}}
    steps = {
        "data": {"values": [{"cost": cost, "stopped": stopped} for cost, stopped in edge]},
        "mark": {"type": "line", "interpolate": "step-after", "color": QUIET, "strokeDash": [4, 3]},
        "encoding": {"x": x, "y": y},
    }
    hover = tooltip(label="lock", cost=title, stopped="attackers stopped")
    points = {"mark": {"type": "point", "filled": True, "size": 90},
              "encoding": {"x": x, "y": y, **told("what", kinds), "tooltip": hover}}  # fmt: skip
    labels = {"mark": {"type": "text", "dy": -13},
              "encoding": {"x": x, "y": y, "text": {"field": "label", "type": "nominal"}}}  # fmt: skip
    table = Table(f"{title} against attackers stopped", ("lock", title, "attackers stopped", "remark"), tuple(
        (f"{number}. {lock.name}", f"{100 * cost:+.2f}%", f"{stopped} of {len(judgement.attackers)}",
         kind(cost, stopped, fallen))
        for number, lock, cost, stopped, fallen in known))  # fmt: skip
    best = ", ".join(f"{number} ({lock.name})" for number, lock, cost, stopped, fallen in known
                     if kind(cost, stopped, fallen) == best_of_all)  # fmt: skip
    words = (
        f"{len(known)} locks with a known cost, by their numbers in the list of locks. "
        f"{f'No lock is better and cheaper than {best}' if best else 'Each of them stops nobody, or falls to somebody'}. "
        "A lock stops an attacker who got nothing, by attacks that break weak locks, with nothing conceded."
    )
    return Plot(
        f"Cost against strength: {title}",
        words,
        picture([steps, points, labels] if edge else [points, labels], 260, rows),
        table,
    )
