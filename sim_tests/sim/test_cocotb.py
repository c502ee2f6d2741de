"""cocotb on Verilator: the in-simulator tests of tb/cocotb_engine.py, and `bitting simulate` on both simulators."""

import re
from pathlib import Path

import numpy as np
import pytest

from bitting.artefact.artefact import Artefact
from bitting.locking.device import Device
from bitting.locking.scheme import LockScheme
from bitting.locking.transform import inverse, lock_program
from bitting.program import packets
from bitting.sim import cocotb_runner, session
from bitting.sim.native import NativeEngine, engine_library
from bitting.unit.spec import parse_spec
from bitting_rtl.engine.export import TOP, engine_verilog
from tb.programs import golden_cycles, golden_run, random_activations, random_program

pytestmark = pytest.mark.slow

BENCH = Path(__file__).parents[1] / "tb" / "cocotb_engine.py"
TESTS = re.findall(r"@cocotb\.test\(\)\nasync def (\w+)", BENCH.read_text())


@pytest.fixture(scope="module", params=["tiny:vault=aes", "tiny:lanes=8,act_bits=5,vault=aes"])
def simulation(request):
    spec = parse_spec(request.param)
    return request.param, cocotb_runner.build(engine_verilog(spec), TOP)


@pytest.mark.parametrize("test", TESTS)
def test_in_the_simulator(simulation, test):
    spec, folder = simulation
    cocotb_runner.run(folder, TOP, "tb.cocotb_engine", {"BITTING_SPEC": spec}, testcase=test)


@pytest.mark.parametrize("sealed", [False, True])
def test_both_simulators_blow_the_fuse_sealed(sealed):
    spec, root = parse_spec("tiny:vault=ascon"), bytes(range(5, 21))
    folder = cocotb_runner.build(engine_verilog(spec), TOP)
    found = cocotb_runner.run_commands(folder, TOP, packets.status_packet(), 7, root, sealed)
    with NativeEngine(engine_library(spec), root, sealed) as engine:
        assert np.array_equal(engine.run(packets.status_packet(), 7).words, found.words)
    ((_, payload),) = packets.split(found.words)
    assert payload[4] >> 4 & 1 == sealed


def test_both_simulators_answer_alike():
    spec = parse_spec("tiny:vault=aes")
    rng = np.random.default_rng(7)
    chip = Device(spec, bytes(range(5, 21)))
    program = random_program(spec, rng)
    x = random_activations(spec, rng, 6, program.input_words)
    scheme = LockScheme.new(spec, "numeric", "aes-clocked")
    clear = program.map_codes(inverse(chip.table()))
    for name in session.SIMULATORS:
        outcome = session.simulate(Artefact(lock_program(program, chip, scheme), scheme), chip, x, simulator=name)
        assert np.array_equal(outcome.logits, golden_run(clear, chip.table(), x))
        assert outcome.tile_cycles == golden_cycles(clear, chip.table())
