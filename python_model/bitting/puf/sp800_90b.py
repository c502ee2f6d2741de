"""Estimators of min-entropy from NIST SP 800-90B (January 2018), section 6.3, as far as they make sense for thousands of bits.

Left out: the compression estimate and the four predictors. They are made for sequences of a million, begin with a dictionary or
a window of thousands that they do not judge, and would look at little here. The standard asks for a million samples of one
source; there is no such number of boards, so what these say is a hint and no certificate.

Each takes a sequence of small non-negative integers, in order, and gives bits of min-entropy for each symbol.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

#: Of a one-sided bound at 99.5%: the standard's constant.
Z = 2.576
#: How often the commonest tuple must occur for 6.3.5, and must not for 6.3.6.
CUTOFF = 35
#: Length of the sequences whose likeliest the Markov estimate looks for.
_MARKOV_LENGTH = 128


def upper(share: float, samples: int) -> float:
    """The standard's upper bound of a probability that was found as a share of `samples` (from 2); at most 1."""
    return min(1.0, share + Z * math.sqrt(share * (1 - share) / (samples - 1)))


def _entropy(probability: float) -> float:
    return max(0.0, -math.log2(probability))


def most_common_value(symbols: np.ndarray) -> float:
    """6.3.1."""
    share = int(np.bincount(symbols).max()) / len(symbols)
    return _entropy(upper(share, len(symbols)))


def collision(bits: np.ndarray) -> float:
    """6.3.2, for bits: how long until a value comes again, which is 2 or 3.

    The expected time of a source with probability p is 2 + 2 p (1 - p), which is solved for p instead of searched for.
    """
    times, at = [], 0
    values = bits.tolist()
    while at + 1 < len(values):
        time = 2 if values[at] == values[at + 1] else 3
        if at + time > len(values):
            break
        times.append(time)
        at += time
    if len(times) < 2:
        return 0.0
    mean = float(np.mean(times)) - Z * float(np.std(times, ddof=1)) / math.sqrt(len(times))
    inside = 0.25 - (mean - 2) / 2
    return _entropy(min(1.0, 0.5 + math.sqrt(max(0.0, inside))))


def markov(bits: np.ndarray) -> float:
    """6.3.3: the likeliest of the sequences of 128 bits that a first-order chain gives."""
    ones = float(np.mean(bits))
    first = np.array([1 - ones, ones])
    counts = np.bincount(2 * bits[:-1].astype(np.int64) + bits[1:], minlength=4).reshape(2, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.log2(np.where(counts, counts / counts.sum(1, keepdims=True), 0.0))
        start = np.log2(first)
    best = start
    for _ in range(_MARKOV_LENGTH - 1):  # the likeliest path, by its last bit
        best = (best[:, None] + step).max(0)
    return min(1.0, float(-best.max()) / _MARKOV_LENGTH)


def _tuple_counts(symbols: np.ndarray) -> list[np.ndarray]:
    """How often each tuple occurs: of one symbol, of two, ..., up to the longest that occurs twice."""
    kinds = int(symbols.max()) + 1
    names = symbols.astype(np.int64)
    found = []
    while len(names):
        _, names, counts = np.unique(names, return_inverse=True, return_counts=True)
        if counts.max() < 2:
            break
        found.append(counts)
        length = len(found)
        names = names[:-1] * kinds + symbols[length:]
    return found


def _tuple_estimates(symbols: np.ndarray, cutoff: int) -> tuple[float, float]:
    """The t-tuple estimate and the one of the longest repeated substring."""
    total = len(symbols)
    common, repeated = [0.0], [0.0]
    for length, counts in enumerate(_tuple_counts(symbols), start=1):
        windows = total - length + 1
        if counts.max() >= cutoff:
            common.append((int(counts.max()) / windows) ** (1 / length))
        else:
            pairs = float((counts * (counts - 1.0)).sum()) / (windows * (windows - 1.0))
            repeated.append(pairs ** (1 / length))
    # A sequence without anything to judge has no bound.
    return tuple(_entropy(upper(max(shares), total)) if max(shares) else math.nan for shares in (common, repeated))  # type: ignore[return-value]


def t_tuple(symbols: np.ndarray, cutoff: int = CUTOFF) -> float:
    """6.3.5: the commonest tuples. Not a number if no symbol occurs `cutoff` times."""
    return _tuple_estimates(symbols, cutoff)[0]


def longest_repeated_substring(symbols: np.ndarray, cutoff: int = CUTOFF) -> float:
    """6.3.6: collisions among longer tuples. Not a number if none that is rarer than `cutoff` repeats."""
    return _tuple_estimates(symbols, cutoff)[1]


#: Name in the standard -> estimator of a sequence of bits.
ESTIMATORS: dict[str, Callable[[np.ndarray], float]] = {
    "most common value (6.3.1)": most_common_value,
    "collision (6.3.2)": collision,
    "Markov (6.3.3)": markov,
    "t-tuple (6.3.5)": t_tuple,
    "longest repeated substring (6.3.6)": longest_repeated_substring,
}
