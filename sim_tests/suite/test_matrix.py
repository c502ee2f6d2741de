"""The matrix is made once, has every lock, and keeps what is secret out of the run."""

import json

import numpy as np
import pytest

from bitting.artefact.model import Model
from bitting.data import datasets
from bitting.errors import BittingError
from bitting.suite.cases import Files, describe
from bitting.suite.matrix import Locks, Plan, prepare
from tb.command import bitting, error_of


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "work"
    told = []
    plan = Plan("digits", epochs=1, trainings=2, locks=Locks.ALL)
    return plan, folder, prepare(plan, folder, lambda done, total: told.append((done, total))), told


def test_every_lock_is_there_once(made):
    _, _, cases, told = made
    names = {case.id.removeprefix("digits/mlp/") for case in cases}
    sealed = {f"ascon/{fingerprint}/{name}" for fingerprint in ("clock", "numeric") for name in ("sealed", "sealed-clocked")}
    paper = {
        f"aes/{fingerprint}/{name}"
        for fingerprint in ("clock", "numeric")
        for name in ("shuffle", "aes", "aes-pre", "aes-clocked")
    }
    soft = {"none/soft/quantisation", "none/soft/sparsity"}
    assert names == sealed | paper | soft | {"none", "puf", "aes/none/table"}
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    by_name = {case.id.removeprefix("digits/mlp/"): case for case in cases}
    assert [case.control for case in cases].count(True) == 1 and by_name["none"].control
    assert len(by_name["ascon/clock/sealed"].trainings) == 2 and not by_name["none/soft/sparsity"].trainings
    assert by_name["none/soft/quantisation"].level == "family" and by_name["puf"].level == "die"
    assert 0.09 < by_name["none"].chance < 0.12


def test_it_is_made_once(made):
    plan, folder, cases, _ = made
    before = {path: path.read_bytes() for path in folder.iterdir()}
    again = prepare(plan, folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert set(again) == set(cases), "the same digests, so that a run goes on"
    assert folder.stat().st_mode & 0o777 == 0o700
    seeds = {Model.load(folder / f"model-{number}.safetensors").claims["config"]["seed"] for number in range(2)}
    assert len(seeds) == 2 and all(seed.bit_length() > 64 for seed in seeds)


def test_other_data_or_another_family_is_not_mixed_in(made):
    _, folder, _, _ = made
    with pytest.raises(BittingError, match="give another --work folder"):
        prepare(Plan("digits", spec="tiny", epochs=1, trainings=1), folder)


@pytest.mark.parametrize("part", ["train", "test"])
def test_data_in_an_order_is_refused(made, tmp_path, part):
    """The first so many samples would be of one class, and all that is judged on them worth nothing."""
    _, folder, _, _ = made
    digits = datasets.load("digits")
    arrays = {"x_train": digits.train_x, "y_train": digits.train_y, "x_test": digits.test_x, "y_test": digits.test_y}
    order = np.argsort(arrays[f"y_{part}"], kind="stable")
    arrays |= {f"{name}_{part}": arrays[f"{name}_{part}"][order] for name in "xy"}
    path = tmp_path / "sorted.npz"
    np.savez(path, allow_pickle=False, **arrays)
    with pytest.raises(BittingError, match="none of the first 250; attacks take the first ones: shuffle the data"):
        describe(Files(str(path), model=folder / "model-0.safetensors"), "mlp")


def test_the_command_names_what_it_found(tmp_path):
    words = ["attack", "matrix", "--epochs", 1, "--trainings", 1, "--locks", "default", "--suite", "digits", "--no-rtl"]
    words += ["--only", "table from time", "--jobs", 1, "-o", tmp_path / "run"]
    shown = bitting(*words).stdout
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert "43.6 of the 296.0 bits" in " ".join(shown.split()) or "settle" in shown
    assert [one["verdict"] for one in results["findings"]] == ["broken", "conceded"]
    finding = results["findings"][1]
    assert finding["case"] == "digits/mlp/ascon/clock/sealed-clocked" and finding["attacker"] == "owner of the chip"
    assert finding["command"] == (
        "bitting attack matrix --data digits --locks default --trainings 1 --epochs 1 --suite digits --no-rtl "
        "--only 'table from time' -o RUN"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.secret"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["jobs", "results.json", "run.json", "times"]
    assert "allowed: all, transforms, default" in error_of(*map(str, words), "--locks", "some")
