"""The benchmark's history: what a recorded run says of itself, and that nothing is recorded unasked."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench.py"
SPEED = {"first_ms": 2.0, "second_ms": 1.0, "ratio": 0.5}


def git(*arguments: str) -> None:
    """In the current folder, as nobody in particular."""
    settings = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "core.hooksPath=/dev/null")
    subprocess.run(["git", *settings, *arguments], check=True, capture_output=True)


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """The script, measuring next to nothing, in a folder of its own; `run` calls it with arguments."""
    spec = importlib.util.spec_from_file_location("bench", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    measured = {
        "layer (1, 2, 3)": {"emulator": SPEED, "rival": SPEED, "macs": 6},
        "training (1, 2, 3)": {"unit": SPEED, "brevitas": None},
        "apytypes (1, 2, 3)": SPEED,
    }
    rate = {"clocks_per_second": 2e6, "macs_per_second": 3e6}
    for name, value in (
        ("speeds", measured), ("personalisation", {"clock x aes": 1.0}), ("native_rate", rate), ("cocotb_rate", 1e5),
        ("locked_over_twin", {"locked_clocks_per_second": 2e6, "twin_clocks_per_second": 4e6, "ratio": 0.5}),
        ("verification_seconds", {"seconds": 1.5, "simulation_seconds": 1.0, "processor_seconds": 2.0, "clocks": 7}),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, lambda *_, value=value: value)
    monkeypatch.setattr(module, "RECORDS", tmp_path / "docs" / "history")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["bench.py", *arguments])
        module.main()

    monkeypatch.setattr(module, "run", run, raising=False)
    return module


def test_a_run_is_printed_and_appended_and_not_recorded_unasked(bench, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench.console.out, "width", 140)  # whatever the terminal of whoever runs the tests
    for _ in range(2):
        bench.run()
    assert len(json.loads((tmp_path / "out" / "bench.json").read_text())) == 2
    assert not bench.RECORDS.exists()
    printed = capsys.readouterr().out
    assert "layer (1, 2, 3), rival" in printed and "native harness over cocotb" in printed
    assert "locked over unlocked twin" in printed and "verify 10 000 images, 64 lanes" in printed


def test_a_recorded_run_says_what_of_when_and_where(bench, monkeypatch):
    monkeypatch.setattr(bench, "commit", lambda: "1234abcd")
    bench.run("--record")
    (path,) = bench.RECORDS.iterdir()
    found = json.loads(path.read_text())
    assert found["commit"] == "1234abcd" and found["processor"] and len(found["load"]) == 3
    assert path.name == f"bench-{found['when'][:19].replace(':', '')}Z.json" and found["threads"]["1"]


def test_what_is_no_commit_is_not_recorded(bench, tmp_path):
    """Neither outside git nor with changes: said before anything is measured."""
    with pytest.raises(SystemExit, match="wants the commit, and git does not tell it"):
        bench.run("--record")
    (tmp_path / "file").write_text("as committed")
    for command in ("init", "add .", "commit -m first"):
        git(*command.split())
    assert len(bench.commit()) == 40
    (tmp_path / "file").write_text("changed")
    with pytest.raises(SystemExit, match=r"commit or stash first:\n *M file"):
        bench.run("--record")
    assert not bench.RECORDS.exists() and not (tmp_path / "out").exists()
