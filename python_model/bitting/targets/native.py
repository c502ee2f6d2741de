"""Targets that somebody else computes: onnxruntime's static quantisation and torchao's.

Both quantise products of trained weights and nothing else, and leave sums wide: that is the most that a thief can get from
them. What they can not express (a fold, a maximum) stays in float32.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bitting.errors import BittingError, missing_extra
from bitting.targets import waves
from bitting.targets.stolen import Kind, LayerArithmetic, Stolen, StolenLayer

#: What each runtime can be asked for.
METHODS = {
    "onnxruntime": ("int8-tensor", "int8-channel"),
    "torchao": ("int8-weights", "int8-dynamic", "int4-weights", "fp8-weights"),
}
#: Samples that a session answers at once, and that are calibrated on at once.
_BATCH = 256


def require(engine: str) -> None:
    """Raises ExtraError unless a runtime, one of `METHODS`, is installed: better before other targets than after them."""
    with missing_extra(f"a target on {engine}", "targets"):
        for package in ("onnx", "onnxruntime") if engine == "onnxruntime" else (engine,):
            importlib.import_module(package)


def run(engine: str, method: str, stolen: Stolen, calibration: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """A stolen network on a runtime.

    Args:
        engine: one of `METHODS`.
        method: one of the engine's.
        stolen: the network.
        calibration: (samples, input_words) activations without labels.

    Returns:
        Answers (samples, outputs) of activations (samples, input_words).

    Raises:
        BittingError: if there is no such method.
        ExtraError: if the runtime is not installed.
    """
    if method not in METHODS.get(engine, ()):
        raise BittingError(f"{engine} has no method {method!r}; allowed: {METHODS}")
    with missing_extra(f"a target on {engine}", "targets"):
        if engine == "onnxruntime":
            return _session(quantised_onnx(stolen, calibration, method == "int8-channel"))
        return _torchao(method, stolen)


def float_onnx(stolen: Stolen) -> Callable[[torch.Tensor], torch.Tensor]:
    """The network on onnxruntime in float32: the control, equal to the emulator where float32 is exact. As `run`."""
    from bitting.targets.onnx_graph import onnx_model

    with missing_extra("a target on onnxruntime", "targets"):
        return _session(onnx_model(stolen).SerializeToString())


def quantised_onnx(stolen: Stolen, calibration: torch.Tensor, per_channel: bool) -> bytes:
    """The ONNX file that onnxruntime's `quantize_static` makes: QDQ, int8 weights (symmetric), uint8 activations, min and max.

    Args:
        stolen: the network.
        calibration: (samples, input_words) activations.
        per_channel: weights have a scale for each output.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    from bitting.targets.onnx_graph import INPUT, onnx_model

    class Reader(CalibrationDataReader):
        """The calibration inputs, in batches."""

        def __init__(self) -> None:
            self._parts = iter(calibration.split(_BATCH))

        def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
            part = next(self._parts, None)
            return None if part is None else {INPUT: part.float().numpy()}

    model = onnx_model(stolen)
    products = [node.name for node in model.graph.node if node.name.startswith("product_")]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        plain, made = Path(folder) / "plain.onnx", Path(folder) / "quantised.onnx"
        plain.write_bytes(model.SerializeToString())
        quantize_static(
            plain, made, Reader(), quant_format=QuantFormat.QDQ, per_channel=per_channel, nodes_to_quantize=products,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"],
            # Sums stay wide: quantised to eight bits before the wave they would be worth nothing to a thief.
            extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
        )  # fmt: skip
        return made.read_bytes()


def _session(model: bytes) -> Callable[[torch.Tensor], torch.Tensor]:
    import onnxruntime

    from bitting.targets.onnx_graph import INPUT, OUTPUT

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def answers(x: torch.Tensor) -> torch.Tensor:
        return torch.cat(
            [torch.from_numpy(session.run([OUTPUT], {INPUT: part.float().numpy()})[0]) for part in x.split(_BATCH)]
        )

    return answers


def torchao_arithmetic(method: str, stolen: Stolen) -> list[LayerArithmetic]:
    """Every group of a product as an `nn.Linear` that torchao has quantised; `method`: one of `METHODS["torchao"]`."""
    wave = waves.fold(stolen.spec)
    with _quiet():
        config = _torchao_config(method)
        return [
            LayerArithmetic(
                layer.weights, layer.bias, wave, product=_product(layer, config) if layer.kind is Kind.PRODUCT else None
            )
            for layer in stolen.layers
        ]


def _torchao(method: str, stolen: Stolen) -> Callable[[torch.Tensor], torch.Tensor]:
    arithmetic = torchao_arithmetic(method, stolen)

    def answers(x: torch.Tensor) -> torch.Tensor:
        with _quiet():
            return stolen(x, arithmetic)

    return answers


def _torchao_config(method: str) -> Any:
    from torchao import quantization

    match method:
        case "int8-weights":
            return quantization.Int8WeightOnlyConfig()
        case "int8-dynamic":
            return quantization.Int8DynamicActivationInt8WeightConfig()
        case "fp8-weights":
            return quantization.Float8WeightOnlyConfig()
    from torchao.quantization import IntxWeightOnlyConfig
    from torchao.quantization.granularity import PerAxis

    return IntxWeightOnlyConfig(
        weight_dtype=torch.int4,  # type: ignore[attr-defined]
        granularity=PerAxis(0),
    )


def _product(layer: StolenLayer, config: Any) -> Callable[[int, torch.Tensor], torch.Tensor]:
    from torchao.quantization import quantize_

    linears = []
    for group in layer.groups:
        weights = _two_columns(layer.weights[group.channels].float())
        linear = nn.Linear(weights.shape[1], weights.shape[0], bias=False)
        linear.weight = nn.Parameter(weights, requires_grad=False)
        quantize_(linear, config)
        linears.append(linear)

    def product(number: int, x: torch.Tensor) -> torch.Tensor:
        # As rows of a matrix: with more dimensions it guesses which of them has the scales, and is wrong where sizes coincide.
        rows = _two_columns(x.float().reshape(-1, x.shape[-1])).contiguous()
        return linears[number](rows).reshape(*x.shape[:-1], -1).to(x.dtype)

    return product


def _two_columns(matrix: torch.Tensor) -> torch.Tensor:
    """One column gets another of zeros, which adds nothing: with one, torchao 0.18 takes rows for the tensor and fails."""
    return matrix if matrix.shape[1] > 1 else nn.functional.pad(matrix, (0, 1))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the runtimes' advice (optional kernels of other machines, preprocessing that changes nothing here)."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
