"""The scripts in `examples/` run, and print what is kept beside them: the same lines, and for fixed inputs the same numbers."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
#: Small settings, so that each takes seconds.
SETTINGS = {
    "own_model": ["--epochs", "1"],
    "attack_your_lock": ["--epochs", "1", "--keys", "2", "--labels", "40", "--starts", "1"],
    "drive_the_verilog": [],
}


def printed(name: str) -> str:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *SETTINGS[name]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def without_numbers(text: str) -> list[str]:
    """Its lines, with the same mark for every number: accuracies depend on settings and on the machine's torch."""
    return re.sub(r"\d+(\.\d+)?", "N", text).splitlines()


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SETTINGS)


@pytest.mark.slow
def test_the_verilog_gives_the_kept_numbers():
    assert printed("drive_the_verilog") == (EXAMPLES / "drive_the_verilog.txt").read_text()


@pytest.mark.slow
def test_a_model_of_ones_own_is_verified_to_the_bit():
    shown = printed("own_model")
    assert without_numbers(shown) == without_numbers((EXAMPLES / "own_model.txt").read_text())
    assert shown.count(" 0 wrong logits, 0 wrong cycle counts\n") == 1 and shown.count("wrong device, RTL: refuses") == 1
    (right,) = (float(share) for share in re.findall(r"device, RTL: ([\d.]+)%", shown))
    assert right > 50


@pytest.mark.slow
def test_attacks_print_what_they_reach():
    shown = printed("attack_your_lock")
    assert without_numbers(shown) == without_numbers((EXAMPLES / "attack_your_lock.txt").read_text())
    right, *_ = (float(share) for share in re.findall(r"right device: ([\d.]+)%", shown))
    assert all(float(share) < right for share in re.findall(r"wrong devices: ([\d.]+)%", shown))
