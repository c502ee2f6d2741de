"""Signed-digit numbers: the non-adjacent form, and the value set of a family.

Knows integers only; `spec` builds on it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist
from typing import NamedTuple

#: Quantiles are rounded to this many fractional bits, so that the value set never depends on the last bit of a libm.
_QUANTILE_BITS = 20
#: Sigma is searched in steps of 1 / _SIGMA_STEPS.
_SIGMA_STEPS = 2
#: What the bound of the search gives away, so that no rounding of floating point numbers can decide.
_ROUNDING = 1e-9


class Digit(NamedTuple):
    """One signed digit: (-1 if negative else 1) * 2**exponent."""

    negative: bool
    exponent: int


def naf(value: int) -> tuple[Digit, ...]:
    """Non-adjacent form of an integer, least significant digit first; () for 0.

    The form is unique, has no two neighbouring non-zero digits and the fewest non-zero digits of all signed-binary forms
    (Reitwiesner, 1960).
    """
    form = []
    exponent = 0
    while value:
        if value & 1:
            digit = 2 - (value & 3)
            form.append(Digit(digit < 0, exponent))
            value -= digit
        value >>= 1
        exponent += 1
    return tuple(form)


def limited_naf(value: int, max_exponent: int) -> tuple[Digit, ...]:
    """The non-adjacent form with exponents up to `max_exponent` only; a digit 2^(max_exponent + 1) is written as two below it.

    For |value| up to 2^(max_exponent + 1).
    """
    form = naf(value)
    if form and form[-1].exponent > max_exponent:
        return (*form[:-1], *(2 * [Digit(form[-1].negative, max_exponent)]))
    return form


@dataclass(frozen=True)
class Decoding:
    """What each code means to a unit: its signed digits, least significant first, its weight, and its MAC cycles."""

    digits: tuple[tuple[Digit, ...], ...]
    values: tuple[int, ...]
    cycles: tuple[int, ...]

    @classmethod
    def of(cls, forms: Sequence[tuple[Digit, ...]]) -> Decoding:
        """From the digits of each code; a code without any takes a cycle too."""
        values = tuple(sum((-1 if d.negative else 1) << d.exponent for d in form) for form in forms)
        return cls(tuple(forms), values, tuple(max(1, len(form)) for form in forms))


@functools.cache
def representable(max_digits: int, max_exponent: int) -> tuple[int, ...]:
    """All integers, ascending, whose NAF has at most `max_digits` digits with exponents 0..`max_exponent`."""
    bound = 1 << (max_exponent + 1)
    return tuple(
        value
        for value in range(-bound, bound + 1)
        if len(form := naf(value)) <= max_digits and all(d.exponent <= max_exponent for d in form)
    )


@dataclass(frozen=True)
class ValueSet:
    """2^b distinct weights, ascending, 0 among them; `sigma` of the Gaussian whose quantiles they fit, in weight units."""

    values: tuple[int, ...]
    sigma: float


@functools.cache
def quantile_values(code_bits: int, max_digits: int, max_exponent: int) -> ValueSet:
    """Choose the 2^b representable integers that best fit the quantiles of a Gaussian.

    Rule: with N = 2^b and z_i = Phi^-1((i + 1/2) / N) rounded to 2^-20, choose sigma (a multiple of 1/2) and an ascending
    subset v_0 < ... < v_(N-1) of the representable integers that minimise sum_i (v_i - sigma z_i)^2 / sigma^2. 0 and the
    positive powers of two always belong to the subset: pooling and residuals are layers whose weights are those. The best
    subset for one sigma is found by dynamic programming over (quantile, integer), all in integers; of equal costs the smaller
    sigma and the smaller integers win. So trained weights, which are about Gaussian, use all codes about equally often.
    """
    candidates = representable(max_digits, max_exponent)
    count = 1 << code_bits
    quantiles = [round(NormalDist().inv_cdf((i + 0.5) / count) * (1 << _QUANTILE_BITS)) for i in range(count)]
    # The outermost quantile falls between half and twice the largest integer: beyond, the fit only gets worse.
    outermost = (candidates[-1] * _SIGMA_STEPS << _QUANTILE_BITS) // quantiles[-1]
    sigma, last = max(1, outermost // 2), 2 * outermost
    # A few first, evenly spread: the better the best known, the more can be left out.
    best = min(_fit(candidates, quantiles, one) for one in range(sigma, last + 1, max(1, (last - sigma) // 32)))
    size = math.sqrt(sum(z * z for z in quantiles))
    while sigma <= last:
        found = _fit(candidates, quantiles, sigma)
        best = min(best, found)
        # With d the distance of the best subset from the quantiles, both divided by sigma, a factor f on sigma gives no
        # distance below (d + |z|) / f - |z|, by the triangle inequality. So all sigmas are left out that stay above the best.
        distance, least = (math.sqrt(fit.cost) for fit in (found, best))
        sigma = max(sigma + 1, math.ceil(sigma * (distance + size) / (least + size) * (1 - _ROUNDING)))
    return ValueSet(best.values, best.sigma / _SIGMA_STEPS)


class _Fit(NamedTuple):
    """The best subset for a sigma; the better one is the smaller one.

    Attributes:
        cost: sum over i of (v_i / sigma - z_i)^2, scaled as the quantiles are, exact.
        sigma: in half weight units.
    """

    cost: Fraction
    sigma: int
    values: tuple[int, ...]


def _fit(candidates: tuple[int, ...], quantiles: list[int], sigma: int) -> _Fit:
    cost, values = _best_subset(candidates, quantiles, sigma)
    return _Fit(Fraction(cost, sigma**2), sigma, values)


def _best_subset(candidates: tuple[int, ...], quantiles: list[int], sigma: int) -> tuple[int, tuple[int, ...]]:
    """Ascending subset, with 0 and the powers of two, nearest to sigma * quantiles; squared distance in scaled integers.

    The state after quantile i is how many candidates were left out so far: quantile i then holds candidate i + left_out.
    """
    spare = len(candidates) - len(quantiles)
    forced = [value >= 0 and value & (value - 1) == 0 for value in candidates]
    scale = _SIGMA_STEPS << _QUANTILE_BITS
    impossible = 1 << 200
    costs = [0] + [impossible] * spare
    choices: list[list[int]] = []
    for i, quantile in enumerate([*quantiles, None]):  # the last round leaves out what follows the last quantile
        reached, earlier = [], []
        cheapest, chosen = impossible, 0
        for left_out, cost in enumerate(costs):
            if left_out and forced[i + left_out - 1]:
                cheapest, chosen = impossible, 0  # that candidate may not be left out here
            if cost < cheapest:  # of equal ones the first
                cheapest, chosen = cost, left_out
            reached.append(cheapest)
            earlier.append(chosen)
        choices.append(earlier)
        if quantile is not None:
            target = sigma * quantile
            costs = [cost + (value * scale - target) ** 2 for cost, value in zip(reached, candidates[i:], strict=False)]
    picked = []
    cost, left_out = reached[spare], choices[-1][spare]
    for i in reversed(range(len(quantiles))):
        picked.append(candidates[i + left_out])
        left_out = choices[i][left_out]
    return cost, tuple(reversed(picked))
