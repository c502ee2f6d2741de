"""Our quantisers are those of the field: equal to torch's casts, to onnxruntime and to torchao, to the bit."""

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnxruntime.quantization.quant_utils import compute_scale_zp

from bitting.errors import BittingError
from bitting.targets.families import parse_format
from bitting.targets.formats import FLOATS, FloatFormat, Grid, GroupedFormat, IntegerFormat, PaletteFormat, TwiceFormat

INTEGERS = [
    IntegerFormat(bits, symmetric, per_channel, scale)
    for bits in (8, 6, 5, 4)
    for symmetric in (True, False)
    for per_channel in (True, False)
    for scale in ("max", "percentile", "mse")
]
ALL = [
    *INTEGERS,
    *(FloatFormat(name, scale, channel) for name in FLOATS for scale in ("max", "power") for channel in (True, False)),
]


def matrix(seed: int = 0, rows: int = 5, count: int = 300) -> torch.Tensor:
    """Weights whose rows have other sizes and means."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, count, generator=generator)
    return x * torch.logspace(-1, 1, rows)[:, None] + torch.linspace(-1, 2, rows)[:, None]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_scales_and_zero_points_are_those_of_onnxruntime(symmetric, seed):
    x = matrix(seed, 1)
    quantiser = IntegerFormat(8, symmetric)
    grid = quantiser.grid(x)
    ends = (np.float32(x.min()), np.float32(x.max()), np.array(quantiser.low, np.int8), np.array(quantiser.high, np.int8))
    zero, scale = compute_scale_zp(*ends, symmetric=symmetric)
    assert grid.zero.item() == zero
    assert grid.scale.item() == pytest.approx(float(scale), rel=2e-7)  # ours divides in float64


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
def test_rounding_is_that_of_onnx_to_the_bit(symmetric, per_channel):
    """QuantizeLinear and DequantizeLinear on the same scales: halves to even, saturated."""
    x = matrix()
    grid = IntegerFormat(8, symmetric, per_channel).grid(x)
    x[:, :40] = grid.scale * (torch.arange(40) - 20 + 0.5)  # ties, and what lies beyond the range
    x[:, 40:60] *= 10
    scale, zero = grid.scale.flatten().numpy(), grid.zero.flatten().to(torch.int8).numpy()
    if not per_channel:
        scale, zero = scale.reshape(()), zero.reshape(())
    # The axis is that of the channels; where there is one scale it has no meaning.
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], axis=0),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], axis=0),
    ]
    floats, integers = TensorProto.FLOAT, TensorProto.INT8
    inputs = [("x", floats, x.shape), ("scale", floats, scale.shape), ("zero", integers, zero.shape)]
    outputs = [("q", integers, x.shape), ("y", floats, x.shape)]
    described = [[helper.make_tensor_value_info(*each) for each in part] for part in (inputs, outputs)]
    model = helper.make_model(
        helper.make_graph(nodes, "g", described[0], described[1]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    codes, values = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"x": x.numpy(), "scale": scale, "zero": zero}
    )
    assert np.array_equal(np.maximum(codes, grid.low), grid.codes(x).numpy())
    inside = codes >= grid.low  # onnxruntime's symmetric range has one code more on the left
    assert inside.all() or symmetric
    assert np.array_equal(values[inside], grid(x).numpy()[inside])


@pytest.mark.parametrize("symmetric", [True, False])
def test_values_and_gradients_are_those_of_torch_s_fake_quantisation(symmetric):
    x = matrix().requires_grad_()
    given = IntegerFormat(4, symmetric, True).grid(x * 0.6)  # some lie beyond the range
    scale, zero = given.scale.flatten(), given.zero.flatten().to(torch.int32)
    expected = torch.fake_quantize_per_channel_affine(x, scale, zero, 0, given.low, given.high)
    wanted = torch.autograd.grad(expected.sum(), x)[0]
    found = given(x)
    gradient = torch.autograd.grad(found.sum(), x)[0]
    assert torch.allclose(found, expected, atol=0, rtol=1e-6)
    # They differ on the last half step only: torch lets a number pass that is rounded back into the range.
    beyond = (x - given.values(torch.tensor(float(given.high)))) / given.scale
    under = (given.values(torch.tensor(float(given.low))) - x) / given.scale
    clear = (torch.maximum(beyond, under) < 0) | (torch.maximum(beyond, under) > 0.5)
    assert torch.equal(gradient[clear], wanted[clear])
    assert 0 < int((gradient == 0).sum()) < gradient.numel()


@pytest.mark.parametrize("name", FLOATS)
def test_a_float_format_has_exactly_the_numbers_of_torch_s_type(name):
    dtype = FLOATS[name]
    bits = dtype.itemsize * 8
    every = torch.arange(1 << bits, dtype=torch.int32).to(torch.uint8 if bits == 8 else torch.int16).view(dtype).float()
    numbers = every[every.isfinite()]
    plain = FloatFormat(name, "one")
    assert torch.equal(plain(numbers), numbers)
    between = torch.randn(5000, generator=torch.Generator().manual_seed(1)) * torch.finfo(dtype).max ** 0.5
    assert torch.equal(plain(between), between.to(dtype).float())
    assert plain(torch.tensor([3.4e38])).item() == torch.finfo(dtype).max  # saturated, as hardware does


def test_fp8_uses_the_whole_range_of_each_channel():
    x = matrix()
    found = FloatFormat("fp8-e4m3", "max", True)(x)
    largest = x.abs().amax(1)
    assert torch.allclose(found.abs().amax(1), largest, rtol=1e-6)
    for row in range(len(x)):
        scale = largest[row] / 448
        assert torch.allclose(found[row], (x[row] / scale).to(torch.float8_e4m3fn).float() * scale, rtol=1e-6, atol=0)


@pytest.mark.parametrize("quantiser", ALL, ids=str)
def test_a_format_holds_zero_is_stable_and_passes_gradients(quantiser):
    x = matrix()
    x[0] = 0
    x[1, 7] = 0
    grid = quantiser.grid(x)
    y = x.clone().requires_grad_()
    found = grid(y)
    found.sum().backward()
    assert (found[x == 0] == 0).all() and found.isfinite().all()
    assert torch.allclose(grid(found), found, rtol=1e-6), "numbers of the format are rounded to themselves"
    assert (
        y.grad is not None
        and set(y.grad.unique().round(decimals=5).tolist()) <= {0.0, 1.0}
        and (y.grad == 1).float().mean() > 0.4
    )
    if isinstance(grid, Grid):
        assert len(grid.codes(x).unique()) <= grid.high - grid.low + 1 <= 1 << quantiser.bits


@given(st.integers(0, 10_000), st.sampled_from((8, 6, 5, 4)), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_mean_square_scale_is_never_worse_than_the_largest(seed, bits, symmetric, per_channel):
    x = matrix(seed, 3, 50)
    errors = [
        (IntegerFormat(bits, symmetric, per_channel, scale)(x) - x).square().mean(1 if per_channel else (0, 1))
        for scale in ("mse", "max")
    ]
    assert (errors[0] <= errors[1] * (1 + 1e-5) + 1e-12).all()


def test_a_thief_finds_the_scale_with_which_small_integers_are_exact():
    weights = torch.randint(-80, 81, (4, 200), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(IntegerFormat(8, scale="mse")(weights), weights)
    assert not torch.equal(IntegerFormat(8)(weights), weights)


def test_the_percentile_leaves_outliers_out():
    x = torch.linspace(-1, 1, 10_001)[None].clone()
    x[0, 5] = 1000
    assert IntegerFormat(8, scale="percentile").grid(x).scale.item() < 1.1 / 127
    assert IntegerFormat(8).grid(x).scale.item() > 7


def test_a_group_has_a_scale_of_its_own():
    weights = torch.tensor([[1.0, -2.0, 3.0, 100.0, 50.0, -127.0, 0.25]])
    found = GroupedFormat(IntegerFormat(8, per_channel=True), 3)(weights)
    apart = [IntegerFormat(8, per_channel=True)(run) for run in weights.split(3, 1)]
    assert torch.equal(found, torch.cat(apart, 1)) and float((found - weights).abs()[:, [0, 6]].max()) < 0.01


@pytest.mark.parametrize("bits", [4, 8])
def test_two_integers_are_as_near_as_one_of_twice_the_bits(bits):
    weights, one = matrix().requires_grad_(), IntegerFormat(bits, per_channel=True)
    twice, wide = TwiceFormat(one)(weights), IntegerFormat(2 * bits, per_channel=True)(weights)
    errors = [(found - weights).square().mean(1) for found in (twice, wide, one(weights))]
    assert (errors[0] < 2 * errors[1]).all() and (errors[0] < errors[2] / (1 << bits)).all()
    assert torch.allclose(twice, one(weights) + one(weights - one(weights)), rtol=1e-6)
    assert (torch.autograd.grad(twice.sum(), weights)[0] == 1).all() and (TwiceFormat(one)(torch.zeros(2, 3)) == 0).all()


@pytest.mark.parametrize("bits", [2, 4, 5])
def test_a_palette_has_as_many_numbers_and_is_better_than_a_grid(bits):
    weights = torch.randn(16, 100, generator=torch.Generator().manual_seed(1))
    found = PaletteFormat(bits)(weights)
    errors = [float((each - weights).square().mean()) for each in (found, IntegerFormat(bits)(weights))]
    assert len(found.unique()) <= 1 << bits and errors[0] < 0.8 * errors[1]
    few = weights.flatten()[: 1 << bits].repeat(3).reshape(1, -1)
    assert torch.equal(PaletteFormat(bits)(few), few), "of so many different numbers none is lost"


@pytest.mark.parametrize(
    "text",
    [
        "palette9",
        "int8-tensor-group32",
        "int8-group1",
        "two-int8-group32",
        "two-fp16",
        "two-int8",
        "int4",
        "int1-tensor",
        "int8-row",
        "int8-channel-largest",
        "fp8",
        "fp4-tensor",
        "int8-tensor-mse-affine",
        "int99-tensor",
    ],
)
def test_what_is_no_format_is_refused(text):
    with pytest.raises(BittingError, match="allowed"):
        parse_format(text)
