"""An ONNX file as a PyTorch module, for the operators `convert` knows. Needs the extra `onnx`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from bitting.errors import ConversionError, missing_extra

#: Operators that become the activation function of the same name, without parameters.
_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "Relu": nn.ReLU, "Tanh": nn.Tanh, "Sigmoid": nn.Sigmoid, "LeakyRelu": nn.LeakyReLU, "Elu": nn.ELU, "Gelu": nn.GELU,
    "HardSwish": nn.Hardswish, "Softplus": nn.Softplus, "Clip": nn.ReLU6,
}  # fmt: skip


def from_onnx(path: Path | str) -> nn.Module:
    """Read a classifier.

    Known: Conv, Gemm, MatMul with a constant (and the Add of its bias), BatchNormalization, activation functions, AveragePool,
    GlobalAveragePool, Add, Concat, Flatten, Reshape to (samples, everything), Dropout, Identity, Softmax at the end.

    Returns:
        A module in evaluation mode that `bitting.convert` takes.

    Raises:
        ConversionError: if the file can not be read, or naming every operator that is unknown.
        ExtraError: if the package onnx is not installed.

    Example:
        >>> import bitting, onnx, tempfile
        >>> from onnx import TensorProto, helper
        >>> x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["samples", size]) for n, size in (("x", 2), ("y", 1)))
        >>> weight = helper.make_tensor("w", TensorProto.FLOAT, [2, 1], [0.5, -0.25])
        >>> graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "example", [x], [y], [weight])
        >>> path = tempfile.mkdtemp() + "/example.onnx"
        >>> onnx.save(helper.make_model(graph), path)
        >>> bitting.from_onnx(path)(torch.ones(1, 2)).item()
        0.25
    """
    with missing_extra("reading ONNX"):
        import onnx
        from onnx import numpy_helper
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf and onnx raise kinds of their own
        reason = str(error).strip().splitlines()
        raise ConversionError(f"{path} is no ONNX model ({reason[0] if reason else type(error).__name__})") from None
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    inputs = [value.name for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise ConversionError(f"{path} has {len(inputs)} inputs and {len(model.graph.output)} outputs; allowed is one of each")
    builder = _Builder(constants)
    builder.values[inputs[0]] = builder.graph.placeholder("x")
    for node in model.graph.node:
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        builder.add(node.op_type, node.name or node.output[0], list(node.input), node.output[0], attributes)
    if builder.problems:
        raise ConversionError(f"{path} has operators with no place on the unit: {'; '.join(builder.problems)}")
    builder.graph.output(builder.values[model.graph.output[0].name])
    return fx.GraphModule(builder.modules, builder.graph).eval()


class _Builder:
    """A torch graph, operator by operator."""

    def __init__(self, constants: Mapping[str, np.ndarray]):
        self.constants = constants
        self.graph = fx.Graph()
        self.modules: nn.ModuleDict = nn.ModuleDict()
        self.values: dict[str, fx.Node] = {}
        self.problems: list[str] = []

    def add(self, kind: str, name: str, inputs: list[str], output: str, attributes: dict[str, Any]) -> None:
        if output in self.constants:
            return
        handler = getattr(self, f"_{kind.lower()}", None)
        try:
            if kind in _ACTIVATIONS:
                self._call(output, _ACTIVATIONS[kind](), inputs[:1])
            elif handler:
                handler(inputs, output, attributes)
            else:
                raise ConversionError("is not supported")
        except ConversionError as error:
            self.problems.append(f"{kind} ({name}) {error}")
            self.values.setdefault(output, self.values[next(iter(self.values))])

    def _call(self, output: str, module: nn.Module, inputs: list[str]) -> None:
        name = f"{type(module).__name__.lower()}{len(self.modules)}"
        self.modules[name] = module
        self.values[output] = self.graph.call_module(name, tuple(self._value(key) for key in inputs))

    def _value(self, name: str) -> fx.Node:
        if name not in self.values:
            raise ConversionError(f"reads {name}, a constant where an activation is expected")
        return self.values[name]

    def _constant(self, name: str) -> torch.Tensor:
        if name not in self.constants:
            raise ConversionError(f"has {name} computed in the graph; weights must be constants")
        return torch.from_numpy(np.array(self.constants[name]))

    def _conv(self, inputs: list[str], output: str, attributes: dict[str, Any]) -> None:
        weight = self._constant(inputs[1])
        if weight.ndim != 4 or attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
            raise ConversionError("is supported in two dimensions with explicit pads only")
        groups = int(attributes.get("group", 1))
        module = nn.Conv2d(
            weight.shape[1] * groups, weight.shape[0], _pair(weight.shape[2:]), _pair(attributes.get("strides", (1, 1))),
            _padding(attributes), _pair(attributes.get("dilations", (1, 1))), groups, bias=len(inputs) > 2,
        )  # fmt: skip
        module.weight.data.copy_(weight)
        if module.bias is not None:
            module.bias.data.copy_(self._constant(inputs[2]))
        self._call(output, module, inputs[:1])

    def _gemm(self, inputs: list[str], output: str, attributes: dict[str, Any]) -> None:
        weight = self._constant(inputs[1])
        if attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
            raise ConversionError("is supported without transA, alpha and beta only")
        self._linear(inputs[0], output, weight if attributes.get("transB", 0) else weight.t(), inputs[2:])

    def _matmul(self, inputs: list[str], output: str, attributes: dict[str, Any]) -> None:
        self._linear(inputs[0], output, self._constant(inputs[1]).t(), [])

    def _linear(self, source: str, output: str, weight: torch.Tensor, bias: list[str]) -> None:
        module = nn.Linear(weight.shape[1], weight.shape[0])
        module.weight.data.copy_(weight)
        module.bias.data.copy_(self._constant(bias[0]) if bias else torch.zeros(len(weight)))
        self._call(output, module, [source])

    def _add(self, inputs: list[str], output: str, attributes: dict[str, Any]) -> None:
        constant = next((name for name in inputs if name in self.constants), None)
        if constant is None:
            self.values[output] = self.graph.call_function(torch.add, tuple(self._value(name) for name in inputs))
            return
        source = self._value(next(name for name in inputs if name != constant))
        module = self.modules[str(source.target)] if source.op == "call_module" else None
        if not isinstance(module, nn.Linear) or source.users:
            raise ConversionError("of a constant is supported as the bias of a MatMul only")
        module.bias.data.add_(self._constant(constant))
        self.values[output] = source

    def _batchnormalization(self, inputs: list[str], output: str, attributes: dict[str, Any]) -> None:
        weight, bias, mean, variance = (self._constant(name) for name in inputs[1:5])
        module = nn.BatchNorm2d(len(weight), eps=float(attributes.get("epsilon", 1e-5)))
        for target, value in (
            (module.weight, weight), (module.bias, bias), (module.running_mean, mean), (module.running_var, variance)
        ):  # fmt: skip
            target.data.copy_(value)  # type: ignore[union-attr]
        self._call(output, module, inputs[:1])

    def _averagepool(self, inputs: list[str], output: str, attributes: dict[str, Any]) -> None:
        padding = _padding(attributes)
        if attributes.get("ceil_mode", 0) or (any(padding) and not attributes.get("count_include_pad", 0)):
            raise ConversionError("is supported without ceil_mode, and counting its padding, only")
        kernel = tuple(attributes["kernel_shape"])
        self._call(output, nn.AvgPool2d(kernel, tuple(attributes.get("strides", (1, 1))), padding), inputs)

    def _globalaveragepool(self, inputs: list[str], output: str, attributes: dict[str, Any]) -> None:
        self._call(output, nn.AdaptiveAvgPool2d(1), inputs)

    def _concat(self, inputs: list[str], output: str, attributes: dict[str, Any]) -> None:
        self.values[output] = self.graph.call_function(
            torch.cat, (tuple(self._value(name) for name in inputs), int(attributes["axis"]))
        )

    def _flatten(self, inputs: list[str], output: str, attributes: dict[str, Any]) -> None:
        if attributes.get("axis", 1) != 1:
            raise ConversionError("is supported from axis 1 on only")
        self._call(output, nn.Flatten(), inputs)

    def _reshape(self, inputs: list[str], output: str, attributes: dict[str, Any]) -> None:
        shape = self._constant(inputs[1]).tolist()
        if len(shape) != 2 or (shape[1] != -1 and shape[0] not in (-1, 0)):
            raise ConversionError(f"to {shape} is not supported; allowed is (samples, everything else)")
        self._call(output, nn.Flatten(), inputs[:1])

    def _softmax(self, inputs: list[str], output: str, attributes: dict[str, Any]) -> None:
        self._call(output, nn.Softmax(dim=int(attributes.get("axis", -1))), inputs)

    def _dropout(self, inputs: list[str], output: str, attributes: dict[str, Any]) -> None:
        self.values[output] = self._value(inputs[0])

    _identity = _dropout


def _pair(values: Sequence[int]) -> tuple[int, int]:
    rows, columns = values
    return int(rows), int(columns)


def _padding(attributes: dict[str, Any]) -> tuple[int, int]:
    """(rows, columns) of ONNX's begin and end pads."""
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right):
        raise ConversionError(f"has pads {[top, left, bottom, right]}; allowed are symmetric ones")
    return int(top), int(left)
