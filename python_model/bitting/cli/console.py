"""How the command line speaks: tables, progress bars, one-line errors, exit statuses."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from bitting.look.plain import printable
from bitting.program.interface import score_text

#: Exit statuses: a claim that failed, and a mistake of the user or a missing tool.
EXIT_MISMATCH = 1
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

#: Columns of a table that no terminal will show, unless the environment's COLUMNS says otherwise.
PLAIN_WIDTH = 140


def _width() -> int | None:
    """Of standard output; None: the terminal's own, or COLUMNS."""
    return None if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit() else PLAIN_WIDTH


class _Printed(Console):
    """Prints texts as they are, for they quote files: no markup unless asked for, and nothing that is not printable."""

    def __init__(self, keep: str = "", **options: Any):
        super().__init__(highlight=False, soft_wrap=True, emoji=False, markup=False, **options)
        self._keep = keep

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich does it; `keep`: see `printable`."""
        super().print(*(printable(item, self._keep) if isinstance(item, str) else item for item in objects), **options)


#: Results go to standard output, everything else to standard error, a line each.
out = _Printed(keep="\n", width=_width())
err = _Printed(stderr=True)


def emit_json(data: Any) -> None:
    """Machine-readable result on standard output; what is not a number is null."""
    print(json.dumps(without_nan(data), indent=2, sort_keys=True))


def without_nan(data: Any) -> Any:
    """The same, with None for what is not a number: JSON has no word for that."""
    if isinstance(data, dict):
        return {key: without_nan(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [without_nan(value) for value in data]
    return None if isinstance(data, float) and math.isnan(data) else data


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A result table; numbers are the caller's to format."""
    shown = Table(title=printable(title), title_justify="left", header_style="bold")
    cells = [[printable(str(cell), keep="\n") for cell in row] for row in rows]
    for index, column in enumerate(columns):
        numeric = index > 0 and all(row[index][:1].isdigit() for row in cells) and all(" " not in row[index] for row in cells)
        shown.add_column(printable(column), justify="right" if numeric else "left")
    for row in cells:
        shown.add_row(*row)
    out.print(shown)


class Done(Protocol):
    """Called with how much is done, and of how much if that is known better than before."""

    def __call__(self, done: int, total: int | None = None, /) -> None:
        """Without `total`, the one known before stays."""


@contextlib.contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Done]:
    """A progress bar on standard error; call the result with how much is done."""
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(printable(what), total=total)

        def update(done: int, total: int | None = None, /) -> None:
            bar.update(task, completed=done, total=total)

        yield update


def percent(share: float | None) -> str:
    """With two decimals: 0.5 becomes 50.00%. None: there was nobody who answered."""
    return score_text(share, "accuracy")
