"""The break of the bitting table: stolen codes, a few labelled samples, and gradient descent on the table itself.

Level of claim: key. The attacker holds the artefact (all codes, shifts and biases), the public spec with its value set, and
N labelled samples; not the device. Because one table of 2^b values serves the whole network, it is learned like any other
parameter. He begins where codes that lie side by side say that their weights are, else at random. This is why the table alone
is no lock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from bitting.attack import code_neighbours
from bitting.data.dataset import Dataset
from bitting.data.datasets import activations as activations_of
from bitting.network import metrics
from bitting.network.loss import logit_gain, logit_scale
from bitting.program.layers import Program
from bitting.targets import learning, waves
from bitting.targets.relearning import Effort, minimise
from bitting.targets.stolen import SAMPLES_AT_ONCE, LayerArithmetic, Stolen
from bitting.unit.spec import SLOT_BITS

Progress = Callable[[int, int], None]

#: Starts before the attack gives up, and a loss of the samples that only a start near the true table reaches: the others stay
#: above 0.4 (digits, 200 labels). At 0.2 a table may be half found: digits answered 95.8 to 98.0% then, at this 98.0 to 98.7.
STARTS = 32
SOLVED = 0.05
#: Starts that begin as neighbours of codes say: the best by the samples. The wrong sign of a right one is far behind it.
_TOLD = 2
#: Learning rate of these, in weight units: they begin near.
_NEAR = 0.1
#: Samples a step.
_BATCH = 128


class Reader:
    """A stolen program, any layers, whose codes are read with any real weights, the same everywhere.

    Attributes:
        locked: the program.
        network: the same as a thief's network, in fp32.
        size: a code is less than this.
    """

    def __init__(self, locked: Program):
        """Raises ProgramError as `Stolen.of`."""
        self.locked, self.network = locked, Stolen.of(locked).in_fp32()
        self.size = 1 << SLOT_BITS if locked.secret[0].plain else locked.spec.codes
        self._codes = [
            None if layer.constant else torch.from_numpy(layer.codes.reshape(layer.channels, -1)).long()
            for layer in locked.layers
        ]
        self._wave = waves.fold(locked.spec)
        self._scale = logit_scale(locked.spec.acc_bits) * logit_gain(locked.spec)

    def sums(self, values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """(samples, outputs) sums that leave, not reduced.

        Args:
            values: (size,) a weight for each code, with a gradient if they want one.
            x: (samples, input_words) activations.
        """
        layers = (
            (layer, LayerArithmetic(layer.weights if codes is None else values[codes], layer.bias, self._wave))
            for layer, codes in zip(self.network.layers, self._codes, strict=True)
        )
        return learning.sums(self.network, layers, self.network.scratch(x))

    def loss(self, values: torch.Tensor, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Cross entropy, as networks are trained."""
        return torch.nn.functional.cross_entropy(self.sums(values, x) * self._scale, labels)

    def accuracy(self, values: torch.Tensor, x: np.ndarray, labels: np.ndarray) -> float:
        """With these weights, 0..1."""
        with torch.no_grad():
            sums = torch.cat([self.sums(values, part) for part in torch.from_numpy(x).split(SAMPLES_AT_ONCE)])
        return metrics.accuracy(sums, torch.from_numpy(labels))


@dataclass(frozen=True, eq=False)
class Tables:
    """What the attack finds, real weights by code, (2^b,); (256,) of plain weights, which are bytes.

    Attributes:
        told: by codes that lie side by side; labels have only chosen among a few guesses. None if none lie so.
        learnt: after gradient descent.
    """

    told: torch.Tensor | None
    learnt: torch.Tensor


def told_by_neighbours(reader: Reader, activations: np.ndarray, labels: np.ndarray) -> list[torch.Tensor]:
    """(2^b,) weights by code, as codes that lie side by side tell them, the best by a few labelled samples first.

    `activations`: (samples, input_words); `labels`: (samples,).
    """
    x, y = torch.from_numpy(activations), torch.from_numpy(labels)
    guesses = [torch.from_numpy(guess).float() for guess in code_neighbours.guesses(reader.locked, reader.network, reader.size)]
    with torch.no_grad():
        return sorted(guesses, key=lambda values: float(reader.loss(values, x, y)))


def recover(
    reader: Reader,
    activations: np.ndarray,
    labels: np.ndarray,
    *,
    steps: int = 400,
    starts: int = STARTS,
    rates: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0),
    seed: int = 0,
    progress: Progress | None = None,
) -> Tables:
    """Learn the value of each code from labelled samples; the best of several starts by their loss.

    Args:
        reader: of the stolen program.
        activations: (samples, input_words).
        labels: (samples,).
        steps: of Adam, in each start.
        starts: at most so many; a loss below `SOLVED` ends the search.
        rates: learning rates in weight units, taken in turn by the starts that begin at random.
        seed: of the values that the starts begin with, and of the order of samples.
        progress: called with (starts done, at most).
    """
    x, y = torch.from_numpy(activations), torch.from_numpy(labels)
    sigma = reader.locked.spec.value_set.sigma

    def judged(values: torch.Tensor) -> float:
        with torch.no_grad():
            return float(reader.loss(values, x, y))

    generator = torch.Generator().manual_seed(seed)
    told = told_by_neighbours(reader, activations, labels)[:_TOLD]
    best: tuple[float, torch.Tensor] | None = None
    for start in range(starts):
        if start < len(told):
            values, rate = told[start].clone(), _NEAR
        else:
            values = torch.randn(reader.size, generator=generator) * sigma * 0.1
            rate = rates[(start - len(told)) % len(rates)]
        values.requires_grad_()

        def of_rows(rows: torch.Tensor, values: torch.Tensor = values) -> torch.Tensor:
            return reader.loss(values, x[rows], y[rows])

        minimise(of_rows, [values], len(x), Effort(steps, _BATCH, rate), generator)
        found = values.detach().clone()
        loss = judged(found)
        if best is None or loss < best[0]:
            best = (loss, found)
        if progress:
            progress(start + 1, starts)
        if best[0] < SOLVED:
            break
    assert best is not None
    return Tables(told[0] if told else None, best[1])


@dataclass(frozen=True)
class Broken:
    """Test accuracies, 0..1, with `Tables`. `told`: None if no codes lie side by side."""

    told: float | None
    learnt: float


def break_table(program: Program, data: Dataset, count: int, progress: Progress | None = None) -> Broken:
    """What a thief reaches who has `count` labelled training samples, the first ones."""
    spec, reader = program.spec, Reader(program)
    found = recover(reader, activations_of(spec, data.train_x[:count]), data.train_y[:count], progress=progress)
    test = activations_of(spec, data.test_x), data.test_y
    told = None if found.told is None else reader.accuracy(found.told, *test)
    return Broken(told, reader.accuracy(found.learnt, *test))
