"""Errors of bits and failures of keys: exact sums, published codes, other libraries, and throwing dice."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from bitting.errors import MeasurementError
from bitting.puf import choice, failure, pairing
from bitting.puf.failure import codes, poisson_binomial_tail
from bitting.puf.measurements import Measurements
from bitting.puf.population import Population, Surroundings
from bitting.unit.bch import BchCode, correctable


def test_codes_are_all_of_their_length_that_carry_two_bits():
    """Of the sizes that sim_tests/puf/test_bch.py holds beside the published table."""
    assert [code.t for code in codes()] == list(correctable(8))[:-1] and {code.n for code in codes()} == {255}
    assert min(code.k for code in codes()) == 9 and BchCode(8, correctable(8)[-1]).k == 1


@pytest.mark.parametrize("rate", [0.001, 0.02, 0.3])
@pytest.mark.parametrize("corrects", [0, 5, 26, 60])
def test_equal_rates_are_a_binomial_to_many_digits(rate, corrects):
    exact = sum(math.comb(255, k) * Fraction(rate) ** k * (1 - Fraction(rate)) ** (255 - k) for k in range(corrects + 1, 256))
    for found in (poisson_binomial_tail(np.full(255, rate), corrects), failure.binomial_tail(255, corrects, rate)):
        assert math.isclose(found, exact, rel_tol=1e-9), (found, float(exact))


def test_unequal_rates_are_exact_far_into_the_tail():
    """Against exact fractions, down to 1e-40."""
    rates = np.random.default_rng(0).random(30) ** 4 / 4
    exact = [Fraction(1)] + [Fraction(0)] * 30
    for rate in map(Fraction, rates):
        exact = [exact[k] * (1 - rate) + (exact[k - 1] * rate if k else 0) for k in range(31)]
    for corrects in range(30):
        assert math.isclose(poisson_binomial_tail(rates, corrects), sum(exact[corrects + 1 :]), rel_tol=1e-12)
    assert sum(exact[30:]) < Fraction(1, 10**30)
    assert poisson_binomial_tail(rates, 30) == 0


def test_dice_fail_as_often_as_the_exact_sum_says():
    generator = np.random.default_rng(1)
    rates = generator.random(255) ** 6 / 2
    corrects, throws = int(rates.sum()) + 6, 40_000
    probability = poisson_binomial_tail(rates, corrects)
    fails = sum(int(((generator.random((1000, 255)) < rates).sum(1) > corrects).sum()) for _ in range(throws // 1000))
    assert 0.001 < probability < 0.2
    low, high = failure.interval(fails, throws, 0.9999)
    assert low < probability < high
    equal = failure.binomial_tail(255, corrects, float(rates.mean()))
    assert equal > probability, "equal rates are the worst case (Hoeffding)"


def test_a_key_of_blocks_fails_if_one_does():
    assert math.isclose(failure.key_failure(0.1, 3), 1 - 0.9**3)
    assert math.isclose(failure.key_failure(1e-14, 4), 4e-14, rel_tol=1e-9)
    assert failure.key_failure(1.0, 2) == 1


@pytest.mark.parametrize(("errors", "trials"), [(0, 20), (3, 20), (20, 20), (17, 1020)])
def test_intervals_are_those_of_scipy(errors, trials):
    theirs = stats.binomtest(errors, trials).proportion_ci(failure.CONFIDENCE, method="exact")
    assert np.allclose(failure.interval(errors, trials), (theirs.low, theirs.high), rtol=1e-9)


@pytest.mark.parametrize("mean", [0.0, 1e-9, 0.007, 0.05, 0.4])
def test_unequal_rates_have_their_mean_and_order(mean):
    margins = np.abs(np.random.default_rng(2).standard_normal(255)) * 3e-3
    rates = failure.unequal_rates(margins, mean)
    assert math.isclose(rates.mean(), mean, rel_tol=1e-6, abs_tol=1e-15)
    assert (np.diff(rates[margins.argsort()]) <= 0).all() and rates.max() <= 0.5


def test_a_rate_of_one_half_is_refused():
    with pytest.raises(MeasurementError, match="leaves no key"):
        failure.unequal_rates(np.ones(5), 0.5)


def test_a_rate_that_no_noise_gives_is_refused():
    """Of bits without a difference: they err half of the time, whatever the noise."""
    with pytest.raises(MeasurementError, match=r"rate of 0\.01 .* 3 of 4 .* allowed is at least 0\.375"):
        failure.unequal_rates(np.array([0.0, 0, 0, 1]), 0.01)
    assert math.isclose(failure.unequal_rates(np.array([0.0, 0, 0, 1]), 0.4).mean(), 0.4, rel_tol=1e-6)


def test_reads_without_noise_are_refused():
    measured = Measurements(np.tile(np.array([101.0, 100.0])[:, None], (3, 1, 10)), np.arange(3), 2)
    with pytest.raises(MeasurementError, match="board 0 is without noise"):
        failure.error_rates(measured, pairing.without_constants(np.array([[0, 1]])), 1, reference=4)


def test_errors_are_counted_between_disjoint_reads():
    """Two oscillators in step but for one read: it is wrong in the one boot that holds it."""
    frequency = np.full((1, 2, 10), 100.0)
    frequency[:, 0] = 101
    frequency[0, 0, 7] = 90
    pairs = pairing.without_constants(np.array([[0, 1]]))
    measured = Measurements(frequency, np.array([1]), 2)
    assert failure.error_rates(measured, pairs, 1, reference=4).errors.tolist() == [[0, 0, 0, 1, 0, 0]]
    assert failure.error_rates(measured, pairs, 2, reference=4).errors.tolist() == [[0, 1, 0]]
    assert failure.error_rates(measured, pairs, 6, reference=4).errors.tolist() == [[1]]
    assert failure.error_rates(measured, pairs, 2, reference=4).deepest.tolist() == [1.0]
    with pytest.raises(MeasurementError, match="too few"):
        failure.error_rates(measured, pairs, 7, reference=4)


def test_the_modelled_rate_is_the_counted_one_on_average():
    measured = Population().boards(40, 3)
    pairs = pairing.block(measured.mean(), 16)
    for reads in (1, 16):
        found = failure.error_rates(measured, pairs, reads)
        counted, modelled = found.counted.mean(), found.modelled.mean()
        assert abs(counted - modelled) < 4 * found.counted.std() / math.sqrt(40)
        assert found.modelled.std() < found.counted.std(), "it is the steadier one"


def test_heat_makes_more_errors_and_parts_join():
    plain = Population()
    cold, hot = plain.boards(12, 3), plain.boards(12, 3, surroundings=(Surroundings(kelvin=60), failure.REFERENCE_READS))
    pairs = pairing.block(cold.mean(), 16)
    rates = [failure.error_rates(measured, pairs, 16) for measured in (cold, hot)]
    assert 2 < rates[1].modelled.mean() / rates[0].modelled.mean() < 6
    both = failure.joined(rates)
    assert np.array_equal(both.counted, np.concatenate([one.counted for one in rates]))


def test_what_helper_data_leave():
    assert choice.left(BchCode(8, 26), 1.0) == 87
    assert math.isclose(choice.left(BchCode(8, 18), 0.8, 3), 3 * (255 * 0.8 - 124))


def test_what_is_chosen_meets_the_requirement_with_the_fewest_blocks():
    measured = Population().boards(12, 3)
    pairs = pairing.block(measured.mean(), 16)
    rates = [failure.error_rates(measured, pairs, reads) for reads in (1, 16)]
    found = choice.choices(rates, 0.85)
    for one in found:
        assert one.left >= choice.KEY_BITS and one.failure <= choice.MOST_FAILURES and one.failure <= one.failure_bound
        of = next(rate for rate in rates if rate.reads == one.reads)
        three_times = 3 * float(of.modelled.max())
        both = choice.block_failures(one.code, three_times, of.margins[of.modelled.argmax()])
        assert (one.failure, one.failure_bound) == tuple(failure.key_failure(each, one.blocks) for each in both)
        for code in codes():  # no other code would do with fewer blocks
            left = choice.left(code, 0.85)
            blocks = math.ceil(choice.KEY_BITS / left) if left > 0 else one.blocks
            if blocks < one.blocks:
                fails, _ = choice.block_failures(code, three_times, of.margins[of.worst])
                assert failure.key_failure(fails, blocks) > choice.MOST_FAILURES
    assert choice.best(found) == min(found, key=lambda one: (one.blocks, one.reads))
    assert choice.choices(rates, 0.1) == [] and choice.best([]) is None
