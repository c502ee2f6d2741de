"""The AXI wrapper against an independent master: the in-simulator tests of tb/cocotb_axi.py."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bitting.sim import cocotb_runner, toolchain
from bitting_rtl.board import axi
from bitting_rtl.engine.export import engine_verilog
from tb.command import bitting
from tb.families import AES

BENCH = Path(__file__).parents[1] / "tb" / "cocotb_axi.py"
TESTS = re.findall(r"@cocotb\.test\(\)\nasync def (\w+)", BENCH.read_text())


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def simulation():
    spec = AES["tiny"]
    return cocotb_runner.build(engine_verilog(spec) + axi.axi_verilog(spec), axi.TOP)


@pytest.mark.parametrize("test", TESTS)
def test_in_the_simulator(simulation, test):
    cocotb_runner.run(simulation, axi.TOP, "tb.cocotb_axi", {"BITTING_SPEC": "tiny:vault=aes"}, testcase=test)


@pytest.mark.parametrize("spec", ["tiny:vault=aes", "base:lanes=8,vault=aes"])
def test_fusesoc_reads_the_core_and_verilator_the_example(tmp_path, spec):
    """What `bitting verilog` writes is a core that FuseSoC resolves and Verilator elaborates, the example on top."""
    bitting("verilog", "--spec", spec, "-o", tmp_path / "core")
    folders = [str(Path(sys.executable).parent), str(toolchain.require("verilator").parent)]
    env = os.environ | {"PATH": os.pathsep.join([*folders, os.environ["PATH"]])}
    command = [
        "fusesoc",
        "--cores-root",
        "core",
        "run",
        "--target",
        "lint",
        *re.findall(r"^name: (bitting:npu:[^:]+)", (tmp_path / "core/bitting.core").read_text(), re.M),
    ]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "%Error" not in done.stdout + done.stderr, done.stdout + done.stderr
    (tmp_path / "core" / "bitting_example.v").write_text("module bitting_example; bitting_axi #(.WRONG(1)) npu (); endmodule")
    broken = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert broken.returncode != 0, "the lint does look at the example"
