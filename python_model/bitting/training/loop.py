"""Training on the unit's arithmetic, with an unlocked twin beside it. Seeded, interruptible, resumable."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from bitting.artefact.claims import SPLIT
from bitting.artefact.model import Model
from bitting.conversion.converter import UNTRAINED, Activation
from bitting.conversion.exporting import export
from bitting.data import datasets
from bitting.data.dataset import Dataset
from bitting.errors import BittingError
from bitting.network.graph import UnitNetwork
from bitting.program.interface import Task
from bitting.training import architectures, randomness, splitting, tasks
from bitting.training.checkpoint import Checkpoint
from bitting.training.inputs import Inputs
from bitting.training.material import STATISTICS_SAMPLES, Lesson, Material
from bitting.training.on_unit import on_unit
from bitting.training.recipes import TrainConfig, recipe, require_soft_lock
from bitting.training.run import Run
from bitting.training.soft import SoftObjective
from bitting.unit.spec import UnitSpec, as_spec

#: Called after every epoch with (name of the network, epoch, epochs, test score: accuracy, or R squared of a regression).
Progress = Callable[[str, int, int, float], None]


#: What a twin is, by whether a model is given and whether a network of ours keeps its ReLU.
_TWINS = {
    (False, False): "fp32, ReLU; same shape, samples, epochs and regularisation",
    (False, True): "fp32, ReLU; trained first, and what the unit's network was converted from",
    (True, False): "fp32, as given",
}


def counted(done: Callable[[int], None], config: TrainConfig) -> Progress:
    """Progress as a number of epochs, of twin and unit together."""
    return lambda name, epoch, _epochs, _score: done(epoch + config.epochs * (name == "unit"))


def train(
    spec: UnitSpec | str,
    data: Dataset | str,
    config: TrainConfig | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    model: nn.Module | None = None,
    stripes: int | str | None = None,
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
        stripes: lanes that share a sample, if not as `spec` says; "auto": chosen, and the notes say why. Training is the same.

    Returns:
        A model (unlocked) that takes inputs as the data set has them. Its claims name both accuracies (of a regression: R
        squared) and how they were measured, and hold the configuration with its seed: as secret as the weights. `epochs` is
        the learning curve, a dict for each network and epoch: see `Run.note`.

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
    material = Material.of(data, inputs, given)
    if model is not None and data.task == Task.REGRESSION:
        model = tasks.Standardising(model, material.goal.interface)
    identity = data.name if model is None else f"{data.name} {_fingerprint(model)}"
    saved = Checkpoint(checkpoint, spec, identity, given)
    config = replace(given, seed=saved.seed)
    randomness.seed_torch(saved.seed)
    samples = material.train_x[:STATISTICS_SAMPLES] * scale
    kept = model is None and config.activation == Activation.RELU
    first = model is not None or kept  # the unit's network begins as what the twin has learnt
    reference = inputs.prepared(model) if model else build(data, config)
    if kept:
        # A quarter faster on processors.
        convert_conv2d_weight_memory_format(reference, torch.channels_last)
    if model is not None:
        _require_outputs(reference, samples[:2], data)

    def converted() -> tuple[UnitNetwork, Callable[[], None]]:
        return on_unit(model or reference, spec, samples, inputs, config, not first, stripes)

    network, finish_epoch = converted()  # of a twin that is to be trained first, to see that it fits
    penalty = _soft(spec, config, data, first)
    if config.soft == SPLIT:
        splitting.split(network, config.known_seed).to_program()  # what does not fit is said now, and not after training

    course, goal, epochs = _Course(saved, material, progress), material.goal, 0 if model is not None else config.epochs
    twin = Run("twin", reference, scale, config.twin_learning_rate, config, goal, lambda: None, epochs, network.ends_with)
    scores = {"twin": course.finish(twin, material.lesson(None))}
    if kept:
        network, finish_epoch = converted()
    unit = Run("unit", network, scale, config.learning_rate, config, goal, finish_epoch, config.unit_epochs, penalty=penalty)
    if first:
        scores["converted"] = unit.judge(material.held_out)[1]
    scores["unit"] = course.finish(unit, material.lesson(twin.logits))
    if config.soft == SPLIT:
        network = splitting.split(network, config.known_seed)
    claims = {
        "dataset": data.name,
        "test_samples": len(data.test_y),
        **_scores(interface.metric.lower(), scores),
        "twin": _TWINS[model is not None, kept],
        "reproducible": given.seed is not None,
        "epochs": [{"network": run.name, **record} for run in (twin, unit) for record in run.records],
        **_claimed(network, config),
    }
    said = tasks.of_sums(material.goal, network)
    trained = export(network, material.held_out.x[:64] * scale, claims=claims, interface=said)
    saved.remove()
    return trained


@dataclass(frozen=True)
class _Course:
    """What is written and told after every epoch."""

    saved: Checkpoint
    material: Material
    progress: Progress | None

    def finish(self, run: Run, lesson: Lesson) -> float:
        """Train what is left of a network's epochs; its test score."""
        run.restore(self.saved.state.get(run.name))
        for epoch in range(run.epoch, run.epochs):
            run.train_epoch(epoch, self.material.train_x, lesson)
            record = run.note(self.material.learnt, self.material.held_out)
            self.saved.write(run.name, run.state())
            if self.progress:
                self.progress(run.name, epoch + 1, run.epochs, record["test_score"])
        return run.judge(self.material.held_out)[1]


def _claimed(network: UnitNetwork, config: TrainConfig) -> dict[str, Any]:
    """What a network and its configuration say of themselves."""
    return {
        **({"soft": config.soft} if config.soft else {}),
        "notes": [note for note in network.notes if not (config.unit_epochs and note == UNTRAINED)],
        "config": asdict(config),
        **_stripes(network),
    }


def _scores(metric: str, scores: Mapping[str, float]) -> dict[str, float]:
    """As claims call them: that of the unit by the metric alone."""
    names = {"unit": metric, "twin": f"twin_{metric}", "converted": f"converted_{metric}"}
    return {claimed: scores[name] for name, claimed in names.items() if name in scores}


def _stripes(network: UnitNetwork) -> dict[str, Any]:
    """What other numbers of lanes a sample would mean, for `bitting inspect`; nothing if there are none."""
    found = [choice for choice in network.choices() if not choice.refused]
    return {"stripes": [asdict(choice) for choice in found]} if len(found) > 1 else {}


def _soft(spec: UnitSpec, config: TrainConfig, data: Dataset, kept: bool) -> SoftObjective | None:
    """The penalty of a soft lock that has one. Raises BittingError if there is no such lock, or none for what is trained."""
    if not config.soft:
        return None
    require_soft_lock(config.soft)
    if kept or data.task != Task.CLASSES:
        found = "a model that is converted from its twin" if kept else f"a {data.task}"
        raise BittingError(f"a soft lock is trained for classes, with a network of ours on the fold; found {found}")
    return None if config.soft == SPLIT else SoftObjective(config.soft, spec, config.known_seed)


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


def build(data: Dataset, config: TrainConfig) -> nn.Module:
    """The network a configuration names, in plain PyTorch.

    Raises:
        BittingError: if there is none of this name, or it wants other images.
    """
    if config.network == "mlp":
        return architectures.multilayer_perceptron((data.words, *config.hidden, data.outputs), config.dropout)
    if config.network not in architectures.NAMES:
        raise BittingError(f"unknown network {config.network!r}; allowed: {', '.join(architectures.NAMES)}")
    network = architectures.CONVOLUTIONAL[config.network]
    if data.shape != network.shape:
        raise BittingError(f"network {config.network} takes images of {network.shape}, {data.name} has {data.shape}; use mlp")
    return network.make(data.outputs, config.dropout)


def code_usage(model: Model) -> np.ndarray:
    """Share of each value index among all codes of a model; sums to 1."""
    codes = np.concatenate([layer.codes.reshape(-1) for layer in model.program.secret])
    return np.bincount(codes, minlength=model.program.spec.codes) / codes.size
