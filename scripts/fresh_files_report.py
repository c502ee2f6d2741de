"""What a stolen file is worth to a thief who fine-tunes: many subsets of the data, and as many files of each lock.

    python scripts/fresh_files_report.py ARTEFACT... --model MODEL --device KEY... --share 0.001 [--files 60] [--network NAME]
        [--suite standard] [--jobs 2] -o RUN

The suite's first round has five subsets and one file, which sees gains of some points only. This has as many subsets as are
asked for, and for each of them the model locked anew; the size of each training is the suite's. "All" is the mean of the locks,
subset by subset: without their keys the bytes of all sealed programs are noise. RUN is a folder; the same command again goes on
with it. Means and bounds are printed, and lie in RUN/results.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from bitting.artefact.artefact import Artefact
from bitting.artefact.model import Model
from bitting.cli import console
from bitting.data import datasets
from bitting.errors import BittingError
from bitting.locking.device import Device
from bitting.suite.cases import Case, Files, describe
from bitting.suite.chapters.fine_tuning import SCRATCH, STOLEN, FineTuning, better
from bitting.suite.efforts import Effort, effort_of
from bitting.suite.folder import RunFolder
from bitting.suite.jobs import Job
from bitting.suite.runner import Processes, Task
from bitting.suite.suite import Run, commit

#: The round of which every subset has a file of its own.
TURN = 2
#: Of the bounds of a mean gain: so much of what Student's t has lies below the upper one, and above the lower one.
SURE = 0.95


def cases_of(options: argparse.Namespace) -> dict[Case, Files]:
    """The model in clear, and each artefact with the device of its vault."""
    data = options.data or datasets.claimed(Model.load(options.model).claims)
    devices = {Device.load(path).spec.vault: path for path in options.device}
    clear = Files(data, model=options.model)
    found = {describe(clear, options.network): clear}
    for path in options.artefacts:
        files = Files(data, path, devices.get(Artefact.load(path).program.spec.vault), options.model)
        case = describe(files, options.network)
        if case.id in {one.id for one in found}:
            raise BittingError(f"{path} is locked as another of these: give each lock once, its files are made here")
        found[case] = files
    return found


def jobs_of(case: Case, effort: Effort, share: float) -> list[Job]:
    """Of one case: a subset each, the same of every case; of the model in clear those from scratch."""
    starts = SCRATCH if case.control else (STOLEN,)
    sized = replace(effort.sized(case.macs), repeats=effort.repeats)
    parts = [part for start in starts for part in FineTuning().subsets(sized, start, share, TURN)]
    return [Job.of(FineTuning.name, case.id, part, effort.seed) for part in parts]


def bounds(gains: np.ndarray) -> tuple[float, float, float]:
    """Mean, and the one-sided lower and upper bounds of it by Student's t."""
    reach = float(stats.t.ppf(SURE, len(gains) - 1) * gains.std(ddof=1) / np.sqrt(len(gains)))
    return float(gains.mean()), float(gains.mean()) - reach, float(gains.mean()) + reach


def gains(accuracies: dict[str, list[float]]) -> Iterator[dict[str, Any]]:
    """Gains of each lock over the better way to begin without a file, and of all locks together."""
    # As the suite does; that it is chosen by the same subsets leans gains a little towards the lock.
    base = np.array(better([accuracies[start] for start in SCRATCH]))
    of_locks = {name: np.array(row) - base for name, row in accuracies.items() if name not in SCRATCH}
    of_locks["all"] = np.mean(list(of_locks.values()), axis=0)
    for name, row in of_locks.items():
        mean, lower, upper = bounds(row)
        yield {"lock": name, "mean": mean, "lower": lower, "upper": upper, "scatter": float(row.std(ddof=1)), "files": len(row)}


def report(tasks: Sequence[Task], kept: RunFolder, options: argparse.Namespace) -> dict[str, Any]:
    """What RUN/results.json holds; accuracies and gains are shares, 0..1."""
    accuracies: dict[str, list[float]] = {}
    for task in tasks:
        start = task.job.parameters["start"]
        name = "/".join(task.case.id.split("/")[2:]) if start == STOLEN else start
        accuracies.setdefault(name, []).append(kept.read(task.job).values["best"])
    sizes = ("rates", "starts", "steps", "judged")
    return {
        "commit": commit(),
        "data": tasks[0].case.data,
        "network": tasks[0].case.network,
        "share": options.share,
        "job_seconds": kept.seconds(),
        **{name: tasks[0].job.parameters[name] for name in sizes},
        "accuracies": accuracies,
        "gains": list(gains(accuracies)),
    }


def table(results: dict[str, Any]) -> Iterator[str]:
    """Lines of Markdown, in points."""
    yield f"| lock | gain at {100 * results['share']:g}% of the data | at most | at least | scatter | subsets, files |"
    yield "|---|---|---|---|---|---|"
    for row in results["gains"]:
        points = " | ".join(f"{100 * row[name]:+.2f}" for name in ("mean", "upper", "lower"))
        yield f"| `{row['lock']}` | {points} | {100 * row['scatter']:.2f} | {row['files']} |"


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefacts", type=Path, nargs="+", help="of one model")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--device", type=Path, nargs="+", required=True, help="key files, one of each vault")
    parser.add_argument("--data", default="", help="by default what the model claims")
    parser.add_argument("--network", default="network", help="its name, for people")
    parser.add_argument("--share", type=float, required=True, help="of the training data that the thief has, 0..1")
    parser.add_argument("--files", type=int, default=60, help="subsets, and files of each lock")
    parser.add_argument("--suite", default="standard", help="sizes of each training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    if options.files < 2 * TURN or options.files % TURN:
        parser.error(f"--files is {options.files}; allowed are multiples of {TURN} from {2 * TURN} on")
    cases = cases_of(options)
    # A round has as many subsets as the effort's repeats, times the number of the round.
    effort = replace(effort_of(options.suite, options.seed), shares=(options.share,), repeats=options.files // TURN)
    run = Run(cases, effort)
    kept = RunFolder(options.output, run.settings())
    tasks = [Task(job, case, files) for case, files in cases.items() for job in jobs_of(case, effort, options.share)]
    # Subset by subset, so that whoever looks in between sees all locks.
    tasks.sort(key=lambda task: task.job.parameters["repeat"])
    missing = [task for task in tasks if not kept.done(task.job)]
    with console.progress("trainings") as done:
        done(len(tasks) - len(missing), len(tasks))
        for number, finished in enumerate(Processes(options.jobs)(missing), len(tasks) - len(missing) + 1):
            kept.write(finished.job, finished.outcome, finished.seconds)
            done(number, len(tasks))
    results = report(tasks, kept, options)
    kept.write_results(results)
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
