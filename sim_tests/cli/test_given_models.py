"""`bitting train` with a PyTorch model of the user's own: kept, fine-tuned, locked, verified; and what is refused."""

import json

import pytest
import torch
from torch import nn

from tb.command import bitting as command
from tb.command import error_of

MODULE = """
import numpy as np
import torch
from torch import nn

class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([900.0, 0.02]))
        self.register_buffer("deviation", torch.tensor([100.0, 0.01]))
        self.net = nn.Sequential(nn.Linear(2, 12), nn.ReLU(), nn.Linear(12, 1))

    def forward(self, x):
        return self.net((x - self.mean) / self.deviation)

def data():
    x = (np.random.default_rng(0).normal(size=(300, 2)) * [100, 0.01] + [900, 0.02]).astype(np.float32)
    torch.manual_seed(0)
    with torch.no_grad():
        y = made()(torch.from_numpy(x))[:, 0].numpy()
    return x[60:], y[60:], x[:60], y[:60]

def made():
    torch.manual_seed(1)
    model = Table()
    model.net[2].weight.data *= 50
    model.net[2].bias.data += 2000
    return model

def number():
    return 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_regressor_is_kept_locked_and_verified_in_its_units(folder):
    """Its R squared on what it made itself is 1; features are ten thousand times apart, and the target is far from 0."""
    shown = command("train", "--data", "mine:data", "--torch", "mine:made", "--epochs", 0, "-o", "model", "--json")
    facts = json.loads(shown.stdout)
    assert facts["r2"] > 0.99
    assert not (folder / "model.curve.csv").exists()
    command("device", "new", "A.key", "--spec", "base")
    command("lock", "model", "--device", "A.key", "-o", "artefact")
    arguments = ("artefact", "--device", "A.key", "--allow-unsigned", "--data", "mine:data", "--json")
    report = json.loads(command("verify", *arguments).stdout)["right device"]
    assert report["wrong_logits"] == report["wrong_cycles"] == 0 and report["score"] > 0.99


def test_weights_are_loaded_and_trained_on(folder):
    torch.manual_seed(2)
    namespace: dict = {"__name__": "mine_here"}
    exec(compile(MODULE, "mine.py", "exec"), namespace)
    torch.save(namespace["made"]().state_dict(), folder / "w.pt")
    options = ("--torch", "mine:Table", "--weights", "w.pt", "--epochs", 2, "--json")
    facts = json.loads(command("train", "--data", "mine:data", *options, "-o", "model").stdout)
    assert facts["r2"] > 0.98
    assert len((folder / "model.curve.csv").read_text().splitlines()) == 3, "two epochs of the unit's network"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--torch", "mine"], "allowed is module:Class"),
        (["--torch", "absent:X"], "No module named 'absent'"),
        (["--torch", "mine:absent"], "no attribute 'absent'"),
        (["--torch", "mine:number"], "gives int; allowed is a torch.nn.Module"),
        (["--torch", "mine:Table", "--weights", "none.pt"], "none.pt does not exist"),
        (["--torch", "mine:Table", "--weights", "mine.py"], "no file of tensors alone"),
        (["--torch", "mine:Table", "--weights", "other.pt"], "does not fit mine:Table"),
        (["--weights", "other.pt"], "give both"),
        (["--torch", "mine:Table", "--onnx", "x.onnx"], "give one of them"),
        (["--activation", "relu"], "--activation is for a model"),
        (["--epochs", "0"], "--epochs 0 is for a model"),
        (["--torch", "mine:Table", "--activation", "tanh"], "allowed: relu, fold"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(folder, options, said):
    torch.save(nn.Linear(2, 2).state_dict(), folder / "other.pt")
    before = sorted(folder.iterdir())
    assert said in error_of("train", "--data", "digits", *options, "-o", "x.safetensors")
    assert [path for path in sorted(folder.iterdir()) if path.name != "__pycache__"] == before
