"""Runs resume after any end, refuse other settings, and find the same on processes and on a Ray cluster."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bitting.errors import SuiteError
from bitting.locking.device import Device
from bitting.suite.cluster import Cluster
from bitting.suite.format import RESULTS
from bitting.suite.jobs import Job, Outcome, derived
from bitting.suite.registry import chosen
from bitting.suite.runner import Finished, Processes, Task, execute
from bitting.suite.suite import Run, perform
from tb.command import bitting, error_of

QUICK = ["wrong keys", "weights through cycles", "table from time", "two files"]


def here(tasks):
    """Runs jobs one after another in this process."""
    for task in tasks:
        yield execute(task)


def found_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "jobs").iterdir())}


def without_times(folder: Path) -> dict:
    results = json.loads((folder / RESULTS).read_text())
    results["made"] = {key: results["made"][key] for key in ("suite", "seed", "version", "unfinished")}
    for finding in results["findings"]:
        del finding["seconds"]
    return results


@pytest.fixture(scope="module")
def run(cases, files, effort):
    both = {cases[name]: files[name] for name in ("open", "sealed", "aes-pre")}
    return Run(both, effort, attacks=chosen(QUICK))


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    """A run without a break, in this process."""
    folder = tmp_path_factory.mktemp("whole")
    perform(run, folder, here)
    return folder


def test_the_time_of_all_jobs_is_told_once(whole):
    """Whichever command did them, and however many findings share one."""
    times = [json.loads(path.read_text())["seconds"] for path in sorted((whole / "times").iterdir())]
    assert json.loads((whole / RESULTS).read_text())["made"]["job_seconds"] == sum(times) > 0


def test_processes_find_the_same_to_the_byte(run, whole, tmp_path):
    told = []
    perform(run, tmp_path, Processes(2), progress=lambda done, total: told.append((done, total)))
    assert found_in(tmp_path) == found_in(whole) and without_times(tmp_path) == without_times(whole)
    jobs = len(run.tasks())
    assert told == [(done, jobs) for done in range(jobs + 1)]


@pytest.mark.slow
def test_two_ray_workers_find_the_same_to_the_byte(run, whole, tmp_path):
    perform(run, tmp_path, Cluster(2))
    assert found_in(tmp_path) == found_in(whole) and without_times(tmp_path) == without_times(whole)


@pytest.mark.slow
def test_a_job_that_fails_on_ray_is_named(run):
    task = run.tasks()[0]
    broken = Task(replace(task.job, parameters={}), task.case, task.files)
    with pytest.raises(SuiteError, match=rf"(?s)job {broken.job.id} failed: .*KeyError"):
        list(Cluster(1)([broken]))


def test_what_is_done_is_not_done_again(run, whole, tmp_path):
    """Half of the results are there already; the other half is made, and all of it is the same."""
    perform(run, tmp_path, here, budget=0.0)
    assert not (tmp_path / "jobs").exists() and without_times(tmp_path)["made"]["unfinished"] == len(run.tasks())
    names = sorted(found_in(whole))
    for part in ("jobs", "times"):
        (tmp_path / part).mkdir()
        for name in names[::2]:
            (tmp_path / part / name).write_bytes((whole / part / name).read_bytes())
    done = []

    def counted(tasks):
        for task in tasks:
            done.append(f"{task.job.id}.json")
            yield execute(task)

    perform(run, tmp_path, counted)
    assert sorted(done) == names[1::2] and without_times(tmp_path) == without_times(whole)


def test_a_lock_and_its_control_may_want_the_same_jobs_once_more(cases, files, effort, tmp_path):
    """Both gain at one share, so fresh beginnings from scratch are jobs that both ask for; they are done and count once."""
    asked = []

    def told(tasks):
        for task in tasks:
            asked.append(task.job.id)
            part = task.job.parameters
            gain = (0.3 + 0.01 * part["repeat"]) * (part["start"] == "stolen" and part["share"] == 0.1)
            scopes = dict.fromkeys(("whole model", "last layer"), 0.5)
            yield Finished(task.job, Outcome({"best": 0.5 + gain, "scopes": scopes, "beginnings": 1}), 1.0)

    both = {cases[name]: files[name] for name in ("open", "sealed")}
    results = perform(Run(both, effort, attacks=chosen(["fine-tuning"])), tmp_path, told)
    assert len(asked) == len(set(asked)) and results == json.loads((tmp_path / RESULTS).read_text())
    assert [one["verdict"] for one in results["findings"]] == ["broken", "broken"]
    mean = 0.3 + 0.01 * (2 * effort.repeats - 1) / 2
    assert [one["gain"] for one in results["findings"]] == [pytest.approx(mean)] * 2


def command(place: Path, output: Path, seed: int = 5) -> list[str]:
    words = [
        "attack",
        "suite",
        place / "aes-pre",
        "--device",
        place / "aes.key",
        "--model",
        place / "model",
        "--suite",
        "digits",
    ]
    words += ["--allow-unsigned", "--no-rtl", "--jobs", 2, "--seed", seed, "-o", output]
    return [str(word) for word in words] + [word for name in QUICK for word in ("--only", name)]


@pytest.mark.slow
def test_a_run_goes_on_after_kill_9_and_leaves_no_process(place, tmp_path):
    killed, other = tmp_path / "killed", tmp_path / "other"
    run = subprocess.Popen([sys.executable, "-m", "bitting", *command(place, killed)], stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 120
    while not (killed / "jobs").exists() or len(list((killed / "jobs").iterdir())) < 2:
        assert time.monotonic() < limit and run.poll() is None
        time.sleep(0.02)
    workers = [int(pid) for pid in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()]
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert not (killed / RESULTS).exists(), "it was killed too late for this test to say anything"
    while any(Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2] for pid in workers):
        assert time.monotonic() < limit, "a worker lives on without whoever started it"
        time.sleep(0.05)
    for folder in (killed, other):
        bitting(*command(place, folder))
    assert found_in(killed) == found_in(other) and without_times(killed) == without_times(other)
    assert len(without_times(other)["findings"]) == 2 * len(QUICK)


def test_another_setting_in_one_folder_is_refused(run, whole, place, effort):
    before = found_in(whole)
    with pytest.raises(SuiteError, match=r"other settings \(effort\).*another folder"):
        perform(replace(run, effort=replace(effort, seed=6)), whole, here)
    changed = {replace(case, digest="0" * 64): path for case, path in run.cases.items()}
    with pytest.raises(SuiteError, match=r"other settings \(cases\)"):
        perform(replace(run, cases=changed), whole, here)
    assert found_in(whole) == before
    with pytest.raises(SuiteError, match="is no run"):
        perform(run, place, here)


def test_mistakes_of_the_command_are_said(place, tmp_path):
    words = command(place, tmp_path / "run")
    assert "unknown attack 'magic'" in error_of(*words, "--only", "magic")
    assert "unknown suite 'huge'" in error_of(*words, "--suite", "huge")
    assert "give --model" in error_of("attack", "suite", str(place / "sealed"), "-o", str(tmp_path / "run"))
    other = [word.replace("aes.key", "ascon.key") for word in words]
    assert "they differ in vault" in error_of(*other)
    assert "nothing to attack" in error_of("attack", "suite", "--model", str(place / "model"), "-o", str(tmp_path / "run"))


def test_a_process_that_dies_is_said(run):
    def deadly(task):
        yield task
        (worker,) = multiprocessing.active_children()
        worker.kill()
        yield task

    with pytest.raises(SuiteError, match=r"ended with -9 .*give fewer --jobs"):
        list(Processes(1)(deadly(run.tasks()[0])))


def test_jobs_are_told_apart_and_always_have_the_same_names_and_seeds():
    jobs = [Job.of("an attack", "a/case", parameters, seed) for parameters in ({"a": 1}, {"a": 2}, {"b": 1}) for seed in (0, 1)]
    assert len({job.id for job in jobs}) == len({job.seed for job in jobs}) == 6
    assert Job.of("an attack", "a/case", {"a": 1}, 0) == jobs[0]
    assert Job.of("x", "y", {"a": (1, 2), "b": 3}, 0).id == Job.of("x", "y", {"b": 3, "a": [1, 2]}, 0).id
    assert derived(0, "a") != derived(1, "a") and 0 <= derived(0, "a") < 1 << 48
    assert jobs[0].id.startswith("an-attack.a-case.")


def test_nothing_secret_is_in_a_run(whole, place):
    roots = [Device.load(place / f"{vault}.key").root for vault in ("aes", "ascon")]
    for path in whole.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert str(place).encode() not in data and str(Path.home()).encode() not in data
            assert not any(root in data or root.hex().encode() in data for root in roots)
