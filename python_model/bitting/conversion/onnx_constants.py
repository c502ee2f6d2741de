"""What an ONNX graph computes from constants alone: evaluated by onnx's own reference, if it ends and fits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from bitting.errors import ConversionError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

#: Operators whose answer is another one each time.
_RANDOM = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial")
#: Operators whose answer has a size that its inputs' shapes do not say, and is no larger than they times their rank.
_NO_LARGER = ("NonZero", "Compress", "Unique")
#: Numbers of all that is computed from constants: 256 MiB of float32. The weights of the largest program are 2^24 codes or so,
#: and a node of a few bytes may ask for any size.
MOST_FOLDED = 1 << 26
#: Constants with no more numbers than this may be shapes, axes or sizes: how large an answer is follows from them.
_SHAPES = 1 << 10


class Constants:
    """Values of a graph that are known.

    Attributes:
        known: name -> array.
    """

    def __init__(self, model: ModelProto):
        from onnx import numpy_helper

        self._folded = 0
        self._opsets = list(model.opset_import)
        self._ir_version = model.ir_version
        self.known: dict[str, np.ndarray] = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}

    def fold(self, node: NodeProto) -> bool:
        """Compute a node that reads constants only. False if it reads others, or can not be computed.

        Raises:
            ConversionError: if its answer is too large.
        """
        from onnx import AttributeProto
        from onnx.reference import ReferenceEvaluator

        names = [name for name in node.input if name]
        if not all(name in self.known for name in names) or node.op_type in _RANDOM:
            return False
        if any(item.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for item in node.attribute):
            return False  # a Loop of constants need not end
        values = {name: np.asarray(self.known[name]) for name in names}
        outputs = [name for name in node.output if name]
        try:
            size = self._size(node, values, outputs)
        except Exception:  # the node's own handler says what is wrong with it
            return False
        if size is None:
            return False
        if self._folded + size > MOST_FOLDED:
            raise ConversionError(
                f"gives {size} numbers, computed from constants, after {self._folded} others; allowed are {MOST_FOLDED} in "
                "all: make it smaller"
            )
        try:
            answers = list(ReferenceEvaluator(self._alone(node, values, outputs)).run(outputs, values))
        except Exception:
            return False
        self._folded += size
        self.known.update(zip(outputs, answers, strict=True))
        return True

    def _alone(
        self, node: NodeProto, values: dict[str, np.ndarray], outputs: list[str], given: list[TensorProto] | None = None
    ) -> ModelProto:
        """A model of one node; `given`: the values that are part of it."""
        from onnx import TensorProto, helper

        inside = {tensor.name for tensor in given or []}
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in values.items()
            if name not in inside
        ]
        wanted = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in outputs]
        graph = helper.make_graph([node], "constant", inputs, wanted, given)
        return helper.make_model(graph, opset_imports=self._opsets, ir_version=self._ir_version)

    def _size(self, node: NodeProto, values: dict[str, np.ndarray], outputs: list[str]) -> int | None:
        """Numbers of a node's answers, before they are computed; None if they can not be told."""
        from onnx import numpy_helper, shape_inference

        if node.op_type in _NO_LARGER:
            return sum(value.size * max(1, value.ndim) for value in values.values())
        given = [numpy_helper.from_array(value, name) for name, value in values.items() if value.size <= _SHAPES]
        model = shape_inference.infer_shapes(self._alone(node, values, outputs, given), data_prop=True)
        total = 0
        for answer in model.graph.output:
            found = answer.type.tensor_type
            if not found.HasField("shape") or not all(dim.HasField("dim_value") for dim in found.shape.dim):
                return None
            total += math.prod(dim.dim_value for dim in found.shape.dim)
        return total

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
