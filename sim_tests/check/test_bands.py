"""Artefacts for lanes that share samples: files, locks, verification on the RTL, faults of the lanes' neighbours by name."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import bitting
from bitting.artefact.artefact import Artefact
from bitting.check.verification import verify
from bitting.emulator.emulate import Emulator
from bitting.errors import ArtefactError
from bitting.locking.challenge import Challenge
from bitting.locking.device import Device
from bitting.locking.scheme import LockScheme
from bitting.package.golden import sessions
from bitting.sim.enrolment import enrol
from bitting.sim.native import NativeEngine, engine_library, library_of
from bitting.sim.session import simulate
from bitting.training import architectures
from bitting.unit.spec import parse_spec
from bitting_rtl.engine.export import TOP
from tb.banded import banded_model
from tb.faults import BAND_FAULTS, faulty_verilog
from tb.programs import random_activations

ROOT = bytes(range(5, 21))
SEALED = "tiny:lanes=8,stripes=4,scratch_words=1024"
CLEAR = "tiny:lanes=8,stripes=4,scratch_words=1024,vault=aes"
LOCKS = [
    (SEALED, "clock", "sealed-clocked"), (SEALED, "numeric", "sealed"),
    (CLEAR, "numeric", "aes-clocked"), (CLEAR, "clock", "shuffle"),
]  # fmt: skip


def locked(spec, fingerprint, transform, seed=0):
    device = Device(spec, ROOT, sealed=transform.startswith("sealed"))
    model = banded_model(spec, seed)
    return model, device, bitting.lock(model, device, fingerprint, transform)


@pytest.mark.parametrize(("family", "fingerprint", "transform"), LOCKS)
def test_the_rtl_answers_as_one_lane_would_and_refuses_or_fails_elsewhere(family, fingerprint, transform, tmp_path):
    spec = parse_spec(family)
    model, device, artefact = locked(spec, fingerprint, transform)
    artefact.save(tmp_path / "artefact")
    model.save(tmp_path / "model")
    artefact, model = Artefact.load(tmp_path / "artefact"), bitting.Model.load(tmp_path / "model")
    x = random_activations(spec, np.random.default_rng(3), 7, 80)
    alone = Emulator(banded_model(replace(spec, stripes=1)).program, range(spec.codes))(x).numpy()
    report = verify(artefact, device, x)
    assert report.equal and (report.wrong_logits, report.wrong_cycles) == (0, 0)
    assert report.answers is not None and np.array_equal(report.answers, alone) and np.array_equal(model.sums(x), alone)
    assert np.array_equal(simulate(artefact, device, x[:3]).logits, alone[:3])
    assert np.array_equal(bitting.unlock(artefact, device).sums(x), alone)
    wrong = verify(artefact, device.with_flipped_bit(5), x[:4])
    if spec.vault == "ascon":
        assert wrong.refused
    else:
        assert wrong.answers is not None and not np.array_equal(wrong.answers, alone[:4])


def test_more_lanes_hold_more_samples():
    spec = parse_spec(SEALED)
    _, device, artefact = locked(spec, "clock", "sealed")
    x = random_activations(spec, np.random.default_rng(4), 9, 80)
    report = verify(artefact, device, x, lanes=16)
    assert report.equal and report.engines[0].batches == 3 and report.engines[1].batches == 4


@pytest.mark.parametrize("family", [SEALED, CLEAR])
def test_a_chip_is_enrolled_and_packaged_like_others(family):
    """Its challenge reads across lanes; the golden words of its package are what the RTL gives."""
    spec = parse_spec(family)
    folds = Challenge.of(spec).program.layers[-1]
    assert folds.reached()[0] < folds.band[0] and folds.reached()[-1] >= sum(folds.band)
    with NativeEngine(engine_library(spec), ROOT) as engine:
        enrol(Device(spec, ROOT), engine)
    for session in sessions(spec):
        if not session.control:
            root = np.array(session.fuses[:4], np.uint32).tobytes()
            with NativeEngine(engine_library(spec), root, bool(session.fuses[4])) as engine:
                run = engine.run(session.commands, len(session.answers), quiet_limit=5000)
            assert np.array_equal(run.words, session.answers) and run.error == session.error, session.name


@pytest.mark.parametrize("name", BAND_FAULTS)
def test_a_fault_of_the_neighbours_is_found_and_named(name):
    spec = parse_spec(CLEAR)
    verilog, stage = faulty_verilog(name, spec)
    artefact = Artefact(banded_model(spec).program, LockScheme())
    x = random_activations(spec, np.random.default_rng(1), 4, 80)
    report = verify(artefact, Device(spec, ROOT), x, library=library_of(verilog, TOP))
    assert report.divergence is not None and report.divergence["stage"] == stage, report.divergence


def test_a_picture_that_does_not_fit_is_refused(tmp_path):
    spec = parse_spec(CLEAR)
    model = banded_model(spec)
    with pytest.raises(ArtefactError, match="has not"):
        broken = replace(model, program=replace(model.program, picture=(2, 8, 6)))
        broken.save(tmp_path / "model")
        bitting.Model.load(tmp_path / "model")


@pytest.mark.slow
def test_resnet8_answers_a_picture_in_eight_lanes():
    """As published, asymmetric padding included; random weights. One lane of 65536 words is what it is compared with."""
    torch.manual_seed(0)
    x = torch.rand(16, 3, 32, 32)
    family = "base:lanes=8,scratch_words=8192"
    network = bitting.convert(architectures.ResNet8().eval(), family, x, fresh=True, stripes="auto")
    model = bitting.export(network, x)
    spec = model.program.spec
    assert (spec.stripes, spec.samples) == (8, 1) and model.program.reach <= spec.scratch_words
    network.spec = replace(spec, stripes=1, scratch_words=1 << 16)
    alone = bitting.export(network, x).sums(x.numpy()[:4])
    device = Device(spec, ROOT, sealed=True)
    artefact = bitting.lock(model, device)
    report = verify(artefact, device, model.interface.activations(x.numpy()[:4]))
    assert report.equal and report.answers is not None and np.array_equal(report.answers, alone)
    assert report.cycles < 4 * 3_000_000
