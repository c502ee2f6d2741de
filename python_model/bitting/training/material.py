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
        )

    @torch.no_grad()
    def targets(self, teacher: Callable[[torch.Tensor], torch.Tensor] | None) -> torch.Tensor:
        """`Goal.targets`, or of classes the labels and the answers (logits) of a teacher mixed."""
        if teacher is None or not self.distillation:
            return self.goal.targets
        taught = torch.cat([teacher(part).softmax(1) for part in self.train_x.split(2000)])
        return self.goal.targets.lerp(taught, self.distillation)
