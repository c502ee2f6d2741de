"""One network in training: its objective, its optimiser, its place in the schedule and what was noted of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bitting.conversion.converter import Activation
from bitting.network.graph import Measure, UnitNetwork
from bitting.training import distributed, randomness
from bitting.training.augmentation import moved
from bitting.training.finetuning import cosine, share_of_weights
from bitting.training.material import Lesson, Part
from bitting.training.recipes import TrainConfig
from bitting.training.soft import SoftObjective
from bitting.training.tasks import Goal


class _Objective(nn.Module):
    """A network and its loss, in one module: what a process group wraps.

    Args:
        network: the unit's, or the twin.
        scale: what activations are multiplied by.
        measure: see `Goal.loss`.
        ends_with: "sigmoid" or "softmax": its answers are probabilities, and their logits are wanted.
    """

    def __init__(self, network: nn.Module, scale: float, measure: Measure | None, ends_with: str):
        super().__init__()
        self.ends_with = ends_with
        self.network = network
        self.scale = scale
        self.measure = measure

    def forward(self, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if isinstance(self.network, UnitNetwork):
            return self.network.loss(x * self.scale, targets, self.measure)
        return (self.measure or nn.functional.cross_entropy)(self.logits(x), targets)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(x * self.scale)
        if self.ends_with == "sigmoid":
            return torch.logit(logits, eps=1e-6)
        return logits.clamp(min=1e-6).log() if self.ends_with == "softmax" else logits


def _share_of_rate(name: str, parameter: nn.Parameter, config: TrainConfig) -> float:
    """Learning rate of a parameter of the unit, in units of `config.learning_rate`."""
    if (config.soft or config.activation == Activation.RELU) and not config.scale_lr_by_init and name.endswith("weight"):
        return share_of_weights(parameter)
    if name.endswith("bias"):
        return config.bias_lr_ratio
    if name.endswith("gain"):
        return config.gain_lr_ratio
    if not config.scale_lr_by_init:
        return 1.0
    usual = 1 / math.sqrt(3 * parameter[0].numel())  # deviation of PyTorch's uniform initial weights
    return float(parameter.detach().square().mean().sqrt()) / usual


class Run:
    """One network, its optimiser, its place in the schedule and its records so far; `finish_epoch` is called after each."""

    def __init__(
        self,
        name: str,
        network: nn.Module,
        scale: float,
        rate: float,
        config: TrainConfig,
        goal: Goal,
        finish_epoch: Callable[[], None],
        epochs: int,
        ends_with: str = "",
        penalty: SoftObjective | None = None,
    ):
        self.name = name
        self.epochs = epochs
        self.penalty = penalty
        self.goal = goal
        self.objective = _Objective(network, scale, goal.loss, ends_with)
        self.config = config
        self.finish_epoch = finish_epoch
        self.epoch = 0
        self.records: list[dict[str, Any]] = []
        self.peak_rate = rate
        groups: dict[float, list[nn.Parameter]] = {}
        for key, parameter in self.objective.named_parameters():
            share = _share_of_rate(key, parameter, config) if isinstance(network, UnitNetwork) else 1.0
            groups.setdefault(share, []).append(parameter)
        self.optimiser = torch.optim.Adam(
            [{"params": item, "share": share} for share, item in groups.items()], lr=rate, fused=True
        )
        self.shared = distributed.wrap(self.objective)

    def train_epoch(self, epoch: int, x: torch.Tensor, lesson: Lesson) -> None:
        """One pass over activations `x` in an order that depends on the seed and the epoch only."""
        self.objective.train()
        seed = self.config.known_seed
        if self.penalty:
            self.penalty.begin(epoch)
        randomness.seed_torch(seed, epoch)  # dropout and moved pictures, so that a resumed run repeats it
        batch = self.config.batch_size
        order = torch.randperm(len(x), generator=randomness.torch_generator(seed, epoch))
        steps = max(1, len(x) // batch)
        for step in range(steps):
            done = (epoch + step / steps) / self.epochs
            for group in self.optimiser.param_groups:
                group["lr"] = group["share"] * self.peak_rate * cosine(done)
            chosen = distributed.share(order[step * batch : (step + 1) * batch])
            seen = moved(x[chosen], self.config.moved) if self.config.moved else x[chosen]
            targets = lesson(chosen, seen)
            loss = self.shared(seen, targets)
            if self.penalty and isinstance(self.objective.network, UnitNetwork):
                inputs = seen * self.objective.scale
                loss = loss + self.penalty.penalty(self.objective.network, inputs, targets.argmax(1), done)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
        self.finish_epoch()
        self.epoch = epoch + 1

    @torch.no_grad()
    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """(samples, outputs) of activations, in evaluation mode."""
        self.objective.eval()
        return self.objective.logits(x)

    def judge(self, part: Part) -> tuple[float, float]:
        """Loss and score, in evaluation mode."""
        return self.goal.judge(torch.cat([self.logits(x) for x in part.x.split(1000)]), part.targets, part.y)

    def note(self, learnt: Part, held_out: Part) -> dict[str, Any]:
        """Judge the epoch that was trained: what to keep of it.

        Returns:
            `epoch` (1 is the first), `train_loss`, `train_score`, `test_loss`, `test_score`. All are of the same weights and of
            the labels themselves, so that the parts can be compared: without dropout, penalties and what a teacher adds.
        """
        record: dict[str, Any] = {"epoch": self.epoch}
        for name, part in (("train", learnt), ("test", held_out)):
            record[f"{name}_loss"], record[f"{name}_score"] = self.judge(part)
        self.records.append(record)
        return record

    def state(self) -> dict[str, Any]:
        """What `restore` takes up again."""
        return {
            "epoch": self.epoch,
            "module": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "records": self.records,
            "fooled": self.penalty.accuracy if self.penalty else {},
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go on where a `state` was taken; from the start if there is none."""
        if state:
            self.epoch, self.records = state["epoch"], state.get("records", [])  # checkpoints of earlier versions have none
            self.objective.load_state_dict(state["module"])
            self.optimiser.load_state_dict(state["optimiser"])
            if self.penalty:
                self.penalty.accuracy.update(state["fooled"])
