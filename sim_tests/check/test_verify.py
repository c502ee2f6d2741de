"""Verification: silent when all is equal, exact about what is not."""

import dataclasses

import numpy as np
import pytest
import torch

from bitting.artefact.artefact import Artefact
from bitting.check import verification
from bitting.check.verification import Forecast, verify
from bitting.emulator.emulate import Emulator
from bitting.files import private_folder
from bitting.locking.device import Device
from bitting.locking.kinds import AES_TRANSFORMS
from bitting.locking.scheme import LockScheme
from bitting.locking.transform import lock_program, seal_model
from bitting.program.layers import multilayer_perceptron
from bitting.sim.native import Stalls, engine_library, library_of
from bitting.unit.spec import PRESETS
from bitting_rtl.engine.export import TOP, engine_verilog
from tb.families import AES
from tb.faults import FAULTS, faulty_verilog
from tb.programs import random_activations

SPEC = AES["tiny"]
CHIP = Device(SPEC, bytes(range(1, 17)))
OPEN = LockScheme()
LOCKED = LockScheme.new(SPEC, "clock", "aes-clocked", nonce=bytes(range(16)))


@pytest.fixture(scope="module")
def network():
    """In clear: codes are those of the chip's own number format."""
    rng = np.random.default_rng(11)
    sizes = (24, 12, 9, 5)
    weights = [rng.integers(0, SPEC.codes, (o, i)) for i, o in zip(sizes, sizes[1:], strict=False)]
    biases = [rng.integers(-200, 200, o) for o in sizes[1:]]
    return multilayer_perceptron(SPEC, weights, biases, [1, 1, 0])


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(12)
    return random_activations(SPEC, rng, 30, 24), rng.integers(0, 5, 30)


@pytest.mark.parametrize("stalls", [Stalls(), Stalls(5, 120, 120)])
@pytest.mark.parametrize("transform", ["table", *AES_TRANSFORMS])
def test_an_honest_engine_is_equal_with_and_without_back_pressure(network, samples, stalls, transform):
    scheme = OPEN if transform == "table" else LockScheme.new(SPEC, "clock", transform)
    report = verify(Artefact(lock_program(network, CHIP, scheme), scheme), CHIP, *samples, stalls=stalls)
    assert report.equal and (report.wrong_logits, report.wrong_cycles) == (0, 0)
    assert report.samples == 30 and report.tiles == 8 * 26
    assert report.accuracy == report.emulator_accuracy
    told = report.to_dict()
    assert (told["score"], told["emulator_score"]) == (report.accuracy, report.emulator_accuracy) and "answers" not in told
    emulated = Emulator(network, range(SPEC.codes))(torch.from_numpy(samples[0])).numpy()
    assert report.answers is not None and np.array_equal(report.answers, emulated)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_in_each_stage_is_found_and_named(network, samples, fault):
    verilog, stage = faulty_verilog(fault, SPEC)
    program, scheme = (lock_program(network, CHIP, LOCKED), LOCKED) if stage == "unlock" else (network, OPEN)
    report = verify(Artefact(program, scheme), CHIP, *samples, library=library_of(verilog, TOP, brief=True), replay="replay me")
    assert not report.equal
    found = report.divergence
    assert found is not None
    assert found["stage"] == stage, found["summary"]
    assert report.answers is not None
    if stage != "unlock" and report.wrong_logits:  # what is drawn is what the RTL said, right or wrong
        emulated = Emulator(network, CHIP.table())(torch.from_numpy(samples[0])).numpy()
        assert not np.array_equal(report.answers, emulated[: len(report.answers)])
    assert {"batch", "first_sample", "seed", "replay", "summary"} <= set(found)
    if stage in ("mac lane", "decode", "bias load"):
        wanted = {
            "layer",
            "channel",
            "position",
            "lane",
            "step",
            "code",
            "digits",
            "activation",
            "before",
            "expected",
            "found",
            "cycle",
        }
        assert wanted <= set(found)
        assert found["expected"] != found["found"] and found["before"].startswith("0x")


@pytest.mark.slow
def test_an_engine_with_another_secret_is_told_apart_at_its_first_wrong_code(network, samples):
    other = Device(SPEC, bytes(range(2, 18)))
    with private_folder() as folder:
        library = library_of(engine_verilog(SPEC, root=other.root), TOP, private=folder, brief=True)
        report = verify(Artefact(network, OPEN), CHIP, *samples, library=library)
    assert not report.equal and report.divergence is not None
    assert report.divergence["stage"] == "decode"
    code = report.divergence["code"]
    assert CHIP.table()[code] != other.table()[code]


class _InterruptError(Exception):
    pass


@pytest.mark.slow
def test_an_interrupted_verification_goes_on_where_it_was(network, samples, tmp_path, monkeypatch):
    library = engine_library(SPEC)  # from the cache of all tests; only the journal lies in this one's
    monkeypatch.setenv("BITTING_CACHE", str(tmp_path))
    program = lock_program(network, CHIP, LOCKED)
    forecasts: list[Forecast] = []

    def stop(done):
        if done > 10:
            raise _InterruptError

    with pytest.raises(_InterruptError):
        verify(Artefact(program, LOCKED), CHIP, *samples, library=library, threads=1, progress=stop)
    (journal,) = (tmp_path / "verify").iterdir()
    assert CHIP.root.hex() not in journal.read_text()
    journal.write_text(journal.read_text() + '{"index": 7, "equal": tr')  # as if cut short by the interruption
    monkeypatch.setattr(verification, "engine_digest", lambda spec: f"another engine of {spec.name}")
    verify(Artefact(program, LOCKED), CHIP, *samples, forecast=forecasts.append)
    assert forecasts.pop().batches == 8, "what was equal on one engine says nothing of another"
    report = verify(Artefact(program, LOCKED), CHIP, *samples, library=library, forecast=forecasts.append)
    assert forecasts[0].of_batches == 8 and 0 < forecasts[0].batches < 8
    whole = verify(Artefact(program, LOCKED), CHIP, *samples, library=library, forecast=forecasts.append)
    assert forecasts[1].batches == 8 and report.equal
    assert dataclasses.replace(report, seconds=0) == dataclasses.replace(whole, seconds=0)
    assert not list((tmp_path / "verify").iterdir()), "a finished job leaves nothing"


@pytest.mark.parametrize("sealed", [False, True], ids=["open", "sealed"])
def test_the_forecast_counts_clocks_as_the_engine_does(sealed, network, samples):
    forecasts: list[Forecast] = []
    artefact, device = Artefact(network, OPEN), CHIP
    if sealed:
        spec = PRESETS["tiny"]
        device, scheme = Device(spec, CHIP.root, sealed=True), LockScheme.new(spec, "clock", "sealed")
        artefact = Artefact(seal_model(dataclasses.replace(network, spec=spec), device, scheme), scheme)
    report = verify(artefact, device, *samples, forecast=forecasts.append)
    assert 0.8 * report.cycles < forecasts[0].clocks < 1.2 * report.cycles and forecasts[0].seconds > 0
