"""Training on the unit's arithmetic, with an unlocked twin beside it. Seeded, interruptible, resumable."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bitting.artefact.model import Model
from bitting.conversion.converter import Activation, convert
from bitting.conversion.exporting import export
from bitting.data import datasets
from bitting.data.dataset import Dataset
from bitting.errors import BittingError
from bitting.network.graph import Measure, UnitNetwork
from bitting.network.layers import UnitAdd, UnitProduct
from bitting.program.interface import Task
from bitting.training import architectures, balance, distributed, randomness, tasks
from bitting.training.balance import Balance
from bitting.training.checkpoint import Checkpoint
from bitting.training.finetuning import cosine, share_of_weights
from bitting.training.inputs import Inputs
from bitting.training.recipes import TrainConfig, recipe
from bitting.training.tasks import Goal
from bitting.unit.spec import UnitSpec, as_spec

#: Called after every epoch with (name of the network, epoch, epochs, test score: accuracy, or R squared of a regression).
Progress = Callable[[str, int, int, float], None]

#: Training samples that shifts are calibrated on, and that statistics of normalised layers are taken from after every epoch.
CALIBRATION_SAMPLES, STATISTICS_SAMPLES = 1024, 4096


def counted(done: Callable[[int], None]) -> Progress:
    """Progress as a number of epochs, of twin and unit together."""
    return lambda name, epoch, epochs, _score: done(epoch + epochs * (name == "unit"))


def train(
    spec: UnitSpec | str,
    data: Dataset | str,
    config: TrainConfig | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    model: nn.Module | None = None,
) -> Model:
    """Train the twin, then the unit's network.

    In a process group (`torchrun`, see `bitting.training.distributed`) every process takes its share of each batch.

    Args:
        spec: of the unit, or its name as `parse_spec` reads it.
        data: a data set, or its name as `datasets.load` knows it.
        config: by default the recipe for an MLP on this data set, with a seed that nobody knows.
        checkpoint: file that is written after every epoch, and resumed from if it is of the same run.
        progress: see `Progress`.
        model: a trained network to convert and fine-tune instead, its own twin: with ReLU kept if `config` is one of
            `recipes.fine_tuning`. It sees pixels from 0 to 1, and other inputs
            as they are: flat if it can, else as series or images.

    Returns:
        A model (unlocked) that takes inputs as the data set has them. Its claims name both accuracies (of a regression: R
        squared) and how they were measured, and hold the configuration with its seed: as secret as the weights. `epochs` is
        the learning curve, a dict for each network and epoch: see `_Run.note`.

    Raises:
        ProgramError: if the spec can not hold the network; before any training.
        ConversionError: if a given model has parts with no place on the unit.

    Example:
        >>> import bitting
        >>> from bitting.training.recipes import TrainConfig
        >>> model = bitting.train("tiny", "digits", TrainConfig(hidden=(16,), epochs=1))
        >>> model.claims["dataset"], model.program.outputs
        ('digits', 10)
    """
    spec, data = as_spec(spec), datasets.load(data) if isinstance(data, str) else data
    given = config or recipe(data)
    inputs = Inputs.of_data(spec, data, given.network == "mlp") if model is None else Inputs.of_model(spec, data, model)
    interface, scale = inputs.interface, inputs.scale
    material = _Material.of(data, inputs, given)
    if model is not None and data.task == Task.REGRESSION:
        model = tasks.Standardising(model, material.goal.interface)
    identity = data.name if model is None else f"{data.name} {_fingerprint(model)}"
    saved = Checkpoint(checkpoint, spec, identity, given)
    config = replace(given, seed=saved.seed)
    randomness.seed_torch(saved.seed)
    reference = inputs.prepared(model) if model else build(data, config)
    samples = material.train_x[:STATISTICS_SAMPLES] * scale
    if model is not None:
        _require_outputs(reference, samples[:2], data)
    network, finish_epoch = _on_unit(model or reference, spec, samples, inputs, config, model is None)
    runs = [
        _Run("twin", reference, scale, config.twin_learning_rate, config, material.goal, lambda: None, network.ends_with),
        _Run("unit", network, scale, config.learning_rate, config, material.goal, finish_epoch),
    ]
    scores = {"converted": runs[1].judge(material.held_out)[1]} if model is not None else {}
    for run in runs:
        run.restore(saved.state.get(run.name))
        targets = material.targets(runs[0] if run is runs[1] else None)
        epochs = 0 if model is not None and run is runs[0] else config.epochs
        for epoch in range(run.epoch, epochs):
            run.train_epoch(epoch, material.train_x, targets)
            record = run.note(material.learnt, material.held_out)
            saved.write(run.name, run.state())
            if progress:
                progress(run.name, epoch + 1, config.epochs, record["test_score"])
        scores[run.name] = run.judge(material.held_out)[1]
    saved.remove()
    metric = interface.metric.lower()
    claims = {
        "dataset": data.name,
        "test_samples": len(data.test_y),
        metric: scores["unit"],
        f"twin_{metric}": scores["twin"],
        **({f"converted_{metric}": scores["converted"]} if model is not None else {}),
        "twin": "fp32, as given" if model else "fp32, ReLU; same shape, samples, epochs and regularisation",
        "reproducible": given.seed is not None,
        "notes": network.notes,
        "config": asdict(config),
        "epochs": [{"network": run.name, **record} for run in runs for record in run.records],
    }
    said = tasks.of_sums(material.goal, network)
    return export(network, material.held_out.x[:64] * scale, claims=claims, interface=said)


def _fingerprint(model: nn.Module) -> str:
    """Changes with any weight or module of a model: a checkpoint is of one model."""
    digest = hashlib.sha256(repr(model).encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        if not isinstance(tensor, torch.Tensor):  # what a module's get_extra_state gave
            digest.update(repr(tensor).encode())
            continue
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.no_grad()
def _require_outputs(reference: nn.Module, x: torch.Tensor, data: Dataset) -> None:
    """Refuse a given model that answers otherwise than the data set asks. `x`: (samples, ...) as the model sees them."""
    found = tuple(copy.deepcopy(reference).eval()(x).shape)
    if found != (len(x), data.outputs):
        raise BittingError(
            f"the model gives {found} for {len(x)} samples; {data.name} ({data.task}) wants {(len(x), data.outputs)}"
        )


def _on_unit(
    reference: nn.Module, spec: UnitSpec, samples: torch.Tensor, inputs: Inputs, config: TrainConfig, fresh: bool
) -> tuple[UnitNetwork, Callable[[], None]]:
    """The network to train, calibrated and known to fit the spec, and what to call after each epoch."""
    randomness.seed_torch(_seed_of(config))
    first = samples[:CALIBRATION_SAMPLES]
    network = convert(
        reference,
        spec,
        inputs.undone(first),
        input_scale=1.0 / inputs.scale,
        accumulator_std=config.accumulator_std,
        normalise=config.balance == Balance.NONE,
        fresh=fresh,
        activation=Activation.FOLD if fresh else config.activation,
    )
    network.preparation = None  # `inputs` are prepared
    if network.fits:
        return network, lambda: None
    if fresh:
        _draw_biases(network, config)
    if config.logit_weight_rms:
        network.products[-1].learn_scale(config.logit_weight_rms)
    project = _projection(network, config)
    project()
    network.calibrate(first, config.accumulator_std)

    def finish_epoch() -> None:
        project()
        network.update_statistics(samples)

    return network, finish_epoch


@torch.no_grad()
def _draw_biases(network: UnitNetwork, config: TrainConfig) -> None:
    for module in network.graph.values():
        if not isinstance(module, UnitProduct | UnitAdd) or not module.activated:
            continue
        if config.bias_at_peaks:
            signs = torch.arange(len(module.bias)) % 2 * 2 - 1  # as many at either peak: luck would decide what is learnt
            module.bias.copy_(config.initial_bias * signs)
        elif isinstance(module, UnitProduct):
            nn.init.uniform_(module.bias, -config.initial_bias, config.initial_bias)


def build(data: Dataset, config: TrainConfig) -> nn.Module:
    """The network a configuration names, in plain PyTorch.

    Raises:
        BittingError: if there is none of this name, or it wants other images.
    """
    if config.network == "mlp":
        return architectures.multilayer_perceptron((data.words, *config.hidden, data.outputs), config.dropout)
    if config.network not in architectures.NAMES:
        raise BittingError(f"unknown network {config.network!r}; allowed: {', '.join(architectures.NAMES)}")
    if data.shape != (1, 28, 28):
        raise BittingError(f"network {config.network} takes grey images of 28 x 28, {data.name} has {data.shape}; use mlp")
    return architectures.CONVOLUTIONAL[config.network](data.outputs, config.dropout)


@dataclass(frozen=True, eq=False)
class _Part:
    """Samples that a network is judged on: activations as float32, targets of the loss, and those of the data set."""

    x: torch.Tensor
    targets: torch.Tensor
    y: np.ndarray


@dataclass(frozen=True, eq=False)
class _Material:
    """What both networks see: activations as float32, what is to be learnt, and what it is judged on.

    Attributes:
        learnt: up to `STATISTICS_SAMPLES` of the training part, evenly from all of it: it may be in the order of its classes.
        held_out: the test.
    """

    train_x: torch.Tensor
    learnt: _Part
    held_out: _Part
    goal: Goal
    distillation: float

    @classmethod
    def of(cls, data: Dataset, inputs: Inputs, config: TrainConfig) -> _Material:
        train_x, test_x = (inputs.activations(part) for part in (data.train_x, data.test_x))
        goal = tasks.goal(data, inputs.interface, config.label_smoothing)
        some = np.linspace(0, len(train_x) - 1, min(len(train_x), STATISTICS_SAMPLES)).astype(np.int64)
        return cls(
            train_x=train_x,
            learnt=_Part(train_x[some], goal.targets[some], data.train_y[some]),
            held_out=_Part(test_x, goal.test_targets, data.test_y),
            goal=goal,
            distillation=config.distillation_weight if data.task == Task.CLASSES else 0.0,
        )

    @torch.no_grad()
    def targets(self, teacher: _Run | None) -> torch.Tensor:
        """`Goal.targets`, or of classes the labels and the teacher's answers mixed."""
        if teacher is None or not self.distillation:
            return self.goal.targets
        taught = torch.cat([teacher.logits(part).softmax(1) for part in self.train_x.split(2000)])
        return self.goal.targets.lerp(taught, self.distillation)


def _seed_of(config: TrainConfig) -> int:
    """The seed of a configuration that is being trained with: `train` has drawn it by then if nobody gave one."""
    assert config.seed is not None
    return config.seed


def _projection(network: UnitNetwork, config: TrainConfig) -> Callable[[], None]:
    """What brings the latent weights back to the histogram (and spectrum) they are to have."""
    if config.balance == Balance.NONE:
        if config.match_random_spectrum:
            raise BittingError("match_random_spectrum needs a balance of equal or drawn: without, nothing is projected")
        return lambda: None
    weights = [layer.weight for layer in network.products]
    seed = _seed_of(config)
    shapes = [(len(weight), weight[0].numel()) for weight in weights]
    wanted = balance.counts_of_all(config.balance, network.spec, shapes, seed)

    @torch.no_grad()
    def project() -> None:
        for weight, histogram in zip(weights, wanted, strict=True):
            matrix = weight.flatten(1)
            flat = (
                balance.match_random_spectrum(matrix, seed)
                if config.match_random_spectrum and weight is not weights[-1]
                else matrix
            )
            weight.copy_(balance.project(network.spec, flat, histogram).reshape(weight.shape))

    return project


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
    if config.activation == Activation.RELU and name.endswith("weight"):
        return share_of_weights(parameter)
    if name.endswith("bias"):
        return config.bias_lr_ratio
    if name.endswith("gain"):
        return config.gain_lr_ratio
    if not config.scale_lr_by_init:
        return 1.0
    usual = 1 / math.sqrt(3 * parameter[0].numel())  # deviation of PyTorch's uniform initial weights
    return float(parameter.detach().square().mean().sqrt()) / usual


class _Run:
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
        ends_with: str = "",
    ):
        self.name = name
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

    def train_epoch(self, epoch: int, x: torch.Tensor, targets: torch.Tensor) -> None:
        """One pass in an order that depends on the seed and the epoch only."""
        self.objective.train()
        seed = _seed_of(self.config)
        randomness.seed_torch(seed, epoch)  # dropout, so that a resumed run repeats it
        batch = self.config.batch_size
        order = torch.randperm(len(x), generator=randomness.torch_generator(seed, epoch))
        steps = max(1, len(x) // batch)
        for step in range(steps):
            done = (epoch + step / steps) / self.config.epochs
            for group in self.optimiser.param_groups:
                group["lr"] = group["share"] * self.peak_rate * cosine(done)
            chosen = distributed.share(order[step * batch : (step + 1) * batch])
            loss = self.shared(x[chosen], targets[chosen])
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
        self.finish_epoch()
        self.epoch = epoch + 1

    @torch.no_grad()
    def logits(self, x: torch.Tensor) -> torch.Tensor:
        self.objective.eval()
        return self.objective.logits(x)

    def judge(self, part: _Part) -> tuple[float, float]:
        """Loss and score, in evaluation mode."""
        return self.goal.judge(torch.cat([self.logits(x) for x in part.x.split(1000)]), part.targets, part.y)

    def note(self, learnt: _Part, held_out: _Part) -> dict[str, Any]:
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
        return {
            "epoch": self.epoch,
            "module": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "records": self.records,
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        if state:
            self.epoch, self.records = state["epoch"], state.get("records", [])  # checkpoints of earlier versions have none
            self.objective.load_state_dict(state["module"])
            self.optimiser.load_state_dict(state["optimiser"])


def code_usage(model: Model) -> np.ndarray:
    """Share of each value index among all codes of a model; sums to 1."""
    codes = np.concatenate([layer.codes.reshape(-1) for layer in model.program.secret])
    return np.bincount(codes, minlength=model.program.spec.codes) / codes.size
