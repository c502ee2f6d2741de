"""Pictures of `bitting puf report`: distances of boards and boots, aliasing of pairs, key failure by error rate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bitting.look import drawing
from bitting.puf import choice, failure
from bitting.puf.choice import Choice
from bitting.puf.failure import ErrorRates
from bitting.puf.report import Report
from bitting.unit.bch import BLOCK_BITS

#: Error rates of the picture of failures.
_RATES = np.linspace(0.002, 0.14, 40)
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
    """Rows (code, rate, failure) of the chosen key, with other codes too, on the board that fails most; without a key none."""
    best = found.best
    if best is None:
        return []
    worst = _worst(found, best)
    keys = [
        replace(best.key, code=code) for code in failure.codes() if choice.shown(code, best) and code.check_bits < best.key.kept
    ]
    rows = []
    for rate in _RATES:
        fails = choice.failures_of_codes(worst, keys, best.left_out, float(rate / worst.modelled[0]))
        for key, probability in zip(keys, fails, strict=True):
            if probability > _FLOOR:
                rows.append({"code": f"({key.code.k}, {key.code.t})", "rate": float(rate), "failure": probability})
    return rows


def _worst(found: Report, best: Choice) -> ErrorRates:
    rates = found.boots
    return rates.of([int(choice.key_failures(rates, best.key, best.left_out, choice.MARGIN).argmax())])


def left_out(path: Path, found: Report) -> None:
    """Oscillators of the smallest key by the share of weak pairs that is left out, for each number of reads of a boot.

    Raises:
        BittingError: if the file can not be written.
    """
    import altair

    values = [{"share": one.left_out, "oscillators": one.oscillators, "reads": str(one.reads)} for one in found.choices]
    chart = altair.Chart(drawing.rows(values), width=520, height=300, title=f"{found.boards} boards, {found.default.name}")
    drawing.write(path, chart.mark_line(point=True).encode(
        x=altair.X("share:Q", title="weak pairs left out", axis=altair.Axis(format="%")),
        y=altair.Y("oscillators:Q", title="oscillators of a key", scale=altair.Scale(type="log", zero=False)),
        color=altair.Color("reads:N", title="reads in a boot", sort=None),
    ))  # fmt: skip


def failures(path: Path, found: Report) -> None:
    """Failure of the key by the board's error rate, of all its pairs, with the rate as measured and its multiples.

    Raises:
        BittingError: if the file can not be written.
    """
    import altair

    rates = found.boots
    worst = float((_worst(found, found.best) if found.best else rates).modelled.max())
    lines = altair.Chart(drawing.rows(failure_curves(found)), width=520, height=300).mark_line()
    lines = lines.encode(
        x=altair.X("rate:Q", title="mean error rate of the board's pairs, all of them", axis=altair.Axis(format="%")),
        y=altair.Y("failure:Q", title="the key fails", scale=altair.Scale(type="log", domain=[_FLOOR, 1]),
                   axis=altair.Axis(format=".0e")),
        color=altair.Color("code:N", title=f"BCH({BLOCK_BITS}, k, t)", sort=[f"({c.k}, {c.t})" for c in failure.codes()]),
    )  # fmt: skip
    marks = [{"rate": factor * worst, "mark": f"x{factor}"} for factor in choice.FACTORS if factor * worst <= float(_RATES[-1])]
    rules = altair.Chart(drawing.rows(marks)).mark_rule(strokeDash=[4, 3], color="#888888").encode(x="rate:Q")
    names = altair.Chart(drawing.rows(marks)).mark_text(align="left", dx=3, y=8, color="#555555")
    names = names.encode(x="rate:Q", text="mark:N")
    title = f"boots of {rates.reads} reads; dashed: multiples of the rate of the board that fails most"
    drawing.write(path, altair.layer(lines, rules, names, title=title))
