"""A stolen network that learns on hardware: its weights and biases as parameters, through the arithmetic of a target.

What a target finds in data, scales and masks, stays for some steps until it is found again: a range of least error costs more
than a step does. `bitting.targets.relearning` says towards what it learns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import torch

from bitting.targets import waves
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
        """Find scales and masks again. `own`: (samples, words) as the target has them before this layer."""
        weights = self._weights.detach() * self._size
        self._mask = self._target.mask(self.layer, weights, own)
        if self._mask is not None:
            weights = weights * self._mask
        self._grid = self._target.weights.grid(weights) if self._target.weights else None
        self._entering = self._target.reading(self.layer, own)
        products = [
            x @ weights[group.channels].t() for group, x in zip(self.layer.groups, self.layer.gathered(own), strict=True)
        ]
        sums = self.layer.sums(products, self._bias.detach() * self.layer.quarter)
        self._leaving = self._target.leaving(self.layer, sums)

    def arithmetic(self) -> LayerArithmetic:
        """With gradients for `parameters`."""
        weights = self._weights * self._size
        if self._mask is not None:
            weights = weights * self._mask
        if self._grid:
            weights = self._grid(weights)
        groups = self.layer.groups
        # One group has all channels in order; to pick them would cost as much as the product.
        product = (lambda _, x: x @ weights.t()) if len(groups) == 1 else None
        return LayerArithmetic(weights, self._bias * self.layer.quarter, self._wave, self._entering, self._leaving, product)

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
        self._stolen = stolen
        layers = tuple(replace(layer, weights=layer.weights.float(), bias=layer.bias.float()) for layer in stolen.layers)
        self.network = replace(stolen, layers=layers, dtype=torch.float32)
        self._wave = waves.Wave(target.wave, stolen.spec, target.gain)
        self.learners = {
            number: Learner(layer, target, self._wave)
            for number, layer in enumerate(layers)
            if layer.kind is Kind.PRODUCT and (only is None or number in only)
        }

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
        own = self.network.scratch(x[:RANGED])
        for number, layer in enumerate(self.network.layers):
            if number in self.learners:
                self.learners[number].refresh(own)
            self.network.step(layer, self.arithmetic_of(number), own)

    def sums(self, x: torch.Tensor) -> torch.Tensor:
        """(samples, outputs) sums that leave, not reduced: through the reduction there is no useful gradient."""
        scratch, answers = self.network.scratch(x), []
        for number, layer in enumerate(self.network.layers):
            sums = self.network.step(layer, self.arithmetic_of(number), scratch)
            if layer.emits:
                answers.append(sums.flatten(1))
        return torch.cat(answers, 1)

    def learnt(self, rounded: bool = False) -> Stolen:
        """The network as it is now. `rounded`: with the target's numbers, which are those of its scales as they were found."""
        layers = [
            self.learners[number].learnt(self._stolen.dtype, rounded) if number in self.learners else layer
            for number, layer in enumerate(self._stolen.layers)
        ]
        return replace(self._stolen, layers=tuple(layers))
