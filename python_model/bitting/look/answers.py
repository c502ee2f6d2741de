"""A test set's answers beside what was asked for, as numbers and as a picture: one kind of picture for each task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from bitting import files
from bitting.look import drawing
from bitting.program.interface import Interface, Task, score_text

#: With more classes than this a matrix has no numbers in its cells, and the most frequent confusions are listed beside it.
_NUMBERED = 20
#: How many confusions are listed, and how many points of a regression are drawn: more hide one another.
_LISTED, _POINTS = 20, 3000
#: Pixels of a whole matrix of many classes, and the most and least of a cell.
_MATRIX, _CELL, _LEAST = 640, 34, 3


def confusion(answers: np.ndarray, targets: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) how many samples of each class (row) were answered with which (column)."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (np.asarray(targets, np.int64), np.asarray(answers, np.int64)), 1)
    return counts


def label_scores(answers: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """Of each label, from (samples, labels) of 0 and 1: accuracy, precision and recall, (labels,) float64.

    Precision is not a number if the label was never answered, recall if no sample has it.
    """
    yes, true = np.asarray(answers) == 1, np.asarray(targets) == 1
    with np.errstate(invalid="ignore"):
        hits = (yes & true).sum(axis=0)
        return {"accuracy": (yes == true).mean(axis=0), "precision": hits / yes.sum(axis=0), "recall": hits / true.sum(axis=0)}


def draw(path: Path, interface: Interface, sums: np.ndarray, targets: np.ndarray, title: str) -> None:
    """Draw answers beside targets, for nobody else to read: a regression's picture shows the targets themselves.

    Args:
        path: .svg, .png or .html.
        interface: what the sums mean.
        sums: (samples, outputs), of the unit.
        targets: of the same samples, as those of a data set for the interface's task.
        title: of the picture; the score is added.

    Raises:
        BittingError: if the file can not be written.
    """
    answers, metric = interface.answers(sums), interface.metric
    whole = f"{title}: {metric} {score_text(interface.rating(sums, targets), metric)} of {len(targets)} samples"
    if interface.task == Task.REGRESSION:
        chart = _scatter(interface, answers, np.asarray(targets).reshape(answers.shape))
    elif interface.task == Task.LABELS:
        chart = _labels(interface, answers, targets)
    else:
        chart = _matrix(interface, confusion(answers, targets, max(2, sums.shape[1])))
    drawing.write(path, chart.properties(title=whole), files.PRIVATE)


def _names(interface: Interface, count: int) -> list[str]:
    return list(interface.names) or [str(index) for index in range(count)]


def _matrix(interface: Interface, counts: np.ndarray) -> Any:
    """Cells are coloured by their share of the row, for classes are of different sizes."""
    import altair

    names, rows = _names(interface, len(counts)), np.maximum(counts.sum(axis=1), 1)
    numbered = len(counts) <= _NUMBERED
    values = [
        {"row": row, "column": column, "count": int(counts[row, column]), "share": float(counts[row, column] / rows[row])}
        for row, column in np.argwhere(counts).tolist()
    ]
    cell = _CELL if numbered else max(_LEAST, _MATRIX // len(counts))
    order, side = list(range(len(counts))), cell * len(counts)
    said = altair.Axis(labelExpr=f"{json.dumps(names)}[datum.value]", labelOverlap=True)
    base = altair.Chart(drawing.rows(values), width=side, height=side).encode(
        x=altair.X("column:O", title="answered", scale=altair.Scale(domain=order), axis=said),
        y=altair.Y("row:O", title="asked for", scale=altair.Scale(domain=order), axis=said),
    )
    chart = base.mark_rect().encode(
        color=altair.Color("share:Q", title="share of row", scale=altair.Scale(scheme="blues", domain=[0, 1]))
    )
    if numbered:
        dark = altair.condition(altair.datum.share > 0.5, altair.value("white"), altair.value("black"))
        return altair.layer(chart, base.mark_text(fontSize=10).encode(text="count:Q", color=dark))
    return altair.hconcat(chart, _confusions(names, counts))


def _confusions(names: list[str], counts: np.ndarray) -> Any:
    """The most frequent mistakes, as bars."""
    import altair

    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    first = np.argsort(-wrong, axis=None, kind="stable")[:_LISTED]
    pairs = [(row, column) for row, column in zip(*np.unravel_index(first, wrong.shape), strict=True) if wrong[row, column]]
    values = [{"mistake": f"{names[row]} -> {names[column]}", "count": int(wrong[row, column])} for row, column in pairs]
    return (
        altair.Chart(drawing.rows(values), width=180, title="most frequent mistakes: asked for -> answered")
        .mark_bar()
        .encode(x=altair.X("count:Q", title="samples"), y=altair.Y("mistake:N", sort=None, title=None))
    )


def _labels(interface: Interface, answers: np.ndarray, targets: np.ndarray) -> Any:
    import altair

    names, scores = _names(interface, answers.shape[1]), label_scores(answers, targets)
    values = [
        {"label": name, "measure": measure, "score": float(score)}
        for measure, column in scores.items()
        for name, score in zip(names, column, strict=True)
        if np.isfinite(score)
    ]
    return (
        altair.Chart(drawing.rows(values), width=420, height=max(60, 20 * len(names)))
        .mark_point(filled=True, size=60)
        .encode(
            x=altair.X("score:Q", scale=altair.Scale(domain=[0, 1])),
            y=altair.Y("label:N", sort=names, title=None),
            color=altair.Color("measure:N", sort=list(scores), title=None),
        )
    )


def _scatter(interface: Interface, answers: np.ndarray, targets: np.ndarray) -> Any:
    """A panel for each quantity; on the line the answer is right. Of many samples some, evenly from all."""
    import altair

    some = np.linspace(0, len(answers) - 1, min(len(answers), _POINTS)).astype(np.int64)
    panels = []
    for index, name in enumerate(_names(interface, answers.shape[1])):
        pairs = [(float(targets[sample, index]), float(answers[sample, index])) for sample in some]
        ends = [min(map(min, pairs)), max(map(max, pairs))]
        scale = altair.Scale(domain=ends, nice=True, zero=False)
        points = altair.Chart(drawing.rows([{"target": a, "answer": b} for a, b in pairs]), width=300, height=300, title=name)
        line = altair.Chart(drawing.rows([{"target": end, "answer": end} for end in ends])).mark_line(color="grey")
        axes = {
            "x": altair.X("target:Q", scale=scale, title="target"),
            "y": altair.Y("answer:Q", scale=scale, title="answer"),
        }
        panels.append(line.encode(**axes) + points.mark_circle(size=18, opacity=0.5).encode(**axes))
    return altair.hconcat(*panels)
