"""ONNX files that ask for more time or memory than there is: refused in one line, before it is spent."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import bitting
from bitting.conversion import onnx_constants, onnx_import
from bitting.errors import ConversionError

#: Of a child that reads a file: many times what an honest one takes.
SECONDS, MEMORY = 20, 12 << 30
WEIGHT = np.ones((4, 2), np.float32)
PRODUCT = helper.make_node("MatMul", ["x", "w"], ["y"])


def saved(path, nodes, constants, shape=("n", 4), functions=()):
    """A file of one input and one output; `constants`: name -> array or tensor."""
    tensors = [
        array if isinstance(array, TensorProto) else numpy_helper.from_array(np.asarray(array), name)
        for name, array in constants.items()
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    wanted = helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", "m"))
    graph = helper.make_graph(nodes, "made", [given], [wanted], tensors)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=list(functions))
    path.write_bytes(model.SerializeToString())
    return path


#: Reads files, named on its standard input, in so many seconds and so many bytes, and says what they are refused with.
READER = f"""
import resource, signal, sys
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))
import bitting
for line in sys.stdin:
    signal.alarm({SECONDS})
    try:
        bitting.from_onnx(line.strip())
        print("read", flush=True)
    except bitting.errors.ConversionError as error:
        print(error, flush=True)
"""


@pytest.fixture(scope="module")
def readers():
    started: list[subprocess.Popen[str]] = []
    yield started
    for reader in started:
        reader.kill()
        reader.wait()


@pytest.fixture
def refusal(readers):
    """What reading a file is refused with, by a process that may take no more than a user would let it."""

    def read(path) -> str:
        if not readers or readers[-1].poll() is not None:
            command = [sys.executable, "-c", READER]
            readers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        reader = readers[-1]
        reader.stdin.write(f"{path}\n")
        reader.stdin.flush()
        said = str(reader.stdout.readline())
        if not said.endswith("\n"):
            pytest.fail(f"reading {path.name} ended with status {reader.wait()}")
        return said.strip()

    return read


def endless():
    """A Loop of constants with 2^62 trips."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["co"]), helper.make_node("Identity", ["v"], ["vo"])], "body",
        [info("i", TensorProto.INT64, []), info("c", TensorProto.BOOL, []), info("v", TensorProto.FLOAT, [4, 2])],
        [info("co", TensorProto.BOOL, []), info("vo", TensorProto.FLOAT, [4, 2])],
    )  # fmt: skip
    node = helper.make_node("Loop", ["trips", "on", "start"], ["w"], body=body)
    return [node, PRODUCT], {"trips": np.int64(1 << 62), "on": np.bool_(True), "start": WEIGHT}


def test_a_loop_of_constants_is_not_run(tmp_path, refusal):
    assert "Loop (w) is not supported" in refusal(saved(tmp_path / "m.onnx", *endless()))


def ints(*values):
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("node", "constants", "numbers"),
    [
        (helper.make_node("ConstantOfShape", ["s"], ["w"]), {"s": ints(1 << 34, 2)}, 1 << 35),
        (helper.make_node("Tile", ["a", "s"], ["w"]), {"a": WEIGHT, "s": ints(1, 1 << 33)}, 1 << 36),
        (helper.make_node("Expand", ["a", "s"], ["w"]), {"a": WEIGHT, "s": ints(1 << 33, 4, 2)}, 1 << 36),
        (helper.make_node("Range", ["a", "b", "c"], ["w"]), {"a": np.int64(0), "b": np.int64(1 << 40), "c": np.int64(1)},
         1 << 40),
        (helper.make_node("Add", ["a", "b"], ["w"]), {"a": np.ones((1 << 18, 1)), "b": np.ones((1, 1 << 18))}, 1 << 36),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else "",
)  # fmt: skip
def test_what_is_computed_from_constants_is_bounded(tmp_path, refusal, node, constants, numbers):
    said = refusal(saved(tmp_path / "m.onnx", [node, PRODUCT], constants))
    assert f"{node.op_type} (w) gives {numbers} numbers, computed from constants" in said and "allowed are 67108864" in said


def test_what_is_computed_from_constants_is_bounded_together(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_constants, "MOST_FOLDED", 3 * WEIGHT.size - 1)
    names = ["a", "b", "c", "w"]
    nodes = [helper.make_node("Neg", [one], [other]) for one, other in zip(names, names[1:], strict=False)]
    with pytest.raises(ConversionError, match=r"Neg \(w\) gives 8 numbers, computed from constants, after 16 others"):
        bitting.from_onnx(saved(tmp_path / "m.onnx", [*nodes, PRODUCT], {"a": WEIGHT}))


def test_constants_whose_size_is_not_told_by_shapes_are_still_computed(tmp_path):
    nodes = [
        helper.make_node("NonZero", ["a"], ["at"]),
        helper.make_node("Gather", ["at", "zero"], ["rows"]),
        helper.make_node("Gather", ["v", "rows"], ["w"], axis=0),
        PRODUCT,
    ]
    given = {
        "a": np.array([1, 0, 1, 1, 1], np.float32),
        "zero": np.int64(0),
        "v": np.arange(10, dtype=np.float32).reshape(5, 2),
    }
    rows = [0, 2, 3, 4]
    (weight,) = bitting.from_onnx(saved(tmp_path / "m.onnx", nodes, given)).state_dict().values()
    assert np.array_equal(weight.T, np.arange(10).reshape(5, 2)[rows])


def doubling(levels):
    """Functions that each call the one before twice."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = [helper.make_function("own", "F0", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], opsets)]
    for level in range(1, levels + 1):
        calls = [helper.make_node(f"F{level - 1}", [a], [b], domain="own") for a, b in (("a", "c"), ("c", "b"))]
        functions.append(helper.make_function("own", f"F{level}", ["a"], ["b"], calls, opsets))
    return [helper.make_node(f"F{levels}", ["x"], ["y"], domain="own")], functions


def test_functions_that_double_with_each_level_are_not_written_out(tmp_path, refusal):
    nodes, functions = doubling(40)
    said = refusal(saved(tmp_path / "m.onnx", nodes, {}, functions=functions))
    assert f"has {1 << 40} nodes once its functions are written out; allowed are {onnx_import.MOST_NODES}" in said


def test_functions_of_a_few_levels_are_written_out(tmp_path):
    nodes, functions = doubling(3)
    module = bitting.from_onnx(saved(tmp_path / "m.onnx", nodes, {}, functions=functions))
    x = torch.arange(8.0).reshape(2, 4)
    assert torch.equal(module(x), x)  # eight times negated


def test_a_function_that_calls_itself_is_refused(tmp_path, refusal):
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "F", ["a"], ["b"], [helper.make_node("F", ["a"], ["b"], domain="own")], opsets)
    nodes = [helper.make_node("F", ["x"], ["y"], domain="own")]
    assert "is no ONNX model" in refusal(saved(tmp_path / "m.onnx", nodes, {}, functions=[function]))


@pytest.mark.parametrize("shape", [(1 << 40, 1 << 20), ("n", 1 << 34), (1 << 40, 4)])
def test_an_input_larger_than_any_is_refused(tmp_path, refusal, shape):
    said = refusal(saved(tmp_path / "m.onnx", [PRODUCT], {"w": WEIGHT}, shape))
    assert f"has an input of shape ({', '.join(str(size).replace('n', '?') for size in shape)})" in said and "smaller" in said


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([helper.make_node("Pad", ["x", "p"], ["y"])], {"p": ints(0, 0, 0, 0, 0, 0, 0, 1 << 36)}),
        ([helper.make_node("Resize", ["x", "", "f"], ["y"], coordinate_transformation_mode="asymmetric", nearest_mode="floor")],
         {"f": np.array([1, 1, 1 << 20, 1 << 20], np.float32)}),
        ([helper.make_node("Conv", ["x", "w"], ["y"], pads=[1 << 20] * 4)], {"w": np.ones((1, 1, 1, 1), np.float32)}),
        ([helper.make_node("Concat", ["x"] * 64, ["a"], axis=1), helper.make_node("Concat", ["a"] * 4096, ["b"], axis=1),
          helper.make_node("Concat", ["b"] * 4096, ["y"], axis=1)], {}),
    ],
    ids=["Pad", "Resize", "Conv", "Concat"],
)  # fmt: skip
def test_a_value_larger_than_any_is_not_made(tmp_path, refusal, nodes, constants):
    said = refusal(saved(tmp_path / "m.onnx", nodes, constants, shape=("n", 1, 4, 4)))
    assert "numbers a sample; allowed are 16777216: make the model smaller" in said


def claimed(**fields):
    """A tensor of four bytes that claims to be larger."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, **fields)
    tensor.dims.extend([1 << 40, 2])
    return tensor


@pytest.mark.parametrize("fields", [{"raw_data": bytes(4)}, {"float_data": [1.0]}], ids=["raw", "typed"])
def test_a_tensor_that_claims_to_be_larger_than_it_is_is_refused(tmp_path, refusal, fields):
    assert "is no ONNX model" in refusal(saved(tmp_path / "m.onnx", [PRODUCT], {"w": claimed(**fields)}))
