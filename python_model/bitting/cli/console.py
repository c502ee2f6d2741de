"""How the command line speaks: tables, progress bars, one-line errors, exit statuses."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

#: Exit statuses: a claim that failed, and a mistake of the user or a missing tool.
EXIT_MISMATCH = 1
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

#: Columns of a table that no terminal will show.
PLAIN_WIDTH = 140

#: Results go to standard output, everything else to standard error.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def emit_json(data: Any) -> None:
    """Machine-readable result on standard output."""
    print(json.dumps(data, indent=2, sort_keys=True))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A result table; numbers are the caller's to format."""
    shown = Table(title=title, title_justify="left", header_style="bold")
    cells = [[str(cell) for cell in row] for row in rows]
    for index, column in enumerate(columns):
        numeric = index > 0 and all(row[index][:1].isdigit() for row in cells) and all(" " not in row[index] for row in cells)
        shown.add_column(column, justify="right" if numeric else "left")
    for row in cells:
        shown.add_row(*row)
    out.print(shown)


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error; call the result with how much is done."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def percent(share: float) -> str:
    return f"{100 * share:.2f}%"
