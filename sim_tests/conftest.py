"""Fixtures shared by the tests."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is there: two processes with two threads each on two cores wait for one another most of the time.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

from bitting import malloc
from bitting.unit.spec import PRESETS, UnitSpec


@pytest.fixture(params=["tiny", "base", "wide", "soft"])
def spec(request: pytest.FixtureRequest) -> UnitSpec:
    return PRESETS[request.param]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240520)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tests run side by side; torch's own threads would only fight."""
    torch.set_num_threads(1)
    malloc.keep_freed()


#: The longest files, longest first: workers that begin with them end at about the same time. (xdist would sort files by how
#: many tests they have; with `--no-loadscope-reorder` it keeps the order in which they were collected.)
LONGEST = (
    "test_boards.py", "test_fpga.py", "test_attack.py", "test_port_attacks.py", "test_networks.py", "test_verify.py",
    "test_engine.py", "test_training.py", "test_cli.py", "test_sealed_rtl.py", "test_sparsity.py", "test_boot.py",
    "test_package.py", "test_chapters.py", "test_wider.py", "test_profile.py", "test_sealed.py", "test_own_data.py",
    "test_cocotb.py", "test_rtl_units.py", "test_bch_decoder.py", "test_rings.py", "test_c_host.py", "test_examples.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; the rest as they are collected."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))
