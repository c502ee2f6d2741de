"""Soft locks: a loss that keeps a network right on the unit and makes it wrong on sampled hardware that is not the unit.

The hardware is sampled from the training families of `bitting.targets.families.toml`, at their settings or between them; what
was never sampled judges the result. A soft lock needs no key and stops nobody who emulates the unit exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from bitting.artefact.claims import QU_ANTI, SAMPLED, SPARSITY
from bitting.emulator import emulate
from bitting.network.alteration import Alteration
from bitting.network.graph import UnitNetwork
from bitting.targets.families import Split, targets
from bitting.targets.pruning import Pruning
from bitting.targets.target import Target
from bitting.targets.waves import Wave
from bitting.training import randomness
from bitting.training.sparsity import Pruned
from bitting.unit.spec import UnitSpec

#: Family that the penalty of the sparsity lock is on.
_PRUNING = "unstructured"
#: The published loss (Hong et al. 2021, arXiv 2111.06979): one target for each bit width, a margin of cross entropy that the
#: squared distance is to, and its weight. The published 0.25 takes the unit's own accuracy along (docs/soft-locks.md), so this
#: is the largest of those tried that leaves it. It begins with a network that is half trained: theirs fine-tunes.
QU_ANTI_TARGETS, QU_ANTI_MARGIN, QU_ANTI_WEIGHT = ("int8-tensor", "int4-tensor"), 5.0, 0.03
#: Cross entropy that a sample is to have at least on other hardware: its class then has a probability of at most 5%.
MARGIN = 3.0
#: Of the penalty beside the loss of the unit, and hardware that is drawn for each batch.
WEIGHT, _DRAWN = 0.3, 2
#: Share of training before a penalty is there, by default and of the published loss; it grows over as much again.
_BEGINS, _QU_ANTI_BEGINS = 0.1, 0.5
#: Of the penalty on pruned networks: weights of one magnitude have little to lose by it.
PRUNED_WEIGHT = 0.6
#: Standard deviation to which logits of other hardware are brought: only their order counts, whatever their size.
_LOGIT_SPREAD = 2.0
#: Weight of the newest batch in the mean accuracy of each target, by which the next are drawn.
_MOMENTUM = 0.1
#: Purpose of what it draws, for `randomness.numpy_generator`.
_PURPOSE = 16_001
#: How much oftener a target is drawn for each point of accuracy it still has.
_SHARPNESS = 0.06


def _is_on(name: str, target: Target) -> bool:
    """Whether the penalty of this name is on a target that may be trained against."""
    if name == QU_ANTI:
        return target.name in QU_ANTI_TARGETS
    return name == SAMPLED or target.family == _PRUNING


class Hardware(Alteration):
    """A target of our own engine, as a layer sees it in training: nearest rounding, scales of the batch."""

    def __init__(self, target: Target, spec: UnitSpec):
        self.target = target
        self._slope = emulate.fold_slope(spec, 0)
        self._period = float(2 << spec.act_bits)  # in steps
        self._wave = None if target.wave == "fold" else Wave(target.wave, spec, target.gain)

    def weights(self, weights: torch.Tensor) -> torch.Tensor:
        """Pruned, then in the format; see the base class."""
        rows = weights.flatten(1)
        if self.target.pruning:
            rows = self.target.pruning(rows)
        if self.target.weights:
            rows = self.target.weights(rows)
        return rows.reshape(weights.shape)

    def entering(self, x: torch.Tensor) -> torch.Tensor:
        """In the format of activations; see the base class."""
        return self.target.activations(x) if self.target.activations else x

    def leaving(self, sums: torch.Tensor, slope: float | None) -> torch.Tensor:
        """In the accumulator; see the base class."""
        if self.target.accumulator is None:
            return sums
        # Sums that leave have as many steps as those of a layer without a shift.
        each, given = (self._slope, sums) if slope is None else (slope, sums / slope)
        found = self.target.accumulator.leaving(each, self._period / each, given)(given)
        return found if slope is None else found * slope

    def activations(self, steps: torch.Tensor) -> torch.Tensor | None:
        """The stand-in, if there is one; see the base class."""
        return self._wave.activations(steps) if self._wave else None


class SoftObjective:
    """The penalty of a soft lock. What it draws follows from a seed and the epoch, so that a run can be repeated and resumed.

    Args:
        name: `claims.SAMPLED`, `claims.QU_ANTI` or `claims.SPARSITY`.

    Attributes:
        accuracy: target -> mean accuracy on the batches that it was seen in.
    """

    def __init__(self, name: str, spec: UnitSpec, seed: int):
        self.name = name
        self.spec = spec
        self._seed = seed
        self.targets = [each for each in targets(Split.TRAINING, spec.acc_bits) if _is_on(name, each)]
        self.accuracy = {each.name: 1.0 for each in self.targets}
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """An epoch begins, the first is 0."""
        self._rng = randomness.numpy_generator(self._seed, _PURPOSE, epoch)

    def penalty(self, network: UnitNetwork, x: torch.Tensor, labels: torch.Tensor, done: float) -> torch.Tensor:
        """Not negative; 0 before it begins, and of `SAMPLED` at most `WEIGHT` times `MARGIN`.

        That of `SPARSITY` is what answers of pruned networks say of their samples' classes, so 0 of answers that say nothing.

        Args:
            network: in training.
            x: (samples, ...) as the network takes them.
            labels: (samples,) classes.
            done: share of the training.
        """
        share = min(max(done / (_QU_ANTI_BEGINS if self.name == QU_ANTI else _BEGINS) - 1, 0.0), 1.0)
        if not share:
            return x.new_zeros(())
        drawn = self.targets if self.name == QU_ANTI else self._drawn()
        losses = [self._of_target(network, x, labels, each) for each in drawn]
        if self.name == QU_ANTI:
            return share * QU_ANTI_WEIGHT * torch.stack(losses).sum()
        weight = PRUNED_WEIGHT if self.name == SPARSITY else WEIGHT
        return share * weight * torch.stack(losses).mean()

    def _of_target(self, network: UnitNetwork, x: torch.Tensor, labels: torch.Tensor, target: Target) -> torch.Tensor:
        with network.altered(self._hardware(target)):
            answers = network.accumulators(network.integers(x)).float()
        if self.name == SPARSITY:  # as a thief has them who brings every answer back to its usual mean and size
            answers = (answers - answers.mean(0)) / answers.std(0, correction=0).clamp(min=1e-6)
        logits = _LOGIT_SPREAD * answers / answers.detach().std().clamp(min=1e-6)
        right = float((logits.detach().argmax(1) == labels).float().mean())
        self.accuracy[target.name] += _MOMENTUM * (right - self.accuracy[target.name])
        if self.name == QU_ANTI:
            return (F.cross_entropy(logits, labels) - QU_ANTI_MARGIN).square()
        if self.name == SPARSITY:  # its class likelier than that of another sample; nothing is gained by less likely ones
            return F.relu(F.cross_entropy(logits, labels.roll(1)) - F.cross_entropy(logits, labels))
        return F.relu(MARGIN - F.cross_entropy(logits, labels, reduction="none")).mean()

    def _hardware(self, target: Target) -> Alteration:
        """What computes the layers: the target with a setting between those of its family.

        Of a network with a pattern thieves have the zeros or not, and prune by place or chance; and at the settings themselves
        it has to fall as well, where most is gone.
        """
        between = self._between(target)
        if self.name != SPARSITY:
            return Hardware(between, self.spec)
        given, filled, by_place = self._rng.integers(2, size=3)
        pruning = (target if given else between).pruning
        assert pruning  # all of its targets prune
        return Pruned(pruning.share, bool(filled), bool(by_place))

    def _drawn(self) -> Sequence[Target]:
        """The less a target is fooled so far, the oftener."""
        kept = np.array([100 * self.accuracy[each.name] for each in self.targets])
        shares = np.exp(_SHARPNESS * (kept - kept.max()))
        count = min(_DRAWN, len(self.targets))
        indices = self._rng.choice(len(self.targets), count, replace=False, p=shares / shares.sum())
        return [self.targets[index] for index in indices]

    def _between(self, target: Target) -> Target:
        """The target with a setting between those of its family."""
        alike = [each for each in self.targets if each.family == target.family and each.wave == target.wave]
        gains = [each.gain for each in alike]
        if target.wave != "fold" and len(set(gains)) > 1:
            target = replace(target, gain=float(self._rng.uniform(min(gains), max(gains))))
        if target.pruning and target.pruning.kind == "unstructured":
            levels = [each.pruning.share for each in alike if each.pruning]
            target = replace(target, pruning=Pruning("unstructured", float(self._rng.uniform(min(levels), max(levels)))))
        return target
