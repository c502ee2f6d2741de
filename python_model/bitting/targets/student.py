"""A stolen network that learns on hardware: its weights and biases as parameters, through the arithmetic of a target.

What a target finds in data, scales and masks, stays for some steps until it is found again: a range of least error costs more
than a step does. `bitting.targets.relearning` says towards what it learns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import torch

from bitting.targets import learning, waves
from bitting.targets.formats import Quantiser
from bitting.targets.stolen import Kind, LayerArithmetic, Stolen, StolenLayer
from bitting.targets.target import Target

#: Samples on which scales of activations are found.
RANGED = 256


class Learner:
    """A layer of trained weights on the target; scales and masks stay until they are found again."""

    def __init__(self, layer: StolenLayer, target: Target, wave: waves.Wave):
        self.layer, self._target, self._wave = layer, target, wave
        self._size = layer.weights.square().mean().sqrt().clamp(min=1e-9)
        self._weights = (layer.weights / self._size).requires_grad_()
        self._bias = (layer.bias / layer.quarter).requires_grad_()
        self.parameters = [self._weights, self._bias]
        self._mask: torch.Tensor | None = None
        self._grid: Quantiser | None = None
        self._entering: Quantiser | None = None
        self._leaving: Callable[[torch.Tensor], torch.Tensor] | None = None

    def refresh(self, own: torch.Tensor) -> None:
        """Find scales and masks again. `own`: (words, samples) as the target has them before this layer."""
        weights = self._weights.detach() * self._size
        self._mask = self._target.mask(self.layer, weights, own)
        if self._mask is not None:
            weights = weights * self._mask
        self._grid = self._target.weights.grid(weights) if self._target.weights else None
        self._entering = self._target.reading(self.layer, own)
        found = LayerArithmetic(weights, self._bias.detach() * self.layer.quarter, self._wave)
        self._leaving = self._target.leaving(self.layer, self.layer.sums(self.layer.gathered(own), found))

    def arithmetic(self) -> LayerArithmetic:
        """With gradients for `parameters`."""
        weights = self._weights * self._size
        if self._mask is not None:
            weights = weights * self._mask
        if self._grid:
            weights = self._grid(weights)
        return LayerArithmetic(weights, self._bias * self.layer.quarter, self._wave, self._entering, self._leaving)

    def learnt(self, dtype: torch.dtype, rounded: bool) -> StolenLayer:
        """The layer as it is now, pruned, and as the target has it if it is to be rounded."""
        weights, bias = self._weights.detach() * self._size, self._bias.detach() * self.layer.quarter
        if rounded:
            weights = self.arithmetic().weights.detach()
        elif self._mask is not None:
            weights = weights * self._mask  # else pruning would make up once more for what is gone
        return replace(self.layer, weights=weights.to(dtype), bias=bias.to(dtype))


class Student:
    """A stolen network that learns, in fp32: what hardware rounds is coarser. Converted, it is judged in the type it had.

    `only`: numbers of the layers that learn, by default all with trained weights. The others are computed exactly.
    """

    def __init__(self, stolen: Stolen, target: Target, only: Collection[int] | None = None):
        self._stolen, self._finds = stolen, target.finds_in_data
        self.network = stolen.in_fp32()
        self._wave = waves.Wave(target.wave, stolen.spec, target.gain)
        self.learners = {
            number: Learner(layer, target, self._wave)
            for number, layer in enumerate(self.network.layers)
            if layer.kind is Kind.PRODUCT and (only is None or number in only)
        }

    @property
    def first(self) -> int:
        """Number of the first layer that learns."""
        return min(self.learners, default=len(self.network.layers))

    def arithmetic_of(self, number: int) -> LayerArithmetic:
        """Of one layer."""
        layer = self.network.layers[number]
        return (
            self.learners[number].arithmetic()
            if number in self.learners
            else LayerArithmetic(layer.weights, layer.bias, self._wave)
        )

    @torch.no_grad()
    def refresh(self, x: torch.Tensor) -> None:
        """Scales and masks of every layer. `x`: (samples, input_words)."""
        if not self._finds:
            return
        own = self.network.scratch(x[:RANGED])
        for number, layer in enumerate(self.network.layers):
            if number in self.learners:
                self.learners[number].refresh(own)
            self.network.step(layer, self.arithmetic_of(number), own)

    def sums(self, front: Front, rows: torch.Tensor) -> torch.Tensor:
        """(samples, outputs) sums that leave, as `learning.sums`.

        Args:
            front: of this student, with the samples.
            rows: (samples,) their numbers.
        """
        behind = enumerate(self.network.layers[self.first :], self.first)
        return learning.sums(self.network, ((layer, self.arithmetic_of(number)) for number, layer in behind), front(rows))

    def learnt(self, rounded: bool = False) -> Stolen:
        """The network as it is now. `rounded`: with the target's numbers, which are those of its scales as they were found."""
        layers = [
            self.learners[number].learnt(self._stolen.dtype, rounded) if number in self.learners else layer
            for number, layer in enumerate(self._stolen.layers)
        ]
        return replace(self._stolen, layers=tuple(layers))


class Front:
    """Scratch memories behind the layers before the first that learns, which give a sample the same as long as it is trained.

    If there are trained layers among them, each sample's is computed once, and what is read of it is kept, 4 bytes a word.
    """

    def __init__(self, student: Student, x: torch.Tensor):
        """`x`: (samples, input_words) activations."""
        self._student, self._x = student, x
        before, behind = (student.network.layers[part] for part in (slice(student.first), slice(student.first, None)))
        self._kept: torch.Tensor | None = None
        if any(layer.kind is Kind.PRODUCT for layer in before):
            self._words = torch.cat([each.flatten() for layer in behind for each in layer.reads]).unique()
            self._kept, self._known = torch.empty(len(self._words), len(x)), torch.zeros(len(x), dtype=torch.bool)

    @torch.no_grad()
    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """(words, rows) of some samples, to be written on. `rows`: their numbers, each once."""
        if self._kept is None:
            return self._computed(rows)
        missing = rows[~self._known[rows]]
        if len(missing):
            self._kept[:, missing] = self._computed(missing)[self._words]
            self._known[missing] = True
        scratch = torch.zeros(self._student.network.reach, len(rows))
        scratch[self._words] = self._kept[:, rows]
        return scratch

    def _computed(self, rows: torch.Tensor) -> torch.Tensor:
        network, scratch = self._student.network, self._student.network.scratch(self._x[rows])
        for number, layer in enumerate(network.layers[: self._student.first]):
            network.step(layer, self._student.arithmetic_of(number), scratch)
        return scratch
