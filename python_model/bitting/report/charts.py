"""Pictures of findings, as Vega-Lite. Colours are names to which the page gives values: light and dark are one picture.

A series is told by colour, by the shape of its points and in the legend; its role by the dashes of its line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bitting.report.blocks import Plot, Table
from bitting.report.numbers import plain
from bitting.report.results import Figure, Kind, Role, Scalar, Series

#: Points of a series and rows of a table that are shown: a page must open. All are in the file of results.
POINTS, ROWS = 120, 200
#: A table of a finding with more rows than this is folded away.
_LONG = 20
#: Bars of a histogram.
BINS = 30
#: An axis is logarithmic if all is positive and the largest is so many times the least.
_WIDE = 50
#: Pixels of a point's area, and points of a series up to which it is the large one.
_LARGE, _SMALL, _FEW = 55, 8, 40
#: Names of colours in page.css, and shapes; seven and eight make 56 pairs.
_COLOURS = [f"var(--series-{index})" for index in range(8)]
_SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right"]
_DASHES = {Role.LOCK: [1, 0], Role.CONTROL: [7, 4], Role.BASELINE: [2, 3]}
_ROLES = {Role.LOCK: "lock", Role.CONTROL: "weak lock (control)", Role.BASELINE: "baseline"}
INK, QUIET = "var(--ink)", "var(--quiet)"

Rows = list[dict[str, Any]]

_TEXT = {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
#: What all pictures share; a page has it once.
CONFIG = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "aria": False,  # the page says in words what is drawn, and has its numbers in a table
    "view": {"stroke": "var(--line)"},
    "axis": {**_TEXT, "gridColor": "var(--line)", "domainColor": QUIET, "tickColor": QUIET, "labelOverlap": True},
    "legend": {
        **_TEXT,
        "orient": "top",
        "direction": "vertical",
        "columns": 1,
        "labelLimit": 260,
        "title": None,
        "symbolOpacity": 1,
        "symbolSize": 80,
        "layout": {"top": {"direction": "vertical", "anchor": "start"}},  # side by side they are wider than a phone
    },
    "text": {"color": INK, "fontSize": 12},
}


def picture(layers: list[dict[str, Any]], height: int, rows: Rows) -> dict[str, Any]:
    """A Vega-Lite specification without `CONFIG`, as wide as the page allows.

    Args:
        layers: marks over one another.
        height: pixels without the axis.
        rows: data of the layers that have none of their own.
    """
    return {
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"values": rows},
        "layer": layers,
    }


def axis(field: str, title: str, values: Sequence[float] = (), **more: Any) -> dict[str, Any]:
    """A quantitative channel; of `values` it follows whether the axis is logarithmic."""
    scale: dict[str, Any] = {"zero": False, "nice": True}
    if values and min(values) > 0 and max(values) >= _WIDE * min(values):
        scale = {"type": "log"}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale} | more


def told(field: str, names: Sequence[str], shapes: bool = True) -> dict[str, Any]:
    """Colour and shape of a nominal field, in this order."""
    colours = [_COLOURS[index % len(_COLOURS)] for index in range(len(names))]
    channels: dict[str, Any] = {"color": {"field": field, "type": "nominal", "sort": None,
                                          "scale": {"domain": list(names), "range": colours}}}  # fmt: skip
    if shapes:
        drawn = [_SHAPES[index % len(_SHAPES)] for index in range(len(names))]
        channels["shape"] = {"field": field, "type": "nominal", "sort": None, "scale": {"domain": list(names), "range": drawn}}
    return channels


def tooltip(**fields: str) -> list[dict[str, str]]:
    """What is told of a point: field -> its title."""
    return [{"field": name, "title": title} for name, title in fields.items()]


def shown(rows: Sequence[Any], what: str) -> str:
    """What a caption adds if there are more rows than are shown."""
    return f" ({ROWS} of {len(rows)} {what}; all are in the file of results)" if len(rows) > ROWS else ""


def of_figure(figure: Figure) -> Plot | Table:
    """Of a finding; a histogram is counted, and of many points some are shown, the extreme ones among them."""
    if figure.kind == Kind.TABLE:
        caption = figure.title + shown(figure.rows, "rows")
        rows = tuple(tuple(map(_cell, row)) for row in figure.rows[:ROWS])
        return Table(caption, figure.columns, rows, folded=len(rows) > _LONG)
    series = [(name, item) for name, item in zip(_names(figure.series), figure.series, strict=True)]
    if not any(item.x or item.values for item in figure.series):
        return Table(
            f"{figure.title}: nothing to draw", ("series", "what it is"), tuple((n, _ROLES[i.role]) for n, i in series)
        )
    if figure.kind == Kind.HISTOGRAM:
        return _histogram(figure, series)
    return _points(figure, series)


def _cell(value: Scalar) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else plain(value)


def _names(series: Sequence[Series]) -> list[str]:
    """Of one figure, each different: they tell the series apart."""
    names: list[str] = []
    for item in series:
        same = sum(name == item.name for name in (other.name for other in series[: len(names)]))
        names.append(f"{item.name} ({same + 1})" if same else item.name)
    return names


def _roles(series: Sequence[tuple[str, Series]]) -> dict[str, Any]:
    present = [role for role in Role if any(item.role == role for _, item in series)]
    return {
        "field": "role",
        "type": "nominal",
        "scale": {"domain": [_ROLES[role] for role in present], "range": [_DASHES[role] for role in present]},
        "legend": {"symbolType": "stroke", "symbolStrokeWidth": 2, "symbolSize": 400} if len(present) > 1 else None,
    }


def _chosen() -> dict[str, Any]:
    """A click on the legend brings a series forward."""
    return {"params": [{"name": "chosen", "select": {"type": "point", "fields": ["series"]}, "bind": "legend"}]}


def _faded(full: float) -> dict[str, Any]:
    return {"opacity": {"condition": {"param": "chosen", "value": full}, "value": 0.1}}


def _points(figure: Figure, series: list[tuple[str, Series]]) -> Plot:
    """Lines with points (curve), lines (ROC, with the diagonal of guessing), or points (scatter)."""
    kept = [(name, item, _some(item)) for name, item in series]
    rows: Rows = [
        {"series": name, "role": _ROLES[item.role], "x": item.x[index], "y": item.y[index]}
        for name, item, places in kept
        for index in places
    ]
    names = [name for name, _ in series]
    xs, ys = ([value for _, item in series for value in getattr(item, name)] for name in ("x", "y"))
    label = figure.y or "y"
    channels = {"x": axis("x", figure.x, xs), "y": axis("y", label, ys), **told("series", names)}
    hover = {"tooltip": tooltip(series="series", x=figure.x, y=label)}
    line = {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {
        **{name: channels[name] for name in ("x", "y", "color")}, **_faded(1), "strokeDash": _roles(series),
        "order": None,  # that of the rows
    }}  # fmt: skip
    dots = {
        "mark": {"type": "point", "filled": True, "size": _LARGE if len(rows) <= _FEW * len(series) else _SMALL},
        "encoding": channels | _faded(1) | hover,
    } | _chosen()
    layers = {Kind.CURVE: [line, dots], Kind.ROC: [_diagonal(), line, dots], Kind.SCATTER: [dots]}[figure.kind]
    spec = picture(layers, 280, rows)
    less = sum(len(item.x) for _, item in series) - len(rows)
    note = f" ({len(rows)} of {len(rows) + less} points; all are in the file of results)" if less else ""
    table = Table(
        figure.title + note,
        ("series", "what it is", figure.x, label),
        tuple((row["series"], row["role"], plain(row["x"]), plain(row["y"])) for row in rows),
    )
    return Plot(figure.title, _said(figure, series), spec, table)


def _diagonal() -> dict[str, Any]:
    values = [{"x": 0, "y": 0}, {"x": 1, "y": 1}]
    return {
        "data": {"values": values},
        "mark": {"type": "line", "color": QUIET, "strokeWidth": 1},
        "encoding": {name: {"field": name, "type": "quantitative"} for name in ("x", "y")},
    }


def _some(item: Series) -> list[int]:
    """At most `POINTS` places of a series, evenly, with its ends and its extremes."""
    count = len(item.x)
    if count <= POINTS:
        return list(range(count))
    extremes = {pick(range(count), key=values.__getitem__) for values in (item.x, item.y) for pick in (min, max)}
    even = {round(step * (count - 1) / (POINTS - 5)) for step in range(POINTS - 4)}
    return sorted(even | extremes)


def _said(figure: Figure, series: Sequence[tuple[str, Series]]) -> str:
    """In words: of each series its ends and its range."""
    parts = []
    for name, item in series:
        if not item.x:
            parts.append(f"{name} ({_ROLES[item.role]}): no points")
            continue
        ends = f"from {plain(item.y[0])} at {plain(item.x[0])} to {plain(item.y[-1])} at {plain(item.x[-1])}"
        reach = f"least {plain(min(item.y))}, greatest {plain(max(item.y))}"
        counted = f"{len(item.x)} point{'s' * (len(item.x) > 1)}"
        parts.append(f"{name} ({_ROLES[item.role]}): {counted}, {reach if figure.kind == Kind.SCATTER else f'{ends}; {reach}'}")
    return f"{figure.y or 'y'} by {figure.x}. " + ". ".join(parts or ["No series"]) + "."


def _histogram(figure: Figure, series: list[tuple[str, Series]]) -> Plot:
    """Shares of each series in bars of equal width, outlined, so that no series hides another."""
    every = [value for _, item in series for value in item.values]
    low, high = (min(every), max(every)) if every else (0.0, 1.0)
    width = (high - low) / BINS or abs(low) / BINS or 1 / BINS
    edges = [low + index * width for index in range(BINS + 1)]
    rows: Rows = []
    for name, item in series:
        counts = [0] * BINS
        for value in item.values:
            counts[min(BINS - 1, int((value - low) / width))] += 1
        # One bar of no width at the end, where the outline comes down.
        for count, left, right in zip([*counts, 0], edges, [*edges[1:], edges[-1]], strict=True):
            share = count / (len(item.values) or 1)
            rows.append({"series": name, "role": _ROLES[item.role], "from": left, "to": right, "count": count, "share": share})
    colour = told("series", [name for name, _ in series], shapes=False)
    y = {"field": "share", "type": "quantitative", "title": "share of the series", "stack": None, "axis": {"format": ".0%"},
         "scale": {"domainMin": 0}}  # fmt: skip
    place = {"x": axis("from", figure.x), "y": y, **colour}
    hover = tooltip(series="series", count="how many", share="share", **{"from": "from", "to": "to"})
    bars = {"mark": {"type": "bar"}, **_chosen(),
            "encoding": {**place, "x2": {"field": "to"}, **_faded(0.18), "tooltip": hover}}  # fmt: skip
    line = {"mark": {"type": "line", "strokeWidth": 2, "interpolate": "step-after"},
            "encoding": {**place, "order": None, **_faded(1), "strokeDash": _roles(series)}}  # fmt: skip
    columns = ("series", "what it is", f"{figure.x}, from", "to below", "how many", "share")
    table = Table(figure.title, columns, tuple(
        (row["series"], row["role"], plain(row["from"]), plain(row["to"]), str(row["count"]), f"{100 * row['share']:.1f}%")
        for row in rows if row["count"]))  # fmt: skip
    return Plot(figure.title, _spread(figure, series), picture([bars, line], 260, rows), table)


def _spread(figure: Figure, series: Sequence[tuple[str, Series]]) -> str:
    """In words: of each series how many, least, median, greatest."""
    parts = []
    for name, item in series:
        ordered = sorted(item.values)
        if not ordered:
            parts.append(f"{name} ({_ROLES[item.role]}): none")
            continue
        middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        spread = f"least {plain(ordered[0])}, median {plain(middle)}, greatest {plain(ordered[-1])}"
        parts.append(f"{name} ({_ROLES[item.role]}): {len(ordered)} values, {spread}")
    return f"{figure.x}. " + ". ".join(parts or ["No series"]) + "."
