"""Verilog and a C++ harness to a shared library, cached by the hash of everything that goes into it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bitting import files
from bitting.errors import ToolError
from bitting.sim import toolchain

HARNESS = Path(__file__).parent / "harness"
_LIBRARY = "libtop.so"
_VERILATOR_FLAGS = (
    "--cc", "--exe", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert",
    "-Wno-lint", "-Wno-fatal", "--prefix", "Vtop", "-LDFLAGS", "-shared", "-o", _LIBRARY, "--Mdir", "obj",
)  # fmt: skip
_COMPILER_FLAGS = "-fPIC -O3 -march=native"

#: Waveform formats: Verilator flag, header, class, linker flags.
_TRACE = {
    "vcd": ("--trace-vcd", "verilated_vcd_c.h", "VerilatedVcdC", ""),
    "fst": ("--trace-fst", "verilated_fst_c.h", "VerilatedFstC", "-lz -llz4"),
}
#: Headers that Verilator's FST writer wants, beyond a bare compiler.
_FST_HEADERS = ("zlib.h", "lz4.h")


def _require_fst_headers() -> None:
    """Raises ToolError if the FST writer can not be compiled here."""
    for header in _FST_HEADERS:
        command = [str(toolchain.require("g++")), "-E", "-x", "c++", "-include", header, "/dev/null"]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            raise ToolError(f"FST needs {header}: install zlib1g-dev and liblz4-dev, or write a .vcd instead")


def shared_library(verilog: str, top: str, harness: str, waves: str | None = None) -> Path:
    """Build (or find) the shared library of a Verilog text and a harness.

    Args:
        verilog: the whole design.
        top: its top module.
        harness: C++ text that includes "Vtop.h".
        waves: None, "vcd" or "fst".

    Raises:
        ToolError: if a tool is missing or fails. Nothing is left behind then.
    """
    verilator, make_tool = toolchain.require("verilator"), toolchain.require("make")
    for tool in ("g++", "perl"):
        toolchain.require(tool)
    more, compiler = _tracing(waves)
    flags = [*_VERILATOR_FLAGS, *more, "-CFLAGS", f"{_COMPILER_FLAGS} {compiler}", "--top-module", top]
    parts = (verilog, harness, *flags, *toolchain.MAKE_VARIABLES, toolchain.verilator_version(), files.processor())

    def make(work: Path, finished: Path) -> None:
        (work / "top.v").write_text(verilog)
        (work / "harness.cpp").write_text(harness)
        toolchain.run([str(verilator), *flags, "top.v", "harness.cpp"], work, "verilator")
        options = ("-s", f"-j{os.cpu_count()}", "-C", "obj", "-f", "Vtop.mk", "OPT_FAST=-O3", *toolchain.MAKE_VARIABLES)
        toolchain.run([str(make_tool), *options], work, "compiling the simulation")
        shutil.move(work / "obj" / _LIBRARY, finished / _LIBRARY)

    return files.built("native", parts, make) / _LIBRARY


def _tracing(waves: str | None) -> tuple[list[str], str]:
    """Flags of Verilator and of the compiler for a waveform format, or for none.

    Raises:
        ToolError: if the format is unknown, or its headers are missing.
    """
    if not waves:
        return [], "-DBITTING_TRACE=0"
    if waves not in _TRACE:
        raise ToolError(f"unknown waveform format {waves!r}; allowed: {', '.join(_TRACE)}")
    flag, header, trace_class, linker = _TRACE[waves]
    if waves == "fst":
        _require_fst_headers()
    defines = f'-DBITTING_TRACE=1 -DBITTING_TRACE_HEADER=\\"{header}\\" -DBITTING_TRACE_CLASS={trace_class}'
    return [flag, *(["-LDFLAGS", linker] if linker else [])], defines
