"""What a network learns for each task: targets, loss, and how its answers are judged while it trains."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from bitting.data.dataset import Dataset
from bitting.network.graph import Measure, UnitNetwork
from bitting.network.loss import logit_scale
from bitting.program.interface import Interface, Task

#: A regression's standardised targets are learnt times this by the unit, so that four deviations stay within the logits'
#: range (`bitting.network.loss`).
_GAIN = 2.0


@dataclass(frozen=True, eq=False)
class Goal:
    """What the unit's network and its twin learn on a data set.

    Attributes:
        targets, test_targets: (samples, outputs) float32, of training and test: probabilities, or standardised numbers.
        loss: of logits and targets; None: cross entropy of probabilities, which `UnitNetwork.loss` has in one go.
        interface: of the logits of either network, to judge them by.
    """

    targets: torch.Tensor
    test_targets: torch.Tensor
    loss: Measure | None
    interface: Interface

    def judge(self, logits: torch.Tensor, targets: torch.Tensor, y: np.ndarray) -> tuple[float, float]:
        """Loss and `Interface.rating` of logits; `targets` as those of the goal, `y` as those of the data set."""
        loss = (self.loss or nn.functional.cross_entropy)(logits, targets)
        return float(loss), self.interface.rating(logits.cpu().numpy(), y)


def goal(data: Dataset, interface: Interface, smoothing: float) -> Goal:
    """What is to be learnt.

    Args:
        data: whose it is; of numbers, mean and deviation are of the training part.
        interface: of the inputs; what it says of sums is replaced.
        smoothing: of labels, which then are not quite 0 and 1.
    """
    if data.task == Task.REGRESSION:
        mean, deviation = data.train_y.mean(axis=0), data.train_y.std(axis=0)
        numbers = [torch.from_numpy(((y - mean) / deviation * _GAIN).astype(np.float32)) for y in (data.train_y, data.test_y)]
        scale = (deviation / _GAIN).astype(np.float32)
        return Goal(
            numbers[0], numbers[1], _squared, replace(interface, output_scale=scale, output_offset=mean.astype(np.float32))
        )
    logits = replace(interface, output_scale=np.ones(1, np.float32), output_offset=np.zeros(1, np.float32))
    parts = [torch.from_numpy(y) for y in (data.train_y, data.test_y)]
    if data.task == Task.CLASSES:
        labels = [nn.functional.one_hot(y, data.outputs).float() * (1 - smoothing) + smoothing / data.outputs for y in parts]
        return Goal(labels[0], labels[1], None, logits)
    yes = [y.reshape(len(y), -1).float() * (1 - smoothing) + smoothing / 2 for y in parts]
    return Goal(yes[0], yes[1], nn.functional.binary_cross_entropy_with_logits, logits)


def _squared(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """In units of the standardised target."""
    return nn.functional.mse_loss(logits, targets) / _GAIN**2


class Standardising(nn.Module):
    """A given model of numbers, with the logits that `goal` wants of it."""

    def __init__(self, model: nn.Module, said: Interface):
        super().__init__()
        self.model = model
        self.register_buffer("_scale", torch.from_numpy(said.output_scale.copy()), persistent=False)
        self.register_buffer("_offset", torch.from_numpy(said.output_offset.copy()), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(samples, outputs) logits; `said.output_scale` and `output_offset` make the model's numbers of them."""
        logits: torch.Tensor = (self.model(x) - self.get_buffer("_offset")) / self.get_buffer("_scale")
        return logits


def of_sums(goal: Goal, network: UnitNetwork) -> Interface:
    """The interface of the trained program: of its sums, where `Goal.interface` is of logits."""
    said = goal.interface
    unit = np.float32(logit_scale(network.spec.acc_bits)) * network.output_gain.cpu().numpy()
    offset = said.output_offset + said.output_scale * network.output_offset.cpu().numpy()
    return replace(said, output_scale=said.output_scale * unit, output_offset=offset)
