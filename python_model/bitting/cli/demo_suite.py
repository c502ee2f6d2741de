"""The end of the demonstration: its artefact before all attackers of the suite, and the report on that."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitting.cli import console
from bitting.cli import suite as commands
from bitting.errors import ExtraError
from bitting.report import reading, writing
from bitting.report.verdicts import Judgement, Standing
from bitting.suite.cases import Files

_SIZE, _NETWORK = "digits", "mlp"


@dataclass(frozen=True)
class Judged:
    """What came of it.

    Attributes:
        results: of the suite.
        report: path of the report.
        rows: of the final table.
    """

    results: dict[str, Any]
    report: Path
    rows: list[tuple[str, str, str]]


def judge(folder: Path, data: str, only: list[str]) -> Judged:
    """Attack the artefact of a demonstration, and write the report beside it.

    Args:
        folder: of the demonstration, with model, key and artefact.
        data: name of its data set.
        only: names of attacks; none: all.
    """
    run = folder / "attacks"
    shutil.rmtree(run, ignore_errors=True)  # it was of the model before: every demonstration trains a new one
    files = Files(data, *(folder / name for name in ("artefact.safetensors", "A.key", "model.safetensors")))
    command = f"bitting attack suite ARTEFACT --device KEY --model MODEL --network {_NETWORK}"
    results = commands.attacked(commands.locked_cases(files, _NETWORK), run, command, _SIZE, only=only)
    found = reading.read(run)
    return Judged(results, _report(folder, run), _rows(Judgement(found)))


def _report(folder: Path, run: Path) -> Path:
    """A page; where what draws its pictures is not installed, the same in Markdown."""
    path = folder / "report.html"
    try:
        writing.require(path)
    except ExtraError as error:
        console.err.print(f"{error}; until then the report is Markdown, with tables in the place of pictures")
        path = folder / "report.md"
    writing.write(path, reading.read(run))
    return path


def _rows(judgement: Judgement) -> list[tuple[str, str, str]]:
    """How many attacks got through, how many got what is conceded, how many nothing."""
    lock = next(lock for lock in judgement.locks if lock.is_lock)
    cases = {case.id for case in lock.cases}
    standings = {found.attack: judgement.standing_of(found) for found in judgement.attacks if found.case in cases}

    def row(name: str, standing: Standing, nothing: str) -> tuple[str, str, str]:
        names = [attack for attack, seen in standings.items() if seen == standing]
        return name, f"{len(names)} of {len(standings)}", ", ".join(names) or nothing

    rows = [
        row("attacks of the suite: it falls to", Standing.FALLS, "none got through"),
        row("these get what is conceded", Standing.CONCEDED, "none"),
    ]
    if Standing.VOID in standings.values():
        rows.append(row("these prove nothing", Standing.VOID, ""))
    held = row("it holds against", Standing.HOLDS, "none")
    return [*rows, (*held[:2], "and each of these broke a lock that was made weak on purpose")]
