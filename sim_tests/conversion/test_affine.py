"""Gains and offsets by constants of the model's own: folded, or in the interface, or refused."""

import numpy as np
import pytest
import torch
from torch import nn

import bitting
from bitting.emulator.emulate import Emulator
from bitting.errors import ConversionError
from tb.conversions import SPEC, Step, answers, samples, seeded

GAIN, OFFSET = torch.tensor([1.0, -0.5, 1.5]), torch.tensor([0.25, 0.5, -1.0])


class Scaled(nn.Module):
    """Gains and offsets of its own before a model, written in several ways."""

    def __init__(self, inner, way, rank):
        super().__init__()
        self.inner, self.way = inner, way
        shape = (1, -1, *[1] * (rank - 2))
        self.mean = nn.Buffer((-OFFSET / GAIN).reshape(shape))
        self.deviation = nn.Buffer((1 / GAIN).reshape(shape))
        self.norm = (nn.BatchNorm1d if rank < 4 else nn.BatchNorm2d)(3, eps=0)
        self.norm.running_mean, self.norm.running_var = self.mean.flatten().clone(), self.deviation.flatten() ** 2
        self.norm.weight.data = GAIN.sign()

    def forward(self, x):
        match self.way:
            case "standardised":
                x = (x - self.mean) / self.deviation
            case "multiplied":
                x = self.mean.neg() / self.deviation + x * (1 / self.deviation)
            case "normalised":
                x = self.norm(x)
        return self.inner(x)


WAYS = ("standardised", "multiplied", "normalised")


def transformed(x):
    shape = (1, -1, *[1] * (x.ndim - 2))
    return x * GAIN.reshape(shape) + OFFSET.reshape(shape)


def folded(layer, summed):
    """A layer of the input as it comes, with gain and offset in weights and bias. `summed`: axes of one output's weights."""
    shape = (1, -1, *[1] * (layer.weight.ndim - 2))
    other = nn.Linear(3, 4) if layer.weight.ndim == 2 else type(layer)(3, 4, layer.kernel_size)
    other.weight.data = layer.weight.data * GAIN.reshape(shape)
    other.bias.data = layer.bias.data + (layer.weight.data * OFFSET.reshape(shape)).sum(summed)
    return other


@pytest.mark.parametrize("way", WAYS)
def test_scaling_of_the_input_is_folded_into_weights_that_pad_with_nothing(way):
    x, flat = samples(16, 3, 5, 6), samples(16, 3)
    conv, dense = seeded(lambda: nn.Conv2d(3, 4, 3)), seeded(lambda: nn.Linear(3, 4))
    tail = seeded(lambda: nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(4 * 3 * 4, 2)))
    network = bitting.convert(Scaled(nn.Sequential(conv, *tail), way, 4).eval(), SPEC, x)
    assert network.preparation is None
    for model, plain, values in (
        (nn.Sequential(conv, *tail), nn.Sequential(folded(conv, (1, 2, 3)), *tail), x),
        (dense, folded(dense, 1), flat),
    ):
        scaled = answers(Scaled(model, way, values.ndim).eval(), values)
        by_hand = answers(plain, values)
        assert float((scaled - by_hand).abs().max()) <= 1e-3 * float(by_hand.abs().max())


@pytest.mark.parametrize("way", WAYS)
def test_scaling_before_zero_padding_becomes_part_of_the_interface(way):
    """Zeros of the padding are zeros of what is scaled, not of the input."""
    x = samples(16, 3, 5, 6)
    inner = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 5 * 6, 2)))
    model = Scaled(inner, way, 4).eval()
    network = bitting.convert(model, SPEC, x)
    assert network.preparation is not None and "part of the interface" in network.notes[0]
    scale = SPEC.act_max / float(transformed(x).abs().max())
    assert network.input_scale == pytest.approx(scale)
    # At a power of two nothing is rounded differently: the same integers, the same program, the same answers.
    options = {"input_scale": 16.0}
    assert torch.equal(answers(model, x, **options), answers(inner, transformed(x), **options))


def test_a_gain_alone_is_folded_even_before_padding():
    x = samples(16, 3, 5, 6)
    inner = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 5 * 6, 2)))
    network = bitting.convert(nn.Sequential(Step(lambda x: x * 2 / 8), inner), SPEC, x)
    assert network.preparation is None
    assert torch.equal(answers(nn.Sequential(Step(lambda x: x / 4), inner), x, input_scale=16.0), answers(
        nn.Sequential(Step(lambda x: x * 0.25), inner), x, input_scale=16.0))  # fmt: skip


def test_scaling_goes_through_flattening():
    x = samples(16, 3, 2, 2)
    dense = seeded(lambda: nn.Linear(12, 2))
    model = Scaled(nn.Sequential(nn.Flatten(), dense), "standardised", 4)
    other = nn.Linear(12, 2)
    other.weight.data = dense.weight.data * GAIN.repeat_interleave(4)
    other.bias.data = dense.bias.data + (dense.weight.data * OFFSET.repeat_interleave(4)).sum(1)
    first, second = answers(model, x), answers(nn.Sequential(nn.Flatten(), other), x)
    assert float((first - second).abs().max()) <= 1e-3 * float(second.abs().max())


class LayerScale(nn.Module):
    """A gain and an offset for each channel after a product, of the model's own."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.gain = nn.Parameter(torch.tensor([0.5, -2.0, 1.0, 4.0]).reshape(4, 1, 1))
        self.head = nn.Linear(4 * 3 * 4, 2)

    def forward(self, x):
        x = torch.relu(self.conv(x) * self.gain + 0.25)
        return self.head(x.flatten(1)) * 2


def test_a_gain_after_a_product_is_folded_into_it():
    x, model = samples(16, 3, 5, 6), seeded(LayerScale)
    plain = seeded(LayerScale)
    plain.load_state_dict(model.state_dict())
    plain.conv.weight.data *= model.gain.data.reshape(-1, 1, 1, 1)
    plain.conv.bias.data = plain.conv.bias.data * model.gain.data.flatten() + 0.25
    plain.head.weight.data *= 2
    plain.head.bias.data *= 2
    by_hand = nn.Sequential(plain.conv, nn.ReLU(), nn.Flatten(), plain.head)
    assert torch.equal(answers(model, x), answers(by_hand, x))


class TwoScales(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1)
        self.head = nn.Linear(60, 2)

    def forward(self, x):
        return self.head((self.first(x - 0.5) + self.second(x * 2 + 0.25)).flatten(1))


def test_scalings_that_differ_and_can_not_be_folded_are_refused():
    with pytest.raises(ConversionError, match="scaled in another way than other layers do"):
        bitting.convert(TwoScales(), SPEC, samples(4, 3, 5, 6))
    inner = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.Flatten(), nn.Linear(60, 2))
    both = nn.Sequential(Step(lambda x: torch.cat([x, x * 2], 1)), nn.Conv2d(6, 2, 3), nn.Flatten(), nn.Linear(24, 2))
    with pytest.raises(ConversionError, match="scaled in another way than other layers do"):
        bitting.convert(both, SPEC, samples(4, 3, 5, 6))
    with pytest.raises(ConversionError, match="multiplies its input by 0"):
        bitting.convert(nn.Sequential(Step(lambda x: x * 0 + 1), inner), SPEC, samples(4, 3, 5, 6))
    with pytest.raises(ConversionError, match=r"mul\(\) with a constant: a gain or an offset has a place"):
        bitting.convert(
            nn.Sequential(inner[0], nn.ReLU(), Step(lambda x: x * 3), inner[1], inner[2]), SPEC, samples(4, 3, 5, 6)
        )


def test_a_prepared_input_answers_through_the_files_interface(tmp_path):
    """Written, loaded, asked in the user's units: what the network says, to the bit."""
    x = samples(16, 3, 5, 6) * 3
    inner = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 5 * 6, 2)))
    network = bitting.convert(Scaled(inner, "standardised", 4), SPEC, x).eval()
    bitting.export(network, x, tmp_path / "model.safetensors")
    loaded = bitting.load(tmp_path / "model.safetensors")
    assert isinstance(loaded, bitting.Model)
    more = torch.randn(64, 3, 5, 6, generator=torch.Generator().manual_seed(3))
    integers = network.integers(more).flatten(1)
    assert np.array_equal(loaded.interface.activations(more.numpy()), integers.numpy())
    assert torch.equal(torch.from_numpy(loaded.sums(more.numpy())), Emulator(loaded.program, range(SPEC.codes))(integers))


def test_features_of_different_sizes_get_activations_of_their_own_scale():
    """In weights, the small feature would be left with one activation: the interface standardises instead."""
    x = samples(64, 2) * torch.tensor([1000.0, 0.01]) + torch.tensor([5000.0, 3.0])
    mean, deviation = x.mean(0), x.std(0)

    class Standardised(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = seeded(lambda: nn.Linear(2, 3))

        def forward(self, x):
            return self.fc((x - mean) / deviation)

    model = Standardised().eval()
    network = bitting.convert(model, SPEC, x, activation="relu").eval()
    assert network.preparation is not None
    with torch.no_grad():
        wanted, found = model(x), network(x)
    assert float((found - wanted).square().mean() / wanted.var()) < 0.01
    assert np.allclose(bitting.export(network, x)(x.numpy()), found.numpy(), rtol=1e-5, atol=1e-5)
