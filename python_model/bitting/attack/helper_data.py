"""Attacks on a key from a PUF by its helper data, which are public and lie where the attacker can write.

He owns the chip, changes helper data, and looks whether the chip behaves as before, otherwise, or reports an error
(Delvaux and Verbauwhede, Attacking PUF-Based Pattern Matching Key Generators via Helper Data Manipulation, CT-RSA 2014, and
Key-recovery Attacks on Various RO PUF Constructions via Helper Data Manipulation, DATE 2014). Three things he learns wherever
nothing says which helper data are the right ones: whether two response bits are equal, where helper data say which pair of
oscillators is which bit; the same, where they say which pairs are kept; and which bits are often wrong, where they say which
errors are corrected.

Level of claim: die. The controls that both succeed against are in `bitting.attack.weak_puf`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from bitting.attack.findings import Finding
from bitting.puf import bch
from bitting.unit.puf_key import PufKey

#: Helper words to what is seen of the chip: something that follows from its key and from nothing else, or None for an error.
Ask = Callable[[Sequence[int]], bytes | None]

_OWNER = "owner of the chip"
#: A read may be noisy, so what is usual is seen more often than once.
_TRIES = 5


def relations(ask: Ask, words: Sequence[int]) -> Finding:
    """Swap the first word of the helper data with every other one: if the chip behaves as before, what they stand for is equal.

    Args:
        ask: the chip.
        words: its helper data. If each says which pair of oscillators makes a bit, the bits are known but for all being turned.

    Returns:
        `got` of `of` bits are equal to the first; `found`: (words,) bits, of which the first is called 0.
    """
    usual, queries = _usual(ask, words)
    differs = [False]
    for place in range(1, len(words)):
        swapped = list(words)
        swapped[0], swapped[place] = swapped[place], swapped[0]
        seen = [ask(swapped) for _ in range(_TRIES)]
        queries += _TRIES
        differs.append(usual not in seen)
    found = np.array(differs)
    equal = int((~found[1:]).sum())
    note = f"{equal} swaps changed nothing"
    return Finding("swapped words", _OWNER, "response bits", equal, len(words) - 1, queries=queries, note=note, found=found)


def moved_mask(ask: Ask, key: PufKey, words: Sequence[int], seed: int) -> Finding:
    """Keep a pair that was left out instead of its neighbour, which was kept: are their bits equal?

    To what the code corrects, t errors are added at other places. One more, if the bits differ, is one too many.

    Args:
        ask: the chip.
        key: its sizes.
        words: its helper data.
        seed: of the places.

    Returns:
        `got` of `of` swaps were not answered with an error; `found`: (swaps, 3) the pair that was left out, the one that was
        kept, and 1 if their bits seem to be equal.
    """
    rng = np.random.default_rng(seed)
    mask = bch.unpacked(np.array([words[: key.mask_words]], bch.WORDS), key.pairs)[0]
    found, queries = [], 0
    for left_out in np.flatnonzero(mask == 0):
        for kept in (left_out - 1, left_out + 1):
            if not (0 <= kept < key.pairs and mask[kept]):
                continue
            moved = mask.copy()
            moved[[left_out, kept]] = 1, 0
            block, place = divmod(int(mask[:kept].sum()), key.kept)
            errors = np.zeros((1, key.code.n), np.uint8)
            others = np.setdiff1d(np.arange(key.kept), [place])
            errors[0, rng.choice(others, key.code.t, replace=False)] = 1
            changed = shifted(key, [*bch.packed(moved[None])[0].tolist(), *words[key.mask_words :]], errors, block)[0]
            found.append((left_out, kept, any(ask(changed) is not None for _ in range(_TRIES))))
            queries += _TRIES
    array = np.array(found, int).reshape(-1, 3)
    equal = int(array[:, 2].sum())
    note = f"{equal} pairs that were left out took a neighbour's place"
    return Finding("moved mask", _OWNER, "response bits", equal, len(array), queries=queries, note=note, found=array)


def unreliable_bits(ask: Ask, key: PufKey, words: Sequence[int], queries: int, seed: int) -> Finding:
    """Add the syndromes of t errors at random places: the chip then corrects what noise adds only where they are already.

    So an error that the chip shows is the rarer the more of the places are often wrong.

    Args:
        ask: the chip.
        key: its sizes.
        words: its helper data.
        queries: patterns to try.
        seed: of the patterns.

    Returns:
        `got` of `of` patterns were not answered with an error; `found`: (n,) by how much errors are rarer with a place among
        the t, in parts of one.
    """
    rng = np.random.default_rng(seed)
    code = key.code
    patterns = np.zeros((queries, code.n), np.uint8)
    for pattern in patterns:
        pattern[rng.choice(key.kept, code.t, replace=False)] = 1
    errors = np.array([ask(changed) is None for changed in shifted(key, words, patterns)])
    among = patterns.astype(float)
    rate_with = errors @ among / np.maximum(among.sum(axis=0), 1)
    rate_without = errors @ (1 - among) / np.maximum((1 - among).sum(axis=0), 1)
    got = int((~errors).sum())
    note = f"{got} patterns of {code.t} errors were corrected"
    return Finding("added errors", _OWNER, "answers", got, queries, queries=queries, note=note, found=rate_without - rate_with)


def accepted_edits(ask: Ask, key: PufKey, words: Sequence[int], queries: int, seed: int) -> Finding:
    """Every bit of the helper data turned; syndromes of every single error, and of random ones of 2 to t errors, added.

    Args:
        ask: the chip.
        key: its sizes.
        words: its helper data.
        queries: random patterns to try.
        seed: of the patterns.

    Returns:
        `got` of `of` changed helper data made the chip behave as before; `found`: (kinds,) how often each other behaviour was
        seen, errors among them.
    """
    rng = np.random.default_rng(seed)
    usual, spent = _usual(ask, words)
    turned = [
        [word ^ (1 << bit if place == at else 0) for at, word in enumerate(words)]
        for place in range(len(words))
        for bit in range(32)
    ]
    code = key.code
    patterns = np.concatenate([np.eye(code.n, dtype=np.uint8), np.zeros((queries, code.n), np.uint8)])
    for pattern in patterns[code.n :]:
        pattern[rng.choice(code.n, rng.integers(2, code.t + 1), replace=False)] = 1
    changed = [*turned, *shifted(key, words, patterns)]
    seen = Counter(ask(each) for each in changed)
    got = seen.pop(usual, 0)
    note = f"{len(seen)} other behaviours, {seen[None]} times an error"
    found = np.array(sorted(seen.values()))
    return Finding(
        "edited helper data", _OWNER, "accepted edits", got, len(changed), queries=spent + len(changed), note=note, found=found
    )


def shifted(key: PufKey, words: Sequence[int], patterns: np.ndarray, block: int = 0) -> list[list[int]]:
    """Helper data with the syndrome of each of (count, n) error patterns added to that of a word of the code."""
    added = bch.packed(bch.syndromes(key.code, patterns))
    begins = key.mask_words + block * key.code.syndrome_words
    ends = begins + key.code.syndrome_words
    changed = np.array(words[begins:ends], bch.WORDS) ^ added
    return [[*words[:begins], *row, *words[ends:]] for row in changed.tolist()]


def _usual(ask: Ask, words: Sequence[int]) -> tuple[bytes | None, int]:
    """What is seen most often with untouched helper data, and in how many queries."""
    seen = Counter(ask(words) for _ in range(2 * _TRIES + 1))
    return seen.most_common(1)[0][0], seen.total()
