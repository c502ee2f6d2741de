"""ONNX files of PyTorch and scikit-learn: read, they answer as onnxruntime does, and they convert and export."""

import logging
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Perceptron, Ridge, SGDClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, RobustScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC, LinearSVR
from torch import nn

import bitting
from bitting.errors import ConversionError
from bitting.unit.spec import parse_spec
from tb.conversions import Step

SPEC = parse_spec("base:scratch_words=16384")
#: Sums of float32 in another order: so many roundings of the largest answer.
ROUNDINGS = 64
SAMPLES = 7


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4)
        self.around = nn.Conv2d(3, 4, 1, stride=2)

    def forward(self, x):
        return torch.relu(self.norm(self.first(F.pad(x, (0, 1, 0, 1)))) + self.around(x))


class Scaled(nn.Module):
    """A buffer and constants of its own."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Buffer(torch.rand(1, 3, 1, 1))
        self.fc = nn.Linear(3 * 8 * 8, 3)

    def forward(self, x):
        return self.fc(((x - self.mean) / 0.5).view(x.size(0), -1))


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 2, 3, padding="same"), nn.Conv2d(3, 3, (1, 2), padding="same")

    def forward(self, x):
        return torch.cat([torch.relu(self.left(x)), torch.tanh(self.right(x))], 1)


def dense(*shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 3))


MEAN, CHANNELS = Step(lambda x: x.mean((-1, 2))), Step(lambda x: x.mean(1, keepdim=True))
LAST = Step(lambda x: x.permute(0, 2, 3, 1))
IMAGES, SERIES, TABLE = (3, 8, 8), (3, 12), (6,)
#: Models of PyTorch: (name, shape of a sample, layers).
TORCH = [
    ("dense", TABLE, lambda: (nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Sigmoid(), nn.Linear(5, 2), nn.BatchNorm1d(2))),
    ("softmax", TABLE, lambda: (nn.Linear(6, 5, bias=False), nn.Tanh(), nn.Linear(5, 2), nn.Softmax(dim=1))),
    ("residual", IMAGES, lambda: (Residual(), nn.AvgPool2d(2), dense(4, 2, 2))),
    ("scaled", IMAGES, lambda: (Scaled(),)),
    ("branches", IMAGES, lambda: (Branches(), nn.AvgPool2d(2), nn.ELU(), dense(5, 4, 4))),
    ("depthwise", IMAGES, lambda: (nn.Conv2d(3, 6, 3, groups=3, dilation=2), nn.SiLU(), dense(6, 4, 4))),
    ("mean", IMAGES, lambda: (nn.Conv2d(3, 4, 3), nn.Hardswish(), MEAN, nn.Linear(4, 2))),
    ("channels", IMAGES, lambda: (nn.Conv2d(3, 4, 3), CHANNELS, dense(1, 6, 6))),
    ("upsample", IMAGES, lambda: (nn.Conv2d(3, 2, 3), nn.Upsample(scale_factor=2), nn.LeakyReLU(0.2), dense(2, 12, 12))),
    ("permute", IMAGES, lambda: (nn.Conv2d(3, 4, 3), nn.ReLU6(), LAST, dense(4, 6, 6))),
    ("series", SERIES, lambda: (nn.Conv1d(3, 4, 5, padding=2), nn.BatchNorm1d(4), nn.GELU(), nn.AvgPool1d(3), dense(4, 4))),
    ("long", SERIES, lambda: (nn.ConstantPad1d((2, 1), 0.0), nn.Conv1d(3, 4, 3), nn.AdaptiveAvgPool1d(1), dense(4))),
    ("alone", TABLE, lambda: (nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 3, 3, stride=2), nn.PReLU(3), dense(3, 2))),
]
TABLE_OF_MODELS = [pytest.param(*row, id=row[0]) for row in TORCH]


@pytest.fixture(autouse=True)
def quiet():
    """The exporters talk."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def with_statistics(model):
    """Batch normalisation that is not the identity."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                assert tensor is not None
                tensor.data.copy_(torch.rand(tensor.shape) + 0.3)
    return model.eval()


def asked(path, x):
    """What onnxruntime answers, output by output; maps of classes as arrays."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    answers = session.run(None, {session.get_inputs()[0].name: x})
    return [np.array([list(row.values()) for row in part]) if isinstance(part, list) else np.asarray(part) for part in answers]


def close(found, wanted):
    """To the rounding of float32."""
    assert found.shape == wanted.shape
    limit = ROUNDINGS * np.finfo(np.float32).eps * max(1.0, float(np.abs(wanted).max()))
    assert float(np.abs(found - wanted).max()) <= limit


def read_and_exported(path, x, **options):
    """The file as a module, its answers, and proof that it converts: network and program are equal in every sum."""
    module = bitting.from_onnx(path, **options)
    notes = module.conversion_notes
    assert isinstance(notes, list)
    with torch.no_grad():
        answers = module(torch.from_numpy(x)).numpy()
    network = bitting.convert(module, SPEC, x)
    bitting.export(network, x)
    assert network.notes[: len(notes)] == notes
    return network, answers


@pytest.mark.parametrize("dynamo", [False, True], ids=["legacy", "dynamo"])
@pytest.mark.parametrize(("name", "shape", "make"), TABLE_OF_MODELS)
def test_files_of_pytorch_answer_as_onnxruntime(name, shape, make, dynamo, tmp_path):
    torch.manual_seed(len(name))
    model, path = with_statistics(nn.Sequential(*make())), tmp_path / "model.onnx"
    x = np.random.default_rng(0).normal(size=(SAMPLES, *shape)).astype(np.float32)
    open_size = {"dynamic_shapes": ({0: "n"},)} if dynamo else {"dynamic_axes": {"x": {0: "n"}}}
    torch.onnx.export(model, (torch.from_numpy(x),), path, dynamo=dynamo, input_names=["x"], verbose=False, **open_size)
    (wanted,) = asked(path, x)
    _, answers = read_and_exported(path, x)
    close(answers, wanted)


@pytest.mark.parametrize("opset", [11, 12, 14, 17, 20])
def test_old_opsets_are_read(opset, tmp_path):
    torch.manual_seed(opset)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(), nn.ZeroPad2d((1, 0, 0, 1)), nn.Upsample(scale_factor=2),
        Step(lambda x: x.mean(3)), Step(lambda x: x.unsqueeze(2).squeeze(2)), dense(4, 14), nn.LogSoftmax(dim=1),
    )  # fmt: skip
    path = tmp_path / "model.onnx"
    x = np.random.default_rng(0).normal(size=(SAMPLES, *IMAGES)).astype(np.float32)
    torch.onnx.export(
        with_statistics(model), (torch.from_numpy(x),), path, dynamo=False, opset_version=opset, do_constant_folding=False,
        input_names=["x"], dynamic_axes={"x": {0: "n"}},
    )  # fmt: skip
    (wanted,) = asked(path, x)
    network, answers = read_and_exported(path, x)
    close(answers, wanted)
    assert any("logsoftmax" in note.lower() and "left out" in note for note in network.notes)


# -- scikit-learn

HIDDEN = {"hidden_layer_sizes": (5,), "max_iter": 30, "random_state": 0}
#: (estimator, what it is asked for)
SKLEARN = [
    (MLPClassifier(**HIDDEN), "classes"),
    (MLPClassifier(**HIDDEN, activation="tanh"), "yes"),
    (MLPRegressor(**HIDDEN, activation="logistic"), "number"),
    (LogisticRegression(), "classes"),
    (LogisticRegression(), "yes"),
    (LogisticRegression(), "names"),
    (LinearSVC(), "classes"),
    (LinearSVC(), "yes"),
    (LinearRegression(), "number"),
    (LinearRegression(), "numbers"),
    (LinearSVR(), "number"),
    (SGDClassifier(random_state=0), "classes"),
    (make_pipeline(StandardScaler(), Ridge()), "number"),
    (make_pipeline(MinMaxScaler(), MLPClassifier(**HIDDEN)), "classes"),
    (make_pipeline(RobustScaler(), MaxAbsScaler(), Perceptron()), "classes"),
]


def table(asked_for):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(80, 4)).astype(np.float32) * [1, 2, 0.5, 3] + [0, 1, 0, -2]
    classes = (x[:, 0] > 0).astype(int) + (x[:, 1] > 1)
    number = x @ [1.0, -2, 3, 0.5] + 4
    targets = {"classes": classes, "yes": classes > 0, "names": np.array(["ash", "birch", "oak"])[classes],
               "number": number, "numbers": np.stack([number, x[:, 0]], 1)}  # fmt: skip
    return x.astype(np.float32), targets[asked_for]


def written(estimator, asked_for, path):
    from skl2onnx import to_onnx

    x, y = table(asked_for)
    y = y.astype(int) if y.dtype == bool else y
    onnx.save(to_onnx(estimator.fit(x, y), x[:1]), path)
    return x, y


@pytest.mark.parametrize(("estimator", "asked_for"), SKLEARN)
def test_files_of_scikit_learn_answer_as_onnxruntime(estimator, asked_for, tmp_path):
    path = tmp_path / "model.onnx"
    x, _ = written(estimator, asked_for, path)
    outputs = asked(path, x)
    _, answers = read_and_exported(path, x)
    if asked_for.startswith("number"):
        close(answers, outputs[0].reshape(answers.shape))
        return
    labels, scores = outputs
    if answers.shape[1] == 1:  # the second of (no, yes)
        close(answers, scores[:, 1:])
        assert np.array_equal(answers[:, 0] > 0.5, labels == 1)
        return
    if scores.shape[1] == 1:  # of a machine with two classes the file gives one score
        scores = np.concatenate([-scores, scores], axis=1)
    close(answers, scores)
    assert np.array_equal(np.unique(table(asked_for)[1])[answers.argmax(1)], labels)


@pytest.mark.parametrize(
    ("estimator", "asked_for", "said"),
    [
        (make_pipeline(Normalizer(), LogisticRegression()), "classes", r"Normalizer \(.*a normalisation"),
        (RandomForestClassifier(3), "classes", r"TreeEnsembleClassifier \(.*a tree ensemble"),
        (SVC(), "classes", r"SVMClassifier \(.*a kernel"),
        # skl2onnx makes one column of both quantities: twice as many answers as samples.
        (MLPRegressor(**HIDDEN), "numbers", r"Reshape \(.* of \(5, 2\) to \(10, 1\); allowed is to \(samples"),
    ],
)
def test_estimators_without_a_place_are_named(estimator, asked_for, said, tmp_path):
    written(estimator, asked_for, tmp_path / "model.onnx")
    with pytest.raises(ConversionError, match=said) as caught:
        bitting.from_onnx(tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)


# -- graphs by hand


def saved(path, nodes, constants, inputs=(("x", ["n", 4]),), outputs=(("y", ["n", "m"]),), opset=17):
    """A file of these nodes. `constants`: name -> array."""
    graph = helper.make_graph(
        nodes, "made", [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def test_biases_of_two_dimensions_and_shared_constants(tmp_path):
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(1, 3)).astype(np.float32)
    again = rng.normal(size=(3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Identity", ["b"], ["same"]),
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], alpha=0.5, beta=2.0),
        helper.make_node("MatMul", ["h", "v"], ["product"]),
        helper.make_node("Add", ["same", "product"], ["y"]),
    ]
    path = saved(tmp_path / "model.onnx", nodes, {"w": weight, "b": bias, "v": again})
    x = rng.normal(size=(SAMPLES, 4)).astype(np.float32)
    _, answers = read_and_exported(path, x)
    close(answers, asked(path, x)[0])


def test_shapes_are_computed_and_sizes_that_are_fixed_stay_open(tmp_path):
    """Shape, Gather, Concat and Reshape as exporters write them, and a batch of one in the file."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["count"]),
        helper.make_node("Unsqueeze", ["count", "zeros"], ["counts"]),
        helper.make_node("Concat", ["counts", "rest"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["x", "wanted"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    constants = {"zero": np.int64(0), "zeros": np.array([0]), "rest": np.array([-1]), "w": weight}
    x = rng.normal(size=(SAMPLES, 2, 2)).astype(np.float32)
    for batch in ("n", 1):
        path = saved(tmp_path / "model.onnx", nodes, constants, (("x", [batch, 2, 2]),))
        _, answers = read_and_exported(path, x)
        close(answers, x.reshape(SAMPLES, 4) @ weight)


def test_several_outputs_want_a_choice_if_they_say_different_things(tmp_path):
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1),
        helper.make_node("MatMul", ["x", "v"], ["other"]),
    ]
    constants = {"w": rng.normal(size=(4, 3)).astype(np.float32), "v": rng.normal(size=(4, 2)).astype(np.float32)}
    outputs = (("scores", ["n", 3]), ("other", ["n", 2]))
    path = saved(tmp_path / "model.onnx", nodes, constants, outputs=outputs)
    x = rng.normal(size=(SAMPLES, 4)).astype(np.float32)
    with pytest.raises(ConversionError, match=r"different things \(scores, other\)"):
        bitting.from_onnx(path)
    with pytest.raises(ConversionError, match="no output 'neither'; allowed: scores, other"):
        bitting.from_onnx(path, output="neither")
    for name, key in (("scores", "w"), ("other", "v")):
        _, answers = read_and_exported(path, x, output=name)
        close(answers, x @ constants[key])


BROKEN = [
    ([helper.make_node("Frobnicate", ["x"], ["y"])], "no ONNX model"),
    ([helper.make_node("Gemm", ["x", "w"], ["y"], transA=1)], r"Gemm \(y\) is supported without transA"),
    ([helper.make_node("Gemm", ["x", "x"], ["y"])], r"Gemm \(y\) has x computed from the input; it must be a constant"),
    ([helper.make_node("MatMul", ["x", "v"], ["y"])], r"MatMul \(y\) can not be read"),
    ([helper.make_node("Mul", ["x", "x"], ["y"])], r"Mul \(y\) of two activations"),
    ([helper.make_node("LayerNormalization", ["x", "s"], ["y"])], "a normalisation"),
    ([helper.make_node("LSTM", ["x", "l", "l"], ["", "y"], hidden_size=1)], "a recurrent layer"),
    ([helper.make_node("TopK", ["x", "k"], ["y", "i"])], "of comparisons, only ReLU"),
    ([helper.make_node("Reshape", ["x", "all"], ["y"])], r"Reshape \(y\) of \(5, 4\) to \(20,\); allowed is to \(samples"),
    ([helper.make_node("ReduceMean", ["x"], ["y"], axes=[0])], "allowed is over all but 0, the samples"),
    ([helper.make_node("Pad", ["x", "p"], ["y"], mode="reflect")], "with mode 'reflect' is not supported"),
    ([helper.make_node("Identity", ["s"], ["y"])], "does not depend on its input"),
]
CONSTANTS = {
    "w": np.ones((4, 2), np.float32), "v": np.ones((3, 2), np.float32), "s": np.ones(4, np.float32), "k": np.array([1]),
    "l": np.ones((1, 4, 4), np.float32), "all": np.array([-1]), "p": np.array([0, 1, 0, 1]),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "said"), BROKEN, ids=[nodes[0].op_type + nodes[0].input[-1] for nodes, _ in BROKEN])
def test_what_can_not_be_read_is_said_in_one_line(nodes, said, tmp_path):
    path = saved(tmp_path / "model.onnx", nodes, CONSTANTS)
    with pytest.raises(ConversionError, match=said) as caught:
        bitting.from_onnx(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_files_that_are_damaged_are_refused_in_one_line(tmp_path):
    path = saved(tmp_path / "model.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], CONSTANTS)
    whole = path.read_bytes()
    path.write_bytes(b"garbage")
    with pytest.raises(ConversionError, match="no ONNX model") as caught:
        bitting.from_onnx(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConversionError, match="no ONNX model"):
        bitting.from_onnx(tmp_path / "nothing.onnx")
    for length in range(1, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ConversionError) as caught:
            bitting.from_onnx(path)
        assert "\n" not in str(caught.value)
