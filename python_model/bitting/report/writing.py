"""Writing a report, as the suffix of its file says."""

from __future__ import annotations

import importlib
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bitting import files
from bitting.errors import BittingError, missing_extra
from bitting.report import markdown, page, printing
from bitting.report.document import document
from bitting.report.results import Results
from bitting.report.verdicts import Judgement

#: First field of the report as JSON.
FORMAT = "bitting attack report 1"
_SUFFIXES = (".html", ".md", ".json", ".pdf")


def require(path: Path) -> None:
    """Say what is wrong with an output before it is made.

    Raises:
        BittingError: for another suffix.
        ExtraError: if a package is missing.
    """
    if path.suffix not in _SUFFIXES:
        raise BittingError(
            f"{path} ends in {path.suffix or 'no suffix'}; allowed are {', '.join(_SUFFIXES)}: name the output so"
        )
    if path.suffix == ".pdf":
        printing.require()
    if path.suffix in (".html", ".pdf"):
        with missing_extra(f"a report as {path.suffix}", "pdf" if path.suffix == ".pdf" else ""):
            importlib.import_module("vl_convert")


def write(path: Path, results: Results) -> None:
    """Write a report whole or not at all; the same results make the same file, but for a PDF's date.

    Raises:
        BittingError: for another suffix, or if the file can not be written.
        ExtraError: if a package is missing.
        ToolError: if a browser is wanted, and none works.
    """
    require(path)
    if path.suffix == ".md":
        files.write_text(path, markdown.render(document(results)))
    elif path.suffix == ".json":
        files.write_text(path, json.dumps(verdicts(results), indent=1, sort_keys=True, allow_nan=False) + "\n")
    elif path.suffix == ".html":
        files.write_text(path, page.render(document(results)))
    else:
        with tempfile.TemporaryDirectory(prefix="bitting-") as folder, files.replacing(path) as temporary:
            source = Path(folder) / "report.html"
            source.write_text(page.render(document(results)), encoding="utf-8")
            printing.write(source, temporary)


def verdicts(results: Results) -> dict[str, Any]:
    """The results with what they come to, for programs: how every lock stands, and which one to buy against whom."""
    judgement = Judgement(results)
    advised = {attacker: judgement.advice(attacker) for attacker in judgement.attackers}
    return {
        "format": FORMAT,
        "results": asdict(results),
        "standing": {lock.name: {who: judgement.standing(lock, who) for who in advised} for lock in judgement.locks},
        "levels": {lock.name: list(lock.levels) for lock in judgement.locks},
        "advice": {attacker: lock.name if lock else None for attacker, lock in advised.items()},
        "findings": [
            {"case": found.case, "attack": found.attack, "control": found.control, "standing": judgement.standing_of(found),
             "weak_locks_broken": judgement.proven(found) if not found.control else None}
            for found in results.findings
        ],
    }  # fmt: skip
