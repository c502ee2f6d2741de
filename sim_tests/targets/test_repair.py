"""Repairs without data: each does what its name says, leaves the stolen network alone, and can be repeated."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bitting.errors import BittingError
from bitting.program.layers import Program, dense
from bitting.targets import repair
from bitting.targets.formats import IntegerFormat
from bitting.targets.stolen import Kind, Stolen
from bitting.targets.target import Target
from bitting.unit.spec import PRESETS
from tb.programs import random_activations, random_program
from tb.stolen import chained, network_program

BASE = PRESETS["base"]


def one_layer(*rows: tuple[float, ...]) -> Stolen:
    """A layer of given real weights whose sums leave."""
    shape = (len(rows), len(rows[0]))
    program = Program(BASE, (dense(np.zeros(shape), np.zeros(len(rows)), 0, 0, 0, emits=True),), 0, shape[1])
    stolen = Stolen.of(program)
    layer = replace(stolen.layers[0], weights=torch.tensor(rows, dtype=torch.float64))
    return replace(stolen, layers=(layer,), dtype=torch.float64)


def test_the_largest_weights_of_each_channel_are_trimmed_to_the_next():
    stolen = one_layer((1, -9, 3, 2, 0, 0, 0, 0, 0, 0), (5, 5, -70, 80, 6, 1, 1, 1, 1, 1))
    trimmed = repair.trimmed(stolen, 0.2).layers[0].weights
    assert trimmed.tolist() == [[1, -2, 2, 2, 0, 0, 0, 0, 0, 0], [5, 5, -6, 6, 6, 1, 1, 1, 1, 1]]
    assert repair.trimmed(stolen, 0.01).layers[0].weights[0].abs().max() == 3, "one at least"
    assert stolen.layers[0].weights[0, 1] == -9, "the stolen network stays"


def test_whole_periods_in_biases_are_nothing_to_the_unit():
    changed = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        program = random_program(BASE, rng)
        stolen, x = Stolen.of(program), random_activations(BASE, rng, 20, program.input_words)
        found = repair.with_reduced_biases(stolen)
        assert torch.equal(found(x), stolen(x))
        for before, after in zip(stolen.layers, found.layers, strict=True):
            if after.kind is Kind.PRODUCT and not after.emits:
                assert float(after.bias.abs().max()) <= 2 * after.quarter
                changed += not torch.equal(before.bias, after.bias)
    assert changed


def test_a_mean_of_noisy_roundings_lies_nearer_to_the_weights_than_one_rounding():
    stolen, coarse = one_layer(tuple(np.linspace(-1, 1, 40)), tuple(np.linspace(0, 3, 40))), IntegerFormat(3, per_channel=True)
    weights = stolen.layers[0].weights

    def error(found: Stolen) -> float:
        return float((found.layers[0].weights - weights).square().mean())

    once, many = repair.averaged(stolen, coarse, 1, 0.0), repair.averaged(stolen, coarse, 64, 0.3)
    assert torch.equal(once.layers[0].weights, coarse(weights))
    assert error(many) < 0.3 * error(once)
    assert torch.equal(many.layers[0].weights, repair.averaged(stolen, coarse, 64, 0.3).layers[0].weights)
    assert not torch.equal(many.layers[0].weights, repair.averaged(stolen, coarse, 64, 0.3, seed=1).layers[0].weights)


def test_a_bias_corrected_without_data_gives_sums_their_means_back():
    """Weights that are rounded down alike move every sum; of inputs the range is all that is known."""
    stolen = one_layer((1.0, *[0.3] * 30), (1.0, *[0.2] * 30))
    target = Target("coarse", "", weights=IntegerFormat(2, per_channel=True))
    corrected = repair.bias_corrected(stolen, target)
    for seed, share in (
        (0, 1e-6),
        (5, 0.75),
    ):  # what it is corrected on, and others: their means are small, beside their spread
        x = repair.random_inputs(stolen, seed)
        before, after = ((target.run(each, x)(x) - stolen(x)).mean(0).abs() for each in (stolen, corrected))
        assert float((after / before).max()) < share
    assert torch.equal(repair.bias_corrected(stolen, target).layers[0].bias, corrected.layers[0].bias)
    assert torch.equal(corrected.layers[0].weights, stolen.layers[0].weights)


def test_the_smallest_weights_with_the_same_sums_take_a_split_off():
    """Two channels that are made alike, and read by a small difference of large weights: halves of it remain."""
    stolen = chained(BASE, BASE.max_shift, ([[3, 5], [3, 5], [-2, 7]], 0, 2), ([[900, -893, 4], [-700, 702, 1]], 2, 0))
    found, x = repair.shrunk(stolen), repair.random_inputs(stolen, seed=9)
    wanted = torch.tensor([[3.5, 3.5, 4], [1, 1, 1]], dtype=torch.float64)
    assert torch.allclose(found.layers[1].weights, wanted, atol=1e-6)
    assert torch.equal(found.layers[0].weights, stolen.layers[0].weights), "inputs span everything"
    assert torch.allclose(found(x), stolen(x), atol=1e-3) and float(stolen(x).std()) > 10
    for seed in range(4):
        program, activations = network_program(seed, "fold")
        network = Stolen.of(program)
        differ = (repair.shrunk(network)(activations) - network(activations)).abs().amax(1)
        assert float((differ < 1e-3).double().mean()) > 0.5, "rounding moves sums that lie at a step of the wave"


def test_a_network_whose_span_is_too_large_for_memory_is_refused():
    """A file can name networks of any size; this one wants a matrix of 34 GB."""
    stolen = one_layer((1.0, 2.0))
    wide = replace(stolen.layers[0], weights=torch.zeros(1, 1).expand(1, 65_536))
    with pytest.raises(BittingError, match=r"layers of up to 65536 inputs.*allowed are 8192"):
        repair.shrunk(replace(stolen, layers=(wide,)))
    with pytest.raises(BittingError, match="words of random activations"):
        repair.shrunk(replace(stolen, reach=1 << 27))


def test_random_inputs_have_the_whole_range():
    program, _ = network_program(0, "fold")
    x = repair.random_inputs(Stolen.of(program))
    assert int(x.min()) == program.spec.act_min and int(x.max()) == program.spec.act_max
    assert torch.equal(x, repair.random_inputs(Stolen.of(program))) and x.shape[1] == program.input_words


def test_what_is_no_repair_is_refused():
    stolen = one_layer((1.0, 2.0))
    for share in (0, 1, -0.1, 2):
        with pytest.raises(BittingError, match="more than 0 and less than 1"):
            repair.trimmed(stolen, share)
    for count, noise in ((0, 0.1), (4, -1.0)):
        with pytest.raises(BittingError, match="allowed is at least one, and no negative noise"):
            repair.averaged(stolen, IntegerFormat(4), count, noise)
    with pytest.raises(BittingError, match="target t runs on torchao, which tells no sums"):
        repair.bias_corrected(stolen, Target("t", "", engine="torchao", method="int8-weights"))
