"""What an ONNX graph computes from constants alone: evaluated by onnx's own reference, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from bitting.errors import ConversionError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

#: Operators whose answer is another one each time.
_RANDOM = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial")


class Constants:
    """Values of a graph that are known.

    Attributes:
        known: name -> array.
    """

    def __init__(self, model: ModelProto):
        from onnx import numpy_helper

        self._opsets = list(model.opset_import)
        self._ir_version = model.ir_version
        self.known: dict[str, np.ndarray] = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}

    def fold(self, node: NodeProto) -> bool:
        """Compute a node that reads constants only. False if it reads others, or can not be computed."""
        from onnx import TensorProto, helper
        from onnx.reference import ReferenceEvaluator

        names = [name for name in node.input if name]
        if not all(name in self.known for name in names) or node.op_type in _RANDOM:
            return False
        values = {name: np.asarray(self.known[name]) for name in names}
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in values.items()
        ]
        outputs = [name for name in node.output if name]
        wanted = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in outputs]
        graph = helper.make_graph([node], "constant", inputs, wanted)
        model = helper.make_model(graph, opset_imports=self._opsets, ir_version=self._ir_version)
        try:
            answers = list(ReferenceEvaluator(model).run(outputs, values))
        except Exception:  # the node's own handler says what is wrong with it
            return False
        self.known.update(zip(outputs, answers, strict=True))
        return True

    def numbers(self, name: str) -> list[int]:
        """A constant of integers, e.g. axes or a shape. Raises ConversionError if it is none."""
        return [int(value) for value in self._array(name).reshape(-1)]

    def tensor(self, name: str) -> torch.Tensor:
        """A constant as float32. Raises ConversionError if it is none."""
        return torch.from_numpy(np.array(self._array(name), np.float32))

    def _array(self, name: str) -> np.ndarray:
        if name not in self.known:
            raise ConversionError(f"has {name} computed from the input; it must be a constant")
        return np.asarray(self.known[name])
