"""cocotb on Verilator: the in-simulator tests of cocotb_engine.py, and `bitting simulate` on both simulators."""

import re
from pathlib import Path

import numpy as np
import pytest

from bitting.sim import cocotb_runner, session
from bitting.spec import parse_spec
from bitting_rtl.export import TOP, engine_verilog
from tb.programs import golden_cycles, golden_run, random_activations, random_program, random_table

TESTS = re.findall(r"@cocotb\.test\(\)\nasync def (\w+)", (Path(__file__).parent / "cocotb_engine.py").read_text())


@pytest.fixture(scope="module", params=["tiny", "tiny:lanes=8,act_bits=5"])
def simulation(request):
    spec = parse_spec(request.param)
    table = random_table(spec, np.random.default_rng(7))
    return request.param, cocotb_runner.build(engine_verilog(spec, table), TOP)


@pytest.mark.parametrize("test", TESTS)
def test_in_the_simulator(simulation, test):
    spec, folder = simulation
    cocotb_runner.run(folder, TOP, "cocotb_engine", {"BITTING_SPEC": spec}, testcase=test)


def test_both_simulators_answer_alike():
    spec = parse_spec("tiny")
    rng = np.random.default_rng(7)
    table = random_table(spec, rng)
    program = random_program(spec, rng)
    x = random_activations(spec, rng, 6, program.input_words)
    outcomes = [session.simulate(program, table, x, simulator=name) for name in session.SIMULATORS]
    for outcome in outcomes:
        assert np.array_equal(outcome.logits, golden_run(program, table, x))
        assert outcome.tile_cycles == golden_cycles(program, table)
