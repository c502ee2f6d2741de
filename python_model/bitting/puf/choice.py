"""How many reads, which code, how many blocks: what meets the requirement with the fewest oscillators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bitting.puf import failure
from bitting.puf.extractor import KEY_BITS
from bitting.puf.failure import ErrorRates
from bitting.unit.bch import BLOCK_BITS, BchCode

#: The requirement: a key fails at most so often, at so many times the worst board's error rate, and `KEY_BITS` are left. The
#: factor stands for what was not measured: temperature, voltage, age.
MOST_FAILURES = 1e-6
MARGIN = 3
#: Factors of the worst board's error rate in tables.
FACTORS = (1, 2, 3, 5)
#: Oscillators of a block: of the pairs of whole rows one is left out.
BLOCK_OSCILLATORS = 2 * (BLOCK_BITS + 1)
#: Codes in tables and pictures of failures, by the errors that they correct: `shown`.
_SHOWN = frozenset({10, 18, 22, 27, 30, 42})


@dataclass(frozen=True)
class Choice:
    """Reads, code and blocks, and what they give.

    Attributes:
        reads: that a boot averages.
        code: of each block.
        blocks: of `BLOCK_OSCILLATORS` oscillators.
        failure: probability that the key does not come back, at `MARGIN` times the worst board's modelled error rate, its
            bits erring unequally.
        failure_bound: the same if all bits erred alike, which is the worst case.
        left: bits of min-entropy in all blocks after the helper data are public.
    """

    reads: int
    code: BchCode
    blocks: int
    failure: float
    failure_bound: float
    left: float


def left(code: BchCode, entropy: float, blocks: int = 1) -> float:
    """Bits that helper data leave of `blocks` responses, each bit with `entropy` bits of min-entropy; may be negative.

    What helper data take at most is taken off (Dodis, Ostrovsky, Reyzin and Smith 2008, lemma 2.2).
    """
    return blocks * code.n * entropy - blocks * code.check_bits


def block_failures(code: BchCode, rate: float, margins: np.ndarray) -> tuple[float, float]:
    """Probability that a block is not corrected: with unequal rates as the board's differences say, and with equal ones.

    Args:
        code: of the block.
        rate: mean error rate of the board, below 1/2.
        margins: (bits,) absolute differences of the board.
    """
    unequal = failure.poisson_binomial_tail(failure.unequal_rates(margins, rate), code.t)
    return unequal, failure.binomial_tail(code.n, code.t, rate)


def choices(rates: Sequence[ErrorRates], entropy: float, margin: float = MARGIN) -> list[Choice]:
    """For each number of reads the fewest blocks that meet the requirement; none where no code does.

    Args:
        rates: of each number of reads.
        entropy: bits of min-entropy for each response bit.
        margin: times the worst board's error rate.
    """
    found = []
    for measured in rates:
        worst = measured.worst
        rate = margin * float(measured.modelled[worst])
        if rate >= 0.5:
            continue
        of_reads = []
        for code in failure.codes():
            if left(code, entropy) <= 0:
                continue
            blocks = math.ceil(KEY_BITS / left(code, entropy))
            unequal, equal = (failure.key_failure(p, blocks) for p in block_failures(code, rate, measured.margins[worst]))
            if unequal <= MOST_FAILURES:
                of_reads.append(Choice(measured.reads, code, blocks, unequal, equal, left(code, entropy, blocks)))
        if of_reads:
            fewest = min(choice.blocks for choice in of_reads)
            # Of those with as many blocks, the one that fails least.
            found.append(min((one for one in of_reads if one.blocks == fewest), key=lambda one: one.failure))
    return found


def best(found: Sequence[Choice]) -> Choice | None:
    """The fewest blocks, then the fewest reads."""
    return min(found, key=lambda choice: (choice.blocks, choice.reads), default=None)


def shown(code: BchCode, chosen: Choice | None) -> bool:
    """Whether a code has its line in tables and pictures of failures: a few do, and the chosen one does."""
    return code.t in _SHOWN or (chosen is not None and code == chosen.code)
