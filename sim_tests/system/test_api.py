"""The front door: `bitting` offers these names, each with an example that runs."""

import doctest
import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch

import bitting
from bitting.errors import ExtraError, missing_extra

PUBLIC = {
    "Artefact", "Device", "Emulator", "LockScheme", "Model", "UnitSpec", "__version__", "convert", "export", "finetune",
    "from_onnx", "load", "lock", "parse_spec", "train", "unlock", "verify", "verilog",
}  # fmt: skip


def test_the_public_names_are_these():
    """A name that is added or taken away is a decision: write it into the changelog."""
    assert set(bitting.__all__) == PUBLIC == set(dir(bitting))
    assert all(getattr(bitting, name) is not None for name in PUBLIC)
    with pytest.raises(AttributeError, match="no attribute 'lockk'"):
        bitting.lockk  # noqa: B018


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_every_public_name_has_an_example_that_runs(name):
    item = getattr(bitting, name)
    text = inspect.getdoc(item) or ""
    examples = doctest.DocTestParser().get_doctest(text, {"torch": torch}, name, None, None)
    assert examples.examples, f"bitting.{name} has no example"
    output: list[str] = []
    doctest.DocTestRunner().run(examples, out=output.append)
    assert not output, "".join(output)


def test_importing_a_room_hides_no_function():
    code = (
        "import bitting, bitting.conversion.converter, bitting.check.verification, bitting.training.loop;"
        "assert all(callable(getattr(bitting, name)) for name in bitting.__all__ if name != '__version__')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_module_is_the_command():
    shown = subprocess.run([sys.executable, "-m", "bitting", "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == f"bitting {bitting.__version__}"


def test_convert_takes_a_name_and_arrays_of_any_float():
    x = np.random.default_rng(0).normal(size=(16, 5))
    network = bitting.convert(torch.nn.Sequential(torch.nn.Linear(5, 2)), "tiny", x)
    assert network.spec == bitting.parse_spec("tiny")
    assert bitting.export(network, x.astype(np.float32)).program.outputs == 2


def test_a_missing_package_is_named_with_the_command_that_installs_it():
    with (
        pytest.raises(ExtraError, match=r"training needs the package torch, .*pip install 'bitting\[train\]'"),
        missing_extra("training"),
    ):
        raise ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")
    with pytest.raises(ModuleNotFoundError), missing_extra("training"):
        raise ModuleNotFoundError("No module named 'mine'", name="mine")
