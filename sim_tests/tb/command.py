"""The command `bitting` as a user runs it, in a process of its own.

Importing torch and Amaranth takes seconds, the commands of the tests far less. So a *nursery*, a process that has imported them
and done nothing else, forks a child for every command; the child is as fresh as a new process but for what was imported.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

_NURSERY = '''
import json, os, shutil, sys
import amaranth, cryptography, numpy, rich, safetensors.numpy, sklearn, torch, typer


class Without:
    """A finder that does not find some packages, nor their metadata."""

    def __init__(self, finder, packages):
        self.finder, self.packages = finder, packages

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in self.packages else self.finder.find_spec(name, path, target)

    def find_distributions(self, context):
        if (context.name or "").replace("-", "_") in self.packages or not hasattr(self.finder, "find_distributions"):
            return ()
        return self.finder.find_distributions(context)


def take_away(packages):
    """Make packages, and the programs that they bring or could be replaced by, such as are not installed."""
    if not packages:
        return
    for module in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[module]
    sys.meta_path[:] = [Without(finder, packages) for finder in sys.meta_path]
    which = shutil.which
    hidden = ("yowasp-", "yosys", "nextpnr-", "ecppack", "icepack", "verilator")
    shutil.which = lambda name, *rest, **named: None if name.startswith(hidden) else which(name, *rest, **named)


for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        os.environ.clear()
        os.environ.update(job["env"])
        os.chdir(job["cwd"])
        take_away(job["without"])
        for stream, path in ((1, job["out"]), (2, job["err"])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["bitting", *job["arguments"]]
        status = 1
        try:
            from bitting.cli import main
            main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
'''


@cache
def _nursery() -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
    }  # a child of a process with threads could wait for one that is not there
    nursery = subprocess.Popen(
        [sys.executable, "-c", _NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    atexit.register(nursery.kill)
    return nursery


def bitting(
    *arguments: object, cwd: Path | None = None, status: int = 0, without: Iterable[str] = (), **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the command; a traceback is never acceptable.

    Args:
        cwd: its folder; default: this one.
        status: the exit status it must have.
        without: import names of packages that are as if not installed.
        env: what is added to the environment.
    """
    words = list(map(str, arguments))
    nursery = _nursery()
    assert nursery.stdin and nursery.stdout
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        job = {
            "arguments": words, "cwd": str(cwd or Path.cwd()), "env": {**os.environ, "COLUMNS": "", **env}, "out": str(out),
            "err": str(err), "without": list(without),
        }  # fmt: skip
        nursery.stdin.write(json.dumps(job) + "\n")
        nursery.stdin.flush()
        code = int(nursery.stdout.readline())
        done = subprocess.CompletedProcess(["bitting", *words], code, out.read_text(), err.read_text())
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done


def error_of(*arguments: object, **named: Any) -> str:
    """The one line a mistake ends in; `named` as for `bitting`."""
    done = bitting(*arguments, status=2, **named)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("bitting: "), done.stderr
    return lines[0]
