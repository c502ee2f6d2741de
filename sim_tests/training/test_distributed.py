"""Training over two processes on one machine is training in one."""

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
    if distributed.leads():
        model.save(Path(sys.argv[1]))
"""


def trained(path, processes, seed=""):
    script = path / "job.py"
    script.write_text(SCRIPT)
    target = path / f"model{processes}.safetensors"
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    done = subprocess.run(
        [sys.executable, *launcher, str(script), str(target), *[seed] * bool(seed)],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return load(target)


@pytest.mark.slow
def test_two_processes_give_the_model_of_one_with_the_same_global_batch(tmp_path):
    one, two = trained(tmp_path, 1, "0"), trained(tmp_path, 2, "0")
    assert one.claims == two.claims
    for a, b in zip(one.program.layers, two.program.layers, strict=True):
        assert np.array_equal(a.codes, b.codes) and np.array_equal(a.bias, b.bias)


@pytest.mark.slow
def test_processes_agree_on_a_seed_that_is_drawn(tmp_path):
    """Each would draw another; then their weights would drift apart, and the seed in the file would be of no training."""
    two = trained(tmp_path, 2)
    seed = two.claims["config"]["seed"]
    one = trained(tmp_path, 1, str(seed))
    assert seed >= 1 << 64 and not two.reproducible and one.reproducible
    for a, b in zip(one.program.layers, two.program.layers, strict=True):
        assert np.array_equal(a.codes, b.codes) and np.array_equal(a.bias, b.bias)


def test_a_batch_that_can_not_be_shared_evenly_is_refused(monkeypatch):
    monkeypatch.setattr(distributed, "active", lambda: True)
    monkeypatch.setattr(distributed.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed.dist, "get_rank", lambda: 1)
    assert distributed.share(torch.arange(6)).tolist() == [3, 4, 5]
    with pytest.raises(BittingError, match="multiple"):
        distributed.share(torch.arange(7))
