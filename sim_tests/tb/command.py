"""The command `bitting` as a user runs it, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path


def bitting(*arguments: object, cwd: Path | None = None, status: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command; a traceback is never acceptable."""
    command = [sys.executable, "-m", "bitting", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **env}, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done


def error_of(*arguments: object, **env: str) -> str:
    """The one line a mistake ends in."""
    done = bitting(*arguments, status=2, **env)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("bitting: "), done.stderr
    return lines[0]
