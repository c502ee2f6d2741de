"""Errors of bits and failures of keys: exact sums, published codes, other libraries, and throwing dice."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from bitting.errors import MeasurementError
from bitting.puf import failure, pairing
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


@pytest.mark.parametrize("mean", [1e-9, 0.007, 0.05, 0.4])
def test_noise_is_scaled_to_the_mean_rate(mean):
    margins = np.abs(np.random.default_rng(2).standard_normal((3, 255))) * np.array([[3e-3], [1.0], [1e5]])
    noise = failure.scaled_noise(margins, np.array([mean, mean / 2, mean]))
    found = stats.norm.sf(margins / noise[:, None]).mean(1)
    assert np.allclose(found, [mean, mean / 2, mean], rtol=1e-6, atol=0)


def test_a_rate_of_one_half_is_refused():
    with pytest.raises(MeasurementError, match="leaves no key"):
        failure.scaled_noise(np.ones((1, 5)), np.array([0.5]))


def test_a_rate_that_no_noise_gives_is_refused():
    """Of bits without a difference: they err half of the time, whatever the noise."""
    with pytest.raises(MeasurementError, match=r"rate of 0\.01 .* 3 of 4 .* allowed is at least 0\.375"):
        failure.scaled_noise(np.array([[1.0, 1, 1, 1], [0, 0, 0, 1]]), np.array([0.1, 0.01]))
    noise = failure.scaled_noise(np.array([[0.0, 0, 0, 1]]), np.array([0.4]))
    assert math.isclose((1.5 + stats.norm.sf(1 / noise[0])) / 4, 0.4, rel_tol=1e-6)


def rates_of(margins: np.ndarray, noise: np.ndarray) -> failure.ErrorRates:
    return failure.ErrorRates(1, np.zeros((len(margins), 1), int), margins, noise, np.zeros(len(margins)))


def test_three_times_the_rate_is_that_of_all_pairs():
    """What is kept errs far more than three times as often then."""
    generator = np.random.default_rng(4)
    rates = rates_of(np.abs(generator.standard_normal((6, 255))), generator.uniform(0.02, 0.05, 6))
    assert np.allclose(rates.kept_rates(3, 255).mean(1), 3 * rates.modelled, rtol=1e-9)
    assert np.allclose(np.sort(rates.bit_rates, 1)[:, ::-1], rates.kept_rates(1, 255))
    assert np.allclose(rates.kept_rates(3, 204), rates.kept_rates(3, 255)[:, 51:], rtol=0), "the strongest are kept"
    assert (rates.kept_rates(3, 204).mean(1) > 100 * rates.kept_rates(1, 204).mean(1)).all()
    some = rates.of([4, 1])
    assert np.array_equal(some.kept_rates(3, 204), rates.kept_rates(3, 204)[[4, 1]])


def test_a_key_of_more_bits_has_strengths_that_are_distributed_alike():
    rates = rates_of(np.abs(np.random.default_rng(5).standard_normal((2, 255))), np.array([0.03, 0.05]))
    measured = rates.strengths(1, 204)
    assert np.array_equal(rates.strengths(1, 204, 204), measured)
    for bits in (100, 217, 255, 408):
        found = rates.strengths(1, 204, bits)
        assert found.shape == (2, bits) and (np.diff(found, axis=1) >= 0).all()
        assert (found[:, 0] >= measured[:, 0]).all() and (found[:, -1] <= measured[:, -1]).all()
        assert np.allclose(found, np.quantile(measured, (np.arange(bits) + 0.5) / bits, axis=1, method="hazen").T)


def test_errors_of_kept_bits_are_counted_at_more_noise():
    """By hand: every difference moves by as much more as makes the modelled rate so many times what it was."""
    measured = Population().boards(4, 11, reads=20)
    pairs = pairing.block(measured.mean(), 16)
    rates = failure.error_rates(measured, pairs, 4, reference=8)
    found = failure.kept_errors(measured, pairs, rates, 3, [255, 204], reference=8)
    assert found.shape == (2, 4, 3)
    enrolled = pairs.differences(measured.frequency_hz[:, :, :8].mean(2))
    for boot in range(3):
        seen = pairs.differences(measured.frequency_hz[:, :, 8 + 4 * boot : 12 + 4 * boot].mean(2))
        for board in range(4):
            more = failure.scaled_noise(rates.margins[[board]], 3 * rates.modelled[[board]])[0] / rates.noise[board]
            moved = enrolled[board] + more * (seen[board] - enrolled[board])
            wrong = (moved > 0) != (enrolled[board] > 0)
            strong = np.argsort(-np.abs(enrolled[board]))[:204]
            assert found[:, board, boot].tolist() == [wrong.sum(), wrong[strong].sum()]
    assert np.array_equal(failure.kept_errors(measured, pairs, rates, 1, [255], reference=8)[0], rates.errors)


def test_reads_without_noise_are_refused():
    measured = Measurements(np.tile(np.array([101e6, 100e6])[:, None], (3, 1, 10)), np.arange(3), 2)
    with pytest.raises(MeasurementError, match="board 0 is without noise"):
        failure.error_rates(measured, pairing.without_constants(np.array([[0, 1]])), 1, reference=4)


def test_errors_are_counted_between_disjoint_reads():
    """Two oscillators in step but for one read: it is wrong in the one boot that holds it."""
    frequency = np.full((1, 2, 10), 100e6)
    frequency[:, 0] = 101e6
    frequency[0, 0, 7] = 90e6
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
