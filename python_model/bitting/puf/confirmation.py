"""What the exact sums say, beside what is seen: dice thrown into the decoder, and boots that were measured, with more noise.

Failures that a key may have are far too rare to be seen. At more noise they are not; so there the sums can be wrong visibly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bitting.puf import bch, choice, masks
from bitting.puf.choice import Choice
from bitting.puf.failure import ErrorRates
from bitting.puf.judging import Boards, kept_errors
from bitting.unit.puf_key import PufKey

#: Words that are thrown.
THROWS = 20_000


@dataclass(frozen=True)
class Confirmation:
    """Of the chosen key, every board at so many times its error rate.

    Attributes:
        factor: how many times.
        exact: probability that one block of the board that fails most is not corrected.
        thrown: blocks of that board that the decoder did not bring back, of `throws`, its bits erring as the model says.
        throws: how many.
        rate_modelled: mean error rate of the bits that the measured boards keep.
        rate_counted: share of wrong ones among them, in the recorded boots with the noise of each as much larger.
        over_modelled: share of boots with more wrong bits than the code corrects, by the model, of measured boards.
        over_counted: the same in the recorded boots, with more noise.
    """

    factor: float
    exact: float
    thrown: int
    throws: int
    rate_modelled: float
    rate_counted: float
    over_modelled: float
    over_counted: float


def thrown(key: PufKey, rates: np.ndarray, throws: int, seed: int) -> int:
    """Words that the decoder does not bring back, of `throws` random ones.

    Args:
        key: of which one block is thrown.
        rates: (key.kept,) error rates of its bits.
        throws: how many.
        seed: of words and errors.
    """
    generator = np.random.default_rng(seed)
    words = np.zeros((throws, key.code.n), np.uint8)
    words[:, : key.kept] = generator.integers(0, 2, (throws, key.kept))
    noisy = words.copy()
    noisy[:, : key.kept] ^= generator.random((throws, key.kept)) < rates
    corrected, failed = bch.decode(key.code, noisy, bch.syndromes(key.code, words))
    return int((failed | (corrected != words).any(1)).sum())


def confirm(boards: Boards, rates: ErrorRates, of: Choice, factors: Sequence[float], seed: int = 0) -> list[Confirmation]:
    """At each factor that leaves the worst board below 1/2.

    Args:
        boards: measured ones; those of the first partition are looked at, each once.
        rates: of all partitions, of boots as `of` takes them.
        of: what was chosen.
        factors: times the boards' error rates.
        seed: of the dice.
    """
    kept, found = masks.kept(rates.bits, of.left_out), []
    for factor in factors:
        if factor * float(rates.modelled.max()) < 0.5:
            block = choice.key_failures(rates, choice.one_block(of.key), of.left_out, factor)
            worst = rates.of([int(block.argmax())]).kept_rates(factor, kept, of.key.kept)[0]
            seen = kept_errors(boards, of.reads, factor, [of.left_out])[0]
            fails = thrown(of.key, worst, THROWS, seed)
            found.append(
                Confirmation(factor, float(block.max()), fails, THROWS, seen.modelled, seen.counted, *seen.over(of.key.code.t))
            )
    return found
