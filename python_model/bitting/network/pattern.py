"""Weights of a fixed pattern: of one magnitude, plus or minus, where a layer reads an input, and 0 where it does not."""

from __future__ import annotations

import torch

from bitting.errors import BittingError
from bitting.network.straight_through import WeightQuantiser
from bitting.unit.spec import UnitSpec


class PatternQuantiser(WeightQuantiser):
    """Signs of latent weights times one magnitude, where the pattern has an input; the others are 0, whatever is learnt.

    Args:
        magnitude: of all weights that are read. It and its negative are values of the family.
        pattern: booleans of the shape of the latent weights: what is read.

    Raises:
        BittingError: if the family has no such values.
    """

    def __init__(self, spec: UnitSpec, magnitude: int, pattern: torch.Tensor):
        if not {magnitude, -magnitude} <= set(spec.values):
            raise BittingError(f"{spec.name} has not both of the weights {magnitude} and {-magnitude}; allowed are its values")
        super().__init__(spec, normalise=False)
        self.magnitude = magnitude
        self.pattern = pattern
        self.sigma = float(magnitude)
        self._sizes: dict[float, torch.Tensor] = {}  # by factor

    def values(self, latent: torch.Tensor, scale: float | None = None, factor: float = 1.0) -> torch.Tensor:
        """As of any quantiser; `scale` does not matter to signs."""
        if (sizes := self._sizes.get(factor)) is None:
            sizes = self._sizes[factor] = self.pattern * (self.magnitude * factor)
        return torch.copysign(sizes.to(latent.device), latent)
