"""Pictures: which files can be drawn, and writing them. Altair makes Vega-Lite, vl-convert draws it without a browser."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from bitting import files
from bitting.errors import BittingError, missing_extra

_SUFFIXES = (".svg", ".png", ".html")


def require(path: Path, option: str) -> None:
    """Say what is wrong with a plot before hours of work, not after.

    Args:
        path: of the file that will be written.
        option: of the command line that names it, for the error.

    Raises:
        BittingError: for a suffix that is no picture.
        ExtraError: if what draws it is missing.
    """
    if path.suffix not in _SUFFIXES:
        raise BittingError(f"{path}: a plot ends in {', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]}")
    with missing_extra(option):
        importlib.import_module("altair")
        if path.suffix != ".html":
            importlib.import_module("vl_convert")


def write(path: Path, chart: Any, mode: int = 0o644) -> None:
    """Write an Altair chart whole or not at all, as the suffix says; `mode`: of the file.

    Raises:
        BittingError: if the file can not be written.
    """
    with files.replacing(path, mode) as temporary:
        chart.save(str(temporary), format=path.suffix[1:])


def rows(values: list[dict[str, Any]]) -> Any:
    """Rows as Altair takes them without pandas."""
    import altair

    return altair.Data(values=values)
