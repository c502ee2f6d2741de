"""Which biases and activations tell the weights of a folded layer apart, when all that is seen is the folded sum.

A tile that reads one weight w at activation x gives fold(bias + w x): a few high bits. Several biases and activations
together give each weight of the family an answer of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """One bias, and the activations that every weight meets under it."""

    bias: int
    activations: tuple[int, ...]


def answer(spec: UnitSpec, shift: int, question: Question, weights: np.ndarray) -> np.ndarray:
    """(weights, activations) folded sums of (weights,) integers."""
    x = np.array(question.activations, np.int64)
    return fold(spec, wrap(question.bias + weights.astype(np.int64)[:, None] * x, spec.acc_bits), shift)


def questions(spec: UnitSpec, shift: int, windows: int) -> list[Question]:
    """Questions of at most `windows` activations each that together tell all weights of the family apart.

    Raises:
        BittingError: if the fold keeps too few bits for that.
    """
    weights = np.array(spec.values, np.int64)
    rng = np.random.default_rng(0)
    half = 1 << (spec.acc_bits - 1)
    x = np.arange(spec.act_min, spec.act_max + 1)
    groups = np.zeros(len(weights), np.int64)
    chosen: list[Question] = []
    while groups.max() + 1 < len(weights):
        if len(chosen) == _ENOUGH:
            raise BittingError(f"the fold of spec {spec.name!r} with shift {shift} does not tell all weights apart")
        tried = [
            _extended(spec, shift, int(bias), x, weights, groups, windows) for bias in rng.integers(-half, half, _CANDIDATES)
        ]
        question, groups = max(tried, key=lambda one: int(one[1].max()))
        chosen.append(question)
    return chosen


def _extended(
    spec: UnitSpec, shift: int, bias: int, x: np.ndarray, weights: np.ndarray, groups: np.ndarray, windows: int
) -> tuple[Question, np.ndarray]:
    """The activations that part the groups best under one bias, one after another, and the groups after them."""
    folded = answer(spec, shift, Question(bias, tuple(x.tolist())), weights).T  # (x, weights)
    best: list[int] = []
    for _ in range(windows):
        keys = groups[None, :] * (1 << spec.act_bits) + folded
        kinds = (np.diff(np.sort(keys, axis=1), axis=1) != 0).sum(axis=1) + 1
        place = int(np.argmax(kinds))
        if best and kinds[place] == groups.max() + 1:
            break
        best.append(int(x[place]))
        groups = np.unique(keys[place], return_inverse=True)[1]
    return Question(bias, tuple(best)), groups
