"""From the command line: a model in bands of neighbouring lanes, chosen, shown, locked, verified, sent by a small host."""

import json

import pytest

from tb.command import bitting, error_of

MODULE = """
from torch import nn

def made():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 10)
    )
"""
SPEC = "base:lanes=4,scratch_words=2048"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_model_that_shares_lanes_is_shown_locked_and_verified(folder):
    model = ("--spec", SPEC, "--torch", "mine:made", "--epochs", 0, "--activation", "relu", "-o", "model")
    notes = bitting("train", *model, "--stripes", "auto").stderr.replace("\n", " ")
    assert "stripes = 4: about" in notes and "lanes busy" in notes
    shown = json.loads(bitting("inspect", "model", "--json").stdout)
    assert shown["samples"] == 1 and shown["spec"]["stripes"] == 4
    (one, two, four) = shown["choices"]
    assert one["clocks"] > two["clocks"] > four["clocks"] and one["words"] > two["words"] > four["words"]
    told = bitting("inspect", "model", COLUMNS="200").stdout
    assert "this model auto" in told and "4 lanes share a sample" in told and "clocks for a batch of 1 samples" in told
    bitting("device", "new", "A.key", "--spec", f"{SPEC},stripes=4")
    bitting("lock", "model", "--device", "A.key", "-o", "artefact")
    report = json.loads(
        bitting("verify", "artefact", "--device", "A.key", "--allow-unsigned", "--samples", 20, "--json").stdout
    )
    assert report["right device"]["wrong_logits"] == report["right device"]["wrong_cycles"] == 0
    assert json.loads(bitting("inspect", "artefact", "--json").stdout)["samples"] == 1
    bitting("packets", "artefact", "--allow-unsigned", "-o", "packets.bin")
    assert (folder / "packets.bin").read_bytes()[4:8] == bytes([2, 0, 0, 0])
    attacks = json.loads(bitting("attack", "port", "artefact", "--device", "A.key", "--allow-unsigned", "--json").stdout)
    assert attacks and not any(found["got"] for found in attacks)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--stripes", "many"), "neither a number nor auto"),
        (("--stripes", 3), "must be a power of two that divides lanes = 4"),
        (("--stripes", 8), "stripes = 8 is out of range"),
        (
            ("--spec", "base:lanes=16,scratch_words=2048", "--stripes", 16),
            "an input of 8 rows can not be split into stripes = 16",
        ),
    ],
)
def test_what_can_not_be_shared_is_said(folder, options, said):
    model = ("--torch", "mine:made", "--epochs", 0, "-o", "model")
    spec = () if "--spec" in options else ("--spec", SPEC)
    assert said in error_of("train", *spec, *model, *options)
