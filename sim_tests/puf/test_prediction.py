"""Attacks find what is there to be found, and nothing in coins."""

import math

import numpy as np
import pytest

from bitting.puf import pairing, prediction
from bitting.puf.population import Population

PAIRS = pairing.without_constants(pairing.neighbours(512, 16, pairing.Direction.HORIZONTAL).astype(int))


def attacked(pairs: pairing.Pairing, frequency: np.ndarray, own: int = 100) -> dict[str, float]:
    return {name: float(hits.mean()) for name, hits in right(pairs, frequency, own).items()}


def right(pairs: pairing.Pairing, frequency: np.ndarray, own: int) -> dict[str, np.ndarray]:
    field = prediction.field_covariance(frequency[:own], 16)
    return dict(prediction.predictions(pairs, frequency[:own], frequency[own:], field))


def test_nothing_is_found_in_independent_oscillators():
    frequency = 1 + 0.01 * np.random.default_rng(0).standard_normal((140, 512))
    for name, hits in right(PAIRS, frequency, 100).items():
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


def test_a_nearest_board_is_the_nearest():
    generator = np.random.default_rng(4)
    own, known = (generator.choice([-1.0, 1.0], shape) for shape in ((7, 12), (3, 12)))
    guess = prediction._nearest_board(own, known)
    for board, bit in np.ndindex(3, 12):
        others = np.arange(12) != bit
        agree = (own[:, others] == known[board, others]).sum(1)
        assert guess[board, bit] == own[agree.argmax(), bit]


def test_naive_bayes_is_that_of_scikit_learn():
    """One bit at a time, features the other bits: the same log odds."""
    from sklearn.naive_bayes import BernoulliNB

    generator = np.random.default_rng(5)
    own = np.where(generator.random((60, 9)) < 0.2 + 0.6 * generator.random(9), 1.0, -1.0)
    own[:, 1] = np.where(generator.random(60) < 0.8, own[:, 0], own[:, 1])
    known = generator.choice([-1.0, 1.0], (40, 9))
    ours = prediction._naive_bayes(own, known)
    for bit in range(9):
        others = np.arange(9) != bit
        prior = ((own[:, bit] > 0).sum() + 1) / (len(own) + 2)
        model = BernoulliNB(alpha=1.0, binarize=0.0, class_prior=[1 - prior, prior]).fit(own[:, others], own[:, bit])
        theirs = model.predict_joint_log_proba(known[:, others])
        assert np.allclose(ours[:, bit], theirs[:, 1] - theirs[:, 0])


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
    names = [name for name, *_ in prediction._ATTACKS]
    held = 0
    for _ in range(200):
        right = {name: [generator.random((50, 100)) < rate] for name in names}
        held += prediction.attacks(right)[0].bound >= rate
    assert held >= 195
    assert prediction.attacks({name: [np.ones((5, 9), bool)] for name in names})[0].remaining == 0
