"""`bitting report`: what an attack suite found, as a document."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bitting.cli import console
from bitting.cli.options import JsonOption
from bitting.suite.format import RESULTS


def report(
    run: Annotated[Path, typer.Argument(help=f"Folder of an attack suite's run, with {RESULTS} in it, or that file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Report: .html, .md, .json or .pdf.")] = Path("report.html"),
    json: JsonOption = False,
) -> None:
    """What an attack suite found: what not to rely on, which lock to buy against whom, and every figure.

    The page (.html) is one file that fetches nothing. A PDF is that page, printed by a browser (extra `pdf`).
    """
    from bitting.report import reading, writing
    from bitting.report.verdicts import Judgement, Standing

    writing.require(output)
    results = reading.read(run)
    writing.write(output, results)
    if json:
        console.emit_json(writing.verdicts(results))
        return
    judgement = Judgement(results)
    kinds = (Standing.FALLS, Standing.VOID, Standing.CONCEDED, Standing.HOLDS)
    rows = [(lock.name, *(", ".join(judgement.attackers_at(lock, kind)) for kind in kinds)) for lock in judgement.locks]
    columns = ("lock", "falls to", "void (proves nothing) for", "concedes to", "holds against")
    console.table(f"{run}: {len(results.cases)} cases, {len(results.findings)} findings", columns, rows)
    console.out.print(f"report: {output}")
