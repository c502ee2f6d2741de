"""Layers and training: exact forward, explicit gradient, resumable, as good as the twin."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bitting.conversion.converter import convert
from bitting.data import datasets
from bitting.emulator import emulate
from bitting.emulator.emulate import Emulator
from bitting.errors import BittingError, DatasetError
from bitting.network.layers import UnitAdd, UnitConv2d, UnitLinear
from bitting.network.loss import logit_scale, range_penalty, ranged_cross_entropy
from bitting.network.normalised import FULL, UnitNormalisedConv2d
from bitting.network.straight_through import WeightQuantiser
from bitting.training import architectures, loop, recipes
from bitting.unit.spec import PRESETS
from tb.programs import golden_run

SPEC = PRESETS["base"]


def test_quantiser_gives_the_nearest_value(spec, rng):
    quantiser = WeightQuantiser(spec)
    latent = torch.from_numpy(rng.standard_normal((50, 40))).float() * 2
    values = np.array(spec.values)
    scale = quantiser.scale(latent)
    scaled = values[0] + (latent * (2 * scale) - float(2 * values[0])).double().numpy() / 2
    nearest = np.abs(scaled[..., None] - values).min(axis=-1)
    found = quantiser.values(latent).double().numpy()
    assert np.array_equal(np.abs(scaled - found), nearest)
    assert np.array_equal(values[quantiser.indices(latent).numpy()], found)


def test_slope_of_the_fold_is_exact(spec):
    """Where both neighbours lie on the same side of a corner, a step of one activation costs 1 / slope accumulator units."""
    shift = min(2, spec.max_shift)
    slope = emulate.fold_slope(spec, shift)
    accumulators = torch.arange(-(1 << (spec.acc_bits - 1)), (1 << (spec.acc_bits - 1)) - round(1 / slope), dtype=torch.float64)
    here, found = emulate.fold(spec, accumulators, shift), side_of(spec, accumulators, shift)
    there, found_there = emulate.fold(spec, accumulators + 1 / slope, shift), side_of(spec, accumulators + 1 / slope, shift)
    smooth = found == found_there
    assert smooth.double().mean() > 0.9
    assert torch.equal((there - here)[smooth], found[smooth])


def side_of(spec, accumulators, shift):
    """1 where the fold rises, -1 where it falls: what the backward pass multiplies by."""
    return -torch.sign(emulate.fold_phase(spec, accumulators * emulate.fold_slope(spec, shift)))


def gradient(tensor: torch.Tensor) -> torch.Tensor:
    assert tensor.grad is not None
    return tensor.grad


def test_gradient_is_straight_through(rng):
    spec = PRESETS["base"]
    torch.manual_seed(0)
    layer = UnitLinear(spec, 30, 12)
    layer.shift = 2
    x = torch.from_numpy(rng.integers(-32, 32, (8, 30))).float().requires_grad_()
    upstream = torch.from_numpy(rng.standard_normal((8, 12))).float()
    layer(x).backward(upstream)
    weights = layer.quantiser.values(layer.weight.detach())
    acc = x.detach() @ weights.t() + layer.integer_bias().detach()
    slope = emulate.fold_slope(spec, 2)
    scale = layer.quantiser.scale(layer.weight.detach())
    at_fold = upstream * side_of(spec, acc, 2) * (scale * slope)
    assert torch.equal(gradient(x), (at_fold @ (weights * slope)) * (1 / (scale * slope)))
    assert torch.equal(gradient(layer.weight), at_fold.t() @ x.detach())
    assert torch.equal(gradient(layer.bias), at_fold.sum(0) * (layer.bias_unit / scale))


def test_gradient_of_a_convolution_and_of_a_sum_is_straight_through(rng):
    """As torch's own of the product, with the wave's side put in."""
    spec = PRESETS["base"]
    torch.manual_seed(0)
    layer, add = UnitConv2d(spec, 3, 4, (3, 3), padding=(1, 1)), UnitAdd(spec, 4, (4, 7))
    layer.shift = add.shift = 3
    x = torch.from_numpy(rng.integers(-32, 32, (5, 3, 6, 6))).float().requires_grad_()
    upstream = torch.from_numpy(rng.standard_normal((5, 4, 6, 6))).float()
    layer(x).backward(upstream)
    weights = (layer.quantiser.values(layer.weight.detach()) * layer.slope).requires_grad_()
    bias = (layer.integer_bias() * layer.slope).detach().requires_grad_()
    plain = x.detach().requires_grad_()
    scaled = torch.nn.functional.conv2d(plain, weights, bias, padding=1)
    scaled.backward(upstream * -torch.sign(emulate.fold_phase(spec, scaled.detach().clone())))
    assert torch.equal(gradient(x), gradient(plain))
    scale = layer.quantiser.scale(layer.weight.detach())
    assert torch.equal(gradient(layer.weight), gradient(weights) * (scale * layer.slope))
    assert torch.equal(gradient(layer.bias), gradient(bias) * (layer.bias_unit * layer.slope))

    left, right = (torch.from_numpy(rng.integers(-32, 32, (5, 4))).float().requires_grad_() for _ in range(2))
    add(left, right).backward(upstream[:, :, 0, 0])
    side = side_of(spec, 4 * left.detach() + 7 * right.detach(), 3) * (upstream[:, :, 0, 0] * add.slope)
    assert torch.equal(gradient(add.bias), side.sum(0) * add.bias_unit)
    assert torch.equal(gradient(left), side * 4) and torch.equal(gradient(right), side * 7)


def test_training_forward_is_the_emulator_and_golden(spec, rng):
    torch.manual_seed(1)
    x = rng.integers(spec.act_min, spec.act_max + 1, (6, 20)).astype(np.int8)
    inputs = torch.from_numpy(x).float()
    plain = architectures.multilayer_perceptron((20, 16, 8, 5))
    network = convert(plain, spec, inputs, input_scale=1.0, accumulator_std=(0.6, 2.0), fresh=True).eval()
    program = network.to_program()
    identity = tuple(range(spec.codes))
    with torch.no_grad():
        forward = emulate.wrap(network.accumulators(inputs), spec.acc_bits).to(torch.int32).numpy()
    assert np.array_equal(forward, Emulator(program, identity)(torch.from_numpy(x)).numpy())
    assert np.array_equal(forward, golden_run(program, identity, x))


class _InterruptError(Exception):
    pass


def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path):
    spec, data = PRESETS["tiny"], datasets.load("digits")
    config = replace(recipes.RECIPES["digits"], epochs=4, hidden=(16,), seed=0)
    whole = loop.train(spec, data, config)
    checkpoint = tmp_path / "run"

    def stop_at(place):
        def stop(name, epoch, _total, _score):
            if (name, epoch) == place:
                raise _InterruptError

        return stop

    for place in (("twin", 2), ("unit", 3)):
        with pytest.raises(_InterruptError):
            loop.train(spec, data, config, checkpoint, stop_at(place))
        assert checkpoint.exists()
    resumed = loop.train(spec, data, config, checkpoint)
    assert not checkpoint.exists()
    assert resumed.claims == whole.claims
    records = resumed.claims["epochs"]
    assert [(record["network"], record["epoch"]) for record in records] == [
        (network, epoch) for network in ("twin", "unit") for epoch in (1, 2, 3, 4)
    ]
    assert records[3]["test_score"] == whole.claims["twin_accuracy"] and records[7]["test_score"] == whole.claims["accuracy"]
    for a, b in zip(whole.program.layers, resumed.program.layers, strict=True):
        assert np.array_equal(a.codes, b.codes) and np.array_equal(a.bias, b.bias)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    spec, data = PRESETS["tiny"], datasets.load("digits")
    config = replace(recipes.RECIPES["digits"], epochs=2, hidden=(8,), seed=0)
    checkpoint = tmp_path / "run"

    def stop(*_):
        raise _InterruptError

    with pytest.raises(_InterruptError):
        loop.train(spec, data, config, checkpoint, stop)
    with pytest.raises(BittingError, match="another run"):
        loop.train(spec, data, replace(config, seed=1), checkpoint)
    checkpoint.chmod(0o644)
    with pytest.raises(BittingError, match="mode 0644, and a checkpoint chooses a secret seed"):
        loop.train(spec, data, config, checkpoint)
    checkpoint.chmod(0o600)
    checkpoint.write_bytes(b"garbage")
    with pytest.raises(BittingError, match="no checkpoint"):
        loop.train(spec, data, config, checkpoint)


@pytest.mark.slow
def test_digits_within_half_a_point_of_the_twin():
    data = datasets.load("digits")
    claims = [loop.train(PRESETS["base"], data, replace(recipes.RECIPES["digits"], seed=seed)).claims for seed in range(3)]
    unit, twin = (np.mean([claim[key] for claim in claims]) for key in ("accuracy", "twin_accuracy"))
    assert unit >= twin - 0.005, claims
    assert unit > 0.96


def test_data_sets_are_what_they_should_be():
    digits = datasets.load("digits")
    assert digits.train_x.shape == (1347, 64) and digits.test_x.shape == (450, 64) and digits.outputs == 10
    for name in ("mnist", "fashion-mnist"):
        data = datasets.load(name)
        assert data.train_x.shape == (60_000, 784) and data.test_x.shape == (10_000, 784)
        assert data.train_y.shape == (60_000,) and data.outputs == 10
        assert np.bincount(data.test_y).min() > 800
    for spec in PRESETS.values():
        x = datasets.activations(spec, np.arange(256, dtype=np.uint8)[None])
        assert x.min() == 0 and x.max() == spec.act_max


def test_bad_data_is_named(tmp_path, monkeypatch):
    with pytest.raises(DatasetError, match="allowed: digits, mnist, fashion-mnist"):
        datasets.load("cifar")
    monkeypatch.setenv("BITTING_DATA", str(tmp_path))
    folder = tmp_path / "mnist"
    folder.mkdir()
    with pytest.raises(DatasetError, match="lacks train-images"):
        datasets.load("mnist")
    (folder / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03\0\0")
    with pytest.raises(DatasetError, match="truncated or corrupted"):
        datasets.load("mnist")
    (folder / "train-images-idx3-ubyte").write_bytes(b"PNG")
    with pytest.raises(DatasetError, match="no IDX file"):
        datasets.load("mnist")


def idx(*shape):
    """An IDX file of zeros."""
    return b"\0\0\x08" + bytes([len(shape)]) + b"".join(size.to_bytes(4) for size in shape) + bytes(int(np.prod(shape)))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (idx(5, 4, 4), idx(4), "holds 5 images and .* 4 labels; they must be as many"),
        (idx(5, 4, 4), idx(5, 4, 4), "labels-idx1-ubyte holds an array of shape .5, 4, 4.; allowed is a label for each image"),
        (idx(5), idx(5), "images-idx3-ubyte holds an array of shape .5,.; allowed are square images"),
        (idx(5, 4, 3), idx(5), "shape .5, 4, 3.; allowed are square images"),
    ],
)
def test_files_that_do_not_belong_together_are_named(tmp_path, monkeypatch, images, labels, message):
    monkeypatch.setenv("BITTING_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    for part in ("train", "t10k"):
        (tmp_path / "mnist" / f"{part}-images-idx3-ubyte").write_bytes(images)
        (tmp_path / "mnist" / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    with pytest.raises(DatasetError, match=message):
        datasets.load("mnist")


def test_a_wrong_download_is_refused_and_not_kept(tmp_path, monkeypatch):
    import io

    monkeypatch.setenv("BITTING_CACHE", str(tmp_path))
    monkeypatch.delenv("BITTING_DATA", raising=False)
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(b"not the file"))
    with pytest.raises(DatasetError, match="SHA-256"):
        datasets.load("mnist")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def normalised(rng):
    """A convolution with batch normalisation, and a batch."""
    layer = UnitNormalisedConv2d(SPEC, 3, 8, (3, 3), (1, 1), (1, 1))
    x = torch.from_numpy(rng.integers(SPEC.act_min, SPEC.act_max + 1, (64, 3, 8, 8))).float()
    layer.calibrate((x,), 0.4)
    return layer, x


def test_normalised_sums_have_the_wanted_mean_and_deviation(rng):
    layer, x = normalised(rng)
    with torch.no_grad():
        layer.gain.add_(torch.linspace(-0.5, 0.5, 8))
        layer.bias.copy_(torch.linspace(-1, 1, 8))
        sums = layer.train().sums(x) / (layer.bias_unit * layer.slope)
    assert float((sums.std((0, 2, 3)) / layer.gain.detach().exp() - 1).abs().max()) < 1e-3
    assert float((sums.mean((0, 2, 3)) - layer.bias.detach()).abs().max()) <= 1 / layer.bias_unit


def test_running_statistics_make_training_and_the_unit_agree(rng):
    """What the unit computes tends to what training saw, but for the rounding of weights to a new gain."""
    layer, x = normalised(rng)
    with torch.no_grad():
        layer.weight.mul_(torch.linspace(0.5, 3, 8).reshape(-1, 1, 1, 1))  # training has moved them meanwhile
        before = (layer.train().sums(x) - layer.eval().sums(x)).std()
        for _ in range(200):
            seen = layer.train().sums(x)
        found = layer.eval().sums(x)
    assert torch.equal(found / layer.slope, (found / layer.slope).round()), "accumulators are integers"
    assert float((found - seen).std() / seen.std()) < 0.1 < float(before / seen.std()), "a weight may still change at the end"


def test_updated_statistics_are_those_of_the_samples(rng):
    """At once, whatever the running ones were: mean and deviation of the unit's sums are the wanted ones."""
    layer, x = normalised(rng)
    with torch.no_grad():
        layer.weight.mul_(torch.linspace(0.5, 3, 8).reshape(-1, 1, 1, 1))
        layer.bias.copy_(torch.linspace(-1, 1, 8))
        layer.mean.add_(0.7)
        off = []
        for step in (lambda: None, lambda: layer.update_statistics((x,))):
            step()
            sums = layer.eval().sums(x) / (layer.bias_unit * layer.slope)
            off.append(
                (
                    float((sums.mean((0, 2, 3)) - layer.bias).abs().max()),
                    float((sums.std((0, 2, 3)) / layer.gain.exp() - 1).abs().max()),
                )
            )
    assert off[0][0] > 0.5 and off[0][1] > 0.5
    assert off[1][0] <= 1 / layer.bias_unit and off[1][1] < 0.1, "but for the rounding of bias and weights"


def test_the_shift_follows_the_weights(rng):
    layer, x = normalised(rng)
    for gain in (0.02, 0.2, 2.0):
        with torch.no_grad():
            layer.gain.fill_(math.log(gain))
            layer.train().sums(x)
        largest = float(layer.latent.detach().flatten(1).square().mean(1).max().sqrt())
        assert 0.45 * FULL <= largest <= FULL or (largest < FULL and layer.shift == 0), (gain, largest, layer.shift)


def test_a_normalised_layer_is_restored_to_the_bit(rng):
    layer, x = normalised(rng)
    with torch.no_grad():
        layer.train().sums(x)
    other = UnitNormalisedConv2d(SPEC, 3, 8, (3, 3), (1, 1), (1, 1))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(layer.eval().sums(x), other.eval().sums(x))


@pytest.mark.parametrize("excess", [0.1, 30.0])
def test_the_loss_in_one_step_is_the_loss_in_many(excess):
    """Value, penalty and gradient of the fused loss against autograd's single operations, in and beyond the logits' range."""
    generator = torch.Generator().manual_seed(int(excess))
    sums = (torch.randn(37, 10, generator=generator) * 2000 * excess).double().requires_grad_()
    targets = torch.rand(37, 10, generator=generator).double()  # rows need not sum to 1
    total, penalty = ranged_cross_entropy(sums, targets, logit_scale(16))
    (gradient,) = torch.autograd.grad(total * 3, sums)
    logits = sums * logit_scale(16)
    expected = range_penalty(logits)
    (wanted,) = torch.autograd.grad(3 * (torch.nn.functional.cross_entropy(logits, targets) + expected), sums)
    torch.testing.assert_close(penalty, expected)
    torch.testing.assert_close(total, torch.nn.functional.cross_entropy(logits, targets) + expected)
    torch.testing.assert_close(gradient, wanted)
    assert (float(penalty) > 0) == (excess > 1)


def test_a_checkpoint_may_be_named_by_its_suffix_alone(tmp_path):
    """As `make demo` names it."""
    config = replace(recipes.RECIPES["digits"], epochs=1, seed=0)
    loop.train(PRESETS["tiny"], datasets.load("digits"), config, tmp_path / ".checkpoint")
    assert list(tmp_path.iterdir()) == []
