"""Which biases, activations and flipped bits tell the codes of a folded layer apart, when all that is seen is the folded sum.

A tile that reads one weight w at activation x gives fold(bias + w x): a few high bits. Several questions together give each
code an answer of its own. Codes of the bitting table may be flipped too: then neighbouring weights become distant ones, and a
few questions do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bitting.emulator.arithmetic import fold, wrap
from bitting.errors import BittingError
from bitting.unit.spec import UnitSpec

#: Biases that are tried for the next question.
_CANDIDATES = 48
#: Questions after which it is given up.
_ENOUGH = 64


@dataclass(frozen=True)
class Question:
    """One bias, the activations that every weight meets under it, and which bits of every code are flipped before."""

    flip: int
    bias: int
    activations: tuple[int, ...]


def answer(spec: UnitSpec, shift: int, question: Question, weights: np.ndarray) -> np.ndarray:
    """(codes, activations) folded sums; `weights`: (codes,) of each code."""
    x = np.array(question.activations, np.int64)
    flipped = weights.astype(np.int64)[np.arange(len(weights)) ^ question.flip]
    return fold(spec, wrap(question.bias + flipped[:, None] * x, spec.acc_bits), shift)


def questions(spec: UnitSpec, shift: int, windows: int, weights: np.ndarray, flips: bool) -> list[Question]:
    """Questions of at most `windows` activations each that together tell all codes apart.

    Args:
        spec: of the family.
        shift: of the layer.
        windows: most activations of a question.
        weights: (2^b,) of each code, all different.
        flips: bits of codes may be flipped.

    Raises:
        BittingError: if the fold keeps too few bits for that.
    """
    rng = np.random.default_rng(0)
    half = 1 << (spec.acc_bits - 1)
    x = range(spec.act_min, spec.act_max + 1)
    groups = np.zeros(len(weights), np.int64)
    chosen: list[Question] = []
    while groups.max() + 1 < len(weights):
        if len(chosen) == _ENOUGH:
            raise BittingError(f"the fold of spec {spec.name!r} with shift {shift} does not tell all weights apart")
        starts = zip(
            rng.integers(0, spec.codes if flips else 1, _CANDIDATES), rng.integers(-half, half, _CANDIDATES), strict=True
        )
        tried = [_extended(spec, shift, Question(int(f), int(b), tuple(x)), weights, groups, windows) for f, b in starts]
        question, groups = max(tried, key=lambda one: int(one[1].max()))
        chosen.append(question)
    return chosen


def _extended(
    spec: UnitSpec, shift: int, whole: Question, weights: np.ndarray, groups: np.ndarray, windows: int
) -> tuple[Question, np.ndarray]:
    """Of a question with all activations those that part the groups best, one after another, and the groups after them."""
    folded = answer(spec, shift, whole, weights).T  # (x, codes)
    best: list[int] = []
    for _ in range(windows):
        keys = groups[None, :] * (1 << spec.act_bits) + folded
        kinds = (np.diff(np.sort(keys, axis=1), axis=1) != 0).sum(axis=1) + 1
        place = int(np.argmax(kinds))
        if best and (kinds[place] == groups.max() + 1 or groups.max() + 1 == len(weights)):
            break
        best.append(whole.activations[place])
        groups = np.unique(keys[place], return_inverse=True)[1]
    return replace(whole, activations=tuple(best)), groups
