"""What a terminal is given: names that come from files are written so that it obeys nothing in them, and as they are."""

import io
import zipfile

import numpy as np
import onnx
import pytest
import safetensors
import safetensors.numpy
from onnx import TensorProto, helper

from bitting.artefact.artefact import lock
from bitting.artefact.model import Model
from bitting.cli import console
from bitting.locking.device import Device
from bitting.program.layers import multilayer_perceptron
from bitting.unit.spec import PRESETS
from tb.command import bitting as command
from tb.command import error_of

SPEC = PRESETS["tiny"]
#: Sets the title of a terminal's window, and red; a name in a file may hold any of it.
ESCAPES = "\x1b]0;title\x07\x1b[31mred\x9b31m"
#: The same, as it is to be read.
SHOWN = r"\x1b]0;title\x07\x1b[31mred\x9b31m"


def artefact_of(path):
    codes = [np.arange(24).reshape(2, 12) % SPEC.codes]
    model = Model(multilayer_perceptron(SPEC, codes, [np.zeros(2)], [0]))
    lock(model, Device.new(SPEC)).save(path)
    return path


def tensor_name(folder):
    path = artefact_of(folder / "a.safetensors")
    with safetensors.safe_open(path, framework="numpy") as handle:
        header = handle.metadata()
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    path.write_bytes(safetensors.numpy.save(tensors | {ESCAPES: np.zeros(1, np.int8)}, header))
    return ("inspect", path)


def node_name(folder):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Sin", ["x"], ["y"], name=ESCAPES)], "made", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx")
    return ("train", "--onnx", folder / "m.onnx", "--data", "digits", "-o", folder / "model")


def column_name(folder):
    (folder / "t.csv").write_text(f"{ESCAPES},b\n" + "1,2\n" * 8 + "x,2\n")
    return ("train", "--data", folder / "t.csv", "-o", folder / "model")


def member_name(folder):
    with zipfile.ZipFile(folder / "t.zip", "w") as archive:
        archive.writestr(f"train/a/{ESCAPES}.png", b"none")
    return ("train", "--data", folder / "t.zip", "-o", folder / "model")


@pytest.mark.parametrize("source", [tensor_name, node_name, column_name, member_name])
def test_no_name_in_a_file_is_obeyed_by_the_terminal(tmp_path, source):
    said = error_of(*source(tmp_path))
    assert SHOWN in said and said.isprintable()


@pytest.mark.parametrize("stream", ["out", "err"])
def test_results_and_notes_quote_what_they_are_told(monkeypatch, stream):
    printer, written = getattr(console, stream), io.StringIO()
    # Not `file`: setting that back would keep the stream of this test for all tests that come after.
    monkeypatch.setattr(printer, "_file", written)
    printer.print(f"{ESCAPES}[bold][/nope]:smile:\u202e\udc80")
    assert written.getvalue() == f"{SHOWN}[bold][/nope]:smile:\\u202e\\udc80\n"


def test_an_error_or_note_is_one_line(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(console.err, "_file", written)
    console.err.print("a note\nbitting: verified\r\u2028of a name")
    assert written.getvalue() == "a note bitting: verified  of a name\n"


def test_tables_quote_what_they_are_told(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(console.out, "_file", written)
    console.table(f"title[red]{ESCAPES}", ("head[red]", f"n{ESCAPES}"), [("cell[/nope]", ESCAPES)])
    shown = written.getvalue()
    assert f"title[red]{SHOWN}" in shown and "head[red]" in shown and "cell[/nope]" in shown
    assert shown.count(SHOWN) == 3 and "\x1b" not in shown and "\x9b" not in shown


def test_a_file_keeps_its_name_in_the_title_of_a_table(tmp_path):
    (tmp_path / "reg[").mkdir()
    for path in (tmp_path / "reg[red].safetensors", tmp_path / "reg[" / "nope].safetensors"):  # the second would close a tag
        assert str(path) in command("inspect", artefact_of(path)).stdout.replace("\n", "")
