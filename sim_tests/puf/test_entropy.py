"""Entropy: the worked examples of SP 800-90B, sources whose entropy is known, and brute force."""

import itertools
import math

import numpy as np
import pytest
from scipy import optimize, stats

from bitting.puf import entropy, masks, sp800_90b

#: Sequences of the worked examples in NIST SP 800-90B (January 2018), sections 6.3.1.4 to 6.3.6.4, and their results.
MOST_COMMON = [0, 1, 1, 2, 0, 1, 2, 2, 0, 1, 0, 1, 1, 0, 2, 2, 1, 0, 2, 1]
BITS = [int(bit) for bit in "1000111001010101110011000111001010101110"]
TUPLES = [2, 2, 0, 1, 0, 2, 0, 1, 2, 1, 2, 0, 1, 2, 1, 0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("found", "published"),
    [
        (sp800_90b.most_common_value(np.array(MOST_COMMON)), 0.5363),
        (sp800_90b.collision(np.array(BITS)), 0.4483),
        (sp800_90b.markov(np.array(BITS)), 0.761),
        (sp800_90b.t_tuple(np.array(TUPLES), cutoff=3), 0.273),
        (sp800_90b.longest_repeated_substring(np.array(TUPLES), cutoff=3), 0.6146),
    ],
)
def test_the_worked_examples_of_the_standard(found, published):
    digits = len(str(published).partition(".")[2])
    assert abs(found - published) < 10**-digits


def test_markov_is_the_likeliest_of_all_short_paths():
    """By brute force, with the length at 10 instead of 128."""
    bits = np.random.default_rng(2).integers(0, 2, 400) | np.random.default_rng(3).integers(0, 2, 400)
    ones = bits.mean()
    step = np.array([[np.mean(bits[1:][bits[:-1] == a] == b) for b in (0, 1)] for a in (0, 1)])
    likeliest = max(
        (ones if path[0] else 1 - ones) * math.prod(step[a, b] for a, b in itertools.pairwise(path))
        for path in itertools.product((0, 1), repeat=10)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sp800_90b, "_MARKOV_LENGTH", 10)
        assert math.isclose(sp800_90b.markov(bits), -math.log2(likeliest) / 10, rel_tol=1e-12)


@pytest.mark.parametrize("name", sp800_90b.ESTIMATORS)
def test_a_constant_sequence_has_no_entropy(name):
    assert sp800_90b.ESTIMATORS[name](np.zeros(300, np.int64)) == 0


def test_tuples_are_counted_as_by_hand():
    symbols = np.random.default_rng(4).integers(0, 2, 200)
    text = "".join(map(str, symbols))
    for length, counts in enumerate(sp800_90b._tuple_counts(symbols), start=1):
        windows = [text[at : at + length] for at in range(len(text) - length + 1)]
        assert sorted(counts) == sorted(windows.count(one) for one in set(windows))


@pytest.mark.parametrize("bias", [0.0, 0.05, 0.2])
def test_corrected_and_bound_of_a_source_that_is_known(bias):
    """Bits with probability 1/2 +- bias: Jensen's inequality is an equality, so the corrected figure has its mean there."""
    generator = np.random.default_rng(5)
    sides = generator.choice([-1, 1], 255)
    true = -math.log2(0.5 + bias)
    populations = [generator.random((50, 255)) < 0.5 + bias * sides for _ in range(40)]
    squares = [entropy.agreement(bits).mean() / 4 for bits in populations]
    assert abs(np.mean(squares) - bias**2) < 4 * np.std(squares) / math.sqrt(40)
    found = [entropy.per_bit(bits) for bits in populations]
    assert sum(one.bound <= true for one in found) >= 39, "the bound holds with 99.5%"
    assert bias > 0.1 or np.mean([one.plug_in for one in found]) < true, "the larger of two shares is too large"
    assert all(one.most_common_value_bound < one.plug_in for one in found)


def test_mixed_biases_have_at_least_the_corrected_entropy():
    generator = np.random.default_rng(6)
    probability = np.clip(0.5 + 0.15 * generator.standard_normal(255), 0.02, 0.98)
    true = float(-np.log2(np.maximum(probability, 1 - probability)).mean())
    found = entropy.per_bit(generator.random((2000, 255)) < probability)
    assert found.bound < found.corrected < true


def test_agreement_is_that_of_all_pairs_of_boards():
    bits = np.random.default_rng(7).random((6, 9)) < 0.7
    signs = np.where(bits, 1, -1)
    slow = [np.mean([(signs[a] * signs[b]).mean() for b in range(6) if b != a]) for a in range(6)]
    assert np.allclose(entropy.agreement(bits), slow)


def test_agreement_of_kept_bits_is_that_of_boards_that_both_keep_them():
    generator = np.random.default_rng(11)
    bits, mask = generator.random((7, 9)) < 0.7, generator.random((7, 9)) < 0.8
    assert mask.any(1).all()
    signs = np.where(bits, 1, -1)
    for board in range(7):
        told = []
        for bit in np.flatnonzero(mask[board]):
            others = [signs[board, bit] * signs[other, bit] for other in range(7) if other != board and mask[other, bit]]
            told.append(np.mean(others) if others else 0.0)
        assert np.isclose(entropy.agreement(bits, mask)[board], np.mean(told))


def test_a_mask_that_keeps_all_changes_nothing():
    bits = np.random.default_rng(12).random((30, 50)) < 0.6
    assert entropy.per_bit(bits, np.ones_like(bits)) == entropy.per_bit(bits)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_strong_pairs_are_more_biased_and_that_is_seen(share):
    """Constants that are off by a tenth of a standard deviation: the bias of kept bits, beside its exact value."""
    generator = np.random.default_rng(13)
    off = 0.1 * generator.choice([-1, 1], 400)
    squares, found = [], []
    for _ in range(10):
        differences = off + generator.standard_normal((50, 400))
        mask = masks.strongest(differences, masks.kept(400, share))
        squares.append(entropy.agreement(differences > 0, mask).mean() / 4)
        found.append(entropy.per_bit(differences > 0, mask))
    # The threshold that keeps so many: P(|x| > c) with x around 0.1, the same for both signs of the offset.
    cut = optimize.brentq(lambda c: stats.norm.sf(c - 0.1) + stats.norm.sf(c + 0.1) - (1 - share), 0, 3)
    bias = stats.norm.sf(cut - 0.1) / (1 - share) - 0.5
    all_pairs = stats.norm.cdf(0.1) - 0.5
    assert bias > all_pairs
    assert abs(np.mean(squares) - bias**2) < 4 * np.std(squares) / math.sqrt(10)
    assert abs(np.mean([one.corrected for one in found]) + math.log2(0.5 + bias)) < 0.02
    assert all(one.bound < -math.log2(0.5 + bias) for one in found)


def test_a_pair_that_one_board_keeps_is_worth_nothing_by_the_standard():
    mask = np.eye(3, 4, dtype=bool) | (np.arange(4) == 3)
    found = entropy.per_bit(np.ones((3, 4), bool), mask)
    assert found.most_common_value_bound == 0 and found.plug_in == 0


def test_distances_and_degrees_of_freedom_of_coins():
    bits = np.random.default_rng(8).random((200, 255)) < 0.5
    assert np.isclose(entropy.distances(bits)[0], (bits[0] != bits[1]).mean())
    found = entropy.spread(bits)
    assert abs(found.degrees_of_freedom - 255) < 12 and abs(found.uniqueness - 0.5) < 0.003
    assert abs(found.correlation - 1) < 0.02 and abs(found.correlated - entropy.CHANCE) < 0.003


def test_bits_that_go_together_have_fewer_degrees_of_freedom():
    """Every bit three times: a third of the freedom."""
    bits = np.repeat(np.random.default_rng(9).random((200, 85)) < 0.5, 3, axis=1)
    found = entropy.spread(bits)
    assert abs(found.degrees_of_freedom - 85) < 6 and found.correlated > entropy.CHANCE


def test_a_bit_that_never_changes_is_seen():
    bits = np.random.default_rng(10).random((60, 30)) < 0.5
    bits[:, 4] = True
    assert entropy.spread(bits).aliasing_worst == 0.5
    assert len(entropy.correlations(bits)) == 29 * 28 // 2
