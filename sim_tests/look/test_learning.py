"""The learning curve of a training: as a table, as a picture, and for nobody else."""

import csv
import io
import json
import stat
from typing import Any

import numpy as np
import pytest

import bitting
from bitting.errors import BittingError
from bitting.look import learning
from tb.command import bitting as command
from tb.command import error_of

RECORDS = [
    {"network": network, "epoch": epoch, "train_loss": 1.5, "test_loss": 2.5, "train_score": 0.25, "test_score": 0.125}
    for network in ("twin", "unit")
    for epoch in (1, 2)
]


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_the_table_holds_every_number(tmp_path):
    learning.write_table(tmp_path / "curve.csv", RECORDS, "R2")
    renamed = {"train_score": "train_r2", "test_score": "test_r2"}
    wanted = [{renamed.get(name, name): str(value) for name, value in record.items()} for record in RECORDS]
    assert rows_of(tmp_path / "curve.csv") == wanted and mode(tmp_path / "curve.csv") == 0o600


@pytest.mark.parametrize("suffix", ["svg", "png", "html"])
def test_the_picture_shows_both_networks_and_both_parts(tmp_path, suffix):
    path = tmp_path / f"curve.{suffix}"
    learning.draw(path, RECORDS, "R2", "a title of its own")
    assert mode(path) == 0o600
    if suffix == "png":
        assert path.read_bytes().startswith(b"\x89PNG")
    else:
        texts = ("a title of its own", "unit", "twin", "training part", "held-out part", "R2", "loss")
        assert not [text for text in texts if text not in path.read_text()]


def test_a_file_without_a_curve_is_named(tmp_path):
    absent: list[dict[str, Any]] = [{}, {"epochs": 3}, {"epochs": []}]
    for claims in absent:
        with pytest.raises(BittingError, match="model has no learning curve"):
            learning.records_of(claims, tmp_path / "model")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A folder with a table of its own: little to learn, and quick."""
    folder = tmp_path_factory.mktemp("curve")
    x = np.random.default_rng(0).normal(size=(30, 2))
    rows = [f"{a:.4f},{b:.4f},{'no' if a > b else 'yes'}" for a, b in x]
    (folder / "own.csv").write_text("\n".join(["a,b,answer", *rows]) + "\n")
    return folder


def train(folder, *more, **named):
    arguments = ("train", "--data", "own.csv", "--spec", "tiny", "--epochs", "2", "--hidden", "4", "-o", "model.safetensors")
    return command(*arguments, *more, cwd=folder, **named)


def test_training_leaves_a_curve_beside_the_model_and_artefacts_have_none(table):
    told = json.loads(train(table, "--json").stdout)
    assert told["curve"] == ["model.curve.csv", "model.curve.svg"]
    model = bitting.Model.load(table / "model.safetensors")
    rows = rows_of(table / "model.curve.csv")
    assert [(row["network"], row["epoch"]) for row in rows] == [("twin", "1"), ("twin", "2"), ("unit", "1"), ("unit", "2")]
    assert float(rows[-1]["test_accuracy"]) == model.claims["accuracy"]
    assert {mode(path) for path in table.glob("model.*")} == {0o600}
    artefact = bitting.lock(model, bitting.Device.new(model.program.spec))
    artefact.save(table / "artefact.safetensors")
    assert b"test_loss" in (table / "model.safetensors").read_bytes()
    assert b"test_loss" not in (table / "artefact.safetensors").read_bytes()
    assert "only a model that" in error_of("inspect", table / "artefact.safetensors", "--curve", table / "x.svg")


def test_without_what_draws_training_loses_nothing_and_says_how(table):
    for path in table.glob("model.*"):
        path.unlink()
    done = train(table, without=["altair"])
    assert sorted(path.name for path in table.glob("model.*")) == ["model.curve.csv", "model.safetensors"]
    assert "model.curve.csv" in done.stdout and "pip install 'bitting[plot]'" in done.stderr
    later = done.stderr.partition("then: bitting ")[2].split()
    command(*later, cwd=table)
    assert "held-out part" in (table / "model.curve.svg").read_text()
