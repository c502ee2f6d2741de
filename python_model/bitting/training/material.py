"""What the networks of a training see, learn and are judged on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from bitting.data.dataset import Dataset
from bitting.program.interface import Task
from bitting.training import tasks
from bitting.training.inputs import Inputs
from bitting.training.recipes import TrainConfig
from bitting.training.tasks import Goal

#: Training samples that statistics of normalised layers are taken from after every epoch, and that the learning curve judges.
STATISTICS_SAMPLES = 4096


#: Called with (indices of training samples, activations as they are seen): what is to be learnt of them.
Lesson = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Part:
    """Samples that a network is judged on: activations as float32, targets of the loss, and those of the data set."""

    x: torch.Tensor
    targets: torch.Tensor
    y: np.ndarray


@dataclass(frozen=True, eq=False)
class Material:
    """What both networks see: activations as float32, what is to be learnt, and what it is judged on.

    Attributes:
        learnt: up to `STATISTICS_SAMPLES` of the training part, evenly from all of it: it may be in the order of its classes.
        held_out: the test.
    """

    train_x: torch.Tensor
    learnt: Part
    held_out: Part
    goal: Goal
    distillation: float
    moved: bool

    @classmethod
    def of(cls, data: Dataset, inputs: Inputs, config: TrainConfig) -> Material:
        """Of a data set, as the networks see it."""
        train_x, test_x = (inputs.activations(part) for part in (data.train_x, data.test_x))
        goal = tasks.goal(data, inputs.interface, config.label_smoothing)
        some = np.linspace(0, len(train_x) - 1, min(len(train_x), STATISTICS_SAMPLES)).astype(np.int64)
        return cls(
            train_x=train_x,
            learnt=Part(train_x[some], goal.targets[some], data.train_y[some]),
            held_out=Part(test_x, goal.test_targets, data.test_y),
            goal=goal,
            distillation=config.distillation_weight if data.task == Task.CLASSES else 0.0,
            moved=config.moved > 0,
        )

    def lesson(self, teacher: Callable[[torch.Tensor], torch.Tensor] | None) -> Lesson:
        """`Goal.targets`, or of classes the labels and the answers (logits) of a teacher mixed.

        A teacher is asked once about samples that are always the same, and each time about pictures that are moved.
        """
        targets = self.goal.targets
        if teacher is None or not self.distillation:
            return lambda chosen, _: targets[chosen]
        if self.moved:
            return lambda chosen, seen: self._mixed(targets[chosen], teacher, seen)
        mixed = torch.cat(
            [self._mixed(part, teacher, x) for part, x in zip(targets.split(2000), self.train_x.split(2000), strict=True)]
        )
        return lambda chosen, _: mixed[chosen]

    @torch.no_grad()
    def _mixed(self, targets: torch.Tensor, teacher: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return targets.lerp(teacher(x).softmax(1), self.distillation)
