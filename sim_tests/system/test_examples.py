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
    "table_to_verilog": [],
    "pictures_folder": ["--epochs", "3", "--pictures", "400", "--verified", "16"],
    "onnx_on_a_board": ["--samples", "3"],
}


def printed(name: str) -> str:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *SETTINGS[name]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def without_numbers(text: str) -> list[str]:
    """Its lines, with the same mark for every number: accuracies depend on settings and on the machine's torch."""
    return re.sub(r"\d+(\.\d+)?", "N", text).splitlines()


def shown_as_kept(name: str) -> str:
    """What it prints, of which all but the numbers is as it was kept."""
    shown = printed(name)
    assert without_numbers(shown) == without_numbers((EXAMPLES / f"{name}.txt").read_text())
    return shown


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SETTINGS)


@pytest.mark.slow
def test_the_verilog_gives_the_kept_numbers():
    assert printed("drive_the_verilog") == (EXAMPLES / "drive_the_verilog.txt").read_text()


@pytest.mark.slow
def test_a_model_of_ones_own_is_verified_to_the_bit():
    shown = shown_as_kept("own_model")
    assert shown.count(" 0 wrong logits, 0 wrong cycle counts\n") == 1 and shown.count("wrong device, RTL: refuses") == 1
    (right,) = (float(share) for share in re.findall(r"device, RTL: ([\d.]+)%", shown))
    assert right > 50


@pytest.mark.slow
def test_attacks_print_what_they_reach():
    shown = shown_as_kept("attack_your_lock")
    right, *_ = (float(share) for share in re.findall(r"right device: ([\d.]+)%", shown))
    assert all(float(share) < right for share in re.findall(r"wrong devices: ([\d.]+)%", shown))


@pytest.mark.slow
def test_a_table_reaches_the_rtl_and_a_package():
    shown = shown_as_kept("table_to_verilog")
    _, unit, rtl = (float(share) for share in re.findall(r": ([\d.]+)%", shown))
    assert rtl == unit > 50 and shown.count(" 0 wrong logits, 0 wrong cycle counts\n") == 1


@pytest.mark.slow
def test_a_folder_of_pictures_is_learnt_and_verified_to_the_bit():
    shown = shown_as_kept("pictures_folder")
    assert all(float(share) > 50 for share in re.findall(r": ([\d.]+)%", shown))
    assert " of 16 pictures, 0 wrong logits, 0 wrong cycle counts\n" in shown and "wrong device, RTL: refuses" in shown


@pytest.mark.slow
def test_a_board_answers_the_host_in_c_as_the_model_does():
    shown = shown_as_kept("onnx_on_a_board")
    assert shown.endswith("\n3 answers equal to the loaded model's, to the bit: True\n")
    assert all(float(score) > 0 for score in re.findall(r"R2 ([\d.]+)", shown))
