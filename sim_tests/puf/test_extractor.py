"""The fuzzy extractor: the same root again, or one error that says nothing; helper data as words."""

import numpy as np
import pytest

from bitting.errors import PufError, SpecError
from bitting.locking import ascon
from bitting.puf import bch, extractor
from bitting.puf.extractor import FuzzyExtractor, Helper
from bitting.unit.bch import DEFAULT_CODE, BchCode
from bitting.unit.puf_key import PufKey
from bitting.unit.spec import PRESETS
from tb import ascon_reference, bch_library

TINY = PRESETS["tiny"]
#: Of which every noisy read can be tried.
SMALL = FuzzyExtractor(TINY, PufKey(BchCode(4, 2)))
#: Some of 64 pairs, in two words of a shortened code.
MASKED = FuzzyExtractor(TINY, PufKey(BchCode(5, 3), blocks=2, kept=24, pairs=64))


def enrolled(fuzzy, rng):
    differences = rng.normal(size=fuzzy.key.pairs)
    return (differences > 0).astype(np.uint8), fuzzy.enrol(differences)


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
    fuzzy = FuzzyExtractor(TINY, PufKey(DEFAULT_CODE, blocks))
    response, helper = enrolled(fuzzy, rng)
    root = fuzzy.reproduce(response, helper)
    assert len(root) == 16
    for _ in range(20):
        noise = bch_library.errors(rng, blocks, fuzzy.key.code.n, fuzzy.key.code.t).ravel()
        assert fuzzy.reproduce(response ^ noise, helper) == root
    assert refusal(fuzzy, response ^ (np.arange(fuzzy.key.pairs) < fuzzy.key.code.t + 1), helper)


def test_of_all_noisy_reads_of_a_small_code_only_those_near_are_accepted(rng):
    """A decoder mistakes nearly half of all others for words of its own. The check refuses every one of them."""
    code = SMALL.key.code
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
    fuzzy = FuzzyExtractor(TINY, PufKey(DEFAULT_CODE, blocks=2, kept=200, pairs=500))
    response, helper = enrolled(fuzzy, rng)
    mask = [0] * 16
    for pair in np.flatnonzero(helper.mask).tolist():
        mask[pair // 32] |= 1 << pair % 32
    words = [0] * 16
    for place, pair in enumerate(np.flatnonzero(helper.mask).tolist()):
        block, position = divmod(place, 200)
        words[8 * block + position // 32] |= int(response[pair]) << position % 32
    sketches = [0] * 6
    for block in range(2):
        for position, bit in enumerate(helper.syndromes[block].tolist()):
            sketches[3 * block + position // 32] |= bit << position % 32
    identity = int(TINY.id, 16)
    prefix = [identity & 0xFFFFFFFF, identity >> 32, 8 | 11 << 8 | 2 << 16, 200 | 500 << 16]
    message = [*prefix, *mask, *sketches, *words]
    digest = ascon_reference.cxof(b"btt-puf", b"".join(word.to_bytes(4, "little") for word in message), 32)
    assert helper.check == digest[:16] and fuzzy.reproduce(response, helper) == digest[16:]
    check = [int.from_bytes(digest[at : at + 4], "little") for at in range(0, 16, 4)]
    assert helper.words() == [*mask, *sketches, *check]
    assert (fuzzy.key.helper_words, fuzzy.key.message_words) == (16 + 6 + 4, len(message))


def test_the_strongest_pairs_are_kept_and_errors_in_others_do_not_matter(rng):
    key = MASKED.key
    differences = rng.normal(size=key.pairs)
    helper = MASKED.enrol(differences)
    weakest = np.argsort(np.abs(differences))[: key.pairs - key.bits]
    assert set(np.flatnonzero(helper.mask == 0)) == set(weakest)
    noise = np.zeros(key.pairs, np.uint8)
    noise[weakest] = rng.integers(0, 2, len(weakest))
    root = MASKED.reproduce((differences > 0) ^ noise, helper)
    assert root == MASKED.reproduce(differences > 0, helper)
    # Up to t errors among those of the first word, and one more.
    first = np.flatnonzero(helper.mask)[: key.kept]
    noise[first[: key.code.t]] = 1
    assert MASKED.reproduce((differences > 0) ^ noise, helper) == root
    noise[first[key.code.t]] = 1
    refusal(MASKED, (differences > 0) ^ noise, helper)


def test_an_error_that_is_found_behind_the_kept_bits_is_refused(rng):
    """The decoder knows nothing of a shortened code: it may correct a bit that can not be wrong."""
    response, helper = enrolled(MASKED, rng)
    beyond = np.zeros((2, MASKED.key.code.n), np.uint8)
    beyond[0, MASKED.key.kept :][:3] = 1
    changed = Helper(helper.mask, helper.syndromes ^ bch.syndromes(MASKED.key.code, beyond), helper.check)
    words = np.zeros((2, MASKED.key.code.n), np.uint8)
    words[:, : MASKED.key.kept] = response[helper.mask == 1].reshape(2, -1)
    assert not bch.decode(MASKED.key.code, words, changed.syndromes)[1].any()
    refusal(MASKED, response, changed)


def test_another_mask_is_refused(rng):
    """Whatever it keeps, with all else as it was: even pairs whose bits are the same."""
    response, helper = enrolled(MASKED, rng)
    kept, left_out = np.flatnonzero(helper.mask), np.flatnonzero(helper.mask == 0)
    for pair in left_out:
        moved = helper.mask.copy()
        moved[pair], moved[kept[np.searchsorted(kept, pair) % len(kept)]] = 1, 0
        refusal(MASKED, response, Helper(moved, helper.syndromes, helper.check))


def test_roots_of_other_families_codes_and_chips_differ(rng):
    response, _ = enrolled(FuzzyExtractor(TINY, PufKey(DEFAULT_CODE)), rng)
    fuzzies = [
        FuzzyExtractor(TINY, PufKey(DEFAULT_CODE)),
        FuzzyExtractor(PRESETS["base"], PufKey(DEFAULT_CODE)),
        FuzzyExtractor(TINY, PufKey(BchCode(8, 12))),
    ]
    roots = {fuzzy.reproduce(response, fuzzy.enrol(response)) for fuzzy in fuzzies}
    other, helper = enrolled(FuzzyExtractor(TINY, PufKey(DEFAULT_CODE)), rng)
    roots.add(fuzzies[0].reproduce(other, helper))
    assert len(roots) == 4
    refusal(fuzzies[0], response, helper)
    refusal(fuzzies[1], response, fuzzies[0].enrol(response))


def test_whether_decoding_or_the_check_failed_can_not_be_told(rng, monkeypatch):
    """One text, and the same calls: so many words decoded, so many permutations."""
    fuzzy = FuzzyExtractor(TINY, PufKey(DEFAULT_CODE, 2))
    response, helper = enrolled(fuzzy, rng)
    calls: list[str] = []
    for module, name in ((ascon, "permute"), (extractor.bch, "decode")):
        original = getattr(module, name)
        monkeypatch.setattr(module, name, counted(name, original, calls))
    far = response ^ (np.arange(fuzzy.key.pairs) < 40)
    later = response ^ (np.arange(fuzzy.key.pairs) >= fuzzy.key.pairs - 40)
    turned = Helper(helper.mask, helper.syndromes, bytes(16))
    texts, work = set(), set()
    for noisy, given in ((far, helper), (later, helper), (response, turned), (far, turned)):
        calls.clear()
        texts.add(refusal(fuzzy, noisy, given))
        work.add(tuple(calls))
    calls.clear()
    fuzzy.reproduce(response, helper)
    assert len(texts) == 1 and work == {tuple(calls)}


def test_helper_data_survive_being_words(rng):
    fuzzy = FuzzyExtractor(TINY, PufKey(DEFAULT_CODE, 2))
    response, helper = enrolled(fuzzy, rng)
    again = fuzzy.helper(helper.words())
    assert np.array_equal(again.mask, helper.mask)
    assert np.array_equal(again.syndromes, helper.syndromes) and again.check == helper.check
    assert fuzzy.reproduce(response, again) == fuzzy.reproduce(response, helper)
    assert len(helper.words()) == fuzzy.key.helper_words == 16 + 6 + 4


def test_a_syndrome_tells_what_theory_says_and_no_more():
    """Of a uniform response of the small code: each of 2^(n - k) syndromes leaves 2^k responses, all as likely."""
    code = SMALL.key.code
    words = np.arange(1 << code.n)[:, None] >> np.arange(code.n) & 1
    _, counts = np.unique(bch.packed(bch.syndromes(code, words)), return_counts=True)
    assert len(counts) == 1 << code.check_bits and set(counts) == {1 << code.k}


def test_mistakes_are_named(rng):
    fuzzy = FuzzyExtractor(TINY, PufKey(DEFAULT_CODE))
    words = enrolled(fuzzy, rng)[1].words()
    with pytest.raises(PufError, match="14 words; 1 blocks of BCH\\(255, 171\\) and 255 pairs have 15"):
        fuzzy.helper(words[:-1])
    with pytest.raises(PufError, match="behind the 255 of the mask or the 84 of a syndrome"):
        fuzzy.helper([*words[:10], words[10] | 1 << 20, *words[11:]])
    with pytest.raises(PufError, match="behind the 255 of the mask"):
        fuzzy.helper([*words[:7], words[7] | 1 << 31, *words[8:]])
    with pytest.raises(PufError, match="keep 254 pairs of 255; allowed: 255"):
        fuzzy.helper([words[0] & ~1, *words[1:]])
    with pytest.raises(PufError, match="none of 32 bits"):
        fuzzy.helper([1 << 32, *words[1:]])
    with pytest.raises(PufError, match="255 differences, finite numbers"):
        fuzzy.enrol(np.zeros(254))
    with pytest.raises(PufError, match="255 differences, finite numbers"):
        fuzzy.enrol(np.full(255, np.nan))
    with pytest.raises(SpecError, match="allowed: 1 to 255"):
        PufKey(DEFAULT_CODE, 0)
    with pytest.raises(SpecError, match="allowed: 85 to 255"):
        PufKey(DEFAULT_CODE, kept=84)
    with pytest.raises(SpecError, match="254 pairs of oscillators, of which 255 are kept"):
        PufKey(DEFAULT_CODE, pairs=254)
    with pytest.raises(PufError, match=r"116\.0 left beside syndromes of 84 bits; 128 or more"):
        fuzzy.require_entropy(200)
    fuzzy.require_entropy(212)
