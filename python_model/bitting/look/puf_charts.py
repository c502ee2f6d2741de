"""Pictures of `bitting puf report`: distances of boards and boots, aliasing of pairs, key failure by error rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bitting.look import drawing
from bitting.puf import choice, failure
from bitting.puf.report import Report
from bitting.unit.bch import BLOCK_BITS

#: Error rates of the picture of failures.
_RATES = np.linspace(0.002, 0.08, 40)
#: Below this no failure is drawn.
_FLOOR = 1e-12


def distances(path: Path, found: Report) -> None:
    """Fractional Hamming distances: between boards, and between a boot and the enrolment of the same board.

    Raises:
        BittingError: if the file can not be written.
    """
    import altair

    values = []
    boots = found.boots
    wrong = boots.errors.ravel() / boots.bits
    for what, shares in (("between boards", found.between), (f"boots of {boots.reads} reads", wrong)):
        # Whole numbers of bits, three to a bar: other edges would give some bars more of them than others.
        counts, edges = np.histogram(shares, bins=np.arange(-0.5, 0.75 * boots.bits, 3) / boots.bits)
        for count, left, right in zip(counts / counts.sum(), edges, edges[1:], strict=False):
            if count:
                values.append({"what": what, "from": left, "to": right, "share": count})
    chart = (
        altair.Chart(drawing.rows(values), width=520, height=240, title=f"{found.boards} boards, {found.default.name}")
        .mark_bar()
        .encode(
            x=altair.X("from:Q", title="fractional Hamming distance", bin="binned"),
            x2="to:Q",
            y=altair.Y("share:Q", title="share", axis=altair.Axis(format="%")),
            color=altair.Color("what:N", title=None),
        )
    )
    drawing.write(path, chart)


def aliasing(path: Path, found: Report) -> None:
    """The pairs' shares of ones on the boards of one split, beside what 99% of fair coins show.

    Sorted, so that no pair can be told from another: of few boards a share in its place would show response bits.

    Raises:
        BittingError: if the file can not be written.
    """
    import altair
    from scipy import stats

    band = stats.norm.isf(0.005) * 0.5 / np.sqrt(found.judged)
    values = [{"rank": place, "ones": float(share)} for place, share in enumerate(np.sort(found.aliasing))]
    points = altair.Chart(drawing.rows(values), width=620, height=240).mark_point(size=14, filled=True)
    points = points.encode(
        x=altair.X("rank:Q", title="pairs, sorted by their share"),
        y=altair.Y("ones:Q", title="share of boards with a one", scale=altair.Scale(domain=[0, 1])),
    )
    chance = altair.Chart(drawing.rows([{"low": 0.5 - band, "high": 0.5 + band}])).mark_rect(opacity=0.2)
    chance = chance.encode(y="low:Q", y2="high:Q")
    drawing.write(path, altair.layer(chance, points, title=f"{found.judged} boards, {found.default.name}"))


def failure_curves(found: Report) -> list[dict[str, Any]]:
    """Rows (code, rate, failure) of one block, its bits erring as unequally as the worst board's."""
    rates = found.boots
    margins = rates.margins[rates.worst]
    rows = []
    for rate in _RATES:
        distribution = failure.error_distribution(failure.unequal_rates(margins, float(rate)))
        for code in failure.codes():
            probability = float(distribution[code.t + 1 :].sum())
            if choice.shown(code, found.best) and probability > _FLOOR:
                rows.append({"code": f"({code.k}, {code.t})", "rate": float(rate), "failure": probability})
    return rows


def failures(path: Path, found: Report) -> None:
    """Failure of a block by the board's error rate, with the worst board's rate and its multiples.

    Raises:
        BittingError: if the file can not be written.
    """
    import altair

    rates = found.boots
    worst = float(rates.modelled[rates.worst])
    lines = altair.Chart(drawing.rows(failure_curves(found)), width=520, height=300).mark_line()
    lines = lines.encode(
        x=altair.X("rate:Q", title="mean error rate of a board", axis=altair.Axis(format="%")),
        y=altair.Y("failure:Q", title="a block fails", scale=altair.Scale(type="log", domain=[_FLOOR, 1]),
                   axis=altair.Axis(format=".0e")),
        color=altair.Color("code:N", title=f"BCH({BLOCK_BITS}, k, t)", sort=[f"({c.k}, {c.t})" for c in failure.codes()]),
    )  # fmt: skip
    marks = [{"rate": factor * worst, "mark": f"x{factor}"} for factor in choice.FACTORS if factor * worst <= float(_RATES[-1])]
    rules = altair.Chart(drawing.rows(marks)).mark_rule(strokeDash=[4, 3], color="#888888").encode(x="rate:Q")
    names = altair.Chart(drawing.rows(marks)).mark_text(align="left", dx=3, y=8, color="#555555")
    names = names.encode(x="rate:Q", text="mark:N")
    title = f"boots of {rates.reads} reads; dashed: multiples of the worst board's rate"
    drawing.write(path, altair.layer(lines, rules, names, title=title))
