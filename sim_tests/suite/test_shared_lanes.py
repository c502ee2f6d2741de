"""Networks of lanes that share samples: every attack works on them, or says why not."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import bitting
from bitting.data import datasets
from bitting.locking.device import Device
from bitting.suite.cases import Files, describe
from bitting.suite.format import Verdict
from bitting.suite.jobs import Answer
from bitting.suite.matrix import Locks, Plan, prepare
from bitting.suite.registry import ATTACKS
from bitting.suite.runner import Task, execute
from bitting.suite.suite import Run
from bitting.unit.spec import parse_spec
from tb.artefacts import locked_alike

#: Pictures of 8 rows in lanes of two rows each; 0 is the word beyond the bands.
FAMILY = "base:lanes=8,stripes=4,scratch_words=1024"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A small convolutional network with random weights, and an artefact of it for each vault."""
    folder, data = tmp_path_factory.mktemp("shared"), datasets.load("digits")
    torch.manual_seed(3)
    plain = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10)
    )
    x = torch.from_numpy(data.floats(data.train_x[:64])).reshape(-1, 1, 8, 8)
    network = bitting.convert(plain.eval(), FAMILY, x, fresh=True)
    claims = {"dataset": "digits", "accuracy": 0.1, "twin_accuracy": 0.1}
    model = bitting.export(network, x, folder / "model", claims)
    for vault, transform in (("ascon", "sealed-clocked"), ("aes", "aes-pre")):
        spec = parse_spec(f"{FAMILY},vault={vault}")
        device = Device(spec, bytes(range(16)), sealed=vault == "ascon")
        device.save(folder / f"{vault}.key")
        locked_alike(model, device, "clock", transform).save(folder / vault)
    return folder


def test_every_attack_works_or_says_why_not(place, effort):
    few = replace(
        effort, shares=(0.1,), repeats=2, steps=2, random_keys=4, screened=4, labels=(3,), climb_steps=4, partial_keys=2,
        known_bits=(0,), table_starts=1, table_steps=2, questions=(50,), copy_steps=5, samples=20, judged=20, traces=5,
    )  # fmt: skip
    model = Files("digits", model=place / "model")
    files = [model, *(Files("digits", place / vault, place / f"{vault}.key", place / "model") for vault in ("ascon", "aes"))]
    cases = {describe(one, "cnn"): one for one in files}
    run, tried = Run(cases, few), {}
    control, sealed, paper = cases
    assert "stripes=4" in sealed.spec and sealed.macs == control.macs > 0
    for attack in ATTACKS:
        answers = {}
        for case in cases:
            done = [(job, execute(Task(job, *_at(cases, job)))) for job in run.jobs(attack, case)]
            answers[case] = [Answer(job.parameters, one.outcome.values, one.outcome.measured, 0.0) for job, one in done]
            if not answers[case]:
                continue
            asked = attack.again(case, few, answers[case], answers[control])
            if asked.own or asked.control:
                continue  # its jobs are as those that were run
            tried[attack.name, case] = attack.judge(case, answers[case], answers[control])
    assert all(said.verdict in (Verdict.HOLDS, Verdict.CONCEDED, Verdict.NOT_APPLICABLE)
               for (_, case), said in tried.items() if case is sealed)  # fmt: skip
    assert {name for name, case in tried if case is sealed} >= {
        "fine-tuning", "wrong keys", "screening", "partly known keys", "two files", "questions and answers",
    }  # fmt: skip
    assert tried["gradient on a free table", paper].verdict is Verdict.HOLDS


def _at(cases, job):
    return next((case, files) for case, files in cases.items() if case.id == job.case)


def test_the_matrix_locks_a_model_that_is_given(place, tmp_path):
    cases = prepare(Plan("digits", "cnn", locks=Locks.DEFAULT, model=place / "model"), tmp_path / "work")
    assert [case.id for case in cases] == ["digits/cnn/none", "digits/cnn/ascon/clock/sealed-clocked", "digits/cnn/puf"]
    assert all("stripes=4" in case.spec for case in cases)
