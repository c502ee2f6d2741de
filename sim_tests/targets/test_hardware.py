"""Waves, accumulators, pruning and rounding do what their names say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bitting.emulator import arithmetic, emulate
from bitting.errors import BittingError
from bitting.program.layers import multilayer_perceptron
from bitting.targets import rounding
from bitting.targets.accumulators import STORED, Accumulator
from bitting.targets.formats import IntegerFormat
from bitting.targets.pruning import Pruning
from bitting.targets.stolen import Stolen
from bitting.targets.target import Target
from bitting.targets.waves import NAMES, Wave, fold
from bitting.unit.spec import PRESETS

GENERATOR = torch.Generator().manual_seed(3)


def every_sum(spec) -> torch.Tensor:
    """Accumulators over two periods."""
    return torch.arange(-(1 << spec.acc_bits), 1 << spec.acc_bits, max(1, (1 << spec.acc_bits) // 4096) | 1).double()


def test_the_fold_is_the_emulator_s(spec):
    sums = every_sum(spec)
    for shift in range(spec.max_shift + 1):
        steps = sums * emulate.fold_slope(spec, shift)
        assert torch.equal(fold(spec).activations(steps), emulate.fold(spec, sums.clone(), shift))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "fold"])
@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
def test_a_stand_in_has_its_gain_at_zero_and_stays_in_range(spec, name, gain):
    half = 1 << (spec.act_bits - 1)
    wave = Wave(name, spec, gain)
    x = torch.tensor([1e-3], dtype=torch.float64, requires_grad=True)
    wave.activations(x).sum().backward()
    slope = gain * (torch.pi / 2 if name == "sine" else 1)
    assert x.grad is not None and x.grad.item() == pytest.approx(slope, rel=1e-3)
    written = wave.activations(torch.linspace(-8 * half, 8 * half, 999, dtype=torch.float64))
    assert torch.equal(written, written.round())
    assert written.min() >= spec.act_min
    assert (written.max() > spec.act_max) == (name == "relu")


def test_a_clamp_of_gain_one_is_the_fold_within_its_first_quarter(spec):
    steps = torch.arange(spec.act_min, spec.act_max + 1).double()
    assert torch.equal(Wave("clamp", spec).activations(steps), fold(spec).activations(steps))
    beyond = torch.tensor([spec.act_max + 9.0])
    assert Wave("clamp", spec).activations(beyond) != fold(spec).activations(beyond)


def test_answers_wrap_with_the_fold_only(spec):
    sums = every_sum(spec)
    wrapped = arithmetic.wrap(sums.long().numpy(), spec.acc_bits)
    assert np.array_equal(fold(spec).answers(sums, 2.0 ** (spec.acc_bits - 2)).numpy(), wrapped)
    assert torch.equal(Wave("tanh", spec).answers(sums, 1.0), sums)


@pytest.mark.parametrize(("name", "gain"), [("square", 1.0), ("clamp", 0.0), ("fold", 2.0)])
def test_what_is_no_wave_is_refused(spec, name, gain):
    with pytest.raises(BittingError, match="allowed"):
        Wave(name, spec, gain)


def test_accumulators_wrap_saturate_and_round():
    sums = torch.arange(-70_000, 70_000, 7).double()
    wrapped = Accumulator("wrapping", 12).leaving(1.0, 4096.0, sums)(sums)
    assert np.array_equal(wrapped.numpy(), arithmetic.wrap(sums.long().numpy(), 12))
    assert torch.equal(Accumulator("saturating", 12).leaving(1.0, 4096.0, sums)(sums), sums.clamp(-2048, 2047))
    slope = 2.0**-9
    steps = Accumulator("fp16").leaving(slope, 4096.0, sums)(sums)
    assert torch.equal(steps, (sums.float() * slope).half().double() / slope)
    for kind, bits, stored in (
        ("exact", 8, "steps"),
        ("wrapping", 1, "steps"),
        ("saturating", 40, "steps"),
        ("fp16", 0, "wrapped"),
        ("wrapping", 12, "modulo"),
    ):
        with pytest.raises(BittingError, match="allowed"):
            Accumulator(kind, bits, stored)


def test_sums_that_are_infinite_in_steps_are_not_if_they_are_scaled_or_reduced():
    sums = torch.arange(-(1 << 23), 1 << 23, 1003).double()
    slope, period = 2.0**-5, 4096.0  # 2^18 steps at the ends, 128 in a period
    stored = {kind: Accumulator("fp16", stored=kind).leaving(slope, period, sums / 2) for kind in STORED}
    assert not stored["steps"](sums).isfinite().all()
    scaled, modulo = stored["scaled"](sums), stored["modulo"](sums)
    assert float(((scaled - sums) / sums).abs().max()) <= 2.0**-11, "as exact as fp16 is"
    turns = (modulo - sums) / period
    assert float(modulo.abs().max()) <= period / 2
    assert float((turns - turns.round()).abs().max()) <= 2.0**-12, "half a unit of the last place, of half a period"


def test_biases_without_whole_periods_are_stored_better_and_are_nothing_to_exact_hardware():
    spec = PRESETS["soft"]
    rng = np.random.default_rng(5)
    period = 1 << (spec.acc_bits - spec.max_shift)
    codes = [rng.choice(np.flatnonzero(np.abs(spec.values) < 20), (6, 8)), rng.integers(0, spec.codes, (4, 6))]
    biases = [(1 << (spec.acc_bits - 1)) - period + rng.integers(0, period // 4, 6), np.zeros(4)]
    program = multilayer_perceptron(spec, codes, biases, [spec.max_shift, 0])
    stolen, x = Stolen.of(program), torch.from_numpy(rng.integers(spec.act_min, spec.act_max + 1, (60, 8)))
    exact = stolen(x)
    assert torch.equal(Target("x", "x", reduces_biases=True).run(stolen, x)(x), exact)
    scaled = Target("x", "x", accumulator=Accumulator("bf16", stored="scaled"))
    errors = [float((each.run(stolen, x)(x) - exact).abs().mean()) for each in (scaled, replace(scaled, reduces_biases=True))]
    assert errors[1] < 0.3 * errors[0], errors


@pytest.mark.parametrize("count", [4, 32, 35, 33])
def test_two_of_every_four_neighbours_stay_and_they_are_the_largest(count):
    weights = torch.randn(6, count, generator=GENERATOR)
    kept = Pruning("2:4")(weights) != 0
    for start in range(0, count, 4):
        group = weights[:, start : start + 4].abs()
        left = min(2, group.shape[1])
        assert (kept[:, start : start + 4].sum(1) == left).all()
        assert torch.equal(group.topk(left).values.amin(1), (group + 99 * ~kept[:, start : start + 4]).amin(1))


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_the_smallest_weights_of_a_matrix_go(share):
    weights = torch.randn(20, 30, generator=GENERATOR)
    pruned = Pruning("unstructured", share)(weights)
    assert int((pruned == 0).sum()) == round(share * 600)
    assert weights[pruned == 0].abs().max() <= pruned[pruned != 0].abs().min()
    with pytest.raises(BittingError, match=r"allowed: 2:4, unstructured, of 0\.\.1"):
        Pruning("unstructured", 1 + share)


def test_rounding_that_looks_at_data_beats_the_nearest():
    """Inputs are correlated, so that errors can make up for one another; error of the sums, on inputs that were not seen."""
    mixing = torch.randn(12, 48, generator=GENERATOR)
    x, unseen = (torch.randn(rows, 12, generator=GENERATOR) @ mixing for rows in (2000, 500))
    weights = torch.randn(8, 48, generator=GENERATOR)
    for quantiser in (
        IntegerFormat(4, per_channel=True),
        IntegerFormat(4, symmetric=False),
        IntegerFormat(3, per_channel=True),
    ):
        grid = quantiser.grid(weights)
        made = {"nearest": grid(weights), "gptq": rounding.gptq(x, weights, grid)}
        made["adaround"] = rounding.adaround(x, weights, grid, x @ weights.t())
        errors = {name: float((unseen @ (each - weights).t()).square().mean()) for name, each in made.items()}
        assert errors["gptq"] < 0.6 * errors["nearest"] and errors["adaround"] < 0.6 * errors["nearest"], errors
        for each in made.values():
            assert torch.allclose(grid(each), each, rtol=1e-6), "numbers of the grid"
        assert float(((made["adaround"] - weights) / grid.scale).abs().max()) < 1 + 1e-4, "up or down, no further"


@pytest.mark.parametrize(("bits", "symmetric"), [(8, True), (4, True), (4, False)])
def test_a_search_of_damping_and_range_leaves_a_smaller_error_of_sums(bits, symmetric):
    """On the calibration inputs no row has a larger one; nor have all together on others, where inputs make up for others."""
    mixing = torch.randn(12, 48, generator=GENERATOR)
    x, unseen = (torch.randn(rows, 12, generator=GENERATOR) @ mixing + 3 for rows in (600, 600))
    weights = torch.randn(8, 48, generator=GENERATOR)
    grid = IntegerFormat(bits, symmetric, per_channel=True).grid(weights)

    def errors(found: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        return (inputs @ (found - weights).t()).var(0)

    tuned, plain = rounding.gptq_tuned(x, weights, grid, x @ weights.t()), rounding.gptq(x, weights, grid)
    assert (errors(tuned, x) <= errors(plain, x) * (1 + 1e-4)).all()
    assert errors(tuned, unseen).mean() < 0.8 * errors(plain, unseen).mean()
    for row in tuned:
        assert len(row.unique()) <= 1 << bits


def test_weights_fitted_to_sums_are_small_where_inputs_are_equal_and_mend_what_was_done_to_them():
    x = torch.randn(600, 24, generator=GENERATOR) + 2
    small = torch.randint(-12, 13, (8, 24), generator=GENERATOR).float()
    weights, twice = torch.cat([4096.0 + small, torch.full_like(small, -4096.0)], 1), torch.cat([x, x], 1)
    noisy = twice + 0.01 * torch.randn(twice.shape, generator=GENERATOR)  # copies that are no longer equal
    found = rounding.refitted(noisy, twice @ weights.t())
    assert float(found.abs().max()) < 12
    errors = [float((noisy @ each.t() - x @ small.t()).var(0).mean()) for each in (found, weights)]
    assert errors[0] < 0.01 * float((x @ small.t()).var(0).mean()) < errors[1], errors


def test_learned_rounding_ends_at_whole_numbers_where_two_inputs_are_always_equal():
    """Each weight is a difference of two large ones: the nearest numbers have none of it, and two roundings can have it."""
    x = torch.randn(2000, 6, generator=GENERATOR) @ torch.randn(6, 24, generator=GENERATOR)
    small = torch.randint(-12, 13, (8, 24), generator=GENERATOR).float()
    weights = torch.cat([4096.0 + small.div(2).floor(), small - small.div(2).floor() - 4096.0], 1)
    grid, twice = IntegerFormat(8, per_channel=True).grid(weights), torch.cat([x, x], 1)
    learnt = rounding.adaround(twice, weights, grid, twice @ weights.t())
    errors = [float((twice @ (each - weights).t()).square().mean()) for each in (learnt, grid(weights))]
    assert errors[0] < 0.6 * errors[1], errors


def test_a_corrected_bias_gives_sums_their_means_back():
    wanted, found = (torch.randn(4, 3, 50, generator=GENERATOR) + shift for shift in (0, 5))
    bias = torch.arange(4.0)
    change = rounding.corrected(bias, wanted, found) - bias
    assert torch.allclose((found + change[:, None, None]).mean((1, 2)), wanted.mean((1, 2)), atol=1e-5)


def test_behind_a_rotation_products_are_the_same_and_doubled_inputs_fall_apart(spec):
    """Sums and differences of two inputs that are always equal: the large half of a split weight meets zeros."""
    rng = np.random.default_rng(0)
    program = multilayer_perceptron(spec, [rng.integers(0, spec.codes, (6, 12))], [np.zeros(6)], [0])
    x = torch.from_numpy(rng.integers(spec.act_min, spec.act_max + 1, (40, 12)))
    stolen = Stolen.of(program)
    exact = stolen(x)
    errors = {}
    for form in (IntegerFormat(16, per_channel=True), IntegerFormat(4, per_channel=True)):
        answers = Target("x", "x", weights=form, rotated=True).run(stolen, x)(x)
        errors[form.bits] = float((answers - exact).abs().max() / exact.abs().max())
    assert errors[16] < 1e-3 < errors[4]


def test_the_layer_that_is_spared_is_the_one_that_costs_most(spec):
    """All weights of the first layer are exact in two bits anyway, so the second one is spared, and the answers are exact."""
    rng = np.random.default_rng(1)
    values = np.array(spec.values)
    level = int(values[values > 0].min())
    easy = np.searchsorted(values, rng.choice([-level, 0, level], (8, 12)))
    program = multilayer_perceptron(spec, [easy, rng.integers(0, spec.codes, (5, 8))], [np.zeros(8), np.zeros(5)], [1, 0])
    x = torch.from_numpy(rng.integers(spec.act_min, spec.act_max + 1, (200, 12)))
    stolen = Stolen.of(program)
    target = Target("x", "x", weights=IntegerFormat(2, scale="mse"), spared=True)
    assert torch.equal(target.run(stolen, x)(x), stolen(x))
    assert not torch.equal(replace(target, spared=False).run(stolen, x)(x), stolen(x))
