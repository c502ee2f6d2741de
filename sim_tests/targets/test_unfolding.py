"""The wave written out in clamps or ReLUs is the fold to the bit within its range, and not beyond."""

import numpy as np
import pytest
import torch

from bitting.errors import BittingError
from bitting.targets.stolen import Stolen
from bitting.targets.target import Target
from bitting.targets.unfolding import unfolded
from bitting.targets.waves import Wave
from bitting.unit.spec import PRESETS
from tb.stolen import chained

BASE = PRESETS["base"].replace(acc_bits=14)
#: Shift of a layer whose sums are steps of the wave.
STEPS = BASE.acc_bits - 1 - BASE.act_bits
HALF = 1 << BASE.act_bits


def written_out(stolen: Stolen, name: str, gain: float, halves: int, x: torch.Tensor) -> torch.Tensor:
    """Answers of a target with this wave."""
    found = unfolded(stolen, Wave(name, BASE, gain), halves)
    return Target(name, "", wave=name, gain=gain).run(found, x)(x)


@pytest.mark.parametrize("name", ["clamp", "relu"])
@pytest.mark.parametrize("gain", [0.5, 1.0])
@pytest.mark.parametrize("halves", range(4))
def test_every_sum_within_the_range_gives_what_the_fold_gives(name, gain, halves):
    """One channel whose sum is 32 a + b: every step there is, an answer for each."""
    stolen = chained(BASE, STEPS, ([[32, 1]], 0, 2), ([[1]], 2, 0))
    a, b = np.meshgrid(np.arange(BASE.act_min, BASE.act_max + 1), np.arange(0, 32))
    x = torch.from_numpy(np.stack([a.ravel(), b.ravel()], 1))
    steps = 32 * x[:, 0] + x[:, 1]
    within = (steps >= -HALF / 2 - HALF * halves) & (steps <= HALF / 2 - 1 + HALF * halves)
    found, exact = written_out(stolen, name, gain, halves, x), stolen(x)
    assert torch.equal(found[within], exact[within]) and 0 < int(within.sum()) < len(x)
    assert not torch.equal(found, exact), "beyond the range it is something else"


@pytest.mark.parametrize("name", ["clamp", "relu"])
def test_a_deep_network_is_the_unit_s_with_the_waves_of_other_hardware(name):
    rng = np.random.default_rng(3)
    matrices = [rng.integers(-3, 4, shape).tolist() for shape in ((6, 2), (5, 6), (4, 5))]
    stolen = chained(BASE, STEPS, (matrices[0], 0, 2), (matrices[1], 2, 8), (matrices[2], 8, 0), bias=9)
    x = torch.from_numpy(rng.integers(BASE.act_min, BASE.act_max + 1, (300, 2)))
    assert torch.equal(written_out(stolen, name, 1.0, 9, x), stolen(x))
    assert not torch.equal(Target(name, "", wave=name).run(stolen, x)(x), stolen(x)), "which it is not by itself"
    assert len(stolen.layers[0].bias) == 6, "the stolen network stays"


def test_other_waves_are_refused():
    stolen = chained(BASE, STEPS, ([[1, 1]], 0, 2), ([[1]], 2, 0))
    for wave, halves in ((Wave("tanh", BASE), 1), (Wave("clamp", BASE), -1)):
        with pytest.raises(BittingError, match="allowed are clamp, relu, from 0"):
            unfolded(stolen, wave, halves)
