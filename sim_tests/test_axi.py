"""The AXI wrapper against an independent master: the in-simulator tests of cocotb_axi.py."""

import re
from pathlib import Path

import pytest

from bitting.sim import cocotb_runner
from bitting.spec import PRESETS
from bitting_rtl.board import axi
from bitting_rtl.export import engine_verilog

TESTS = re.findall(r"@cocotb\.test\(\)\nasync def (\w+)", (Path(__file__).parent / "cocotb_axi.py").read_text())


@pytest.fixture(scope="module")
def simulation():
    spec = PRESETS["tiny"]
    return cocotb_runner.build(engine_verilog(spec) + axi.axi_verilog(spec), axi.TOP)


@pytest.mark.parametrize("test", TESTS)
def test_in_the_simulator(simulation, test):
    cocotb_runner.run(simulation, axi.TOP, "cocotb_axi", {"BITTING_SPEC": "tiny"}, testcase=test)
