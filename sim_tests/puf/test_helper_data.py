"""Published attacks on helper data: they succeed where nothing is checked, and learn nothing from the extractor."""

import numpy as np
import pytest

from bitting.attack import helper_data
from bitting.attack.weak_puf import ChosenPairs, Ours, Silicon, Unchecked
from bitting.puf.extractor import FuzzyExtractor
from bitting.unit.bch import DEFAULT_CODE
from bitting.unit.puf_key import PufKey
from bitting.unit.spec import PRESETS

EXTRACTOR = FuzzyExtractor(PRESETS["tiny"], PufKey(DEFAULT_CODE))
MASKED = FuzzyExtractor(PRESETS["tiny"], PufKey(DEFAULT_CODE, kept=200, pairs=320))
#: Bits that are wrong in a quarter of all reads; all others are in one of ten thousand.
UNRELIABLE = 8
QUERIES = 8000


@pytest.fixture
def silicon(rng):
    rates = np.full(EXTRACTOR.key.pairs, 1e-4)
    rates[rng.choice(len(rates), UNRELIABLE, replace=False)] = 0.25
    return Silicon(rng.integers(0, 2, len(rates)), rates, seed=1)


def worst(finding):
    return set(np.argsort(finding.found)[-UNRELIABLE:])


def test_swapped_pairs_give_the_whole_key_where_helper_data_choose_pairs(silicon):
    chip = ChosenPairs(silicon, pairs=128)
    finding = helper_data.relations(chip.ask, chip.helper)
    key = silicon.bits[chip.helper]
    assert np.array_equal(finding.found, key ^ key[0]), "all of it, but for one bit"
    assert finding.queries < 700


@pytest.mark.slow
def test_added_errors_show_the_unreliable_bits_where_nothing_is_checked(silicon):
    chip = Unchecked(silicon, EXTRACTOR)
    finding = helper_data.unreliable_bits(chip.ask, EXTRACTOR.key, chip.helper, QUERIES, seed=2)
    assert worst(finding) == set(np.flatnonzero(silicon.error_rates > 0.1))
    assert 0 < finding.got < QUERIES


def test_added_errors_pass_where_nothing_is_checked(silicon):
    """The attacker chooses by which bits the response is wrong, and is not stopped: keys that are related as he likes."""
    chip = Unchecked(silicon, EXTRACTOR)
    finding = helper_data.accepted_edits(chip.ask, EXTRACTOR.key, chip.helper, queries=200, seed=3)
    assert len(finding.found) > EXTRACTOR.key.code.n, "a key of its own for each single error"


def test_the_extractor_accepts_nothing_but_what_enrolment_gave(silicon):
    chip = Ours(silicon, EXTRACTOR)
    assert chip.ask(chip.helper) is not None
    edits = helper_data.accepted_edits(chip.ask, EXTRACTOR.key, chip.helper, queries=1000, seed=3)
    assert (edits.got, edits.of) == (0, 32 * EXTRACTOR.key.helper_words + EXTRACTOR.key.code.n + 1000)
    assert edits.found.tolist() == [edits.of], "one behaviour for all of them: the error"
    assert not edits.succeeded


def test_nothing_is_learnt_from_the_extractor(silicon, rng):
    chip = Ours(silicon, EXTRACTOR)
    added = helper_data.unreliable_bits(chip.ask, EXTRACTOR.key, chip.helper, queries=2000, seed=2)
    assert (added.got, added.of) == (0, 2000)
    assert np.ptp(added.found) == 0, "every place looks like every other"
    masked = Ours(Silicon(rng.integers(0, 2, MASKED.key.pairs), np.full(MASKED.key.pairs, 1e-4), seed=1), MASKED)
    swaps = helper_data.relations(masked.ask, masked.helper)
    assert len(set(masked.helper)) == len(masked.helper), "or a swap would change nothing"
    assert (swaps.got, swaps.of) == (0, MASKED.key.helper_words - 1)


def test_a_moved_mask_gives_relations_where_nothing_is_checked():
    rng = np.random.default_rng(4)
    bits = rng.integers(0, 2, MASKED.key.pairs)
    silicon = Silicon(bits, np.zeros(len(bits)), seed=1)
    weak = Unchecked(silicon, MASKED)
    finding = helper_data.moved_mask(weak.ask, MASKED.key, weak.helper, seed=5)
    left_out, kept, equal = finding.found.T
    assert len(equal) > 80 and np.array_equal(equal == 1, bits[left_out] == bits[kept])
    chip = Ours(silicon, MASKED)
    assert helper_data.moved_mask(chip.ask, MASKED.key, chip.helper, seed=5).got == 0
