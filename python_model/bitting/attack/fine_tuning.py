"""Fine-tuning: what the weights of a stolen file are worth as a beginning, beside the same training from nothing.

Attacker: thief of the file, with the architecture and some of the training set, labelled. Level of claim: that of the lock.
Stolen and random weights learn in the same way: through the unit's exact arithmetic in real numbers, for the same steps, with
the same batches, as many beginnings, learning rates and scopes tried. Of all tries the best on the *test* set counts, of
either side: a thief has no better way to choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import torch

from bitting.artefact.artefact import Artefact
from bitting.attack import stolen_codes
from bitting.data.dataset import Dataset
from bitting.program.interface import Interface
from bitting.program.layers import Program
from bitting.targets.judge import accuracy
from bitting.targets.relearning import Effort, fine_tuned, random_weights
from bitting.targets.stolen import Kind, Stolen
from bitting.targets.target import Target

#: The unit's own arithmetic: nothing is converted.
EXACT = Target("exact", "exact")


class Scope(StrEnum):
    """What learns."""

    WHOLE = "whole model"
    LAST = "last layer"


@dataclass(frozen=True)
class Try:
    """One training. `accuracy`: on the test set, 0..1."""

    start: int
    scope: Scope
    rate: float
    accuracy: float


def starts_of_file(artefact: Artefact, architecture: Program, count: int, seed: int) -> list[Stolen]:
    """The stolen codes, read with so many guessed tables. Raises LockError as `stolen_codes.codes_of`.

    Enciphered bytes are no codes, and larger than weights are: they are brought to the size of the family's weights.
    """
    read = stolen_codes.codes_of(artefact, architecture)
    starts = [Stolen.of(read, table) for table in stolen_codes.tables(read.spec.codes, count, seed)]
    if not read.secret[0].plain:
        return starts
    sizes = read.spec.value_set.sigma
    return [
        replace(
            start,
            layers=tuple(
                replace(layer, weights=layer.weights * sizes / layer.weights.std()) if layer.kind is Kind.PRODUCT else layer
                for layer in start.layers
            ),
        )
        for start in starts
    ]


def starts_from_scratch(architecture: Program, x: np.ndarray, count: int, seed: int) -> list[Stolen]:
    """So many initialisations of the same architecture. `x`: (samples, input_words), for the spread of sums."""
    shape = Stolen.of(architecture)
    return [random_weights(shape, EXACT, torch.as_tensor(x), seed + number) for number in range(count)]


def starts_of_random_codes(architecture: Program, count: int, seed: int) -> list[Stolen]:
    """So many networks of the same shape with codes at random and no biases: weights of the size that trained ones have."""
    rng = np.random.default_rng(seed)
    bare = architecture.map_secret(lambda layer: replace(layer, bias=np.zeros_like(layer.bias)))
    return [Stolen.of(stolen_codes.random_codes(bare, rng)) for _ in range(count)]


def tries(
    starts: Sequence[Stolen],
    data: Dataset,
    interface: Interface,
    share: float,
    rates: Sequence[float],
    effort: Effort,
    scopes: Sequence[Scope] = tuple(Scope),
    judged: int | None = None,
) -> list[Try]:
    """Train from every start at every rate, all layers or the last one.

    Args:
        starts: where to begin.
        data: the thief has a share of its training samples; its test samples judge.
        interface: makes activations of its inputs.
        share: of the training samples, more than 0 and up to 1; drawn with the effort's seed, at least one.
        rates: learning rates, see `Effort`.
        effort: the rest of it.
        scopes: what learns.
        judged: so many test samples, the first ones; by default all.
    """
    total = len(data.train_y)
    chosen = np.random.default_rng(effort.seed).permutation(total)[: max(1, round(share * total))]
    x, labels = torch.as_tensor(interface.activations(data.train_x[chosen])), data.train_y[chosen]
    test_x, test_y = torch.as_tensor(interface.activations(data.test_x[:judged])), data.test_y[:judged]
    last = [number for number, layer in enumerate(starts[0].layers) if layer.kind is Kind.PRODUCT][-1:]
    found = []
    for number, start in enumerate(starts):
        for scope in scopes:
            for rate in rates:
                only = last if scope is Scope.LAST else None
                learnt = fine_tuned(start, EXACT, x, labels, replace(effort, rate=rate), only)
                found.append(Try(number, scope, rate, accuracy(learnt(test_x), test_y)))
    return found
