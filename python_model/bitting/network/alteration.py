"""What other hardware than the unit does to a layer while it is trained: nothing, unless a subclass says otherwise."""

from __future__ import annotations

import torch


class Alteration:
    """Another hardware in the unit's place, for a forward pass with gradients (`UnitNetwork.altered`).

    The exact hardware judges a finished program (`bitting.targets.target`); this is what training sees of it.
    """

    def weights(self, weights: torch.Tensor) -> torch.Tensor:
        """(outputs, ...) integers times a power of two, as that hardware has them."""
        return weights

    def entering(self, x: torch.Tensor) -> torch.Tensor:
        """Activations before they are multiplied; any shape."""
        return x

    def leaving(self, sums: torch.Tensor, slope: float | None) -> torch.Tensor:
        """Sums as it holds them.

        Args:
            sums: in steps of the wave, or answers in units of the accumulator.
            slope: steps for each unit of the accumulator; None: these are answers.
        """
        return sums

    def activations(self, steps: torch.Tensor) -> torch.Tensor | None:
        """What it has in place of the fold, of sums in steps; None: the fold."""
        return None
