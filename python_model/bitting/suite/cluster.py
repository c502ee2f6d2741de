"""Jobs on the machines of a Ray cluster: the same jobs, and on machines of one kind the same results to the byte.

What a thief trains is arithmetic in floating point, which another processor or version of PyTorch may round otherwise.

Comes with the extra `cluster`. Files of cases are read by their paths, so they lie where all machines see them, and so does
the data. Keys never pass through Ray: workers read the files themselves. Results are kept by the process that asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from bitting.errors import missing_extra
from bitting.suite.runner import Finished, Task, attempt, become_worker, failed


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster. See `bitting.suite.runner.Runner`.

    Attributes:
        address: of a running cluster, "auto" for the one of this machine; None: one that is started here and ends with the run.
        count: jobs at once.
    """

    count: int
    address: str | None = None

    def __call__(self, tasks: Iterable[Task]) -> Iterator[Finished]:
        """As `Runner` says."""
        with missing_extra("attacks on a cluster"):
            import ray
        begun = not ray.is_initialized()
        if begun:
            own: dict[str, Any] = {"num_cpus": self.count, "include_dashboard": False} if self.address is None else {}
            ray.init(address=self.address or "local", log_to_driver=False, **own)
        remote = ray.remote(num_cpus=1, max_retries=0)(_attempt_alone)
        waiting = iter(tasks)
        busy: dict[Any, Task] = {}
        try:
            while True:
                while len(busy) < self.count and (task := next(waiting, None)) is not None:
                    busy[remote.remote(task)] = task
                if not busy:
                    return
                (ready,), _ = ray.wait(list(busy), num_returns=1)
                task, answer = busy.pop(ready), ray.get(ready)
                if isinstance(answer, str):
                    raise failed(task.job, answer)
                yield answer
        finally:
            for left in busy:
                ray.cancel(left, force=True)
            if begun:
                ray.shutdown()


def _attempt_alone(task: Task) -> Finished | str:
    become_worker()
    return attempt(task)
