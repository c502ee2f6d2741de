"""Cross-layer equalisation: exact where the wave is the identity, not beyond, and only between layers that have nobody else."""

import numpy as np
import pytest
import torch

from bitting.errors import BittingError
from bitting.targets.equalisation import equalised
from bitting.targets.families import every_target
from bitting.targets.stolen import Stolen
from bitting.unit.spec import PRESETS
from tb.stolen import chained

BASE = PRESETS["base"].replace(acc_bits=14)
#: Shift of a layer whose sums are steps of the wave, so that rounding down takes nothing away.
STEPS = BASE.acc_bits - 1 - BASE.act_bits


def chain(bias: int = 0) -> Stolen:
    """Two channels; the largest weights that make and read them are 1 and 4, and 4 and 1: factors 1/2 and 2."""
    return chained(BASE, STEPS, ([[1, -1], [4, 2]], 0, 2), ([[4, 1], [2, 0]], 2, 0), bias=bias)


def even(most: int) -> torch.Tensor:
    """Inputs whose sums are even, so that half of them are integers, too."""
    return torch.from_numpy(2 * np.random.default_rng(0).integers(-most, most + 1, (200, 2)))


def test_ranges_are_equal_and_answers_the_same_where_the_wave_is_the_identity():
    assert BASE.max_shift >= STEPS and BASE.act_max >= 6 * 4, "the unit has such layers, and sums stay where it is linear"
    stolen, x = chain(), even(2)
    found = equalised(stolen)
    assert [layer.weights.tolist() for layer in found.layers] == [[[2, -2], [2, 1]], [[2, 2], [1, 0]]]
    assert torch.equal(found(x), stolen(x))
    assert stolen.layers[0].weights[1, 0] == 4, "the stolen network stays"


def test_beyond_a_factor_changes_what_the_unit_writes():
    stolen, x = chain(), even(BASE.act_max // 2)
    assert not torch.equal(equalised(stolen)(x), stolen(x))


def test_with_a_relu_without_bound_factors_are_free_everywhere():
    (relu,) = (target for target in every_target(BASE.acc_bits) if target.name == "relu-1")
    stolen, x = chain(), even(BASE.act_max // 2)
    assert torch.equal(relu.run(equalised(stolen), x)(x), relu.run(stolen, x)(x))


def test_whole_periods_are_taken_off_first():
    period = 4 << (BASE.acc_bits - 2 - STEPS)
    stolen, x = chain(bias=period), even(2)
    assert torch.equal(equalised(stolen)(x), stolen(x))


def test_factors_are_limited():
    found = equalised(chain(), 1.5).layers[0].weights
    assert torch.allclose(found, torch.tensor([[1.5, -1.5], [4 / 1.5, 2 / 1.5]], dtype=found.dtype))
    stolen = chain()
    assert torch.equal(equalised(stolen, 1.0).layers[0].weights, stolen.layers[0].weights)
    with pytest.raises(BittingError, match=r"factors are limited to 0.5; allowed is 1 \(nothing is changed\) or more"):
        equalised(stolen, 0.5)


def test_channels_that_somebody_else_reads_stay():
    both = [[1, 1, 1, 1]]  # reads what both of the others have written
    stolen = chained(BASE, STEPS, ([[1, -1], [4, 2]], 0, 2), ([[4, 1], [2, 0]], 2, 4), (both, 2, 0))
    for before, after in zip(stolen.layers, equalised(stolen).layers, strict=True):
        assert torch.equal(before.weights, after.weights)
