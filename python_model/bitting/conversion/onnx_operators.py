"""Operators of ONNX as nodes of a torch graph: layers with weights, sums, activation functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx, nn

from bitting.conversion import no_place
from bitting.conversion.onnx_shapes import ShapeOperators
from bitting.errors import ConversionError

if TYPE_CHECKING:
    from onnx import NodeProto

#: Operators that become the activation function of the same name, without parameters.
_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "Relu": nn.ReLU, "Tanh": nn.Tanh, "Sigmoid": nn.Sigmoid, "HardSwish": nn.Hardswish, "Softplus": nn.Softplus,
    "Softsign": nn.Softsign, "Mish": nn.Mish,
}  # fmt: skip
_SCORES: dict[str, Callable[[], nn.Module]] = {"SOFTMAX": lambda: nn.Softmax(dim=1), "LOGISTIC": nn.Sigmoid}


class Operators(ShapeOperators):
    """Handlers, `_on_` and the operator's name in small letters, are called with the node of the file."""

    def require(self, node: NodeProto) -> None:
        """Raises ConversionError for an operator that nobody handles."""
        if node.op_type not in _ACTIVATIONS and not hasattr(self, f"_on_{node.op_type.lower()}"):
            raise ConversionError(no_place.refusal(node.op_type))

    def add(self, node: NodeProto) -> None:
        """Append a node. Raises ConversionError if it has no place."""
        self.made_by.update(dict.fromkeys(node.output, node))
        if node.op_type in _ACTIVATIONS:
            self._emit(node.output[0], _ACTIVATIONS[node.op_type](), node.input[:1])
        else:
            getattr(self, f"_on_{node.op_type.lower()}")(node)

    # -- products

    def _on_conv(self, node: NodeProto) -> None:
        weight, settings = self.constants.tensor(node.input[1]), self._settings(node)
        rank = weight.ndim - 2
        if rank not in (1, 2):
            raise ConversionError(f"has a window of {rank} dimensions; allowed are one and two")
        groups = int(settings.get("group", 1))
        source, padding = self._padded(node, rank, settings, weight.shape[2:])
        kind: Any = (nn.Conv1d, nn.Conv2d)[rank - 1]
        module = kind(
            weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]), _sizes(settings, "strides", rank), padding,
            _sizes(settings, "dilations", rank), groups, bias=len(node.input) > 2 and bool(node.input[2]),
        )  # fmt: skip
        module.weight.data.copy_(weight)
        if module.bias is not None:
            module.bias.data.copy_(self.constants.tensor(node.input[2]).reshape(-1))
        self._emit(node.output[0], module, [source])

    def _on_gemm(self, node: NodeProto) -> None:
        settings = self._settings(node)
        if settings.get("transA", 0):
            raise ConversionError("is supported without transA only")
        weight = self.constants.tensor(node.input[1]) * settings.get("alpha", 1.0)
        weight = weight if settings.get("transB", 0) else weight.t()
        bias = None
        if len(node.input) > 2 and node.input[2]:
            bias = self.constants.tensor(node.input[2]) * settings.get("beta", 1.0)
        self._dense(node.output[0], node.input[0], weight, bias)

    def _on_matmul(self, node: NodeProto) -> None:
        if node.input[1] not in self.constants.known:
            raise ConversionError(no_place.refusal("matmul"))
        weight = self.constants.tensor(node.input[1])
        if weight.ndim != 2:
            raise ConversionError(f"has weights of shape {tuple(weight.shape)}; allowed are two dimensions")
        self._dense(node.output[0], node.input[0], weight.t(), None)

    def _dense(self, output: str, source: str, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        """`weight`: (outputs, inputs); `bias`: what can be spread over (samples, outputs), the same for all samples."""
        module = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        module.weight.data.copy_(weight)
        if bias is not None:
            if bias.numel() not in (1, len(weight)):
                raise ConversionError(f"has a bias of shape {tuple(bias.shape)}; allowed is one number for each output")
            module.bias.data.copy_(bias.reshape(-1).expand(len(weight)))
        self._emit(output, module, [source])

    def _on_linearregressor(self, node: NodeProto) -> None:
        settings = self._settings(node)
        if settings.get("post_transform", b"NONE") != b"NONE":
            raise ConversionError("is supported without post_transform only")
        self._linear_model(node.output[0], node, settings, int(settings.get("targets", 1)))

    def _on_linearclassifier(self, node: NodeProto) -> None:
        settings = self._settings(node)
        transform = settings.get("post_transform", b"NONE").decode()
        labels = settings.get("classlabels_ints") or settings.get("classlabels_strings") or settings.get("intercepts", ())
        if transform != "NONE" and transform not in _SCORES:
            raise ConversionError(f"has post_transform {transform}; allowed are NONE, {', '.join(_SCORES)}")
        scores = node.output[1]
        sums = scores if transform == "NONE" else f"{scores} before {transform}"
        self._linear_model(sums, node, settings, len(labels))
        if transform != "NONE":
            self._emit(scores, _SCORES[transform](), [sums])

    def _linear_model(self, output: str, node: NodeProto, settings: dict[str, Any], rows: int) -> None:
        """scikit-learn's coefficients, output by output."""
        coefficients = torch.tensor(settings["coefficients"], dtype=torch.float32)
        if len(coefficients) % rows:
            raise ConversionError(f"has {len(coefficients)} coefficients for {rows} outputs; allowed are as many for each")
        intercepts = settings.get("intercepts")
        bias = torch.tensor(intercepts, dtype=torch.float32) if intercepts else None
        self._dense(output, node.input[0], coefficients.reshape(rows, -1), bias)

    def _on_batchnormalization(self, node: NodeProto) -> None:
        weight, bias, mean, variance = (self.constants.tensor(name) for name in node.input[1:5])
        rank = len(self._shape(node.input[0], default=(0, 0, 0, 0)))
        kind: Any = nn.BatchNorm1d if rank < 4 else nn.BatchNorm2d
        module = kind(len(weight), eps=float(self._settings(node).get("epsilon", 1e-5)))
        for target, value in (
            (module.weight, weight), (module.bias, bias), (module.running_mean, mean), (module.running_var, variance)
        ):  # fmt: skip
            target.data.copy_(value)
        self._emit(node.output[0], module, node.input[:1])

    # -- sums, gains and offsets

    def _on_add(self, node: NodeProto) -> None:
        self._call(node.output[0], torch.add, *node.input)

    def _on_sum(self, node: NodeProto) -> None:
        if len(node.input) != 2:
            raise ConversionError(f"of {len(node.input)} tensors; allowed are two")
        self._on_add(node)

    def _on_sub(self, node: NodeProto) -> None:
        self._with_constant(node, torch.sub)

    def _on_div(self, node: NodeProto) -> None:
        self._with_constant(node, torch.div)

    def _on_mul(self, node: NodeProto) -> None:
        gates = {name: self.made_by.get(name) for name in node.input}
        for gate, factor in (node.input, node.input[::-1]):
            maker = gates[gate]  # x sigmoid(x), as exporters write SiLU; and its piecewise linear likeness
            if maker is not None and maker.input[0] == factor and maker.op_type in ("Sigmoid", "HardSigmoid"):
                if maker.op_type == "Sigmoid":
                    self._emit(node.output[0], nn.SiLU(), [factor])
                    return
                if np.isclose(self._settings(maker).get("alpha", 0.2), 1 / 6):
                    self._emit(node.output[0], nn.Hardswish(), [factor])
                    return
        self._with_constant(node, torch.mul)

    def _with_constant(self, node: NodeProto, function: Callable[..., Any]) -> None:
        if not any(name in self.constants.known for name in node.input):
            raise ConversionError("of two activations is not supported: " + no_place.reason("mul"))
        self._call(node.output[0], function, *node.input)

    def _on_neg(self, node: NodeProto) -> None:
        self._call(node.output[0], torch.neg, node.input[0])

    def _on_scaler(self, node: NodeProto) -> None:
        settings = self._settings(node)
        offset, scale = f"{node.output[0]} offset", f"{node.output[0]} scale"
        self.constants.known[offset] = np.array(settings.get("offset", (0.0,)), np.float32)[None]
        self.constants.known[scale] = np.array(settings.get("scale", (1.0,)), np.float32)[None]
        between = f"{node.output[0]} centred"
        self._call(between, torch.sub, node.input[0], offset)
        self._call(node.output[0], torch.mul, between, scale)

    # -- activation functions with parameters

    def _on_leakyrelu(self, node: NodeProto) -> None:
        self._emit(node.output[0], nn.LeakyReLU(float(self._settings(node).get("alpha", 0.01))), node.input)

    def _on_elu(self, node: NodeProto) -> None:
        self._emit(node.output[0], nn.ELU(float(self._settings(node).get("alpha", 1.0))), node.input)

    def _on_celu(self, node: NodeProto) -> None:
        self._emit(node.output[0], nn.CELU(float(self._settings(node).get("alpha", 1.0))), node.input)

    def _on_selu(self, node: NodeProto) -> None:
        if not {"alpha", "gamma"}.isdisjoint(self._settings(node)):
            raise ConversionError("is supported with its usual alpha and gamma only")
        self._emit(node.output[0], nn.SELU(), node.input)

    def _on_gelu(self, node: NodeProto) -> None:
        self._emit(node.output[0], nn.GELU(self._settings(node).get("approximate", b"none").decode()), node.input)

    def _on_swish(self, node: NodeProto) -> None:
        if self._settings(node).get("alpha", 1.0) != 1.0:
            raise ConversionError("is supported with an alpha of 1 only")
        self._emit(node.output[0], nn.SiLU(), node.input)

    def _on_prelu(self, node: NodeProto) -> None:
        slope = self.constants.tensor(node.input[1]).reshape(-1)
        module = nn.PReLU(len(slope))
        module.weight.data.copy_(slope)
        self._emit(node.output[0], module, node.input[:1])

    def _on_hardsigmoid(self, node: NodeProto) -> None:
        settings = self._settings(node)
        alpha, beta = float(settings.get("alpha", 0.2)), float(settings.get("beta", 0.5))
        if not np.isclose(alpha, 1 / 6) or beta != 0.5:
            raise ConversionError(f"has alpha {alpha:g} and beta {beta:g}; allowed are PyTorch's, 1/6 and 1/2")
        self._emit(node.output[0], nn.Hardsigmoid(), node.input)

    def _on_clip(self, node: NodeProto) -> None:
        settings, names = self._settings(node), [*node.input[1:], "", ""]
        low, high = (
            float(self.constants.tensor(name)) if name else settings.get(old)  # attributes before opset 11
            for name, old in zip(names, ("min", "max"), strict=False)
        )
        if low is None and high is None:
            self._on_identity(node)
        elif low == 0 and high in (None, 6.0):
            self._emit(node.output[0], nn.ReLU() if high is None else nn.ReLU6(), node.input[:1])
        else:
            limits = (-torch.inf if low is None else low, torch.inf if high is None else high)
            self._emit(node.output[0], nn.Hardtanh(*limits), node.input[:1])

    def _on_softmax(self, node: NodeProto) -> None:
        self._emit(node.output[0], nn.Softmax(dim=self._axis_of_scores(node)), node.input)

    def _on_logsoftmax(self, node: NodeProto) -> None:
        self._emit(node.output[0], nn.LogSoftmax(dim=self._axis_of_scores(node)), node.input)

    def _axis_of_scores(self, node: NodeProto) -> int:
        rank = len(self._shape(node.input[0], default=(0, 0)))
        axis = int(self._settings(node).get("axis", -1)) % rank
        if axis != 1:
            raise ConversionError(f"along axis {axis}; allowed is 1, the classes")
        return axis

    def module(self, answer: str) -> nn.Module:
        """What was added, as a module that gives `answer`."""
        self.graph.output(self._value(answer))
        return fx.GraphModule(self.root, self.graph).eval()


def _sizes(settings: dict[str, Any], name: str, rank: int) -> tuple[int, ...]:
    values: Sequence[int] = settings.get(name, (1,) * rank)
    return tuple(int(value) for value in values)
