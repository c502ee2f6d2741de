"""The commands on a table, a series of pictures and random inputs: train, lock, verify, run, simulate, attack."""

import json

import numpy as np
import pytest

import bitting
from tb.command import bitting as command
from tb.command import error_of

QUICK = ("--spec", "tiny", "--epochs", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table for regression, locked for a device."""
    path = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)) * (1, 20, 0.01) + (0, 5, 3)
    y = 2 * x[:, 0] - 0.1 * x[:, 1] + 30
    rows = [",".join(f"{value:.6f}" for value in (*row, target)) for row, target in zip(x, y, strict=True)]
    (path / "flow.csv").write_text("\n".join(["speed,heat,width,flow", *rows]) + "\n")
    command("train", "--data", path / "flow.csv", "-o", path / "model", "--spec", "tiny", "--epochs", "40", "--seed", "0")
    command("device", "new", path / "A.key", "--spec", "tiny")
    command("lock", path / "model", "--device", path / "A.key", "-o", path / "artefact", "--allow-reproducible")
    return path


def said(folder, verb, *more):
    arguments = (folder / "artefact", "--device", folder / "A.key", "--allow-unsigned", "--data", folder / "flow.csv")
    return json.loads(command(*verb.split(), *arguments, "--json", *more).stdout)


@pytest.mark.slow
def test_a_table_is_learnt_locked_and_verified_in_the_user_s_units(folder):
    model = bitting.Model.load(folder / "model")
    assert model.interface.task == "regression" and model.interface.names == ("flow",) and model.claims["r2"] > 0.8
    assert "accuracy" not in model.claims
    report = said(folder, "verify")["right device"]
    assert report["equal"] and report["score"] == report["emulator_score"] == pytest.approx(model.claims["r2"])
    assert report["metric"] == "R2" and report["accuracy"] == report["score"]
    simulated = said(folder, "simulate", "--samples", "12")
    answers, labels = (np.array(simulated[name]) for name in ("answers", "labels"))
    assert np.corrcoef(answers[:, 0], labels[:, 0])[0, 1] > 0.9 and abs(answers.mean() - 30) < 3
    ran = said(folder, "run", "--port", "simulated", "--samples", "12")
    assert ran["answers"] == simulated["answers"] and ran["wrong_logits"] == 0
    assert said(folder, "attack keys", "--random-keys", "3")["right"] == pytest.approx(model.claims["r2"])
    assert said(folder, "attack mutants")["right"] == pytest.approx(model.claims["r2"])
    lock_table = ("lock-table", folder / "model", "--device", folder / "A.key", "--data", folder / "flow.csv")
    table = json.loads(command(*lock_table, "--wrong-keys", "1", "--format", "json").stdout)
    assert table["metric"] == "R2" and table["rows"][0]["accuracy"] == pytest.approx(model.claims["r2"])


def test_without_data_inputs_at_random_are_verified(folder):
    arguments = ("verify", folder / "artefact", "--device", folder / "A.key", "--allow-unsigned")
    done = command(*arguments, "--json", "--samples", "20")
    report = json.loads(done.stdout)["right device"]
    assert report["equal"] and report["samples"] == 20 and report["accuracy"] is report["score"] is None
    assert "no --data: 20 inputs at random" in done.stderr
    assert "no labels" in command(*arguments, "--samples", "4").stdout


def test_a_verification_draws_what_the_rtl_answered(folder):
    arguments = ("verify", folder / "artefact", "--device", folder / "A.key", "--allow-unsigned", "--plot", folder / "a.svg")
    done = command(*arguments, "--data", folder / "flow.csv")
    assert "a.svg" in done.stderr and "of 12 samples" in (folder / "a.svg").read_text()
    assert "give --data" in error_of(*arguments) and "a plot ends in" in error_of(*arguments, "--plot", folder / "a.txt")


@pytest.mark.parametrize("verb", ["simulate", "run --port simulated", "attack keys"])
def test_other_commands_ask_for_data(folder, verb):
    arguments = (folder / "artefact", "--device", folder / "A.key", "--allow-unsigned")
    assert "the file names no data set; give --data" in error_of(*verb.split(), *arguments)


def test_data_that_is_for_something_else_is_refused(folder, tmp_path):
    arguments = ("verify", folder / "artefact", "--device", folder / "A.key", "--allow-unsigned", "--data")
    assert "digits has inputs of shape (1, 8, 8), the artefact takes (3,)" in error_of(*arguments, "digits")
    rows = [f"{i},{i},{i},{'ab'[i % 2]}" for i in range(20)]
    (tmp_path / "kinds.csv").write_text("\n".join(["a,b,c,kind", *rows]) + "\n")
    assert "a regression has targets" in error_of(*arguments, tmp_path / "kinds.csv")


@pytest.mark.slow
def test_several_labels_and_yes_or_no_run_through(tmp_path):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 4)).astype(np.float32)
    command("device", "new", tmp_path / "A.key", "--spec", "tiny")
    for task, y in (("multi-label", (x[:, :2] > 0).astype(int)), ("binary", (x[:, 0] > 0).astype(int))):
        np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
        command("train", "--data", tmp_path / "own.npz", "--task", task, "-o", tmp_path / "model", *QUICK, "--hidden", "8")
        model = bitting.Model.load(tmp_path / "model")
        assert model.interface.task == task and model.program.outputs == (2 if task == "multi-label" else 1)
        command("lock", tmp_path / "model", "--device", tmp_path / "A.key", "-o", tmp_path / "artefact")
        report = said_of(tmp_path, task)
        assert report["equal"] and report["accuracy"] == pytest.approx(model.claims["accuracy"])


def said_of(folder, task):
    arguments = ("verify", folder / "artefact", "--device", folder / "A.key", "--allow-unsigned", "--json")
    return json.loads(command(*arguments, "--data", folder / "own.npz").stdout)["right device"]


def test_wrong_options_are_named(tmp_path):
    train = ("train", "-o", tmp_path / "model")
    assert "digits has classes" in error_of(*train, "--task", "regression")
    assert "--hidden is 'wide'; allowed are whole numbers" in error_of(*train, "--hidden", "wide")
    assert not (tmp_path / "model").exists()
