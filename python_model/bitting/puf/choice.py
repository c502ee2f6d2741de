"""How many reads, which pairs are left out, which code: what meets the requirement with the fewest oscillators."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bitting.puf import failure, masks
from bitting.puf.extractor import KEY_BITS
from bitting.puf.failure import ErrorRates
from bitting.unit.bch import BchCode
from bitting.unit.puf_key import MAX_BLOCKS, PufKey
from bitting.unit.puf_spec import MAX_PAIRS

#: The requirement: a key fails at most so often, at so many times the worst board's error rate, and `KEY_BITS` are left. The
#: factor stands for what was not measured: temperature, voltage, age. `failure` says what it multiplies.
MOST_FAILURES = 1e-6
MARGIN = 3
#: Factors of the boards' error rates in tables.
FACTORS = (1, 2, 3, 5, 8)
#: Codes in tables and pictures of failures, by the errors that they correct: `shown`.
_SHOWN = frozenset({1, 2, 3, 4, 6, 9, 18})
#: Boards that are looked at for the one whose key fails most: those whose kept bits err most at the measured size.
_EXPOSED = 16


@dataclass(frozen=True)
class Choice:
    """Reads, pairs and code, and what they give.

    Attributes:
        reads: that a boot averages.
        left_out: share of the pairs.
        key: code, blocks, pairs and how many are kept.
        rate: mean error rate of kept bits of the board whose key fails most, at `MARGIN` times its error rate.
        failure: probability that the key of that board does not come back then, its bits erring unequally.
        failure_bound: the same if all kept bits erred alike, which is the worst case.
        failure_of_kept: if not the noise but the kept bits' own error rate is `MARGIN` times what it was: the milder reading.
        left: bits of min-entropy that are left once the helper data are public.
    """

    reads: int
    left_out: float
    key: PufKey
    rate: float
    failure: float
    failure_bound: float
    failure_of_kept: float
    left: float

    @property
    def oscillators(self) -> int:
        """Each pair has two of its own."""
        return 2 * self.key.pairs


def left(key: PufKey, entropy: float) -> float:
    """Bits that helper data leave of the kept bits, each with `entropy` bits of min-entropy once the mask is known.

    What the syndromes take at most is taken off (Dodis, Ostrovsky, Reyzin and Smith 2008, lemma 2.2). May be negative.
    """
    return key.bits * entropy - key.entropy_loss


def sizes(code: BchCode, left_out: float, entropy: float) -> list[tuple[int, int, int]]:
    """(blocks, kept, pairs), the fewest pairs first: with each number of blocks as many bits as leave enough.

    Args:
        code: of each block.
        left_out: share of the pairs.
        entropy: bits of min-entropy for each kept bit.
    """
    lost, longest = code.check_bits, code.n
    if longest * entropy <= lost:
        return []
    found = []
    for blocks in range(1, MAX_BLOCKS + 1):
        kept = math.ceil((KEY_BITS / blocks + lost) / entropy)
        pairs = math.ceil(blocks * kept / (1 - left_out))
        if kept <= longest and pairs <= MAX_PAIRS:
            found.append((blocks, kept, pairs))
    return sorted(found, key=lambda size: size[2])


def one_block(key: PufKey) -> PufKey:
    """The same with one block, of as many pairs for it."""
    return replace(key, blocks=1, pairs=math.ceil(key.pairs / key.blocks))


def key_failures(rates: ErrorRates, key: PufKey, left_out: float, factor: float) -> np.ndarray:
    """(boards,) probability that the key does not come back, each board at `factor` times its error rate.

    Exact for bits that err unequally and independently. Of a key with more or fewer bits than a board that was measured keeps,
    blocks are taken to be like one another, and like that board.

    Args:
        rates: of boards.
        key: of all.
        left_out: share of the pairs.
        factor: times each board's error rate, of all its pairs.
    """
    of_block = _tails(rates.kept_rates(factor, masks.kept(rates.bits, left_out), key.kept), key.code)
    return np.array([failure.key_failure(float(one), key.blocks) for one in of_block])


def failures_of_codes(rates: ErrorRates, keys: Sequence[PufKey], left_out: float, factor: float) -> list[float]:
    """For each of some keys that differ in their codes alone, `key_failures` of the board that fails most."""
    kept = masks.kept(rates.bits, left_out)
    distribution = failure.error_distribution(rates.kept_rates(factor, kept, keys[0].kept))
    blocks = [min(1.0, float(distribution[:, key.code.t + 1 :].sum(1).max())) for key in keys]
    return [failure.key_failure(block, key.blocks) for block, key in zip(blocks, keys, strict=True)]


def _tails(bit_rates: np.ndarray, code: BchCode) -> np.ndarray:
    return np.minimum(1.0, failure.error_distribution(bit_rates)[:, code.t + 1 :].sum(1))


def exposed(rates: ErrorRates, left_out: float, factor: float) -> ErrorRates:
    """Of those boards alone whose kept bits err most often."""
    return rates.of(rates.kept_rates(factor, masks.kept(rates.bits, left_out)).mean(1).argsort()[-_EXPOSED:])


def chosen(rates: ErrorRates, left_out: float, entropy: float, margin: float = MARGIN) -> Choice | None:
    """The key with the fewest pairs that meets the requirement, of those with so many reads and so much left out.

    Args:
        rates: of boots with that number of reads.
        left_out: share of the pairs.
        entropy: bits of min-entropy for each bit that is kept then.
        margin: times each board's error rate.
    """
    if margin * float(rates.modelled.max()) >= 0.5:
        return None
    worst = exposed(rates, left_out, margin)

    def fails(key: PufKey) -> float:
        return float(key_failures(worst, key, left_out, margin).max())

    best: PufKey | None = None
    for code in failure.codes():
        smaller = [size for size in sizes(code, left_out, entropy) if best is None or size[2] < best.pairs]
        # No block fails less than one of the fewest bits: most sizes need no more than that to be ruled out.
        least = fails(PufKey(code, 1, min(kept for _, kept, _ in smaller))) if smaller else 1.0
        possible = (PufKey(code, *size) for size in smaller if failure.key_failure(least, size[0]) <= MOST_FAILURES)
        best = next((key for key in possible if fails(key) <= MOST_FAILURES), best)
    return None if best is None else judged(worst, best, left_out, entropy, margin)


def judged(rates: ErrorRates, key: PufKey, left_out: float, entropy: float, margin: float = MARGIN) -> Choice:
    """A key as if it were chosen, whether it meets the requirement or not; arguments as in `chosen`."""
    worst = exposed(rates, left_out, margin)
    kept = masks.kept(worst.bits, left_out)
    fails = key_failures(worst, key, left_out, margin)
    rate = float(worst.kept_rates(margin, kept, key.kept)[int(fails.argmax())].mean())
    return Choice(
        worst.reads,
        left_out,
        key,
        rate,
        float(fails.max()),
        failure.key_failure(failure.binomial_tail(key.kept, key.code.t, rate), key.blocks),
        failure.key_failure(
            float(_tails(_of_kept_alone(worst.strengths(1, kept, key.kept), margin), key.code).max()), key.blocks
        ),
        left(key, entropy),
    )


def _of_kept_alone(strengths: np.ndarray, margin: float) -> np.ndarray:
    """(boards, bits) rates with the noise that makes the mean rate of these bits alone `margin` times what it was."""
    from scipy import special

    noise = failure.scaled_noise(strengths, margin * special.ndtr(-strengths).mean(1))
    return np.asarray(special.ndtr(-strengths / noise[:, None]))


def choices(rates: Sequence[ErrorRates], entropy: Mapping[float, float], margin: float = MARGIN) -> list[Choice]:
    """For each number of reads and each share that is left out the fewest oscillators; none where no key does.

    Args:
        rates: of each number of reads.
        entropy: share left out -> bits of min-entropy for each bit that is kept.
        margin: times each board's error rate.
    """
    found = (chosen(measured, left_out, bits, margin) for measured in rates for left_out, bits in entropy.items())
    return [one for one in found if one is not None]


def best(found: Sequence[Choice]) -> Choice | None:
    """The fewest oscillators, then the fewest reads."""
    return min(found, key=lambda choice: (choice.oscillators, choice.reads), default=None)


def shown(code: BchCode, chosen: Choice | None) -> bool:
    """Whether a code has its line in tables and pictures of failures: a few do, and the chosen one does."""
    return code.t in _SHOWN or (chosen is not None and code == chosen.key.code)
