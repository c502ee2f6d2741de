"""Pairs are disjoint, constants come from other boards, and bits are comparisons."""

from fractions import Fraction

import numpy as np
import pytest

from bitting.errors import MeasurementError
from bitting.puf import holdout, pairing
from bitting.puf.pairing import CANDIDATES, Direction, Pairing

RNG = np.random.default_rng(3)
FREQUENCY = RNG.integers(100_000, 120_000, (7, 96)).astype(float)


@pytest.mark.parametrize("name", CANDIDATES)
def test_no_oscillator_serves_two_bits(name):
    found = CANDIDATES[name](FREQUENCY, 16)
    assert found.bits == 48 and len(np.unique(found.pairs)) == 96


def test_neighbours_are_neighbours():
    across = pairing.neighbours(96, 16, Direction.HORIZONTAL)
    down = pairing.neighbours(96, 16, Direction.VERTICAL)
    assert (across[:, 1] - across[:, 0] == 1).all() and (across[:, 0] % 2 == 0).all()
    assert (down[:, 1] - down[:, 0] == 16).all() and (down[:, 0] // 16 % 2 == 0).all()
    with pytest.raises(MeasurementError, match=r"3 oscillators in a line .* an even number of rows and of columns"):
        pairing.neighbours(48, 16, Direction.VERTICAL)


@pytest.mark.parametrize("relative", [True, False])
def test_bits_are_those_of_exact_fractions(relative):
    pairs = pairing.neighbours(96, 16, Direction.HORIZONTAL)
    found = pairing.calibrated(pairs, FREQUENCY, relative=relative)
    for board in FREQUENCY[:3].astype(int):
        for (first, second), constant, bit in zip(pairs, found.constants, found.response(board), strict=True):
            a, b = Fraction(int(board[first])), Fraction(int(board[second]))
            exact = (a - b) / ((a + b) / 2) if relative else a - b
            assert abs(float(exact) - constant) < 1e-12 or bit == (exact > Fraction(constant))


def test_any_leading_dimensions_give_the_same_bits():
    found = CANDIDATES[pairing.DEFAULT](FREQUENCY, 16)
    assert np.array_equal(found.response(FREQUENCY.reshape(7, 1, 96))[:, 0], found.response(FREQUENCY))
    assert np.array_equal(found.response(FREQUENCY[4]), found.response(FREQUENCY)[4])


def test_relative_differences_do_not_move_with_the_speed_of_a_board():
    found = CANDIDATES[pairing.DEFAULT](FREQUENCY, 16)
    assert np.allclose(found.differences(1.1 * FREQUENCY), found.differences(FREQUENCY), rtol=0, atol=1e-12)


def test_integers_of_32_bits_do_not_wrap():
    pairs, high = np.array([[0, 1]]), np.array([2**31 - 1, 2**31 - 3], np.int32)
    assert pairing.without_constants(pairs).response(high).tolist() == [True]
    assert pairing.without_constants(pairs).response(high.astype(np.uint32)[::-1].copy()).tolist() == [False]


def test_an_oscillator_in_two_pairs_is_refused():
    with pytest.raises(MeasurementError, match="two pairs"):
        Pairing(np.array([[0, 1], [1, 2]]), np.zeros(2))
    with pytest.raises(MeasurementError, match="allowed are"):
        Pairing(np.array([[0, 1]]), np.zeros(2))


def test_a_block_has_255_bits():
    assert pairing.block(RNG.normal(100, 1, (4, 512)), 16).bits == 255


def test_who_is_judged_chose_nothing_and_everybody_is_judged():
    found = list(holdout.splits(20, 4, 9))
    assert len(found) == 4 * holdout.FOLDS
    for split in found:
        assert not set(split.chosen) & set(split.judged) and set(split.chosen) | set(split.judged) == set(range(20))
    for first in range(0, len(found), holdout.FOLDS):
        judged = np.concatenate([split.judged for split in found[first : first + holdout.FOLDS]])
        assert sorted(judged) == list(range(20))
    with pytest.raises(MeasurementError, match="at least 6"):
        next(holdout.splits(5, 1, 0))
