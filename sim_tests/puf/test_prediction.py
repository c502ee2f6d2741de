"""Attacks find what is there to be found, and nothing in coins."""

import math

import numpy as np
import pytest
from scipy import stats

from bitting.puf import pairing, prediction
from bitting.puf.population import Population

PAIRS = pairing.without_constants(pairing.neighbours(512, 16, pairing.Direction.HORIZONTAL).astype(int))


def attacked(pairs: pairing.Pairing, frequency: np.ndarray, own: int = 100, kept: int | None = None) -> dict[str, float]:
    return {name: float(hits.mean()) for name, hits in right(pairs, frequency, own, kept).items()}


def right(pairs: pairing.Pairing, frequency: np.ndarray, own: int, kept: int | None = None) -> dict[str, np.ndarray]:
    field = prediction.field_covariance(frequency[:own], 16)
    return dict(prediction.predictions(pairs, 16, frequency[:own], frequency[own:], field, kept))


@pytest.mark.parametrize("kept", [256, 204])
def test_nothing_is_found_in_independent_oscillators(kept):
    frequency = 1 + 0.01 * np.random.default_rng(0).standard_normal((140, 512))
    found = right(PAIRS, frequency, 100, kept)
    assert len(found) == (7 if kept == 256 else 11)
    for name, hits in found.items():
        assert hits.shape == (40, kept)
        assert abs(hits.mean() - 0.5) < 4 * hits.mean(1).std() / math.sqrt(40), name


def test_a_layout_that_all_boards_share_is_found_by_those_who_know_nothing():
    generator = np.random.default_rng(1)
    frequency = 1 + 0.01 * generator.standard_normal(512) + 0.01 * generator.standard_normal((140, 512))
    found = attacked(PAIRS, frequency)
    # The sign of a sum of two equal Gaussians is that of one of them in 3 of 4 cases.
    assert abs(found["majority of own boards"] - 0.75) < 0.03
    assert abs(found["mean difference of own boards"] - 0.75) < 0.03
    assert abs(found["ridge regression"] - 0.5) < 0.05, "other bits tell nothing"


def test_pairs_across_the_die_give_away_its_trend():
    """Why pairs are neighbours: the spatial attack reads a far pair from the others."""
    frequency = Population(layout=0.0).boards(140, 5, reads=1).frequency_hz[:, :, 0].astype(float)
    far = pairing.without_constants(np.random.default_rng(2).permutation(512).reshape(256, 2))
    near, across = attacked(PAIRS, frequency), attacked(far, frequency)
    assert across["spatial Gaussian field"] > 0.6
    assert near["spatial Gaussian field"] < 0.53


def test_bits_that_are_copies_are_read_from_one_another():
    generator = np.random.default_rng(3)
    frequency = 1 + 0.01 * generator.standard_normal((140, 512))
    frequency[:, 256:] = frequency[:, :256]  # rows 16 to 31 are rows 0 to 15 again
    found = attacked(PAIRS, frequency)
    assert min(found["ridge regression"], found["naive Bayes"]) > 0.7 and found["nearest own board"] > 0.51


def test_signs_that_masks_tell_are_read_from_them():
    """Planted: a pair's sign says whether its neighbour is weak. Attacks that know nothing but the mask find it."""
    generator = np.random.default_rng(8)
    difference = generator.standard_normal((340, 256))
    weak = difference[:, 0::2] > 0
    difference[:, 1::2] = np.where(weak, 0.1, 1.0) * generator.uniform(0.9, 1.1, weak.shape) * np.sign(difference[:, 1::2])
    difference[:, 0::2] += np.sign(difference[:, 0::2])
    frequency = np.ones((340, 512))
    frequency[:, PAIRS.pairs[:, 0]] += 0.001 * difference
    found = attacked(PAIRS, frequency, 300, kept=204)
    for name in ("naive Bayes on masks", "ridge regression on masks"):
        assert found[name] > 0.6, (name, found)
    for name in ("place and neighbours' masks, the same rule everywhere", "ridge regression on bits and masks"):
        assert found[name] > 0.53, (name, found)
    assert abs(found["majority of own boards"] - 0.5) < 0.02


def test_what_strong_pairs_have_in_common_is_found_more_often():
    """Correlated differences: of strong ones more signs agree."""
    generator = np.random.default_rng(9)
    difference = generator.standard_normal((300, 256)) + 0.6 * np.repeat(generator.standard_normal((300, 64)), 4, axis=1)
    frequency = np.ones((300, 512))
    frequency[:, PAIRS.pairs[:, 0]] += 0.001 * difference
    strong, all_pairs = attacked(PAIRS, frequency, 200, 128), attacked(PAIRS, frequency, 200)
    for name in ("neighbours, the same rule everywhere", "ridge regression"):
        assert strong[name] > all_pairs[name] + 0.03 > 0.54, name


@pytest.mark.parametrize("kept", [1.0, 0.8, 0.5])
def test_covariances_of_signs_are_those_of_gaussian_variables(kept):
    """With a threshold: against the distribution function of scipy."""
    cut = stats.norm.isf(kept / 2)
    for correlation in (-0.9, -0.2, 0.0, 0.05, 0.6):
        both = stats.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]])
        other = stats.multivariate_normal([0, 0], [[1, -correlation], [-correlation, 1]])
        exact = 2 * (both.cdf([-cut, -cut]) - other.cdf([-cut, -cut]))
        assert abs(prediction.sign_covariance(np.array(correlation), kept) - exact) < 1e-6
    if kept == 1:
        assert np.allclose(prediction.sign_covariance(np.array([-1, 0.3, 1])), 2 / math.pi * np.arcsin([-1, 0.3, 1]))


def test_a_nearest_board_is_the_nearest():
    generator = np.random.default_rng(4)
    own, known = (generator.choice([-1.0, 1.0], shape) for shape in ((7, 12), (3, 12)))
    guess = prediction._nearest_board(own, known)
    for board, bit in np.ndindex(3, 12):
        others = np.arange(12) != bit
        agree = (own[:, others] == known[board, others]).sum(1)
        assert guess[board, bit] == own[agree.argmax(), bit]
    own[:, 0] = [0, 1, 0, 0, 0, -1, 0]  # the nearest of those that keep the pair
    agree = (own[:, 1:] == known[0, 1:]).sum(1)
    assert prediction._nearest_board(own, known)[0, 0] == (1 if agree[1] >= agree[5] else -1)


def test_naive_bayes_is_that_of_scikit_learn():
    """One bit at a time, features the other bits: the same log odds."""
    from sklearn.naive_bayes import BernoulliNB

    generator = np.random.default_rng(5)
    own = np.where(generator.random((60, 9)) < 0.2 + 0.6 * generator.random(9), 1.0, -1.0)
    own[:, 1] = np.where(generator.random(60) < 0.8, own[:, 0], own[:, 1])
    known = generator.choice([-1.0, 1.0], (40, 9))
    ours = prediction._naive_bayes(own, own, known)
    for bit in range(9):
        others = np.arange(9) != bit
        prior = ((own[:, bit] > 0).sum() + 1) / (len(own) + 2)
        model = BernoulliNB(alpha=1.0, binarize=0.0, class_prior=[1 - prior, prior]).fit(own[:, others], own[:, bit])
        theirs = model.predict_joint_log_proba(known[:, others])
        assert np.allclose(ours[:, bit], theirs[:, 1] - theirs[:, 0])


def test_naive_bayes_on_masks_is_that_of_scikit_learn():
    from sklearn.naive_bayes import CategoricalNB

    generator = np.random.default_rng(15)
    own = generator.choice([-1.0, 0.0, 1.0], (60, 9))
    known = generator.choice([-1.0, 0.0, 1.0], (40, 9))
    for seen, categories in ((lambda signs: signs, 3), (np.abs, 2)):
        ours = prediction._naive_bayes(own, seen(own), seen(known))
        for bit in range(9):
            others, keep = np.arange(9) != bit, own[:, bit] != 0
            ones, count = (own[keep, bit] > 0).sum(), keep.sum()
            prior = (ones + 1) / (count + 2)
            shift = 1 if categories == 3 else 0
            model = CategoricalNB(alpha=1.0, min_categories=categories, class_prior=[1 - prior, prior])
            model.fit((seen(own) + shift)[keep][:, others].astype(int), own[keep, bit])
            theirs = model.predict_joint_log_proba((seen(known) + shift)[:, others].astype(int))
            assert np.allclose(ours[:, bit], theirs[:, 1] - theirs[:, 0])


def test_ridge_regression_on_masks_is_that_of_scikit_learn():
    from sklearn.linear_model import Ridge

    generator = np.random.default_rng(16)
    own, known = (generator.choice([-1.0, 0.0, 1.0], shape) for shape in ((50, 10), (4, 10)))
    model = Ridge(alpha=30.0).fit(np.abs(own), own)
    assert np.allclose(prediction._mask_ridge(own, known, 30.0) + own.mean(0), model.predict(np.abs(known)))


def test_ridge_regression_is_that_of_scikit_learn():
    from sklearn.linear_model import Ridge

    generator = np.random.default_rng(6)
    own, known = (generator.choice([-1.0, 1.0], shape) for shape in ((50, 10), (4, 10)))
    ours = prediction._ridge_of(own, known, 30.0)
    mean = own.mean(0)
    for bit in range(10):
        others = np.arange(10) != bit
        model = Ridge(alpha=30.0, fit_intercept=False).fit((own - mean)[:, others], (own - mean)[:, bit])
        assert np.allclose(ours[:, bit], model.predict((known - mean)[:, others]))


@pytest.mark.parametrize("rate", [0.5, 0.6])
def test_the_bound_of_an_accuracy_holds(rate):
    generator = np.random.default_rng(7)
    names = [way.name for way in prediction._WAYS]
    held = 0
    for _ in range(200):
        right = {name: [generator.random((50, 100)) < rate] for name in names}
        held += prediction.attacks(right)[0].bound >= rate
    assert held >= 195
    assert prediction.attacks({name: [np.ones((5, 9), bool)] for name in names})[0].remaining == 0
