"""The sparsity lock: a pattern of its own that pays on the unit, and a loss that makes a network wrong once it is pruned.

Hidden layers read three quarters of their inputs, each group of channels others, with weights of one signed digit and one
magnitude. On the unit a shorter gather list and a weight of one digit save clocks (`bitting.program.gather_lists`,
`bitting.unit.timing`). Hardware with other sparsity has to drop weights: 2:4 a third of them, under any order of the inputs,
and no magnitude says which. The loss, on networks of which a random part was dropped, makes every one of them count.

It stops nobody who does not prune: number formats and dense hardware are exact, at the full price there.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from bitting.errors import BittingError
from bitting.network.alteration import Alteration
from bitting.network.graph import UnitNetwork
from bitting.network.layers import UnitProduct
from bitting.network.normalised import UnitNormalisedConv2d
from bitting.training import randomness
from bitting.unit.spec import UnitSpec

#: Runs of channels with lists of their own. Each leaves out another of as many parts of the inputs, so that every input is
#: read, and a list has more than half of them: 2:4 can not hold it, however inputs are ordered.
GROUPS = 4
#: The magnitude of weights is near this share of the family's sigma, so that the shift can go either way.
_SHARE_OF_SIGMA = 1 / 4
#: Weights that differ by less than this share count as equal for who prunes: chance decides which of them go.
_ALIKE = 1e-3
#: Of what it draws, for `randomness.numpy_generator`.
_PURPOSE = 16_003


@torch.no_grad()
def prepare(network: UnitNetwork, seed: int) -> None:
    """Give hidden layers their pattern, before training. Calibrate afterwards.

    Answers keep weights of all magnitudes: they are few, and a run of logits would have to be a layer of its own.

    Args:
        network: of ours, not trained yet.
        seed: of the pattern.

    Raises:
        BittingError: if the network has no hidden layer with weights, parts that can not be trained so, or the family no weight
            of one digit and both signs.
    """
    if any(isinstance(module, UnitNormalisedConv2d) for module in network.graph.values()):
        raise BittingError("the sparsity lock is not trained with batch normalisation yet; use another network, mlp or lenet")
    hidden = [layer for layer in network.products if not layer.emits]
    if not hidden:
        raise BittingError("the network has no hidden layer, and answers keep all of their inputs; use one with hidden layers")
    magnitude = one_digit(network.spec)
    rng = randomness.numpy_generator(seed, _PURPOSE)
    for layer in hidden:
        layer.keep_pattern(magnitude, _pattern(layer, rng))


def one_digit(spec: UnitSpec) -> int:
    """The magnitude of one signed digit, of which the family has both signs, that weights get.

    Raises:
        BittingError: if it has none.
    """
    both = [value for value in spec.values if value > 0 and value & (value - 1) == 0 and -value in spec.values]
    if not both:
        raise BittingError(f"{spec.name} has no weights 2^k and -2^k; allowed are families with both, such as soft and base")
    wanted = math.log2(spec.value_set.sigma * _SHARE_OF_SIGMA)
    return min(both, key=lambda value: abs(math.log2(value) - wanted))


class Pruned(Alteration):
    """An unstructured pruning of a network with the pattern, as training sees it.

    Args:
        share: of the weights that go, 0..1.
        filled: a thief has filled gather lists up with zeros, which go first; else each run of channels is pruned for itself.
        by_place: of weights that are alike the later ones go, as `bitting.targets.pruning` has it; else chance decides.
    """

    def __init__(self, share: float, filled: bool, by_place: bool):
        self.share = share
        self.filled = filled
        self.by_place = by_place

    def weights(self, weights: torch.Tensor) -> torch.Tensor:
        """The weights that stay, the others 0; see the base class. Draws from torch's generator."""
        runs = weights.tensor_split(GROUPS)
        # An input that a run does not read is 0 in all of it; a 0 that was learnt stands alone, and is pruned as any weight.
        unread = [int((run.flatten(1) == 0).all(0).sum()) * len(run) for run in runs]
        if self.filled or not any(unread):
            return self._pruned(weights, round(self.share * weights.numel()))
        return torch.cat(
            [
                self._pruned(run, zeros + round(self.share * (run.numel() - zeros)))
                for run, zeros in zip(runs, unread, strict=True)
            ]
        )

    def _pruned(self, weights: torch.Tensor, gone: int) -> torch.Tensor:
        """Without so many of the smallest."""
        if not gone:
            return weights
        magnitudes = weights.detach().abs()
        rank = torch.linspace(1, 0, magnitudes.numel()).reshape(weights.shape) if self.by_place else torch.rand_like(magnitudes)
        magnitudes *= 1 + _ALIKE * rank
        last = np.partition(magnitudes.cpu().numpy().ravel(), gone - 1)[gone - 1]  # torch's kthvalue takes twice as long
        return weights * (magnitudes > float(last))


def _pattern(layer: UnitProduct, rng: np.random.Generator) -> torch.Tensor:
    """Booleans of the shape of a layer's weights: what is read. All of it if there are fewer inputs than groups."""
    channels, inputs = len(layer.weight), layer.weight[0].numel()
    reads = np.ones((channels, inputs), bool)
    if inputs >= GROUPS:
        parts = np.array_split(rng.permutation(inputs), GROUPS)
        for run, part in zip(np.array_split(np.arange(channels), GROUPS), parts, strict=True):
            reads[np.ix_(run, part)] = False
    return torch.from_numpy(reads).reshape(layer.weight.shape)
