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
from functools import cache
from pathlib import Path

_NURSERY = """
import json, os, sys
import amaranth, cryptography, numpy, rich, safetensors.numpy, sklearn, torch, typer
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        os.environ.clear()
        os.environ.update(job["env"])
        os.chdir(job["cwd"])
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
"""


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


def bitting(*arguments: object, cwd: Path | None = None, status: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command; a traceback is never acceptable."""
    words = list(map(str, arguments))
    nursery = _nursery()
    assert nursery.stdin and nursery.stdout
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        job = {
            "arguments": words, "cwd": str(cwd or Path.cwd()), "env": {**os.environ, "COLUMNS": "", **env}, "out": str(out),
            "err": str(err),
        }  # fmt: skip
        nursery.stdin.write(json.dumps(job) + "\n")
        nursery.stdin.flush()
        code = int(nursery.stdout.readline())
        done = subprocess.CompletedProcess(["bitting", *words], code, out.read_text(), err.read_text())
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done


def error_of(*arguments: object, **env: str) -> str:
    """The one line a mistake ends in."""
    done = bitting(*arguments, cwd=None, status=2, **env)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("bitting: "), done.stderr
    return lines[0]
