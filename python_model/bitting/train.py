"""Training on the unit's arithmetic, with an unlocked twin beside it. Seeded, interruptible, resumable."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitting import balance, files
from bitting.artefact import Artefact
from bitting.datasets import Dataset, activations
from bitting.errors import BittingError
from bitting.nn import TwinMLP, UnitMLP
from bitting.spec import UnitSpec

#: Called after every epoch with (name of the network, epoch, epochs, test accuracy).
Progress = Callable[[str, int, int, float], None]


@dataclass(frozen=True)
class TrainConfig:
    """What decides a training run, besides the data and the spec.

    Attributes:
        hidden: sizes of the hidden layers.
        epochs: passes over the training set; the twin gets the same.
        batch: samples a step.
        rate: peak learning rate of Adam on latent weights of unit variance (cosine decay to zero).
        twin_rate: the same for the twin's fp32 weights.
        dropout: of hidden activations; the twin gets the same.
        smoothing: of labels; the twin gets the same.
        spread: see `UnitMLP.calibrate`. A wide spread folds often: near inputs end far apart unless the weights are exactly
            right, which is what a wrong device must not escape; too wide and training suffers.
        seed: of initial weights and of the order of samples.
        balance: which histogram of codes training keeps: "none", "equal" or "drawn", see `bitting.balance`.
        flatten: keep the singular values of every matrix but the last at those of a random one.
    """

    hidden: tuple[int, ...] = (128, 64)
    epochs: int = 60
    batch: int = 32
    rate: float = 0.02
    twin_rate: float = 0.005
    dropout: float = 0.1
    smoothing: float = 0.1
    spread: tuple[float, ...] = (0.6,)
    seed: int = 0
    balance: str = "none"
    flatten: bool = False


_IMAGES = TrainConfig(
    hidden=(256, 128),
    epochs=36,
    batch=64,
    rate=0.01,
    twin_rate=0.002,
    dropout=0.05,
    smoothing=0.15,
    spread=(0.6, 1.0),
    balance="drawn",
)

#: Recipes that come close to the twin's accuracy within minutes on two cores.
RECIPES = {"digits": TrainConfig(), "mnist": _IMAGES, "fashion-mnist": _IMAGES}


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of samples whose largest logit is at their label."""
    return float((logits.argmax(1) == labels).double().mean())


def train(
    spec: UnitSpec, data: Dataset, config: TrainConfig, checkpoint: Path | None = None, progress: Progress | None = None
) -> Artefact:
    """Train the unit's network and its twin.

    Args:
        checkpoint: file that is written after every epoch, and resumed from if it is of the same run.
        progress: see `Progress`.

    Returns:
        A model (unlocked) whose claims name both accuracies and how they were measured.
    """
    torch.manual_seed(config.seed)
    sizes = (data.pixels, *config.hidden, data.classes)
    network = UnitMLP(spec, sizes, config.dropout, normalise=config.balance == "none")
    reference = TwinMLP(sizes, 1.0 / (spec.act_max + 1), config.dropout)
    train_x, test_x = (torch.from_numpy(activations(spec, images)).float() for images in (data.train_images, data.test_images))
    train_y, test_y = torch.from_numpy(data.train_labels), torch.from_numpy(data.test_labels)
    project = _projection(network, config)
    project()
    network.calibrate(train_x[:1024], config.spread)

    unit_run = _Run("unit", network, config.rate, config, project)
    twin_run = _Run("twin", reference, config.twin_rate, config, lambda: None)
    saved = _Checkpoint(checkpoint, spec, data.name, config)
    found = {}
    for run in (unit_run, twin_run):
        run.restore(saved.state.get(run.name), network)
        for epoch in range(run.epoch, config.epochs):
            run.train_epoch(epoch, train_x, train_y)
            score = run.evaluate(test_x, test_y)
            saved.write(run.name, run.state(network))
            if progress:
                progress(run.name, epoch + 1, config.epochs, score)
        found[run.name] = run.evaluate(test_x, test_y)
    saved.remove()
    claims = {
        "dataset": data.name,
        "test_samples": len(test_y),
        "accuracy": found["unit"],
        "twin_accuracy": found["twin"],
        "twin": "fp32, ReLU; same shape, samples, epochs and regularisation",
        "sizes": list(sizes),
        "config": asdict(config),
    }
    return Artefact("model", network.to_program(), claims=claims)


def _projection(network: UnitMLP, config: TrainConfig) -> Callable[[], None]:
    """What brings the latent weights back to the histogram (and spectrum) they are to have."""
    if config.balance == "none":
        if config.flatten:
            raise BittingError("flatten needs a balance of equal or drawn: without, nothing is projected")
        return lambda: None
    weights: list[torch.Tensor] = [layer.weight for layer in network.layers]  # type: ignore[misc]
    wanted = [balance.counts(config.balance, network.spec, weight.shape[0], weight.shape[1], config.seed) for weight in weights]

    @torch.no_grad()
    def project() -> None:
        for weight, histogram in zip(weights, wanted, strict=True):
            flat = balance.flatten(weight, config.seed) if config.flatten and weight is not weights[-1] else weight
            weight.copy_(balance.project(network.spec, flat, histogram))

    return project


class _Run:
    """One network, its optimiser and its place in the schedule; `project` is called after each epoch."""

    def __init__(self, name: str, module: UnitMLP | TwinMLP, rate: float, config: TrainConfig, project: Callable[[], None]):
        self.name = name
        self.module = module
        self.config = config
        self.project = project
        self.epoch = 0
        self.peak_rate = rate
        self.optimiser = torch.optim.Adam(module.parameters(), lr=rate, fused=True)

    def train_epoch(self, epoch: int, x: torch.Tensor, y: torch.Tensor) -> None:
        """One pass in an order that depends on the seed and the epoch only."""
        self.module.train()
        torch.manual_seed(self.config.seed * 100_003 + epoch)  # dropout, so that a resumed run repeats it
        batch = self.config.batch
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(self.config.seed * 100_003 + epoch))
        steps = max(1, len(x) // batch)
        for step in range(steps):
            done = (epoch + step / steps) / self.config.epochs
            for group in self.optimiser.param_groups:
                group["lr"] = self.peak_rate * 0.5 * (1 + math.cos(math.pi * done))
            chosen = order[step * batch : (step + 1) * batch]
            loss = self.module.loss(x[chosen], y[chosen], self.config.smoothing)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
        self.project()
        self.epoch = epoch + 1

    @torch.no_grad()
    def evaluate(self, x: torch.Tensor, y: torch.Tensor) -> float:
        self.module.eval()
        return accuracy(torch.cat([self.module(part) for part in x.split(2000)]), y)

    def state(self, network: UnitMLP) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "module": self.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "shifts": network.shifts,
        }

    def restore(self, state: dict[str, Any] | None, network: UnitMLP) -> None:
        if state:
            self.epoch = state["epoch"]
            self.module.load_state_dict(state["module"])
            self.optimiser.load_state_dict(state["optimiser"])
            network.shifts = state["shifts"]


class _Checkpoint:
    """State of both networks in one file, tied to the run that wrote it."""

    def __init__(self, path: Path | None, spec: UnitSpec, data: str, config: TrainConfig):
        self.path = path
        self.state: dict[str, Any] = {}
        description = json.dumps([spec.id, data, asdict(config)], sort_keys=True)
        self._run = hashlib.sha256(description.encode()).hexdigest()
        if path and path.exists():
            try:
                saved = torch.load(path, weights_only=True)
            except Exception as error:  # torch raises many kinds for a file that is not its own
                raise BittingError(f"{path} is no checkpoint ({type(error).__name__}); remove it to start afresh") from None
            if saved.get("run") != self._run:
                raise BittingError(f"{path} belongs to another run (spec, data or settings); remove it to start afresh")
            self.state = saved["state"]

    def write(self, name: str, state: dict[str, Any]) -> None:
        self.state[name] = state
        if self.path:
            with files.replacing(self.path) as temporary:
                torch.save({"run": self._run, "state": self.state}, temporary)

    def remove(self) -> None:
        if self.path:
            self.path.unlink(missing_ok=True)


def code_usage(model: Artefact) -> np.ndarray:
    """Share of each value index among all codes of a model; sums to 1."""
    codes = np.concatenate([layer.codes.reshape(-1) for layer in model.program.layers])
    return np.bincount(codes, minlength=model.program.spec.codes) / codes.size


def from_scratch(data: Dataset, samples: int) -> float:
    """Test accuracy of who has `samples` labelled training samples and no stolen file: logistic regression."""
    from sklearn.linear_model import LogisticRegression

    images = data.train_images[:samples].reshape(samples, -1) / 255
    model = LogisticRegression(max_iter=2000).fit(images, data.train_labels[:samples])
    return float(model.score(data.test_images.reshape(len(data.test_labels), -1) / 255, data.test_labels))
