"""The fuzzy extractor: the same root again, or one error that says nothing; helper data as words."""

import numpy as np
import pytest

from bitting.errors import PufError
from bitting.locking import ascon
from bitting.puf import bch, extractor
from bitting.puf.extractor import FuzzyExtractor, Helper
from bitting.unit.bch import DEFAULT_CODE, BchCode
from bitting.unit.spec import PRESETS
from tb import ascon_reference, bch_library

TINY = PRESETS["tiny"]
#: Of which every noisy read can be tried.
SMALL = FuzzyExtractor(TINY, BchCode(4, 2), 1)


def enrolled(fuzzy, rng):
    response = rng.integers(0, 2, fuzzy.response_bits)
    return response, fuzzy.enrol(response)


def refusal(fuzzy, noisy, helper):
    with pytest.raises(PufError) as caught:
        fuzzy.reproduce(noisy, helper)
    return str(caught.value)


def counted(name, function, calls):
    """The function, of which each call is written down."""

    def called(*arguments):
        calls.append(name)
        return function(*arguments)

    return called


@pytest.mark.parametrize("blocks", [1, 3])
def test_up_to_t_errors_in_each_word_give_the_same_root(blocks, rng):
    fuzzy = FuzzyExtractor(TINY, DEFAULT_CODE, blocks)
    response, helper = enrolled(fuzzy, rng)
    root = fuzzy.reproduce(response, helper)
    assert len(root) == 16
    for _ in range(20):
        noise = bch_library.errors(rng, blocks, fuzzy.code.n, fuzzy.code.t).ravel()
        assert fuzzy.reproduce(response ^ noise, helper) == root
    assert refusal(fuzzy, response ^ (np.arange(fuzzy.response_bits) < fuzzy.code.t + 1), helper)


def test_of_all_noisy_reads_of_a_small_code_only_those_near_are_accepted(rng):
    """A decoder mistakes nearly half of all others for words of its own. The check refuses every one of them."""
    code = SMALL.code
    response, helper = enrolled(SMALL, rng)
    noise = np.arange(1 << code.n)[:, None] >> np.arange(code.n) & 1
    near = noise.sum(axis=1) <= code.t
    _, failed = bch.decode(code, response ^ noise, np.repeat(helper.syndromes, len(noise), axis=0))
    mistaken = noise[~failed & ~near]
    assert len(mistaken) == 128 * 121 - 121
    root = SMALL.reproduce(response, helper)
    assert all(SMALL.reproduce(response ^ row, helper) == root for row in noise[near])
    for row in mistaken[rng.choice(len(mistaken), 1000, replace=False)]:
        refusal(SMALL, response ^ row, helper)


def test_hash_and_words_are_as_the_docstring_says(rng):
    """Written out once more, with another Ascon: hardware will absorb these words."""
    fuzzy = FuzzyExtractor(TINY, DEFAULT_CODE, 2)
    response, helper = enrolled(fuzzy, rng)
    words = [0] * 16
    for place, bit in enumerate(response.tolist()):
        block, position = divmod(place, 255)
        words[8 * block + position // 32] |= bit << position % 32
    sketches = [0] * 6
    for block in range(2):
        for position, bit in enumerate(helper.syndromes[block].tolist()):
            sketches[3 * block + position // 32] |= bit << position % 32
    identity = int(TINY.id, 16)
    message = [*words, *sketches, identity & 0xFFFFFFFF, identity >> 32, 8 | 11 << 8 | 2 << 16]
    absorbed = b"".join(word.to_bytes(4, "little") for word in message)
    assert helper.check == ascon_reference.cxof(b"btt-pfc", absorbed, 16)
    assert fuzzy.reproduce(response, helper) == ascon_reference.cxof(b"btt-pfr", absorbed, 16)
    assert helper.words() == [*sketches, *(int.from_bytes(helper.check[at : at + 4], "little") for at in range(0, 16, 4))]


def test_roots_of_other_families_codes_and_chips_differ(rng):
    response, _ = enrolled(FuzzyExtractor(TINY, DEFAULT_CODE, 1), rng)
    fuzzies = [
        FuzzyExtractor(TINY, DEFAULT_CODE, 1),
        FuzzyExtractor(PRESETS["base"], DEFAULT_CODE, 1),
        FuzzyExtractor(TINY, BchCode(8, 12), 1),
    ]
    roots = {fuzzy.reproduce(response, fuzzy.enrol(response)) for fuzzy in fuzzies}
    other, helper = enrolled(FuzzyExtractor(TINY, DEFAULT_CODE, 1), rng)
    roots.add(fuzzies[0].reproduce(other, helper))
    assert len(roots) == 4
    refusal(fuzzies[0], response, helper)
    refusal(fuzzies[1], response, fuzzies[0].enrol(response))


def test_whether_decoding_or_the_check_failed_can_not_be_told(rng, monkeypatch):
    """One text, and the same calls: so many words decoded, so many permutations."""
    fuzzy = FuzzyExtractor(TINY, DEFAULT_CODE, 2)
    response, helper = enrolled(fuzzy, rng)
    calls: list[str] = []
    for module, name in ((ascon, "permute"), (extractor.bch, "decode")):
        original = getattr(module, name)
        monkeypatch.setattr(module, name, counted(name, original, calls))
    far = response ^ (np.arange(fuzzy.response_bits) < 40)
    later = response ^ (np.arange(fuzzy.response_bits) >= fuzzy.response_bits - 40)
    turned = Helper(helper.syndromes, bytes(16))
    texts, work = set(), set()
    for noisy, given in ((far, helper), (later, helper), (response, turned), (far, turned)):
        calls.clear()
        texts.add(refusal(fuzzy, noisy, given))
        work.add(tuple(calls))
    calls.clear()
    fuzzy.reproduce(response, helper)
    assert len(texts) == 1 and work == {tuple(calls)}


def test_helper_data_survive_being_words(rng):
    fuzzy = FuzzyExtractor(TINY, DEFAULT_CODE, 2)
    response, helper = enrolled(fuzzy, rng)
    again = fuzzy.helper(helper.words())
    assert np.array_equal(again.syndromes, helper.syndromes) and again.check == helper.check
    assert fuzzy.reproduce(response, again) == fuzzy.reproduce(response, helper)
    assert len(helper.words()) == fuzzy.helper_words == 10


def test_a_syndrome_tells_what_theory_says_and_no_more():
    """Of a uniform response of the small code: each of 2^(n - k) syndromes leaves 2^k responses, all as likely."""
    code = SMALL.code
    words = np.arange(1 << code.n)[:, None] >> np.arange(code.n) & 1
    _, counts = np.unique(bch.packed(bch.syndromes(code, words)), return_counts=True)
    assert len(counts) == 1 << code.check_bits and set(counts) == {1 << code.k}


def test_mistakes_are_named(rng):
    fuzzy = FuzzyExtractor(TINY, DEFAULT_CODE, 1)
    words = enrolled(fuzzy, rng)[1].words()
    with pytest.raises(PufError, match="6 words; 1 blocks of BCH\\(255, 171\\) have 7"):
        fuzzy.helper(words[:-1])
    with pytest.raises(PufError, match="behind the 84 of a syndrome"):
        fuzzy.helper([*words[:2], words[2] | 1 << 20, *words[3:]])
    with pytest.raises(PufError, match="none of 32 bits"):
        fuzzy.helper([1 << 32, *words[1:]])
    with pytest.raises(PufError, match="has 255 bits"):
        fuzzy.enrol(np.zeros(254, int))
    with pytest.raises(PufError, match="allowed: 1 to 255"):
        FuzzyExtractor(TINY, DEFAULT_CODE, 0)
    with pytest.raises(PufError, match=r"116\.0 left beside syndromes of 84 bits; 128 or more"):
        fuzzy.require_entropy(200)
    fuzzy.require_entropy(212)
