"""An ONNX file as a PyTorch module, for the operators `convert` knows. Needs the extra `onnx`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from bitting.conversion import no_place
from bitting.conversion.onnx_constants import Constants
from bitting.conversion.onnx_operators import Operators
from bitting.conversion.onnx_shapes import MOST_VALUES
from bitting.conversion.onnx_tail import Tail, answers_of
from bitting.errors import ConversionError, missing_extra

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

#: Samples of the batch that shapes are found with, where the file leaves their number open.
_BATCH = 5
#: Nodes of a graph once its functions are written out: networks of thousands of layers have fewer, and so many are read in a
#: quarter of a minute. Functions that call others twice double with each level.
MOST_NODES = 1 << 15


def from_onnx(path: Path | str, output: str | None = None) -> nn.Module:
    """Read a classifier or a regressor, as PyTorch's exporters and skl2onnx write it.

    Known: Conv (one and two dimensions), Gemm, MatMul with a constant, gains and offsets by constants, BatchNormalization,
    activation functions, pooling, ReduceMean, Pad with zeros, Resize by repetition, Add, Concat, Flatten, Reshape, Squeeze,
    Unsqueeze, Transpose, Dropout, Identity, and of scikit-learn LinearClassifier, LinearRegressor and Scaler. What follows from
    constants and shapes is computed. What only says an answer in another way (ArgMax, ZipMap, labels) is left out at the end;
    a softmax or sigmoid there is kept, and `convert` leaves it out.

    Args:
        path: of the file; weights beside it, in a file of their own, are found.
        output: name of the output that is wanted, of several that say different things.

    Returns:
        A module in evaluation mode that `bitting.convert` takes. Its answers are those of the file, to the rounding of float32.
        Its `conversion_notes` say what was left out; `convert` passes them on.

    Raises:
        ConversionError: if the file can not be read, or naming every operator that has no place.
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
        import onnx  # noqa: F401  # what follows needs it
    model = _loaded(path)
    graph = model.graph
    constants = Constants(model)
    inputs = [value for value in graph.input if value.name not in constants.known]
    if len(inputs) != 1 or not graph.output:
        raise ConversionError(f"{path} has {len(inputs)} inputs and {len(graph.output)} outputs; allowed is one input")
    try:
        tail = answers_of(graph, output)
    except ConversionError as error:
        strange = [f"{_name(node)} {no_place.refusal(node.op_type)}" for node in graph.node if no_place.is_named(node.op_type)]
        raise ConversionError(f"{path} {'has operators with no place: ' + '; '.join(strange) if strange else error}") from None
    return _built(path, graph, inputs[0], constants, tail)


def _loaded(path: Path | str) -> ModelProto:
    """The file, checked, without functions of its own. Raises ConversionError if it is none."""
    import onnx
    from onnx import inliner

    try:
        model = onnx.load(str(path))
        _require_nodes(path, model)
        onnx.checker.check_model(model)
        return inliner.inline_local_functions(model) if model.functions else model
    except ConversionError:
        raise
    except Exception as error:  # protobuf and onnx raise kinds of their own
        reason = str(error).strip().splitlines()
        raise ConversionError(f"{path} is no ONNX model ({reason[0] if reason else type(error).__name__})") from None


def _require_nodes(path: Path | str, model: ModelProto) -> None:
    """Count what writing out the functions would give. Raises ConversionError for too many nodes."""
    functions = {(function.domain, function.name): function for function in model.functions}
    counts: dict[tuple[str, str], int] = {}

    def nodes_in(nodes: Iterable[NodeProto]) -> int:
        return sum(nodes_of(node) for node in nodes)

    def nodes_of(node: NodeProto) -> int:
        inner = sum(nodes_in(graph.node) for item in node.attribute for graph in (item.g, *item.graphs))
        key = (node.domain, node.op_type)
        if key in functions and key not in counts:
            counts[key] = 1  # of one that calls itself, which the checker refuses
            counts[key] = nodes_in(functions[key].node)
        return inner + counts.get(key, 1)

    if (count := nodes_in(model.graph.node)) > MOST_NODES:
        raise ConversionError(
            f"{path} has {count} nodes once its functions are written out; allowed are {MOST_NODES}: export a smaller model"
        )


def _built(path: Path | str, graph: GraphProto, given: ValueInfoProto, constants: Constants, tail: Tail) -> nn.Module:
    operators = Operators(constants, given.name, _sample(path, given))
    problems: list[str] = []
    moving = {given.name}  # what changes with the input, and is no shape
    for node in _needed(graph, tail.value):
        if moving & set(node.input) and node.op_type not in ("Shape", "Size"):
            moving |= set(node.output)
        elif problems:
            continue  # computed from a shape that is not known any more
        name = _name(node)
        try:
            if constants.fold(node):
                continue
            operators.require(node)
            if not problems:  # after one, shapes are unknown
                operators.add(node)
        except ConversionError as error:
            problems.append(f"{name} {error}")
        except Exception as error:  # a file may say anything
            reason = str(error).strip().splitlines()
            problems.append(f"{name} can not be read ({reason[0] if reason else type(error).__name__})")
    if problems:
        raise ConversionError(f"{path} has operators with no place on the unit: {'; '.join(problems)}")
    if tail.value not in operators.values:
        raise ConversionError(f"{path} answers with {tail.value}, which does not depend on its input")
    module = operators.module(tail.value)
    module.conversion_notes = tail.notes  # type: ignore[assignment]
    return module


def _name(node: NodeProto) -> str:
    return f"{node.op_type} ({node.name or next(iter(node.output), 'without a name')})"


def _needed(graph: GraphProto, value: str) -> list[NodeProto]:
    """The nodes that a value follows from, in their order."""
    wanted, nodes = {value}, []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            nodes.append(node)
            wanted |= set(node.input)
    return nodes[::-1]


def _sample(path: Path | str, given: ValueInfoProto) -> torch.Tensor | None:
    """A batch as the file's input, without numbers; None if the file does not say how large a sample is.

    Raises:
        ConversionError: if it is larger than anything that could be asked.
    """
    dims = given.type.tensor_type.shape.dim
    sizes = [dim.dim_value for dim in dims]
    if not sizes or any(size < 1 for size in sizes[1:]):
        return None
    if max(sizes[0], math.prod(sizes[1:])) > MOST_VALUES:
        shape = ", ".join(str(size or "?") for size in sizes)
        raise ConversionError(
            f"{path} has an input of shape ({shape}); allowed are {MOST_VALUES} numbers a sample, and as many samples: export "
            "it for a smaller input"
        )
    return torch.zeros(sizes[0] if sizes[0] > 0 else _BATCH, *sizes[1:], device="meta")
