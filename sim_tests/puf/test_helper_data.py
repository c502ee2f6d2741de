"""Published attacks on helper data: they succeed where nothing is checked, and learn nothing from the extractor."""

import numpy as np
import pytest

from bitting.attack import helper_data
from bitting.attack.weak_puf import ChosenPairs, Ours, Silicon, Unchecked
from bitting.puf.extractor import FuzzyExtractor
from bitting.unit.bch import DEFAULT_CODE
from bitting.unit.spec import PRESETS

EXTRACTOR = FuzzyExtractor(PRESETS["tiny"], DEFAULT_CODE, 1)
#: Bits that are wrong in a quarter of all reads; all others are in one of ten thousand.
UNRELIABLE = 8
QUERIES = 8000


@pytest.fixture
def silicon(rng):
    rates = np.full(EXTRACTOR.response_bits, 1e-4)
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
    finding = helper_data.unreliable_bits(chip.ask, EXTRACTOR.code, chip.helper, QUERIES, seed=2)
    assert worst(finding) == set(np.flatnonzero(silicon.error_rates > 0.1))
    assert 0 < finding.got < QUERIES


def test_added_errors_pass_where_nothing_is_checked(silicon):
    """The attacker chooses by which bits the response is wrong, and is not stopped: keys that are related as he likes."""
    chip = Unchecked(silicon, EXTRACTOR)
    finding = helper_data.accepted_edits(chip.ask, EXTRACTOR.code, chip.helper, queries=200, seed=3)
    assert len(finding.found) > EXTRACTOR.code.n, "a key of its own for each single error"


def test_the_extractor_accepts_nothing_but_what_enrolment_gave(silicon):
    chip = Ours(silicon, EXTRACTOR)
    assert chip.ask(chip.helper) is not None
    edits = helper_data.accepted_edits(chip.ask, EXTRACTOR.code, chip.helper, queries=1000, seed=3)
    assert (edits.got, edits.of) == (0, 32 * EXTRACTOR.helper_words + EXTRACTOR.code.n + 1000)
    assert edits.found.tolist() == [edits.of], "one behaviour for all of them: the error"
    assert not edits.succeeded


def test_nothing_is_learnt_from_the_extractor(silicon):
    chip = Ours(silicon, EXTRACTOR)
    added = helper_data.unreliable_bits(chip.ask, EXTRACTOR.code, chip.helper, queries=2000, seed=2)
    assert (added.got, added.of) == (0, 2000)
    assert np.ptp(added.found) == 0, "every place looks like every other"
    swaps = helper_data.relations(chip.ask, chip.helper)
    assert (swaps.got, swaps.of) == (0, EXTRACTOR.helper_words - 1)
