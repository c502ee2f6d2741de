"""`verify --lanes N`: the same artefact on a wider engine, and a few batches on the device's own."""

import numpy as np
import pytest

from bitting.artefact.artefact import Artefact
from bitting.check import verification
from bitting.check.verification import verify
from bitting.check.wider import widen
from bitting.errors import LockError, SpecError
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.scheme import LockScheme
from bitting.locking.sealed_program import SealedProgram
from bitting.locking.transform import lock_program, seal_model, unlock_program
from bitting.program.layers import Program, multilayer_perceptron
from bitting.sim.native import engine_library, library_of
from bitting.unit.spec import UnitSpec, parse_spec
from bitting.unit.widened import WidenedSpec
from bitting_rtl.engine.export import TOP
from tb.faults import faulty_verilog
from tb.programs import random_activations

AES, ASCON = parse_spec("tiny:vault=aes"), parse_spec("tiny")
ROOT = bytes(range(1, 17))
LANES = 12
#: 11 batches of the device's own engine, 4 of the wider one.
SAMPLES = 42


def locked(spec: UnitSpec, fingerprint: str, transform: str) -> tuple[Artefact, Device]:
    rng = np.random.default_rng(11)
    sizes = (24, 12, 5)
    weights = [rng.integers(0, spec.codes, (o, i)) for i, o in zip(sizes, sizes[1:], strict=False)]
    model = multilayer_perceptron(spec, weights, [rng.integers(-200, 200, o) for o in sizes[1:]], [1, 0])
    device = Device(spec, ROOT, sealed=spec is ASCON)
    scheme = LockScheme.new(spec, fingerprint, transform, nonce=bytes(range(16)))
    program = seal_model(model, device, scheme) if scheme.seals else lock_program(model, device, scheme)
    return Artefact(program, scheme), device


def widened(artefact: Artefact, device: Device) -> tuple[Artefact, Device, Program]:
    return widen(artefact, device, unlock_program(artefact.program, artefact.scheme, ChipModel.of(device)), LANES)


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(12)
    return random_activations(AES, rng, SAMPLES, 24), rng.integers(0, 5, SAMPLES)


@pytest.mark.parametrize(
    ("spec", "fingerprint", "transform"),
    [
        (ASCON, "clock", "sealed-clocked"),
        (ASCON, "numeric", "sealed"),
        pytest.param(AES, "clock", "aes-clocked", marks=pytest.mark.slow),
        pytest.param(AES, "clock", "shuffle", marks=pytest.mark.slow),
        pytest.param(AES, "none", "table", marks=pytest.mark.slow),
    ],
    ids=lambda value: None if isinstance(value, UnitSpec) else value,
)
def test_a_wider_engine_and_the_device_s_own_are_equal_to_the_emulator(samples, spec, fingerprint, transform):
    artefact, device = locked(spec, fingerprint, transform)
    report = verify(artefact, device, *samples, lanes=LANES)
    assert report.equal and (report.wrong_logits, report.wrong_cycles) == (0, 0)
    assert report.samples == SAMPLES and report.tiles == 4 * 17
    wide, own = report.engines
    assert (wide.lanes, wide.own, wide.batches) == (LANES, False, 4) and f"{LANES} lanes" in wide.spec
    assert (own.lanes, own.own, own.batches, own.spec) == (4, True, verification.OWN_BATCHES, spec.name)
    alone = verify(artefact, device, *samples)
    assert alone.accuracy == report.accuracy and [engine.own for engine in alone.engines] == [True]


def test_a_wider_engine_has_the_device_s_own_table():
    """Which an engine of the family with so many lanes has not: its spec id is another."""
    artefact, device = locked(ASCON, "clock", "sealed")
    wide = widened(artefact, device)[1]
    assert wide.table() == device.table()
    assert Device(ASCON.replace(lanes=LANES), ROOT, sealed=True).table() != device.table()
    assert wide.spec != ASCON.replace(lanes=LANES), "or the two would share a challenge"


def test_nothing_sealed_again_has_the_key_or_the_words_of_the_artefact():
    artefact, device = locked(ASCON, "clock", "sealed")
    again = widened(artefact, device)[0]
    assert again.scheme.nonce != artefact.scheme.nonce
    assert isinstance(again.program, SealedProgram) and isinstance(artefact.program, SealedProgram)
    assert len(again.program.words) == len(artefact.program.words)
    assert (again.program.words[1:] != artefact.program.words[1:]).mean() > 0.9, "headers alone are the same"


def test_what_no_wider_engine_can_run_is_refused(samples):
    artefact, device = locked(AES, "numeric", "aes-clocked")
    with pytest.raises(LockError, match=r"sums of all 4 lanes .* allowed with more lanes: fingerprint clock"):
        verify(artefact, device, *samples, lanes=LANES)
    for lanes, said in ((4, "not wider"), (0, "not wider"), (10, "multiple of 4"), (260, "allowed 4..256")):
        with pytest.raises(SpecError, match=said):
            WidenedSpec.of(AES, lanes)


def test_another_device_refuses_a_sealed_program_with_more_lanes_too(samples):
    artefact, _ = locked(ASCON, "clock", "sealed-clocked")
    report = verify(artefact, Device(ASCON, bytes(16), sealed=True), *samples, lanes=LANES)
    assert report.refused and report.divergence is None


@pytest.mark.slow
def test_a_fault_of_either_engine_is_found(samples, monkeypatch):
    artefact, device = locked(ASCON, "clock", "sealed-clocked")
    fault = "lane 2 loses the carry of its adder"
    own = verify(artefact, device, *samples, lanes=LANES, library=library_of(faulty_verilog(fault, ASCON)[0], TOP))
    assert not own.equal and own.wrong_logits and own.divergence is not None
    wide_library = library_of(faulty_verilog(fault, WidenedSpec.of(ASCON, LANES))[0], TOP)
    monkeypatch.setattr(verification, "engine_library", lambda spec, profiled: wide_library)
    wide = verify(artefact, device, *samples, lanes=LANES, library=engine_library(ASCON))
    assert not wide.equal and wide.wrong_logits and wide.divergence is not None
