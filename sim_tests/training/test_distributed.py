"""Training over two processes on one machine is training in one, but for the order of sums (decision 30)."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from bitting import load
from bitting.errors import BittingError
from bitting.training import distributed

SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from bitting.data import datasets
from bitting.training import distributed, loop, recipes
from bitting.unit.spec import PRESETS
torch.set_num_threads(1)
seed = int(sys.argv[2]) if len(sys.argv) > 2 else None
with distributed.group():
    config = replace(recipes.RECIPES["digits"], epochs=1, hidden=(24,), dropout=0.0, seed=seed)
    model = loop.train(PRESETS["base"], datasets.load("digits"), config)
    rank = torch.distributed.get_rank() if distributed.active() else 0
    model.save(Path(sys.argv[1]) / f"rank{rank}.safetensors")
"""


def trained(path, processes, seed=""):
    """Models that the processes end with."""
    path.mkdir()
    script = path / "job.py"
    script.write_text(SCRIPT)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    done = subprocess.run(
        [sys.executable, *launcher, str(script), str(path), *[seed] * bool(seed)],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return [load(path / f"rank{rank}.safetensors") for rank in range(processes)]


def same(one, two):
    pairs = list(zip(one.program.layers, two.program.layers, strict=True))
    return all(np.array_equal(a.codes, b.codes) and np.array_equal(a.bias, b.bias) for a, b in pairs)


@pytest.mark.slow
def test_two_processes_give_the_model_of_one_with_the_same_global_batch(tmp_path):
    """Of this seed to the bit. A few seeds in a hundred end in another code, and which ones depends on the processor."""
    (one,), (two, other) = trained(tmp_path / "one", 1, "0"), trained(tmp_path / "two", 2, "0")
    assert one.claims == two.claims
    assert same(one, two) and same(one, other)


@pytest.mark.slow
def test_processes_agree_on_a_seed_that_is_drawn(tmp_path):
    """Each would draw another; then their weights would drift apart, and the seed in the file would be of no training."""
    drawn, other = trained(tmp_path / "drawn", 2)
    seed = drawn.claims["config"]["seed"]
    assert seed >= 1 << 64 and other.claims["config"]["seed"] == seed
    named, _ = trained(tmp_path / "named", 2, str(seed))
    assert not drawn.reproducible and named.reproducible
    assert same(drawn, other) and same(drawn, named)


def test_a_batch_that_can_not_be_shared_evenly_is_refused(monkeypatch):
    monkeypatch.setattr(distributed, "active", lambda: True)
    monkeypatch.setattr(distributed.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed.dist, "get_rank", lambda: 1)
    assert distributed.share(torch.arange(6)).tolist() == [3, 4, 5]
    with pytest.raises(BittingError, match="multiple"):
        distributed.share(torch.arange(7))
