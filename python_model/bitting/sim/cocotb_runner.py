"""cocotb on Verilator: builds cached by content, without the flag that makes every signal public and the simulation slow."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb_tools import runner

from bitting import files
from bitting.errors import SimulationError, ToolError
from bitting.locking.device import ROOT_BYTES
from bitting.program.packets import WORDS
from bitting.sim import toolchain
from bitting.sim.native import Run

#: Only the ports need to be seen by cocotb.
_PORTS_PUBLIC = '`verilator_config\npublic_flat_rw -module "{top}" -var "*"\n'


class _Verilator(runner.Verilator):
    """cocotb's runner with our make variables and without --public-flat-rw."""

    def _build_command(self) -> list[list[str]]:
        verilate, make = super()._build_command()
        verilate = [argument for argument in verilate if argument != "--public-flat-rw"]
        return [verilate, [*make, *toolchain.MAKE_VARIABLES, "OPT_FAST=-O2"]]


@contextlib.contextmanager
def _tools_on_path() -> Iterator[None]:
    """The runner looks for `verilator` on PATH."""
    before = os.environ.get("PATH", "")
    folders = [str(toolchain.require(name).parent) for name in ("verilator", "make", "g++", "perl")]
    os.environ["PATH"] = os.pathsep.join([*dict.fromkeys(folders), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


def build(verilog: str, top: str, waves: bool = False) -> Path:
    """Folder of a built simulation of `verilog`, from the cache if it is there.

    Raises:
        ToolError: if a tool is missing or fails.
    """
    parts: Sequence[str] = (verilog, str(waves), cocotb.__version__, toolchain.verilator_version(), *toolchain.MAKE_VARIABLES)

    def make(work: Path, finished: Path) -> None:
        (finished / f"{top}.v").write_text(verilog)
        (finished / "ports.vlt").write_text(_PORTS_PUBLIC.format(top=top))
        log = work / "build.log"
        try:
            with _tools_on_path(), contextlib.redirect_stdout(io.StringIO()):
                _Verilator().build(
                    sources=[finished / f"{top}.v", runner.VerilatorControlFile(finished / "ports.vlt")],
                    hdl_toplevel=top,
                    build_dir=finished,
                    build_args=["-Wno-lint", "-Wno-fatal"],
                    timescale=("1ns", "1ps"),
                    waves=waves,
                    log_file=log,
                    always=True,
                )
        except (RuntimeError, SystemExit) as error:
            text = log.read_text() if log.exists() else str(error)
            raise ToolError(f"building the cocotb simulation failed: {' | '.join(text.splitlines()[-3:])}") from None

    return files.built("cocotb", parts, make)


def run(folder: Path, top: str, module: str, env: Mapping[str, str], seed: int = 0, testcase: str | None = None) -> str:
    """Run an in-simulator test module.

    Returns:
        The simulator's log.

    Raises:
        SimulationError: with the failures, if any test of the module failed or none ran.
    """
    with tempfile.TemporaryDirectory() as work:
        log, results = Path(work) / "log", Path(work) / "results.xml"
        with _tools_on_path(), contextlib.redirect_stdout(io.StringIO()):
            try:
                _Verilator().test(
                    test_module=module, hdl_toplevel=top, hdl_toplevel_lang="verilog", build_dir=folder, test_dir=work,
                    results_xml=str(results),
                    extra_env=dict(env), seed=seed, log_file=log, testcase=testcase,
                )  # fmt: skip
            except (RuntimeError, SystemExit) as error:
                failure = str(error)
            else:
                failure = ""
        text = log.read_text() if log.exists() else failure
        ran, failed = runner.get_results(results) if results.exists() else (0, 0)
        if failure or failed or not ran:
            raise SimulationError(f"{failed} of {ran} cocotb tests of {module} failed {failure}:\n{text[-6000:]}")
        return text


def run_commands(
    folder: Path, top: str, commands: np.ndarray, expected: int, root: bytes = bytes(ROOT_BYTES), sealed: bool = False
) -> Run:
    """The same as `NativeEngine.run` after a reset, through cocotb. `root`, `sealed`: the fuses, as there.

    Raises:
        SimulationError: if the engine stops early.
    """
    with tempfile.TemporaryDirectory() as work:
        source, target = Path(work) / "commands.npy", Path(work) / "results.npz"
        np.save(source, commands.astype(WORDS))
        secret = Path(work) / "root"  # a file of this private folder: the environment of a process is easier to read
        secret.write_bytes(root)
        env: dict[str, Any] = {
            "BITTING_COMMANDS": str(source), "BITTING_RESULTS": str(target), "BITTING_EXPECTED": str(expected),
            "BITTING_ROOT": str(secret), "BITTING_SEALED": str(int(sealed)),
        }  # fmt: skip
        run(folder, top, "bitting.sim.cocotb_program", env)
        with np.load(target) as results:
            return Run(results["words"].astype(WORDS), int(results["cycles"]), 0, len(commands))
