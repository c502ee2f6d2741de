"""A stolen network as an ONNX file: gathers, float32 products, the fold in plain operators. Knows no quantisation."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bitting.targets.stolen import Kind, Stolen, StolenLayer

INPUT, OUTPUT = "activations", "answers"
_OPSET = 17


def onnx_model(stolen: Stolen) -> onnx.ModelProto:
    """A model of (samples, input_words) float32 to (samples, outputs) float32.

    With float32 arithmetic it equals the emulator where `stolen.dtype` is float32. Products of trained weights are named
    `product_L_G` of layer L and group G; those of constants `constant_L_G`.
    """
    return _Writer(stolen).model()


class _Writer:
    """Writes layer by layer. What is in the scratch memory is one tensor that grows; `column` says where each word is in it."""

    def __init__(self, stolen: Stolen):
        self._stolen = stolen
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._column = np.zeros(stolen.reach, np.int64)
        self._column[stolen.entries.numpy()] = 1 + np.arange(stolen.input_words)
        self._width = 1 + stolen.input_words + len(stolen.edges)
        zero = self._op("Mul", [self._op("Gather", [INPUT, self._constant(np.zeros(1, np.int64))], axis=1), self._float(0)])
        beyond = []
        for number, (word, activation) in enumerate(stolen.edges):
            self._column[word] = 1 + stolen.input_words + number
            beyond.append(self._op("Add", [zero, self._float(activation)]))
        self._memory = self._op("Concat", [zero, INPUT, *beyond], axis=1)  # words that nobody has written are 0

    def model(self) -> onnx.ModelProto:
        answers = []
        for number, layer in enumerate(self._stolen.layers):
            sums = self._sums(number, layer)
            if layer.emits:
                answers.append(self._wrapped(self._flat(sums), 4 * layer.quarter))
            else:
                self._write(layer, self._flat(self._activations(layer, sums)))
        self._nodes.append(helper.make_node("Concat", answers, [OUTPUT], axis=1))
        outputs = sum(len(layer.weights) for layer in self._stolen.layers if layer.emits)
        graph = helper.make_graph(
            self._nodes, "stolen",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["samples", self._stolen.input_words])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["samples", outputs])],
            self._constants,
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
        onnx.checker.check_model(model)
        return model

    def _sums(self, number: int, layer: StolenLayer) -> str:
        """(samples, channels, positions)."""
        products = []
        for index, group in enumerate(layer.groups):
            columns = self._column[group.addresses.numpy()]
            read = self._op("Gather", [self._memory, self._constant(columns)], axis=1)
            weights = self._constant(layer.weights[group.channels].t().numpy().astype(np.float32))
            name = f"{'product' if layer.kind is Kind.PRODUCT else 'constant'}_{number}_{index}"
            products.append(self._op("MatMul", [read, weights], name))
        together = products[0]
        if len(products) > 1:
            order = np.argsort(np.concatenate([group.channels.numpy() for group in layer.groups]))
            together = self._op("Gather", [self._op("Concat", products, axis=2), self._constant(order)], axis=2)
        biased = self._op("Add", [together, self._constant(layer.bias.numpy().astype(np.float32))])
        return self._op("Transpose", [biased], perm=[0, 2, 1])

    def _activations(self, layer: StolenLayer, sums: str) -> str:
        steps = self._op("Floor", [self._op("Mul", [sums, self._float(layer.slope)])])
        if layer.kind is Kind.LINEAR:
            return steps
        bits = self._stolen.spec.act_bits
        half = float(1 << (bits - 1))
        # To -half..3 half, then the falling half of the wave is turned over.
        shifted = self._op("Sub", [steps, self._float(half)])
        turned = self._op("Add", [self._wrapped(shifted, 4 * half), self._float(half)])
        return self._op("Min", [turned, self._op("Sub", [self._float(2 * half - 1), turned])])

    def _wrapped(self, values: str, period: float) -> str:
        """Modulo a period, to -period/2..period/2."""
        scaled = self._op("Add", [self._op("Mul", [values, self._float(1 / period)]), self._float(0.5)])
        return self._op("Sub", [values, self._op("Mul", [self._op("Floor", [scaled]), self._float(period)])])

    def _flat(self, values: str) -> str:
        return self._op("Flatten", [values], axis=1)

    def _write(self, layer: StolenLayer, values: str) -> None:
        words = layer.written.numpy()
        self._column[words] = self._width + np.arange(len(words))
        self._width += len(words)
        self._memory = self._op("Concat", [self._memory, values], axis=1)

    def _op(self, kind: str, inputs: list[str], name: str = "", **attributes: Any) -> str:
        name = name or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [f"{name}_out"], name=name, **attributes))
        return f"{name}_out"

    def _constant(self, array: np.ndarray) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def _float(self, value: float) -> str:
        return self._constant(np.array(value, np.float32))
