"""Jobs on plain processes of this machine: spawned, one thread of arithmetic each, gone when whoever started them is.

A worker reads jobs from a pipe and answers them. If the process that started it dies, by whatever signal, so does the worker.
Results are kept by that process alone, so nothing is half written.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from bitting import malloc
from bitting.errors import BittingError, SuiteError
from bitting.suite.cases import Case, Files, material
from bitting.suite.jobs import Job, Outcome


@dataclass(frozen=True)
class Task:
    """A job, and what it is run on."""

    job: Job
    case: Case
    files: Files


@dataclass(frozen=True)
class Finished:
    """A job that was run. `seconds`: of the processor, so that other work on the machine does not count."""

    job: Job
    outcome: Outcome
    seconds: float


class Runner(Protocol):
    """Runs jobs somewhere."""

    def __call__(self, tasks: Iterable[Task]) -> Iterator[Finished]:
        """Each task once, in any order; a task is taken from `tasks` when there is somebody to run it.

        Raises:
            SuiteError: if a job fails.
        """


def execute(task: Task) -> Finished:
    """Run one job, here. Raises whatever it raises."""
    from bitting.suite.registry import attack_named

    started = time.process_time()
    outcome = attack_named(task.job.attack).run(material(task.case, task.files), task.job.parameters, task.job.seed)
    return Finished(task.job, outcome, time.process_time() - started)


def attempt(task: Task) -> Finished | str:
    """Run one job; what went wrong as a text."""
    try:
        return execute(task)
    except BittingError as error:
        return str(error)
    except Exception:
        return traceback.format_exc()


def become_worker() -> None:
    """One thread, for several processes with several threads each would wait for one another; freed memory is kept."""
    import torch

    malloc.keep_freed()
    torch.set_num_threads(1)


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    task: Task | None = None


@dataclass(frozen=True)
class Processes:
    """So many processes of this machine. See `Runner`."""

    count: int

    def __call__(self, tasks: Iterable[Task]) -> Iterator[Finished]:
        """As `Runner` says."""
        waiting = iter(tasks)
        workers: list[_Worker] = []
        try:
            for task in waiting:
                workers.append(_started())
                _give(workers[-1], task)
                if len(workers) == self.count:
                    break
            busy = list(workers)
            while busy:
                for pipe in wait([worker.pipe for worker in busy]):
                    worker = next(each for each in busy if each.pipe is pipe)
                    finished = _answer(worker)
                    following = next(waiting, None)
                    if following is None:
                        busy.remove(worker)
                    else:
                        _give(worker, following)
                    yield finished
        finally:
            for worker in workers:
                worker.pipe.close()
                worker.process.terminate()
            for worker in workers:
                worker.process.join()


def _started() -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), daemon=True)
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update(dict.fromkeys(before, "1"))  # read when libraries are loaded, in the child
    try:
        process.start()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    theirs.close()
    return _Worker(process, ours)


def _give(worker: _Worker, task: Task) -> None:
    worker.task = task
    with contextlib.suppress(BrokenPipeError):  # it is dead, which is seen when its answer is read
        worker.pipe.send(task)


def _answer(worker: _Worker) -> Finished:
    assert worker.task is not None
    try:
        answer = worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        raise SuiteError(
            f"the process of job {worker.task.job.id} ended with {worker.process.exitcode} (-9: killed, perhaps for want of "
            "memory); what was done is kept, and the same command goes on: give fewer --jobs"
        ) from None
    if isinstance(answer, str):
        raise failed(worker.task.job, answer)
    assert isinstance(answer, Finished)
    return answer


def failed(job: Job, why: str) -> SuiteError:
    """The error for a job that raised one."""
    return SuiteError(f"job {job.id} failed: {why}")


def _end_with_parent() -> None:
    """In the middle of a job, too: nobody waits for it any more."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _work(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    become_worker()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            pipe.send(attempt(pipe.recv()))
