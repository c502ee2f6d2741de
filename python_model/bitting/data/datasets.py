"""Data sets by whatever name: those that are published, and the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bitting.data import named, own_files
from bitting.data.dataset import Dataset
from bitting.errors import DatasetError
from bitting.program.interface import Task, of_pictures
from bitting.unit.spec import UnitSpec

#: Those that are known by name.
NAMES = named.NAMES


def load(name: str, task: Task | str | None = None) -> Dataset:
    """A data set: one of `NAMES`, or the user's own (`own_files.KINDS`).

    Args:
        name: of the data set, of a file or folder, or of a Python function (`module:function`).
        task: what is asked, for data of one's own; by default what the targets look like.

    Raises:
        DatasetError: if there is none, or it is not what it should be.
    """
    if name in NAMES:
        if task not in (None, Task.CLASSES):
            raise DatasetError(f"{name} has classes; --task {task} is for data of your own")
        return named.load(name)
    if not name:
        raise DatasetError(f"the file names no data set; give --data (allowed: {', '.join(NAMES)}; {own_files.KINDS})")
    try:
        chosen = Task(task) if task is not None else None
    except ValueError:
        raise DatasetError(f"unknown task {task!r}; allowed: {', '.join(Task)}") from None
    if own_files.is_own(name):
        return own_files.load(name, chosen)
    raise DatasetError(f"unknown data set {name!r}; allowed: {', '.join(NAMES)}; {own_files.KINDS}")


def claimed(claims: Mapping[str, Any]) -> str:
    """The data set that a file claims, if it is known by name, else nothing: a file must name no file and no function."""
    name = claims.get("dataset", "")
    return name if name in NAMES else ""


def activations(spec: UnitSpec, pixels: np.ndarray) -> np.ndarray:
    """Pixels 0..255 to activations 0..act_max: floor(pixel 2^(bx-1) / 256), int8. (samples, words)."""
    return of_pictures(spec, pixels.shape[1:]).activations(pixels)
