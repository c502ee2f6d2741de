"""Layouts in which comparing once overwrote a neighbour or read another padding, and models that can not be kept."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import bitting
from bitting.data.dataset import of_arrays
from bitting.errors import BittingError, ConversionError
from bitting.program.interface import Task
from bitting.training import loop
from bitting.training.recipes import TrainConfig, fine_tuning


class Written(nn.Module):
    """A function of layers and of an image (1, 5, 5)."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.function(self, x)


def relu_of_padding(self, x):
    y, z = self.a(x), self.b(x)
    return self.last(torch.cat([F.relu(F.pad(y, (1, 1, 1, 1))), self.c(z)], 1).flatten(1))


def inception(self, x):
    y = torch.relu(self.a(x))
    return self.last(torch.cat([self.b(y), F.max_pool2d(y, 3, 1, 1)], 1).flatten(1))


def large_branch(self, x):
    x = torch.relu(self.a(x))
    return self.last(torch.relu(x + 20 * self.b(x)).flatten(1))


def padded_pool(self, x):
    return self.last(F.max_pool2d(F.pad(self.a(x) - 3, (0, 1, 0, 1)), 3, 2, 1).flatten(1))


def pool_of_padding(self, x):
    return self.last(F.max_pool2d(F.pad(self.a(x), (1, 1, 1, 1)), 3, 2).flatten(1))


LAYERS = {
    relu_of_padding: lambda: {"a": nn.Conv2d(1, 40, 1), "b": nn.Conv2d(1, 3, 1), "c": nn.Conv2d(3, 1, 3, padding=2)},
    inception: lambda: {"a": nn.Conv2d(1, 4, 1), "b": nn.Conv2d(4, 4, 3, padding=1)},
    large_branch: lambda: {"a": nn.Conv2d(1, 4, 1), "b": nn.Conv2d(4, 4, 3, padding=1)},
    padded_pool: lambda: {"a": nn.Conv2d(1, 4, 1)},
    pool_of_padding: lambda: {"a": nn.Conv2d(1, 4, 1)},
}


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.rand(32, 1, 5, 5)


@pytest.mark.parametrize("function", LAYERS, ids=lambda function: function.__name__)
def test_every_layout_gives_the_network_s_program_and_the_model_s_answers(function, images):
    model = Written(function, **LAYERS[function](), last=nn.LazyLinear(3))
    model(images)
    for activation in ("relu", "fold"):
        network = bitting.convert(model.eval(), "base:scratch_words=65536", images, activation=activation).eval()
        bitting.export(network, images)  # insists on equality
        if activation == "relu":
            with torch.no_grad():
                wanted, found = model(images), network(images)
            assert float((found - wanted).square().mean().sqrt() / wanted.std()) < 0.15


def test_the_input_may_be_pooled(images):
    model = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 3))
    bitting.export(bitting.convert(model, "base", images, activation="relu"), images)


def test_numbers_in_units_of_their_own_are_each_kept():
    torch.manual_seed(3)
    x = torch.rand(300, 4)
    layers = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 2))

    class InUnits(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = layers
            self.register_buffer("unit", torch.tensor([1e6, 1e-4]))
            self.register_buffer("zero", torch.tensor([5e7, 0.0]))

        def forward(self, x):
            return self.layers(x) * self.unit + self.zero

    model = InUnits().eval()
    wanted = model(x).detach()

    def unexplained(answers):
        return ((answers - wanted).square().sum(0) / (wanted - wanted.mean(0)).square().sum(0)).tolist()

    alike = bitting.convert(model, "base", x, activation="relu")
    assert max(unexplained(alike(x))) > 1 and any("is off by" in note for note in alike.notes), "and it is said"
    own = bitting.convert(model, "base", x, activation="relu", regression=True)
    assert max(unexplained(own(x))) < 0.02 and not any("is off by" in note for note in own.notes)
    file = bitting.export(own, x)
    assert file.interface.task == "regression" and torch.equal(torch.from_numpy(file(x.numpy())), own(x))
    again = bitting.convert(model, "base", x, activation="relu")
    again.load_state_dict(own.state_dict())
    assert torch.equal(again(x), own(x))
    tuned = bitting.finetune(own, x.split(50), teacher=model)
    assert max(unexplained(tuned(x))) < 0.02


class Endless(torch.utils.data.IterableDataset):
    """Two batches an epoch, whose number a DataLoader does not know."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __iter__(self):
        yield from zip(self.x, self.y, strict=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_several_labels_are_learnt_as_that_whatever_their_type(dtype):
    """Each output is a yes or no, in every batch: also in one whose labels look like classes."""
    torch.manual_seed(0)
    x = torch.rand(64, 6)
    labels = (x[:, :3] > 0.5).to(dtype)
    network = bitting.convert(nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)), "base", x, activation="relu")
    losses = []
    loader = DataLoader(Endless(x, labels), 32)
    bitting.finetune(network, loader, epochs=2, progress=lambda *told: losses.append(told[2]), learning_rate=1e-9)
    with torch.no_grad():
        wanted = F.binary_cross_entropy_with_logits(network.train()(x), labels.float()) + network.penalty
    assert losses[0] == pytest.approx(float(wanted), rel=1e-3)


def test_one_sample_of_one_number_is_enough():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    x = torch.rand(1, 3, generator=torch.Generator().manual_seed(0))
    bitting.export(bitting.convert(model, "base", x, activation="relu"), x)


def in_place(self, x):
    x = self.a(x)
    return self.last((self.b(self.relu(x)) + x).flatten(1))


def reordered_joint(self, x):
    return self.last(torch.cat([self.a(x).relu(), self.b(x).relu()], 1).permute(0, 2, 3, 1).flatten(1))


@pytest.mark.parametrize(("function", "said"), [(in_place, "in place"), (reordered_joint, "several scales")])
def test_what_can_not_be_kept_is_said(function, said, images):
    layers = {"a": nn.Conv2d(1, 4, 1), "b": nn.Conv2d(4 if function is in_place else 1, 4, 1), "relu": nn.ReLU(inplace=True)}
    model = Written(function, **layers, last=nn.LazyLinear(3))
    model(images)
    with pytest.raises(ConversionError, match=said):
        bitting.convert(model.eval(), "base", images, activation="relu")


def test_a_layer_that_is_far_off_is_noted():
    """Weights of four values are too few."""
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    network = bitting.convert(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), "wide", x, activation="relu")
    assert not network.notes
    rough = bitting.convert(
        nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), "tiny:code_bits=2,max_digits=1", x, activation="relu"
    )
    assert any("off by" in note for note in rough.notes)


@pytest.mark.parametrize(("last", "outputs"), [(nn.Softmax(1), 3), (nn.Sigmoid(), 1), (nn.LogSoftmax(1), 3)])
def test_a_teacher_s_probabilities_are_learnt_as_they_are(last, outputs):
    torch.manual_seed(0)
    x = torch.randn(65, 4)  # the last batch has one sample
    logits = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, outputs))
    network = bitting.convert(nn.Sequential(*logits, last), "base", x, activation="relu")
    bitting.finetune(network, DataLoader(TensorDataset(x), 16), teacher=nn.Sequential(*logits, last), epochs=3)
    squash = torch.sigmoid if outputs == 1 else lambda values: values.softmax(1)
    with torch.no_grad():
        assert float((squash(network(x)) - squash(logits(x))).abs().mean()) < 0.01


def test_labels_of_every_kind():
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    network = bitting.convert(model, "base", x, activation="relu")
    classes = (x[:, :1] > 0).long()
    for labels in (classes, classes[:, 0].int(), classes[:, 0].bool(), torch.cat([classes, 1 - classes], 1)):
        bitting.finetune(network, [(x, labels)])
    for wrong, said in (
        (classes[:, 0] + 0.5, r"\(32,\)"),
        (classes[:, 0].float(), "floating point"),
        (torch.zeros(32, 3), r"\(32, 3\)"),
    ):
        with pytest.raises(BittingError, match=said):
            bitting.finetune(network, [(x, wrong)])
    single = bitting.convert(nn.Sequential(nn.Linear(4, 1)), "base", x, activation="relu")
    with pytest.raises(BittingError, match="from 0 to 2"):
        bitting.finetune(single, [(x, classes * 2)])


@pytest.fixture
def yes_or_no():
    x = np.random.default_rng(0).normal(size=(80, 3)).astype("float32")
    return of_arrays("own", (x, (x[:, 0] > 0).astype("int64")), (x[:40], (x[:40, 0] > 0).astype("int64")), Task.CLASSES)


def test_a_given_model_must_have_the_data_s_outputs(yes_or_no):
    with pytest.raises(BittingError, match=r"the model gives \(2, 5\) for 2 samples; own .* wants \(2, 2\)"):
        loop.train("base", yes_or_no, fine_tuning(TrainConfig(seed=0)), model=nn.Linear(3, 5))


def test_a_checkpoint_is_of_one_model(yes_or_no, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    torch.manual_seed(0)
    models = [nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)) for _ in range(2)]
    config = fine_tuning(TrainConfig(seed=0))
    with pytest.raises(KeyboardInterrupt):
        loop.train("base", yes_or_no, config, tmp_path / "checkpoint", stop, models[0])
    with pytest.raises(BittingError, match="belongs to another run"):
        loop.train("base", yes_or_no, config, tmp_path / "checkpoint", None, models[1])
    resumed = loop.train("base", yes_or_no, config, tmp_path / "checkpoint", None, models[0])
    whole = loop.train("base", yes_or_no, config, None, None, models[0])
    assert [layer.codes.tolist() for layer in resumed.program.layers] == [
        layer.codes.tolist() for layer in whole.program.layers
    ]
