"""Learning curves: what a training noted of each epoch (`Model.claims["epochs"]`), as a table and as a picture.

They are of the owner's model and stay with it: its artefacts have none, and the files are for nobody else to read.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bitting import files
from bitting.errors import BittingError
from bitting.look import drawing

#: Of an epoch's record, and how people call them.
_PARTS = {"train": "training part", "test": "held-out part"}

Records = Sequence[Mapping[str, Any]]


def records_of(claims: Mapping[str, Any], path: Path) -> Records:
    """The records among a model's claims; `path`: of its file, for the error.

    Raises:
        BittingError: if there are none.
    """
    records = claims.get("epochs")
    if not isinstance(records, list) or not records:
        raise BittingError(
            f"{path} has no learning curve; only a model that `bitting train` wrote has one, and its artefacts have not"
        )
    return records


def paths(model: Path) -> tuple[Path, Path]:
    """Of table and picture, beside a model's file."""
    name = model.name.removesuffix(".safetensors")
    return model.with_name(f"{name}.curve.csv"), model.with_name(f"{name}.curve.svg")


def write_table(path: Path, records: Records, metric: str) -> None:
    """CSV: network, epoch (from 1), loss and score of both parts; `metric`: what the score is.

    Raises:
        BittingError: if the file can not be written.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    measures = [(part, measure) for measure in ("loss", "score") for part in _PARTS]
    named = {"loss": "loss", "score": metric.lower()}
    rows.writerow(["network", "epoch", *(f"{part}_{named[measure]}" for part, measure in measures)])
    for record in records:
        rows.writerow([record["network"], record["epoch"], *(record[f"{part}_{measure}"] for part, measure in measures)])
    files.write_text(path, text.getvalue(), files.PRIVATE)


def draw(path: Path, records: Records, metric: str, title: str) -> None:
    """Loss and score by epochs, unit beside twin, training beside held-out part.

    Raises:
        BittingError: if the file can not be written.
        ExtraError: if what draws it is missing.
    """
    drawing.require(path, "the learning curve")
    import altair

    stroked = altair.Legend(symbolType="stroke")  # a point would hide the dashes
    panels = []
    for measure, shown in (("loss", "loss"), ("score", metric)):
        values = [
            {"epoch": record["epoch"], "value": record[f"{part}_{measure}"], "network": record["network"], "part": name}
            for record in records
            for part, name in _PARTS.items()
        ]
        panels.append(
            altair.Chart(drawing.rows(values), width=330, height=240)
            .mark_line(point=len(records) < 60)
            .encode(
                x=altair.X("epoch:Q", axis=altair.Axis(tickMinStep=1)),
                y=altair.Y("value:Q", title=shown, scale=altair.Scale(zero=False)),
                color=altair.Color("network:N", sort=["unit", "twin"], title=None),
                strokeDash=altair.StrokeDash("part:N", sort=list(_PARTS.values())[::-1], legend=stroked, title=None),
            )
        )
    drawing.write(path, altair.hconcat(*panels, title=title), files.PRIVATE)
