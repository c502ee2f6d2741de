"""What clocks tell: of weights, of inputs, of the table. As test laboratories ask it: are two populations told apart?

Attacker: owner of the chip, with a clock counter. The timing law is public and equal to the RTL's; it never depends on inputs,
and always on codes. Goodwill, Jun, Jaffe and Rohatgi (A testing methodology for side-channel resistance validation, 2011)
compare the means of two populations by Welch's t, and call more than 4.5 a leak.
"""

from __future__ import annotations

import math

import numpy as np

from bitting.unit.spec import UnitSpec

#: Above it two populations differ.
THRESHOLD = 4.5


def welch(one: np.ndarray, two: np.ndarray) -> float:
    """Welch's t of two samples; 0 if they are constant and equal, infinite if they are constant and differ."""
    error = math.sqrt(one.var(ddof=1) / len(one) + two.var(ddof=1) / len(two))
    apart = float(one.mean() - two.mean())
    if error == 0:
        return 0.0 if apart == 0 else math.copysign(math.inf, apart)
    return apart / error


def told_bits(samples: np.ndarray) -> float:
    """Shannon entropy of what is seen, in bits: no more than that is told by one look, on average."""
    _, counts = np.unique(samples, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def table_bits(cycles: np.ndarray) -> tuple[float, float]:
    """Bits of a bitting table that the cycles of every code tell, and all bits that it has.

    Args:
        cycles: (2^b,) clocks of a tile of each code, less the overhead.
    """
    total = math.lgamma(len(cycles) + 1)
    _, counts = np.unique(cycles, return_counts=True)
    left = sum(math.lgamma(count + 1) for count in counts)
    return (total - left) / math.log(2), total / math.log(2)


def entries_told(cycles: np.ndarray, plain: np.ndarray) -> int:
    """Entries of the table that the cycles of codes settle: their number of cycles belongs to one value only.

    Args:
        cycles: (2^b,) of the device's codes.
        plain: (2^b,) of the values, public.
    """
    counts = {count: int((plain == count).sum()) for count in np.unique(plain).tolist()}
    return sum(counts[count] == 1 for count in cycles.tolist())


def plain_cycles(spec: UnitSpec) -> np.ndarray:
    """(2^b,) cycles of the values, which are public."""
    return np.array(spec.decoding(range(spec.codes), False).cycles, np.int64)
