"""Which key is chosen: it meets the requirement, none with fewer oscillators does, and the choice holds on other boards."""

import math

import numpy as np
import pytest

from bitting.puf import choice, confirmation, failure, masks, nested, pairing
from bitting.puf.choice import KEY_BITS
from bitting.puf.failure import codes
from bitting.puf.population import Population
from bitting.unit.bch import BchCode
from bitting.unit.puf_key import PufKey

ENTROPY = {0.0: 0.85, 0.2: 0.82, 0.4: 0.75}


@pytest.fixture(scope="module")
def rates():
    measured = Population().boards(12, 3)
    pairs = pairing.block(measured.mean(), 16)
    return [failure.error_rates(measured, pairs, reads) for reads in (1, 16)]


@pytest.fixture(scope="module")
def found(rates):
    return choice.choices(rates, ENTROPY)


def test_what_helper_data_leave():
    assert choice.left(PufKey(BchCode(8, 26)), 1.0) == 87
    assert math.isclose(choice.left(PufKey(BchCode(8, 18), blocks=3), 0.8), 3 * (255 * 0.8 - 124))
    assert math.isclose(choice.left(PufKey(BchCode(8, 3), kept=196, pairs=245), 0.78), 196 * 0.78 - 24)


@pytest.mark.parametrize(("t", "left_out", "entropy"), [(3, 0.2, 0.776), (26, 0.0, 0.804), (18, 0.1, 0.5)])
def test_sizes_are_the_smallest_that_leave_enough(t, left_out, entropy):
    """By brute force over all bits of a word."""
    code = BchCode(8, t)
    found = {blocks: (kept, pairs) for blocks, kept, pairs in choice.sizes(code, left_out, entropy)}
    assert list(found.values()) == sorted(found.values(), key=lambda size: size[1])
    for blocks in range(1, 30):
        enough = [kept for kept in range(1, 256) if blocks * (kept * entropy - code.check_bits) >= KEY_BITS]
        if blocks * min(enough, default=255) > 4096 * (1 - left_out):  # more pairs than a key may have
            assert blocks not in found
            continue
        assert (blocks in found) == bool(enough)
        if enough:
            kept, pairs = found[blocks]
            assert kept == enough[0] and pairs == math.ceil(blocks * kept / (1 - left_out))


def test_every_choice_meets_the_requirement(rates, found):
    assert {one.left_out for one in found} >= {0.2, 0.4} and {one.reads for one in found} == {1, 16}
    for one in found:
        of = next(rate for rate in rates if rate.reads == one.reads)
        assert one.left >= KEY_BITS and one.failure <= choice.MOST_FAILURES
        assert one.failure_of_kept <= one.failure <= one.failure_bound, "equal rates are the worst case"
        assert one.oscillators == 2 * one.key.pairs and one.key.bits <= one.key.pairs * (1 - one.left_out)
        kept = masks.kept(255, one.left_out)
        by_board = [
            failure.key_failure(failure.poisson_binomial_tail(board, one.key.code.t), one.key.blocks)
            for board in of.kept_rates(choice.MARGIN, kept, one.key.kept)
        ]
        assert math.isclose(max(by_board), one.failure, rel_tol=1e-9)


def test_no_key_with_fewer_pairs_would_do(rates, found):
    for one in found:
        of = next(rate for rate in rates if rate.reads == one.reads)
        for code in codes():
            smaller = [size for size in choice.sizes(code, one.left_out, ENTROPY[one.left_out]) if size[2] < one.key.pairs]
            for size in smaller:
                fails = choice.key_failures(of, PufKey(code, *size), one.left_out, choice.MARGIN)
                assert fails.max() > choice.MOST_FAILURES, (one, size)


def test_the_best_has_the_fewest_oscillators_then_reads(found):
    best = choice.best(found)
    assert best is not None
    for other in found:
        assert (best.oscillators, best.reads) <= (other.oscillators, other.reads)
    assert best.left_out > 0, "leaving weak pairs out saves oscillators"
    assert choice.best([]) is None


def test_without_entropy_nothing_is_chosen(rates):
    assert choice.choices(rates, {0.0: 0.1, 0.5: 0.02}) == []


def test_a_rate_of_one_half_at_the_margin_is_no_choice(rates):
    assert choice.choices(rates[:1], ENTROPY, margin=0.5 / float(rates[0].modelled.max())) == []


def test_failures_of_codes_are_those_of_keys(rates):
    keys = [PufKey(BchCode(8, t), blocks=2, kept=200, pairs=500) for t in (1, 5, 9)]
    for key, fails in zip(keys, choice.failures_of_codes(rates[0], keys, 0.2, 5), strict=True):
        assert math.isclose(fails, choice.key_failures(rates[0], key, 0.2, 5).max(), rel_tol=1e-12)


def test_errors_that_are_thrown_fail_as_often_as_the_exact_sum_says():
    """Into the decoder, in a shortened code: 99.99% intervals around what is seen."""
    key = PufKey(BchCode(8, 4), kept=204, pairs=255)
    generator = np.random.default_rng(6)
    for scale in (2, 4):
        rates = np.sort(generator.random(204) ** 4 / 8 * scale / 2)[::-1]
        exact = failure.poisson_binomial_tail(rates, 4)
        seen = confirmation.thrown(key, rates, 20_000, seed=scale)
        low, high = failure.interval(seen, 20_000, 0.9999)
        assert 0.001 < exact < 0.999 and low < exact < high, (exact, seen)


def test_what_some_boards_choose_is_judged_by_the_others():
    measured = Population().boards(24, 5, reads=100)
    steps: list[None] = []
    found = list(nested.nested(measured, 0, lambda: steps.append(None)))
    assert len(steps) == 3
    for one in found:
        assert one.boards == 16 and one.judged == 8 and 0 <= one.failing <= 40
        assert (one.failing > 0) == (one.failure > choice.MOST_FAILURES)
    assert found
    assert list(nested.nested(Population().boards(7, 5, reads=9), 0, lambda: None)) == [], "too few to split twice"
