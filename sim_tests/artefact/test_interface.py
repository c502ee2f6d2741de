"""Interfaces: inputs of users to activations, sums to answers in their units; in files, and on hosts in C."""

import ctypes
import subprocess
from dataclasses import replace

import numpy as np
import pytest

import bitting
from bitting.artefact import packet_file
from bitting.artefact.packet_file import C_HOST
from bitting.errors import ArtefactError, ProgramError
from bitting.program.interface import Interface, Task, of_pictures
from bitting.program.layers import multilayer_perceptron
from bitting.unit.spec import PRESETS
from tb.c_host import STRICT
from vectors import page_reader

TINY = PRESETS["tiny"]
RNG = np.random.default_rng(5)
WORDS, OUTPUTS = 6, 3


def floats(*shape, low=0.1, high=3.0):
    return RNG.uniform(low, high, shape).astype(np.float32)


def interface(task=Task.CLASSES, outputs=OUTPUTS, **changes):
    given = Interface(
        (2, WORDS // 2), floats(WORDS, low=-2), floats(WORDS), TINY.act_min, TINY.act_max, task,
        floats(outputs, low=-9), floats(outputs), tuple(f"name {i}" for i in range(2 if task == Task.BINARY else outputs)),
    )  # fmt: skip
    return replace(given, **changes)


def model(task=Task.CLASSES, outputs=OUTPUTS, **changes):
    weights = [RNG.integers(0, TINY.codes, (outputs, WORDS))]
    program = multilayer_perceptron(TINY, weights, [RNG.integers(-99, 99, outputs)], [0])
    return bitting.Model(program, {}, interface(task, outputs, **changes))


def same(one, other):
    arrays = ("offset", "scale", "output_offset", "output_scale")
    others = ("shape", "low", "high", "task", "names")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays) and all(
        getattr(one, name) == getattr(other, name) for name in others
    )


def test_an_input_becomes_the_floor_of_what_the_formula_says():
    given = interface(low=-5, high=6)
    x = RNG.normal(0, 4, (50, 2, 3)).astype(np.float32)
    flat = x.reshape(50, WORDS)
    for sample, found in zip(flat, given.activations(x), strict=True):
        for value, offset, scale, activation in zip(sample, given.offset, given.scale, found, strict=True):
            exact = np.float32(np.float32(value - offset) * scale)
            assert activation == min(max(int(np.floor(exact)), -5), 6)
    assert np.array_equal(given.activations(flat), given.activations(x)), "flat inputs are as good"


def test_sizes_of_one_may_be_missing_and_channels_of_pixels_last():
    grey = Interface((1, 2, 3), np.zeros(6, np.float32), np.ones(6, np.float32), -8, 7)
    x = np.arange(12.0).reshape(2, 1, 2, 3)
    wanted = grey.activations(x)
    for shape in ((2, 2, 3), (2, 6)):
        assert np.array_equal(grey.activations(x.reshape(shape)), wanted)
    colour = Interface((3, 4, 2), np.zeros(1, np.float32), np.ones(1, np.float32), -8, 7)
    pixels = np.arange(24, dtype=np.uint8).reshape(1, 3, 4, 2) % 8
    assert np.array_equal(colour.activations(np.moveaxis(pixels, 1, 3)), colour.activations(pixels))
    with pytest.raises(ProgramError, match="inputs have shape"):
        colour.activations(np.moveaxis(pixels, 1, 3).astype(np.float32))


def test_pixels_are_shifted_as_ever():
    pixels = np.arange(256, dtype=np.uint8)[None]
    for spec in PRESETS.values():
        assert np.array_equal(of_pictures(spec, (256,)).activations(pixels), pixels >> (9 - spec.act_bits))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((4, 3, 2)), r"inputs have shape \(4, 3, 2\); allowed is \(samples, 2, 3\)"),
        (np.zeros(6), r"inputs have shape \(6,\)"),
        (np.array([[0, 1, np.nan, 0, 0, 0.0]]), "input 0 holds nan at place 2"),
        (np.full((1, 6), 3e38), "too far from its offset for float32"),
    ],
)
def test_inputs_that_are_none_are_named(x, message):
    given = interface(offset=np.full(1, -3e38, np.float32), scale=np.zeros(1, np.float32))
    with pytest.raises(ProgramError, match=message):
        given.activations(x)


def test_every_task_says_what_its_sums_mean():
    sums = np.array([[5, -3, 2], [-1, 8, 8]], np.int32)
    plain = {"output_offset": np.zeros(1, np.float32), "output_scale": np.ones(1, np.float32)}
    classes = interface(**plain)
    assert classes.answers(sums).tolist() == [0, 1] and classes.text(sums) == ["name 0", "name 1"]
    assert np.allclose(classes.probabilities(sums).sum(axis=1), 1)
    assert classes.rating(sums, np.array([0, 2])) == 0.5
    labels = interface(Task.LABELS, **plain)
    assert labels.answers(sums).tolist() == [[1, 0, 1], [0, 1, 1]] and labels.text(-sums) == ["name 1", "name 0"]
    assert labels.rating(sums, np.array([[1, 0, 1], [1, 1, 1]])) == pytest.approx(5 / 6)
    binary = interface(Task.BINARY, 1, **plain)
    assert binary.answers(sums[:, :1]).tolist() == [1, 0] and binary.text(sums[:, :1]) == ["name 1", "name 0"]
    assert binary.rating(sums[:, :1], np.array([1, 1])) == 0.5
    assert binary.probabilities(np.array([[0]])).tolist() == [[0.5]]


def test_r_squared_is_that_of_scikit_learn():
    from sklearn.metrics import r2_score

    given = interface(Task.REGRESSION, 2)
    sums = RNG.integers(-400, 400, (40, 2))
    targets = given.values(sums) + RNG.normal(0, 50, (40, 2)).astype(np.float32)
    found = given.rating(sums, targets)
    assert found == pytest.approx(r2_score(targets, given.values(sums), multioutput="uniform_average"))
    parts = given.merits(sums[:13], targets[:13]) + given.merits(sums[13:], targets[13:])
    assert given.score(parts, targets) == pytest.approx(found), "it adds up over batches"
    with pytest.raises(ProgramError, match="no probabilities"):
        given.probabilities(sums)


@pytest.mark.parametrize("task", list(Task))
def test_files_keep_it(tmp_path, task):
    made = model(task, 1 if task == Task.BINARY else OUTPUTS)
    made.save(tmp_path / "model")
    loaded = bitting.load(tmp_path / "model")
    assert same(loaded.interface, made.interface)
    device = bitting.Device.new(TINY)
    artefact = bitting.lock(made, device)
    artefact.save(tmp_path / "artefact")
    shipped = bitting.Artefact.load(tmp_path / "artefact")
    assert same(shipped.interface, made.interface)
    x = RNG.normal(0, 2, (5, 2, 3))
    opened = bitting.unlock(shipped, device)
    assert np.array_equal(opened(x), made(x)) and opened(x).dtype == np.float32
    header, tensors = (getattr(page_reader.read_file(tmp_path / "artefact"), name) for name in ("header", "tensors"))
    assert header["interface"]["task"] == task.value and np.array_equal(tensors["interface.scale"], made.interface.scale)


def test_a_program_that_says_nothing_has_no_such_tensors(tmp_path):
    bare = bitting.Model(model().program)
    bare.save(tmp_path / "model")
    file = page_reader.read_file(tmp_path / "model")
    assert not [name for name in file.tensors if name.startswith("interface")] and "interface" not in file.header
    x = RNG.integers(TINY.act_min, TINY.act_max + 1, (5, WORDS))
    assert np.array_equal(bitting.Model.load(tmp_path / "model")(x), bare(x))


BAD = [
    ({"shape": (2, 4)}, r"an input of shape \(2, 4\) has 8 numbers; the program reads 6"),
    ({"low": -9}, r"activations -9..7 are outside -8..7"),
    ({"low": 3, "high": 2}, "activations 3..2"),
    ({"scale": floats(4)}, r"scale of inputs or outputs is float32 of shape \(4,\)"),
    ({"offset": np.full(1, np.nan, np.float32)}, "offset of inputs or outputs"),
    ({"output_scale": np.ones(1)}, "output_scale of inputs or outputs is float64"),
    ({"task": Task.BINARY}, "3 outputs do not fit a binary task"),
    ({"names": ("a", "\x1b]0;title\x07", "c")}, "can not be printed"),
    ({"names": ("a", "b")}, "2 names for 3 outputs of a classification task"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_one_that_does_not_fit_is_refused(tmp_path, changes, message):
    with pytest.raises(ProgramError, match=message):
        interface(**changes).validate(TINY, WORDS, OUTPUTS)
    model(**changes).save(tmp_path / "model")
    if "output_scale" not in changes:  # is written as float32
        with pytest.raises(ArtefactError, match=message):
            bitting.load(tmp_path / "model")


@pytest.fixture(scope="module")
def units(tmp_path_factory):
    """bitting_units.c as a shared library, compiled as a user would."""
    out = tmp_path_factory.mktemp("c") / "units.so"
    sources = [str(C_HOST / name) for name in ("bitting_units.c", "bitting_host.c")]
    (out.parent / "shim.c").write_text(
        '#include "bitting_host.h"\nsize_t host_size(void);\nsize_t host_size(void) { return sizeof(struct bitting_host); }\n'
    )
    flags = ["-std=c99", *STRICT, "-O2", "-fsanitize=undefined", "-fno-sanitize-recover=all", "-fPIC", "-shared", f"-I{C_HOST}"]
    subprocess.run(["gcc", *flags, str(out.parent / "shim.c"), *sources, "-o", str(out)], check=True)
    loaded = ctypes.CDLL(str(out))
    loaded.host_size.restype = ctypes.c_size_t
    return loaded


def opened(units, artefact):
    data = packet_file.contents(artefact)
    host, file = ctypes.create_string_buffer(units.host_size()), ctypes.create_string_buffer(data, len(data))
    assert units.bitting_open(host, file, ctypes.c_size_t(len(data)), None) == 0
    return host, file


def pointer(array):
    return ctypes.c_void_p(array.ctypes.data)


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("one", [False, True], ids=["one each", "one for all"])
def test_a_host_in_c_computes_the_same_to_the_bit(units, tmp_path, task, one):
    count = 1 if task == Task.BINARY else OUTPUTS
    changes = {"offset": floats(1, low=-2), "scale": floats(1), "output_scale": floats(1)} if one else {}
    artefact = bitting.lock(model(task, count, **changes), bitting.Device.new(TINY))
    host, _file = opened(units, artefact)
    assert units.bitting_has_units(host) == 1 and units.bitting_task_of(host) == list(Task).index(task)
    given = artefact.interface
    steps = np.linspace(-20, 20, 801, dtype=np.float32)
    edges = (np.arange(-12, 12, dtype=np.float32)[:, None] / given.scale + given.offset).astype(np.float32)
    edges = np.broadcast_to(edges, (24, WORDS))
    x = np.ascontiguousarray(
        np.concatenate([np.repeat(steps[:, None], WORDS, 1), edges, RNG.normal(0, 1e9, (9, WORDS))]), np.float32
    )
    x[0, 0], x[1, 0] = np.inf, -np.inf
    found = np.zeros(x.shape, np.int8)
    assert units.bitting_activations(host, pointer(x), ctypes.c_uint32(len(x)), pointer(found)) == 0
    assert np.array_equal(found[2:], given.activations(x[2:]))
    assert found[0, 0] == given.high and found[1, 0] == given.low
    x[2, 0] = np.nan
    assert units.bitting_activations(host, pointer(x), ctypes.c_uint32(len(x)), pointer(found)) == 2, "BAD_CALL"
    sums = RNG.integers(-(1 << 23), 1 << 23, (200, count)).astype(np.int32)
    values = np.zeros(sums.shape, np.float32)
    units.bitting_values(host, pointer(sums), ctypes.c_uint32(len(sums)), pointer(values))
    assert np.array_equal(values, given.values(sums))


def test_a_file_without_units_says_so(units):
    bare = bitting.Model(model().program)
    host, _file = opened(units, bitting.lock(bare, bitting.Device.new(TINY)))
    assert units.bitting_has_units(host) == 0
    x, found = np.zeros((1, WORDS), np.float32), np.zeros((1, WORDS), np.int8)
    assert units.bitting_activations(host, pointer(x), ctypes.c_uint32(1), pointer(found)) == 2
    sums, values = np.array([[7, -9, 0]], np.int32), np.zeros((1, OUTPUTS), np.float32)
    units.bitting_values(host, pointer(sums), ctypes.c_uint32(1), pointer(values))
    assert values.tolist() == [[7, -9, 0]]


def test_the_packet_file_s_units_are_what_the_page_says(tmp_path):
    artefact = bitting.lock(model(Task.REGRESSION), bitting.Device.new(TINY))
    (tmp_path / "words").write_bytes(packet_file.contents(artefact))
    found, given = page_reader.read_packet_file(tmp_path / "words")["units"], artefact.interface
    for name in ("offset", "scale", "output_offset", "output_scale"):
        assert np.array_equal(found.pop(name), getattr(given, name)), name
    assert found == {"low": given.low, "high": given.high, "task": "regression"}
