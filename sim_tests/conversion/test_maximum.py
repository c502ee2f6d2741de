"""Maxima are exact for every pair of activations, and conversion that keeps ReLU keeps the model."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bitting
from bitting.data import datasets
from bitting.emulator.emulate import Emulator
from bitting.errors import BittingError, ConversionError
from bitting.network.maximum import UnitMaxPool2d, UnitRectifier
from bitting.program import lowering
from bitting.program.interface import Task
from bitting.program.layers import Program
from bitting.unit.spec import PRESETS, UnitSpec
from tb.programs import golden_run

SPECS = [*PRESETS.values(), UnitSpec(act_bits=2, acc_bits=8, max_shift=0), UnitSpec(act_bits=8, acc_bits=24, max_shift=15)]


def answers(spec: UnitSpec, operation: lowering.Operation, shape: tuple[int, int, int]) -> Program:
    """An operation on the input, and a dense layer that gives back the first word."""
    codes = np.full((1, 1), spec.values.index(1), np.uint8)
    return lowering.lower(spec, shape, [operation, lowering.Product("out", (operation.name,), codes, np.zeros(1), emits=True)])


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.name}-{spec.act_bits}-{spec.acc_bits}")
def test_the_larger_of_two_is_exact_for_every_pair(spec):
    pairs = np.array(list(itertools.product(range(spec.act_min, spec.act_max + 1), repeat=2)))
    program = answers(spec, lowering.MaxPool("max", (lowering.INPUT,), (1, 2), (1, 1), (0, 0), 0), (1, 1, 2))
    found = Emulator(program, range(spec.codes))(pairs).numpy()
    assert np.array_equal(found[:, 0], pairs.max(axis=1))
    if spec.act_bits <= 6:  # golden is slow, and the emulator equals it
        assert np.array_equal(golden_run(program, tuple(range(spec.codes)), pairs), found)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.name}-{spec.act_bits}-{spec.acc_bits}")
def test_rectifying_is_exact_for_every_activation_and_floor(spec):
    x = np.arange(spec.act_min, spec.act_max + 1)[:, None]
    for floor in range(spec.act_min, spec.act_max + 1):
        program = answers(spec, lowering.Rectifier("relu", (lowering.INPUT,), floor), (1, 1, 1))
        assert np.array_equal(Emulator(program, range(spec.codes))(x).numpy(), np.maximum(x, floor)), floor


def digits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    data = datasets.load("digits")
    pictures = [torch.from_numpy(x).float().reshape(-1, 1, 8, 8) / 255 for x in (data.train_x, data.test_x)]
    return pictures[0], torch.from_numpy(data.train_y), pictures[1], torch.from_numpy(data.test_y)


class Residual(nn.Module):
    """Everything that has units to be chosen: additions of branches and of what went around, pooling of both kinds, joints."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.inner, self.inner_norm = nn.Conv2d(12, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.down, self.around = nn.Conv2d(12, 16, 3, 2, 1), nn.Conv2d(12, 16, 1, 2)
        self.side = nn.Conv2d(16, 4, 1)
        self.head = nn.Linear(20, 10)

    def forward(self, x):
        x = F.max_pool2d(torch.relu(self.norm(self.stem(x))), 3, 1, 1)
        x = torch.relu(x + self.inner_norm(self.inner(x)))
        x = torch.relu(self.down(x) + self.around(x))
        x = torch.cat([x, F.relu(self.side(x))], 1)
        return self.head(F.avg_pool2d(x, 4).flatten(1))


@pytest.fixture(scope="module")
def trained():
    """A float network for digits, and their pictures."""
    x, y, test_x, test_y = digits()
    torch.manual_seed(0)
    model = Residual()
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(12):
        model.train()
        for batch in torch.randperm(len(x)).split(32):
            loss = F.cross_entropy(model(x[batch]), y[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval(), x, y, test_x, test_y


def accuracy(network, x, y):
    with torch.no_grad():
        return float((network(x).argmax(1) == y).float().mean())


@pytest.mark.parametrize(("name", "lost"), [("tiny:scratch_words=4096", 0.06), ("base", 0.02), ("wide", 0.02)])
def test_a_model_is_kept_without_labels_and_without_training(trained, name, lost):
    model, x, _, test_x, test_y = trained
    kept = bitting.convert(model, name, x[:256], activation="relu")
    folded = bitting.convert(model, name, x[:256])
    reached = {network: accuracy(network.eval(), test_x, test_y) for network in (model, kept, folded)}
    assert reached[model] > 0.95 and reached[kept] > reached[model] - lost
    assert reached[folded] < reached[kept]
    bitting.export(kept, test_x[:64])  # insists on equality with the program
    nearest = bitting.convert(model, name, x[:256], activation="relu", reconstruct=False)
    assert kept.fits[-1].error < nearest.fits[-1].error, "fitted weights come nearer than nearest ones"
    assert [fit.name for fit in kept.fits] == [fit.name for fit in nearest.fits] and not folded.fits


def test_logits_are_those_of_the_model(trained):
    model, x, _, test_x, _ = trained
    network = bitting.convert(model, "wide", x[:512], activation="relu").eval()
    with torch.no_grad():
        wanted, found = model(test_x), network(test_x)
    assert float((found - wanted).square().mean() / wanted.var()) < 0.01


def test_a_relu_before_a_pool_is_done_on_what_is_pooled(trained):
    model, x, *_ = trained
    network = bitting.convert(model, "base", x[:64], activation="relu")
    kinds = [type(network.graph[name]) for name, _ in network.nodes]
    assert kinds[1:3] == [UnitMaxPool2d, UnitRectifier]


def test_fine_tuning_needs_no_labels_and_brings_a_folded_network_nearer_to_its_teacher(trained):
    model, x, _, test_x, test_y = trained
    network = bitting.convert(model, "base", x[:256])
    before = accuracy(network.eval(), test_x, test_y)
    told = []
    tuned = bitting.finetune(network, x.split(64), teacher=model, epochs=2, progress=lambda *item: told.append(item))
    assert tuned is network and not tuned.training
    assert accuracy(tuned, test_x, test_y) > before + 0.05
    assert [item[:2] for item in told] == [(1, 2), (2, 2)] and told[1][2] < told[0][2]
    bitting.export(tuned, test_x[:64])


def test_a_regression_keeps_its_units():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 5, generator=generator)
    last = nn.Linear(24, 1)
    model = nn.Sequential(nn.Linear(5, 24), nn.ReLU(), last)
    with torch.no_grad():
        last.weight.mul_(300)
        last.bias.add_(5000)
    network = bitting.convert(model, "base", x, activation="relu").eval()
    with torch.no_grad():
        wanted, found = model(x), network(x)
    assert float((found - wanted).square().mean() / wanted.var()) < 0.01
    exported = bitting.export(network, x[:64])
    assert np.allclose(exported(x.numpy())[:, 0], found[:, 0].numpy(), rtol=1e-5)
    tuned = bitting.finetune(network, list(zip(x.split(50), wanted.split(50), strict=True)), epochs=1)
    with torch.no_grad():
        assert float((tuned(x) - wanted).square().mean() / wanted.var()) < 0.01


@pytest.mark.parametrize(("outputs", "task"), [(1, Task.BINARY), (3, Task.LABELS)])
def test_a_model_that_ends_with_a_sigmoid_says_yes_or_no(outputs, task):
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, outputs), nn.Sigmoid())
    network = bitting.convert(model, "wide", x, activation="relu")
    exported = bitting.export(network, x)
    assert exported.interface.task == task
    said = exported.interface.answers(Emulator(exported.program, range(network.spec.codes))(network.integers(x)).numpy())
    with torch.no_grad():
        assert (said.reshape(64, outputs) == (model(x) > 0.5).numpy()).mean() > 0.97


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"activation": "tanh"}, r"activation = 'tanh' is unknown; allowed: fold, relu"),
        ({"activation": "relu", "fresh": True}, "give one of them"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ConversionError, match=said):
        bitting.convert(nn.Sequential(nn.Linear(3, 2)), "base", torch.rand(4, 3), **options)


def test_what_relu_can_not_keep_is_named():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    with pytest.raises(ConversionError, match=r"a tanh, where activation='relu' keeps ReLU only; activation='fold'"):
        bitting.convert(model, "base", torch.rand(4, 3), activation="relu")
    pooled = nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(ConversionError, match="ceil_mode"):
        bitting.convert(pooled, "base", torch.rand(4, 1, 4, 4))


def test_fine_tuning_says_what_it_lacks():
    x = torch.rand(8, 3)
    network = bitting.convert(nn.Sequential(nn.Linear(3, 2)), "base", x, activation="relu")
    with pytest.raises(BittingError, match="nothing to learn"):
        bitting.finetune(network, x.split(4))
    with pytest.raises(BittingError, match="no batch"):
        bitting.finetune(network, [], teacher=nn.Linear(3, 2))
    with pytest.raises(BittingError, match=r"the teacher gives \(4, 5\), the network \(4, 2\)"):
        bitting.finetune(network, x.split(4), teacher=nn.Linear(3, 5))
