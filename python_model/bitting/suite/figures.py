"""Pictures of findings as data: what the report draws. The format is `bitting attack suite 1`, see docs/attacks.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def line(name: str, role: str, x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    """A series of points. `role`: lock, control or baseline."""
    return {"name": name, "role": role, "x": [float(value) for value in x], "y": [float(value) for value in y]}


def values(name: str, role: str, sample: Sequence[float]) -> dict[str, Any]:
    """A series of values, for a histogram. `role`: lock, control or baseline."""
    return {"name": name, "role": role, "values": [float(value) for value in sample]}


def plot(kind: str, title: str, x: str, y: str, series: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A curve, histogram, roc or scatter; `x`, `y`: labels of the axes, with units."""
    return {"kind": kind, "title": title, "x": x, "y": y, "series": list(series)}


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """A table."""
    return {"kind": "table", "title": title, "columns": list(columns), "rows": [list(row) for row in rows]}


def roc(right: Sequence[float], wrong: Sequence[float]) -> tuple[list[float], list[float], float]:
    """The curve of a statistic that is larger for the right key: false and true positive rates, and the area under it.

    Ties count half, so the area is that of the Mann-Whitney statistic.
    """
    ones, zeros = np.asarray(right, float), np.asarray(wrong, float)
    thresholds = np.unique(np.concatenate([ones, zeros]))[::-1]
    false = [0.0, *((zeros >= threshold).mean() for threshold in thresholds)]
    true = [0.0, *((ones >= threshold).mean() for threshold in thresholds)]
    return [float(value) for value in false], [float(value) for value in true], float(np.trapezoid(true, false))
