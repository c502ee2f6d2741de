"""A run's folder: its settings, a file for each job that is done, times apart, and the results.

    run.json          settings: another setting in the same folder is refused
    jobs/ID.json      what a job found; the same whoever ran it
    times/ID.json     how long it took, and what else depends on the machine
    results.json      all findings

No key, no seed of a model and no path is in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitting import files
from bitting.errors import SuiteError
from bitting.suite.format import RESULTS
from bitting.suite.jobs import Answer, Job, Outcome

SETTINGS = "run.json"
_JOBS, _TIMES = "jobs", "times"


class RunFolder:
    """A folder of a run, new or begun.

    Raises:
        SuiteError: if there is something else in it, or a run with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]):
        self.path = path
        written = path / SETTINGS
        self.resumed = written.exists()
        if self.resumed:
            _require_same(written, settings)
        elif path.exists() and any(path.iterdir()):
            raise SuiteError(f"{path} has files and no {SETTINGS}, so it is no run; allowed is a new folder, or one of a run")
        else:
            files.write_text(written, _json(settings))

    def done(self, job: Job) -> bool:
        """Whether a job's result is there: the times are written first."""
        return (self.path / _JOBS / f"{job.id}.json").exists()

    def write(self, job: Job, outcome: Outcome, seconds: float) -> None:
        """Keep a result, whole or not at all."""
        files.write_text(self.path / _TIMES / f"{job.id}.json", _json({"seconds": seconds, "measured": outcome.measured}))
        told = {
            "attack": job.attack,
            "case": job.case,
            "parameters": job.parameters,
            "seed": job.seed,
            "values": outcome.values,
        }
        files.write_text(self.path / _JOBS / f"{job.id}.json", _json(told))

    def read(self, job: Job) -> Answer:
        """The result of a job that is done. Raises SuiteError if it can not be read."""
        found, times = (_load(self.path / part / f"{job.id}.json") for part in (_JOBS, _TIMES))
        return Answer(job.parameters, found["values"], times["measured"], times["seconds"])

    def seconds(self) -> float:
        """That all jobs took that are kept, of one core."""
        return sum(float(_load(path)["seconds"]) for path in sorted((self.path / _TIMES).glob("*.json")))

    def write_results(self, results: Mapping[str, Any]) -> Path:
        """`results.json`."""
        files.write_text(self.path / RESULTS, _json(results))
        return self.path / RESULTS


def _require_same(path: Path, settings: Mapping[str, Any]) -> None:
    before = _load(path)
    wanted = json.loads(_json(settings))
    other = sorted(name for name in before.keys() | wanted.keys() if before.get(name) != wanted.get(name))
    if other:
        name = other[0]
        raise SuiteError(
            f"{path.parent} holds a run with other settings ({', '.join(other)}): {name} was {_short(before.get(name))}, now "
            f"it is {_short(wanted.get(name))}; give the same, or another folder with -o"
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else f"{text[:76]} ..."


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SuiteError(f"{path} can not be read ({error}); remove it, and the same command makes it again") from error


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n"
