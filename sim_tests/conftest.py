"""Fixtures shared by the tests."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is there: two processes with two threads each on two cores wait for one another most of the time.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

from bitting.unit.spec import PRESETS, UnitSpec


@pytest.fixture(params=["tiny", "base", "wide"])
def spec(request: pytest.FixtureRequest) -> UnitSpec:
    return PRESETS[request.param]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240520)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tests run side by side; torch's own threads would only fight."""
    torch.set_num_threads(1)
