"""Commands that do not write over what they read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from bitting.errors import BittingError


class Careful(TyperCommand):
    """A command whose `--output` is none of the files that it is given: a key, a model or an artefact would be lost."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Raises BittingError if it is one of them."""
        output = ctx.params.get("output")
        if isinstance(output, Path) and output.is_file():
            for name, given in ctx.params.items():
                if name != "output" and any(each.exists() and each.samefile(output) for each in _paths(given)):
                    raise BittingError(
                        f"--output {output} is the {name.replace('_', ' ')} that is read, which would be lost; allowed is any "
                        "other name; nothing was changed"
                    )
        return super().invoke(ctx)


class App(typer.Typer):
    """A group of commands, each of them `Careful`."""

    def command(self, name: str | None = None, **options: Any) -> Any:  # type: ignore[override]
        """As of `typer.Typer`, but for `cls`."""
        return super().command(name, cls=Careful, **options)


def _paths(given: object) -> Iterator[Path]:
    if isinstance(given, Path):
        yield given
    elif isinstance(given, list | tuple):
        yield from (each for each in given if isinstance(each, Path))
