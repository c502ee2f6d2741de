"""Fine-tuning: what the weights of a stolen file are worth as a beginning, beside the same training from nothing.

Attacker: thief of the file, with the architecture and some of the training set, labelled. Level of claim: that of the lock.
Stolen and random weights learn in the same way: through the unit's exact arithmetic in real numbers, for the same steps, with
the same batches, as many beginnings, learning rates and scopes tried. Of all tries the best on the *test* set counts, of
either side: a thief has no better way to choose.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import torch

from bitting.artefact.artefact import Artefact
from bitting.attack import free_table, stolen_codes
from bitting.data.dataset import Dataset
from bitting.locking.kinds import Transform
from bitting.program.interface import Interface
from bitting.program.layers import Program
from bitting.targets.judge import accuracy
from bitting.targets.relearning import Effort, fine_tuned, random_weights
from bitting.targets.stolen import Kind, Stolen
from bitting.targets.target import Target
from bitting.unit.spec import SLOT_BITS

#: The unit's own arithmetic: nothing is converted.
EXACT = Target("exact", "exact")
#: Samples that choose among told tables, at most.
_JUDGES = 500


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


def samples_of(data: Dataset, interface: Interface, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What a thief has: (samples, input_words) activations and labels of a share of the training samples, at least one.

    `share`: more than 0 and up to 1.
    """
    total = len(data.train_y)
    chosen = np.random.default_rng(seed).permutation(total)[: max(1, round(share * total))]
    return interface.activations(data.train_x[chosen]), data.train_y[chosen]


def starts_of_file(
    artefact: Artefact, architecture: Program, count: int, seed: int, samples: tuple[np.ndarray, np.ndarray]
) -> list[Stolen]:
    """The stolen codes, read in so many ways: with guessed tables, and enciphered bytes as they are, then exchanged at random.

    Under the table alone codes lie in their places, and those side by side tell the table: these guesses come first, the best
    by the thief's `samples`, see `samples_of`. Enciphered bytes are no codes, and larger than weights are: they are brought to
    the size of the family's weights. Raises LockError as `stolen_codes.codes_of`.
    """
    read = stolen_codes.codes_of(artefact, architecture)
    if not read.secret[0].plain:
        told = _told(read, *samples) if artefact.scheme.transform == Transform.TABLE else []
        guessed = itertools.chain(told, stolen_codes.tables(read.spec.codes, count, seed))
        return [Stolen.of(read, table) for table in itertools.islice(guessed, count)]
    starts = [Stolen.of(read.map_codes(exchanged)) for exchanged in stolen_codes.tables(1 << SLOT_BITS, count, seed)]
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


def _told(locked: Program, activations: np.ndarray, labels: np.ndarray) -> Iterator[list[int]]:
    """Tables, a value's index for each code, as neighbours tell them; a few hundred samples are enough to choose."""
    ordered = np.argsort(locked.spec.values)
    few = activations[:_JUDGES], labels[:_JUDGES]
    for weights in free_table.told_by_neighbours(free_table.Reader(locked), *few):
        yield ordered[np.argsort(np.argsort(weights.numpy()))].tolist()


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
        share: of the training samples, as of `samples_of`; drawn with the effort's seed.
        rates: learning rates, see `Effort`.
        effort: the rest of it.
        scopes: what learns.
        judged: so many test samples, the first ones; by default all.
    """
    activations, labels = samples_of(data, interface, share, effort.seed)
    x = torch.as_tensor(activations)
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
