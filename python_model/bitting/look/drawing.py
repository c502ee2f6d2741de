"""Pictures: which files can be drawn, and writing them. Altair makes Vega-Lite, vl-convert draws it without a browser."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from bitting import files
from bitting.errors import BittingError, missing_extra

_SUFFIXES = (".svg", ".png", ".html")


class _InScript(json.JSONEncoder):
    """JSON inside a <script>: a name with `</script>` in it would end that, and begin another."""

    def encode(self, o: Any) -> str:
        return super().encode(o).replace("<", "\\u003c")


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
        importlib.import_module("vl_convert")  # a page holds the scripts that draw it, which come from there


def require_folder(folder: Path, option: str) -> None:
    """Say that pictures can not be put somewhere before the work, not after.

    Args:
        folder: where they will be; it is made if it is not there.
        option: of the command line that names it, for the error.

    Raises:
        BittingError: if it, or what it would be in, is a file.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise BittingError(f"{option} {folder}: {there} is a file; allowed is a folder, or a free name: choose another")


def write(path: Path, chart: Any, mode: int = 0o644) -> None:
    """Write an Altair chart whole or not at all, as the suffix says; `mode`: of the file. A page holds all that it needs.

    Raises:
        BittingError: if the file can not be written.
    """
    with files.replacing(path, mode) as temporary:
        if path.suffix == ".html":  # without the link that would send the chart to an editor
            page = {"inline": True, "json_kwds": {"cls": _InScript}, "embed_options": {"actions": {"editor": False}}}
            chart.save(str(temporary), format="html", **page)
        else:
            chart.save(str(temporary), format=path.suffix[1:])


def rows(values: list[dict[str, Any]]) -> Any:
    """Rows as Altair takes them without pandas."""
    import altair

    return altair.Data(values=values)
