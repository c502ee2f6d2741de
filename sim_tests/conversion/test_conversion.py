"""A user's own PyTorch model: what becomes of it, what is refused and where, and that it still learns."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bitting
from bitting.data import datasets
from bitting.data.dataset import of_arrays
from bitting.emulator.emulate import Emulator
from bitting.errors import ConversionError
from bitting.network.averaging import UnitAveragePool2d
from bitting.network.graph import UnitNetwork
from bitting.network.layers import UnitLinear
from bitting.network.normalised import UnitNormalisedConv2d
from bitting.program.interface import Task
from bitting.training import architectures, loop
from bitting.training.recipes import TrainConfig
from bitting.unit.spec import PRESETS

SPEC = PRESETS["base"]


class Modules(nn.Module):
    """Everything as modules."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding="same")
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU()
        self.pool = nn.AvgPool2d(2)
        self.flat = nn.Flatten()
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(4 * 4 * 4, 3)

    def forward(self, x):
        return self.fc(self.drop(self.flat(self.pool(self.act(self.norm(self.conv(x)))))))


class Functions(Modules):
    """The same, written with functions and methods."""

    def forward(self, x):
        x = F.avg_pool2d(F.relu(self.norm(self.conv(x))), 2)
        x = F.dropout(x.reshape(x.size(0), -1), 0.2, self.training)
        return F.log_softmax(self.fc(x), dim=1)


@pytest.fixture
def inputs():
    return torch.rand(32, 2, 8, 8, generator=torch.Generator().manual_seed(1))


def with_statistics(model, seed=0):
    """Batch normalisation that is not the identity."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                assert tensor is not None
                tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + 0.3)
    return model.eval()


def same_programs(first, second):
    for a, b in zip(first.layers, second.layers, strict=True):
        for name in ("codes", "bias", "offsets", "in_base", "out_base"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), name
        assert (a.shift, a.positions, a.strides, a.out_strides) == (b.shift, b.positions, b.strides, b.out_strides)


def test_modules_and_functions_become_the_same_program(inputs):
    one = with_statistics(Modules())
    two = Functions()
    two.load_state_dict(one.state_dict())
    first, second = (bitting.convert(model.eval(), SPEC, inputs) for model in (one, two))
    same_programs(first.to_program(), second.to_program())
    assert any("log_softmax" in note and "left out" in note for note in second.notes)
    assert [type(module) for module in first.products] == [UnitNormalisedConv2d, UnitLinear]


@pytest.mark.parametrize(
    ("last", "kind", "said"), [(nn.Sigmoid(), "sigmoid", "logits"), (nn.ReLU(), "relu", "what comes before it")]
)
def test_an_activation_that_ends_the_model_is_left_out_and_named(last, kind, said):
    x = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))
    plain = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1))
    bare, ended = (bitting.convert(model, SPEC, x) for model in (plain, nn.Sequential(*plain, last)))
    same_programs(bare.to_program(), ended.to_program())
    wave = ["the unit's wave is in the place of activation functions: train it before you use it"]
    assert bare.notes == wave == ended.notes[1:] and not bare.ends_with and ended.ends_with == kind
    assert f"a {kind}, is left out" in ended.notes[0] and said in ended.notes[0]


def test_a_given_model_that_ends_with_a_sigmoid_is_judged_by_its_probabilities():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 3)).astype(np.float32)
    y = (x[:, 0] > 0.3).astype(np.int64)
    data = of_arrays("own", (x, y), (x[:40], y[:40]), Task.BINARY)
    linear = nn.Linear(3, 1)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[9.0, 0, 0]]))
        linear.bias.fill_(-2.7)
    model = loop.train(SPEC, data, TrainConfig(epochs=1, seed=0), model=nn.Sequential(linear, nn.Sigmoid()))
    assert model.claims["twin_accuracy"] > 0.9, "of inputs on the unit's grid"
    assert any("sigmoid" in note for note in model.claims["notes"])


def folded(model):
    """The same answers without batch normalisation: its gain in the weights."""
    found = Modules().eval()
    found.load_state_dict(model.state_dict())
    gain = model.norm.weight / torch.sqrt(model.norm.running_var + model.norm.eps)
    found.conv.weight.data = model.conv.weight * gain.reshape(-1, 1, 1, 1)
    assert found.conv.bias is not None
    found.conv.bias.data = (model.conv.bias - model.norm.running_mean) * gain + model.norm.bias
    found.add_module("norm", nn.Identity())
    return found


def test_batch_normalisation_is_folded(inputs):
    """With weights of a given histogram: converted with it, or with its gain in the weights before, it is the same."""
    model = with_statistics(Modules())
    other = folded(model)
    assert torch.equal(other(inputs).argmax(1), model(inputs).argmax(1))
    first, second = (bitting.convert(m, SPEC, inputs, normalise=False).to_program().secret for m in (model, other))
    for a, b in zip(first, second, strict=True):
        assert np.mean(a.codes != b.codes) < 0.02, "a gain rounds differently before and after; ties may fall either way"
        assert np.abs(a.bias - b.bias).max() <= 1 + np.abs(a.bias).max() // 1000


def test_normalised_convolutions_begin_as_the_model_has_them(inputs):
    """The model's statistics are those of the calibration batch: then one factor takes its folded weights to the unit's."""
    model = with_statistics(Modules())
    model.norm.weight.data[1] *= -1
    model.norm.momentum = None
    model.norm.reset_running_stats()
    model.norm.train()(model.conv(inputs).detach())
    network = bitting.convert(model.eval(), SPEC, inputs).eval()
    conv = network.products[0]
    assert isinstance(conv, UnitNormalisedConv2d)
    ratio = conv.latent.detach() / folded(model).conv.weight.detach()
    assert float(ratio.std() / ratio.mean()) < 0.02, "inputs are rounded to activations, so deviations differ a little"
    # And the sums are the model's times a factor, but for the rounding of inputs, weights and bias.
    sums = conv.sums(network.integers(inputs)).detach()
    wanted = model.norm(model.conv(inputs)).detach()
    factor = float((sums * wanted).sum() / wanted.square().sum())
    assert factor > 0 and float((sums - factor * wanted).std() / sums.std()) < 0.1


def test_weights_keep_their_order_and_biases_their_proportion(inputs):
    model = Modules().eval()
    model.add_module("norm", nn.Identity())
    network = bitting.convert(model, SPEC, inputs)
    conv = network.products[0]
    values = conv.quantiser.values(conv.weight.detach()).reshape(-1)
    order = model.conv.weight.detach().reshape(-1).argsort()
    assert bool((values[order].diff() >= 0).all())
    # The product of the unit's integers is the model's, in units of the input and the weight.
    rms = float(model.conv.weight.square().mean().sqrt())
    scale = network.input_scale * conv.quantiser.scale(conv.weight.detach()) / rms
    assert model.conv.bias is not None
    expected = model.conv.bias.detach() * scale
    assert float((conv.integer_bias().detach() - expected).abs().max()) <= 0.5


def test_the_model_itself_is_left_as_it_was(inputs):
    model = Modules().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    bitting.convert(model, SPEC, inputs)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_pooling_averages(inputs):
    """Exactly for windows of a power of two; never more than the mean otherwise."""
    x = torch.randint(SPEC.act_min, SPEC.act_max + 1, (5, 3, 6, 6)).float()
    for kernel in ((2, 2), (1, 2), (3, 3), (6, 6)):
        layer = UnitAveragePool2d(SPEC, kernel, kernel)
        mean = F.avg_pool2d(x, kernel)
        if kernel in ((2, 2), (1, 2)):
            assert torch.equal(layer(x), mean.floor())
        else:
            assert float((layer(x) - mean).abs().max()) <= 1 + 0.1 * -SPEC.act_min


def test_state_dict_round_trip(inputs, tmp_path):
    network = bitting.convert(with_statistics(Modules()), SPEC, inputs)
    other = bitting.convert(with_statistics(Modules(), seed=5), SPEC, inputs * 3, fresh=True)
    torch.save(network.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    same_programs(network.to_program(), other.to_program())


def test_export_and_load(inputs, tmp_path):
    network = bitting.convert(Modules(), SPEC, inputs)
    written = bitting.export(network, inputs, tmp_path / "model.safetensors", claims={"accuracy": 0.5})
    loaded = bitting.load(tmp_path / "model.safetensors")
    assert isinstance(loaded, bitting.Model) and loaded.claims == {"accuracy": 0.5} == written.claims
    same_programs(loaded.program, network.to_program())
    network.eval()
    answers = network(inputs).argmax(1)
    emulated = Emulator(loaded.program, range(SPEC.codes))(network.integers(inputs).flatten(1))
    assert torch.equal(emulated.argmax(1), answers)


def test_a_users_own_training_loop(tmp_path):
    """Digits, a small CNN of the user's, converted and fine-tuned: near what it was before."""
    torch.manual_seed(0)
    data = datasets.load("digits")
    x, test_x = (torch.from_numpy(images).float().reshape(-1, 1, 8, 8) / 255 for images in (data.train_x, data.test_x))
    y, test_y = torch.from_numpy(data.train_y), data.test_y
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(12, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip

    def learn(network, rate, epochs):
        optimiser = torch.optim.Adam(network.parameters(), lr=rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
        network.train()
        for _ in range(epochs):
            for part in torch.randperm(len(x)).split(32):
                loss = F.cross_entropy(network(x[part]), y[part])
                if isinstance(network, UnitNetwork):
                    loss = loss + network.penalty
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            schedule.step()
        network.eval()
        with torch.no_grad():
            return float((network(test_x).argmax(1).numpy() == test_y).mean())

    before = learn(model, 0.003, 12)
    network = bitting.convert(model, SPEC, x[:512])
    after = learn(network, 0.005, 12)
    assert before > 0.95 and after > before - 0.02, (before, after)
    exported = bitting.export(network, test_x)
    emulated = Emulator(exported.program, range(SPEC.codes))(network.integers(test_x).flatten(1))
    assert float((emulated.argmax(1).numpy() == test_y).mean()) == after


class Odd(nn.Module):
    """Much that has no place on the unit."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding_mode="circular", padding=1)
        self.pool = nn.MaxPool2d(2)
        self.norm = nn.LayerNorm(4)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.pool(self.conv(x))
        x = x * 2  # the line below is named, too
        x = x.flip(1)
        return self.fc(self.norm(x).amax((1, 2)))


def test_everything_that_can_not_be_mapped_is_listed_with_its_place(inputs):
    with pytest.raises(ConversionError) as caught:
        bitting.convert(Odd(), SPEC, inputs)
    message = str(caught.value)
    for what in ("padding_mode 'circular'", "mul() with a constant",
                 "flip()", "LayerNorm", "amax() is not supported: of comparisons"):  # fmt: skip
        assert what in message, message
    first = Odd.forward.__code__.co_firstlineno
    for line in (1, 2, 3, 4):
        assert f"test_conversion.py:{first + line}" in message, message


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(128, 2)

    def forward(self, x):
        x = x.flatten(1)
        return self.fc(x) if x.sum() > 0 else self.fc(-x)


class Untrained(Modules):
    def __init__(self):
        super().__init__()
        self.fc.weight.data[1, 2] = float("nan")


@pytest.mark.parametrize(
    "model, message",
    [
        (Branching, "can not be traced.*neither its course nor its shapes may depend"),
        (Untrained, "fc.weight: not a number"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 3), nn.ReLU(), nn.Dropout()), "must end in a Linear"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(100, 3)), "can not be traced"),
        (lambda: nn.Sequential(nn.AvgPool2d(2), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 3)), "only into a Linear"),
        (lambda: nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(18, 3)), "windows of unequal size"),
        (lambda: nn.Sequential(nn.AvgPool2d(3, ceil_mode=True), nn.Flatten(), nn.Linear(18, 3)), "ceil_mode"),
    ],
)  # fmt: skip
def test_what_can_not_be_converted_is_said_in_one_line(inputs, model, message):
    with pytest.raises(ConversionError, match=message) as caught:
        bitting.convert(model(), SPEC, inputs)
    assert "\n" not in str(caught.value)


def test_calibration_inputs_are_checked(inputs):
    with pytest.raises(ConversionError, match="calibration input: not a number"):
        bitting.convert(Modules(), SPEC, inputs * float("inf"))
    with pytest.raises(ConversionError, match="allowed are"):
        bitting.convert(Modules(), SPEC, inputs[0, 0, 0])
    with pytest.raises(ConversionError, match=r"traced with samples of shape \(2, 8, 8\)"):
        bitting.convert(Modules(), SPEC, inputs[0])


def test_onnx_gives_the_program_of_the_model_it_was_written_from(tmp_path):
    x = torch.rand(16, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    for plain in (architectures.LeNet(), with_statistics(architectures.ResidualNetwork())):
        plain.eval()
        path = tmp_path / "model.onnx"
        torch.onnx.export(plain, (x[:1],), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}},
                          do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE)  # fmt: skip
        read = bitting.from_onnx(path)
        assert torch.equal(read(x).argmax(1), plain(x).argmax(1))
        spec = SPEC.replace(scratch_words=8192)
        same_programs(*(bitting.convert(model, spec, x).to_program() for model in (read, plain)))


def test_import_is_light():
    done = subprocess.run(
        [sys.executable, "-c", "import bitting, sys; bitting.__version__; sys.exit('torch' in sys.modules)"], check=False
    )
    assert done.returncode == 0


def test_a_bias_comes_back_after_an_error():
    """While the shift is chosen the bias is 0; what goes wrong then must not leave it so."""
    layer = UnitLinear(SPEC, 4, 3)
    layer.bias.data.fill_(0.25)
    with pytest.raises(RuntimeError):
        layer.calibrate((torch.zeros(2, 5),), 1.0)
    assert layer.bias.tolist() == [0.25] * 3


def test_samples_that_are_no_numbers_are_refused():
    with pytest.raises(ConversionError, match="no array of numbers"):
        bitting.convert(nn.Sequential(nn.Linear(2, 2)), "tiny", np.array([["a", "b"]]))
