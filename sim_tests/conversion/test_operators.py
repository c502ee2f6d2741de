"""Operators beyond the plain layers: they become what they say, and the exported program answers as the network does."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bitting
from bitting.errors import ConversionError
from bitting.training import architectures
from bitting.unit.spec import parse_spec
from tb.conversions import SPEC, Step, answers, samples, seeded


def image_tail(channels, rows, columns):
    return nn.Sequential(nn.Conv2d(channels, 4, (2, 3)), nn.ReLU(), nn.Flatten(), nn.Linear(4 * (rows - 1) * (columns - 2), 3))


PADS = [(1, 0, 0, 0), (0, 1, 0, 2), (2, 1, 1, 0), (0, 3, 0, 0), (-1, 1, 0, -2)]


@pytest.mark.parametrize("pads", PADS)
def test_padding_unequal_sides_adds_zeros_where_torch_does(pads):
    x = samples(16, 2, 6, 5)
    padded = F.pad(x, pads)
    tail = seeded(lambda: image_tail(*padded.shape[1:]))
    wanted = answers(tail, padded)
    for step in (nn.ZeroPad2d(pads), nn.ConstantPad2d(pads, 0.0), Step(lambda x: F.pad(x, pads))):
        assert torch.equal(answers(nn.Sequential(step, tail), x), wanted)


def test_padding_same_is_torchs_for_even_windows_too():
    x = samples(16, 2, 7, 6)
    conv = seeded(lambda: nn.Conv2d(2, 3, (4, 2), padding="same", dilation=(1, 3)))
    bare = nn.Conv2d(2, 3, (4, 2), dilation=(1, 3))
    bare.load_state_dict(conv.state_dict())
    tail = seeded(lambda: nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(3 * 7 * 6, 2)))
    assert torch.equal(answers(nn.Sequential(conv, *tail), x), answers(nn.Sequential(bare, *tail), F.pad(x, (1, 2, 1, 2))))


@pytest.mark.parametrize(
    ("network", "shape", "words", "macs"),
    [
        (architectures.ResNet8, (3, 32, 32), 65536, 12_501_632),
        (architectures.DepthwiseSeparable, (1, 49, 10), 32768, 2_656_768),
    ],
)
def test_networks_of_mlperf_tiny_convert_and_export(network, shape, words, macs):
    """Multiplications as published, 12.5 and 2.7 millions; a softmax at the end is left out."""
    spec = parse_spec(f"base:scratch_words={words}")
    x = samples(4, *shape)
    network = bitting.convert(seeded(lambda: nn.Sequential(network(), nn.Softmax(dim=1))), spec, x)
    program = bitting.export(network, x).program
    assert program.parameters == sum(layer.weight.numel() for layer in network.products)
    assert sum(layer.codes.size * layer.position_count for layer in program.secret) == macs


def test_borders_cost_no_more_words_than_both_paddings_ask_for():
    """Rows and columns apart; one side's zeros are the next row's other side's."""
    x = samples(4, 2, 5, 6)
    tail = seeded(
        lambda: nn.Sequential(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, (1, 3), padding=(0, 1)), nn.Flatten(), nn.Linear(60, 2))
    )
    program = bitting.convert(tail, SPEC, x).to_program()
    image, bordered = 2 * 5 * 6, 2 * 5 * (6 + 1) + 1
    assert program.reach == image + bordered


# -- moves and means


class Means(nn.Module):
    """A mean over some axes of images, then a dense layer."""

    def __init__(self, axes, keepdim, features):
        super().__init__()
        self.axes, self.keepdim, self.head = axes, keepdim, nn.Linear(features, 2)

    def forward(self, x):
        return self.head(x.mean(self.axes, keepdim=self.keepdim).flatten(1))


@pytest.mark.parametrize(
    ("shape", "axes", "keepdim"),
    [
        *(((4, 2, 8), axes, keepdim) for axes in ((1,), (2,), (-1,), (1, 2), (-1, 1), (2, 3)) for keepdim in (False, True)),
        *(((4, 16), axes, keepdim) for axes in ((1,), (2,), (-2,)) for keepdim in (False, True)),
        ((4, 2, 8), (1, 2, 3), True),
        ((4, 16), (1, 2), True),
        ((16,), (1,), True),
    ],
)
def test_means_over_any_axes_are_the_models(shape, keepdim, axes):
    """Of powers of two of activations a mean is exact but for the fold's rounding down: so is what the head reads."""
    x = torch.randint(SPEC.act_min, SPEC.act_max + 1, (32, *shape), generator=torch.Generator().manual_seed(1)).float()
    wanted = x.mean(axes, keepdim=keepdim).flatten(1)
    model = seeded(lambda: Means(axes, keepdim, wanted.shape[1]))
    network = bitting.convert(model, SPEC, x, input_scale=1.0).eval()
    bitting.export(network, x)
    seen: list[torch.Tensor] = []
    network.accumulators(network.integers(x), lambda module, inputs: seen.append(inputs[0]))
    rounded = wanted - seen[-1].flatten(1)
    roundings = 2 if 1 in axes and len(axes) > 1 else 1  # rows and columns first, then channels
    assert float(rounded.min()) >= 0 and float(rounded.max()) < roundings


MOVES = [
    (nn.Upsample(scale_factor=2), lambda x: F.interpolate(x, scale_factor=2)),
    (nn.Upsample(size=(12, 5)), lambda x: x.repeat_interleave(2, 2)),
    (Step(lambda x: F.interpolate(x, scale_factor=(1, 3), mode="nearest-exact")), lambda x: x.repeat_interleave(3, -1)),
    (Step(lambda x: x.repeat_interleave(2, dim=3).repeat_interleave(3, dim=2)), lambda x: F.interpolate(x, size=(18, 10))),
    (Step(lambda x: F.pad(x, (-1, 0, 1, -1))), lambda x: F.pad(x[:, :, :-1, 1:], (0, 0, 1, 0))),
    (Step(lambda x: x.permute(0, 2, 3, 1)), lambda x: x.movedim(1, 3)),
    (Step(lambda x: x.transpose(1, -1)), lambda x: x.permute(0, 3, 2, 1)),
    (Step(lambda x: x.reshape(-1, 8, 3, 5)), lambda x: x.unflatten(2, (2, 3)).flatten(1, 2)),
    (nn.Sequential(nn.Flatten(), nn.Unflatten(1, (6, 4, 5))), lambda x: x.reshape(len(x), 6, 4, 5)),
    (
        nn.Sequential(nn.ZeroPad2d(1), nn.Upsample(scale_factor=2)),
        lambda x: F.interpolate(F.pad(x, [1] * 4), scale_factor=2),
    ),
]


@pytest.mark.parametrize(("step", "wanted"), MOVES)
def test_moves_are_torchs(step, wanted):
    """At the input, and between layers with borders: the same answers as of inputs that were moved before."""
    x = samples(16, 4, 6, 5)
    moved = wanted(x)
    tail = seeded(lambda: image_tail(*moved.shape[1:]))
    assert torch.equal(answers(nn.Sequential(step, tail), x), answers(tail, moved))
    padded = seeded(lambda: nn.Conv2d(moved.shape[1], 4, 3, padding=1))
    last = seeded(lambda: nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(4 * moved.shape[2] * moved.shape[3], 2)))
    assert torch.equal(answers(nn.Sequential(step, padded, last), x), answers(nn.Sequential(padded, last), moved))


class Sums(nn.Module):
    """Summands that are padded, moved and repeated; a concatenation of what was flattened with dense features."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.wide = nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 2, 3, padding=(0, 2))
        self.dense, self.head = nn.Linear(2 * 4 * 7, 5), nn.Linear(2 * 4 * 7 + 5, 3)

    def forward(self, x):
        x = torch.relu(F.pad(self.left(x), (1, 1, 2, 0)) + self.right(x))
        x = torch.relu(self.wide(x)).flatten(1)
        return self.head(torch.cat([x, torch.relu(self.dense(x))], 1))


def test_moved_summands_and_flattened_parts_have_words_of_their_own():
    x = samples(16, 2, 6, 5)
    answers(seeded(Sums), x)  # exporting compares the program with the network


def of_series_and_of_images(kernel, stride, padding, dilation, groups):
    """The same model twice, of series and of images of one row."""
    models = []
    for rank in (1, 2):
        layers: Any = (
            (nn.Conv1d, nn.BatchNorm1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d),
            (nn.Conv2d, nn.BatchNorm2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d),
        )[rank - 1]
        conv, norm, pool, whole = layers
        one, none = (1,) * (rank - 1), (0,) * (rank - 1)
        models.append(
            nn.Sequential(
                conv(3, 6, (*one, kernel), (*one, stride), (*none, padding), (*one, dilation), groups), norm(6), nn.ReLU(),
                pool((*one, 3), (*one, 2), (*none, 1)), conv(6, 4, (*one, 3), padding=(*none, 1)), whole((*one, 1)),
                nn.Flatten(), nn.Linear(4, 3),
            ).eval()
        )  # fmt: skip
    series, images = models
    for source, target in zip(series.parameters(), images.parameters(), strict=True):
        target.data = source.data.reshape(target.shape)
    return series, images


@pytest.mark.parametrize("settings", [(3, 1, 0, 1, 1), (5, 2, 2, 1, 1), (3, 1, 0, 2, 3)])
def test_series_are_images_of_one_row(settings):
    x = samples(32, 3, 20)
    torch.manual_seed(0)
    series, images = of_series_and_of_images(*settings)
    assert torch.equal(series(x), images(x.unsqueeze(2)))
    assert torch.equal(answers(series, x), answers(images, x.unsqueeze(2)))


def test_series_without_channels_and_convolutions_that_answer():
    x = samples(32, 16)
    head = seeded(lambda: nn.Sequential(nn.Conv1d(1, 4, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Conv1d(4, 3, 1)))
    wanted = answers(head, x.unsqueeze(1))
    assert torch.equal(answers(nn.Sequential(Step(lambda x: x.unsqueeze(1)), head), x), wanted)
    assert torch.equal(answers(nn.Sequential(nn.Unflatten(1, (1, 16)), head, nn.Flatten()), x), wanted)


# -- what has no place

IMAGE, SERIES_SHAPE, TABLE = (3, 6, 5), (3, 8), (8,)
MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Softplus, nn.Tanh,
    nn.Hardtanh, nn.Sigmoid, nn.Hardsigmoid, nn.LogSigmoid, nn.Softsign,
)  # fmt: skip
REFUSED = [
    (IMAGE, lambda: nn.GroupNorm(1, 3), "GroupNorm is not supported: a normalisation"),
    (IMAGE, lambda: nn.InstanceNorm2d(3), "InstanceNorm2d is not supported: a normalisation"),
    (IMAGE, lambda: nn.LocalResponseNorm(2), "LocalResponseNorm is not supported: a normalisation"),
    (IMAGE, lambda: nn.ConvTranspose2d(3, 2, 3), "ConvTranspose2d is not supported: a transposed convolution"),
    (IMAGE, lambda: nn.Upsample(scale_factor=2, mode="bilinear"), "mode 'bilinear' is not supported"),
    (IMAGE, lambda: nn.Upsample(size=(7, 5)), "allowed are whole factors"),
    (IMAGE, lambda: nn.ReflectionPad2d(1), "ReflectionPad2d is not supported"),
    (IMAGE, lambda: nn.ConstantPad2d(1, 0.5), "padding with value 0.5 is not supported; allowed is constant padding with 0"),
    (IMAGE, lambda: Step(lambda x: F.pad(x, (0, 0, 0, 0, 1, 1))), "allowed is padding rows and columns"),
    (IMAGE, lambda: Step(lambda x: x * x), r"mul\(\) is not supported: the unit multiplies by stored weights"),
    (IMAGE, lambda: Step(lambda x: x.mean(0)), "allowed is over all but 0, the samples"),
    (IMAGE, lambda: Step(lambda x: x.reshape(-1, 3)), r"allowed is to \(samples"),
    (SERIES_SHAPE, lambda: nn.LSTM(8, 4), "LSTM is not supported: a recurrent layer"),
    (SERIES_SHAPE, lambda: Step(lambda x: x.sort()[0]), r"sort\(\) is not supported: of comparisons, only ReLU"),
    (SERIES_SHAPE, lambda: nn.GRU(8, 4, batch_first=True), "GRU is not supported: a recurrent layer"),
    (SERIES_SHAPE, lambda: nn.TransformerEncoderLayer(8, 2), "TransformerEncoderLayer is not supported: attention"),
    (SERIES_SHAPE, lambda: nn.Linear(8, 2), r"Linear over inputs of shape \(2, 3, 2\); allowed \(samples, features\)"),
    (
        SERIES_SHAPE,
        lambda: nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(24, 2)),
        "an activation function of the input itself",
    ),
    (TABLE, lambda: nn.Embedding(10, 4), "Embedding is not supported: an embedding"),
    (TABLE, lambda: nn.LayerNorm(8), "LayerNorm is not supported: a normalisation"),
    (TABLE, lambda: nn.RMSNorm(8), "RMSNorm is not supported: a normalisation"),
    (TABLE, lambda: nn.GLU(), "GLU is not supported: a gate"),
    (TABLE, lambda: nn.Bilinear(8, 8, 2), "Bilinear is not supported: a product of activations"),
]


FUNCTIONS = [
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "softplus", "tanh", "hardtanh",
    "sigmoid", "hardsigmoid", "logsigmoid", "softsign",
]  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_converted_as_their_modules_are(name):
    module = {kind.__name__.lower(): kind() for kind in MODULES}[name.replace("_", "")]
    first, last = nn.Linear(8, 6), nn.Linear(6, 2)
    x = samples(4, *TABLE)
    functional = bitting.convert(nn.Sequential(first, Step(getattr(F, name)), last), SPEC, x).to_program()
    modular = bitting.convert(nn.Sequential(first, module, last), SPEC, x).to_program()
    for own, other in zip(functional.layers, modular.layers, strict=True):
        assert np.array_equal(own.codes, other.codes) and np.array_equal(own.bias, other.bias)


def test_dropout_of_channels_is_dropout_as_a_function_too():
    x = samples(4, *IMAGE)
    layers = nn.Sequential(nn.Conv2d(3, 2, 3), Step(lambda x: F.dropout2d(x, 0.2, False)), nn.Flatten(), nn.LazyLinear(2))
    layers(x)
    assert bitting.convert(layers, SPEC, x).to_program().outputs == 2


def test_a_mistake_in_a_shape_is_not_blamed_on_what_has_a_place(capfd):
    wrong = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(7, 2))
    with pytest.raises(ConversionError, match="mat1 and mat2 shapes cannot be multiplied") as caught:
        bitting.convert(wrong, SPEC, samples(4, *IMAGE))
    assert "MaxPool" not in str(caught.value) and len(str(caught.value)) < 400 and capfd.readouterr() == ("", "")


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)
        self.head = nn.Linear(24, 2)

    def forward(self, x):
        return self.head(self.attention(x, x, x)[0].flatten(1))


@pytest.mark.parametrize(
    ("shape", "make", "said"), REFUSED, ids=[said.split()[0] + str(i) for i, (_, _, said) in enumerate(REFUSED)]
)
def test_modules_without_a_place_are_named_as_that(shape, make, said):
    x = samples(4, *shape)
    with pytest.raises(ConversionError, match=said) as caught:
        bitting.convert(nn.Sequential(seeded(make)), SPEC, x)
    assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)


def test_attention_is_named_whatever_comes_of_it():
    with pytest.raises(ConversionError, match="MultiheadAttention is not supported: attention"):
        bitting.convert(Attending(), SPEC, samples(4, 3, 8))
