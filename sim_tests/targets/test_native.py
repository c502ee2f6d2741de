"""Runtimes in use compute what they are given, and our own quantisers agree with them."""

import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from bitting.emulator.emulate import Emulator
from bitting.errors import BittingError, ExtraError
from bitting.targets import native
from bitting.targets.families import every_target
from bitting.targets.formats import FloatFormat, IntegerFormat
from bitting.targets.stolen import Kind, Stolen
from bitting.unit.spec import PRESETS
from tb.programs import random_activations, table_program
from tb.stolen import network_program

BASE = PRESETS["base"]


def program_and_inputs(seed: int, samples: int = 32):
    rng = np.random.default_rng(seed)
    program = table_program(BASE, rng)
    return program, torch.from_numpy(random_activations(BASE, rng, samples, program.input_words))


@pytest.mark.parametrize("seed", range(6))
def test_the_onnx_file_equals_the_emulator_before_it_is_quantised(seed):
    program, x = program_and_inputs(seed)
    exact = Emulator(program, range(BASE.codes))(x)
    assert torch.equal(native.float_onnx(Stolen.of(program))(x).long(), exact.long())


@pytest.mark.parametrize("activation", ["fold", "relu"])
def test_the_onnx_file_of_convolutions_maxima_and_residuals_equals_the_emulator(activation):
    for seed in range(4):
        program, x = network_program(seed, activation)
        exact = Emulator(program, range(program.spec.codes))(x)
        assert torch.equal(native.float_onnx(Stolen.of(program))(x).long(), exact.long())


@pytest.mark.parametrize("per_channel", [False, True])
def test_onnxruntime_quantises_weights_as_we_do(per_channel):
    """Every code of every product, and its scale to the last bit but one."""
    program, x = program_and_inputs(1)
    stolen = Stolen.of(program)
    model = onnx.load_from_string(native.quantised_onnx(stolen, x, per_channel))
    arrays = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    codes = [name for name, array in arrays.items() if array.dtype == np.int8 and array.ndim == 2]
    products = [layer for layer in stolen.layers if layer.kind is Kind.PRODUCT]
    expected = []
    for layer in products:
        for group in layer.groups:
            weights = layer.weights[group.channels]
            expected.append((weights, IntegerFormat(8, per_channel=per_channel).grid(weights)))
    assert len(codes) == len(expected) > 0
    for name, (weights, grid) in zip(codes, expected, strict=True):
        assert np.array_equal(arrays[name], grid.codes(weights).t().numpy())
        scale = arrays[name.replace("_quantized", "_scale")]
        assert scale.reshape(-1) == pytest.approx(grid.scale.flatten().numpy(), rel=2e-7)


def test_onnxruntime_answers_as_our_own_arithmetic_of_the_same_formats():
    """Calibrated on what is asked: the same codes and ranges, so the same answers but for rounding in float32."""
    by_name = {target.name: target for target in every_target(BASE.acc_bits)}
    program, x = program_and_inputs(1, 300)
    stolen = Stolen.of(program)
    exact = stolen(x)
    theirs, ours = (by_name[name].run(stolen, x)(x) for name in ("ort-int8-channel", "int8-channel"))
    assert (theirs != exact).any()
    alike = ((theirs - ours).abs() <= 1).float().mean()
    assert alike > 0.9


@pytest.mark.parametrize(
    ("method", "quantiser"),
    [("fp8-weights", FloatFormat("fp8-e4m3", "max", True)), ("int8-weights", None), ("int4-weights", None)],
)
def test_torchao_s_weights_are_numbers_of_the_format(method, quantiser):
    """Of fp8 our own to the last bit but one; its integers divide by half a code more than ours: at most a step apart."""
    stolen = Stolen.of(program_and_inputs(2)[0])
    made = native.torchao_arithmetic(method, stolen)
    seen = 0
    for layer, how in zip(stolen.layers, made, strict=True):
        if layer.kind is not Kind.PRODUCT:
            continue
        for number, group in enumerate(layer.groups):
            weights = layer.weights[group.channels].float()
            assert how.product
            found = how.product(number, torch.eye(weights.shape[1])).t()  # what it multiplies with
            if quantiser:
                assert torch.allclose(found, quantiser(weights), rtol=1e-5, atol=1e-6)
            else:
                bits = int(method[3])
                step = weights.abs().amax(1, True) / ((1 << (bits - 1)) - 0.5)
                codes = found / step
                assert (codes - codes.round()).abs().max() < 1e-3 and len(codes.round().unique()) <= 1 << bits
                assert ((found - weights).abs() <= step * 0.51).all()
            seen += 1
    assert seen >= 2


def test_every_runtime_s_target_answers_near_the_unit_but_not_as_it():
    program, x = program_and_inputs(3, 64)
    stolen = Stolen.of(program)
    exact = stolen(x)
    for engine, methods in native.METHODS.items():
        for method in methods:
            answers = native.run(engine, method, stolen, x)(x)
            assert answers.shape == exact.shape
            close = (answers - exact).abs().median()
            assert (answers - exact).abs().max() > 0 and close < 0.25 * exact.float().std(), method
    assert {(target.engine, target.method) for target in every_target(16) if target.method} == {
        (engine, method) for engine, methods in native.METHODS.items() for method in methods
    }


def test_a_single_input_a_row_is_no_trouble_for_torchao():
    met = 0
    for seed in range(40):
        program, x = program_and_inputs(seed)
        stolen = Stolen.of(program)
        if any(layer.kind is Kind.PRODUCT and layer.weights.shape[1] == 1 for layer in stolen.layers):
            met += 1
            assert native.run("torchao", "int8-dynamic", stolen, x)(x).isfinite().all()
    assert met


def test_what_a_runtime_can_not_do_is_refused():
    with pytest.raises(BittingError, match="torchao has no method 'int3'; allowed: "):
        native.run("torchao", "int3", Stolen.of(program_and_inputs(0)[0]), torch.zeros(1, 1))


@pytest.mark.parametrize("package", ["onnxruntime", "torchao"])
def test_a_runtime_that_is_not_installed_is_named_with_its_extra(package, monkeypatch):
    for name in (package, f"{package}.quantization"):
        monkeypatch.setitem(sys.modules, name, None)
    program, x = program_and_inputs(0)
    with pytest.raises(ExtraError, match=rf"package {package}, .*pip install 'bitting\[targets\]'"):
        native.run(package, native.METHODS[package][0], Stolen.of(program), x)
