"""Training of a converted network on the user's own batches, taught by the model that it was converted from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from bitting.errors import BittingError
from bitting.network.graph import UnitNetwork

#: Peak learning rates of Adam, in units of the root mean square of each layer's weights (of biases: in quarter periods of the
#: fold): of a network that answers nearly as its model does already, and of one whose activations became folds.
KEPT_RATE, FOLDED_RATE = 3e-3, 3e-2


def finetune(
    network: UnitNetwork,
    loader: Iterable[Any],
    teacher: nn.Module | None = None,
    epochs: int = 1,
    learning_rate: float | None = None,
    regression: bool | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> UnitNetwork:
    """Train a converted network, without labels if it has a teacher.

    What is learnt is the mean of what there is: labels (cross entropy of classes, or of one logit or several labels as 0 or 1;
    squared error of numbers), and the teacher's answers (its probabilities, or its numbers).

    Args:
        network: from `bitting.convert`, best with `activation="relu"`; is changed, and ends in evaluation mode.
        loader: gives the batches of an epoch each time it is gone through, a `DataLoader` say, or a list: inputs, or (inputs,
            labels), on the network's device.
        teacher: the model that was converted, or another with the same outputs, which takes the same inputs.
        epochs: passes over the loader.
        learning_rate: at the beginning, in units of the weights' size; falls to zero along a cosine. By default `KEPT_RATE` or
            `FOLDED_RATE`.
        regression: outputs are numbers and not logits. By default they are if the labels are floating point and not all 0 or
            1; without labels, if there is one output and the model did not end with a sigmoid.
        progress: called after every epoch with (epoch, epochs, mean loss).

    Returns:
        The network.

    Raises:
        BittingError: if there is neither a label nor a teacher, no batch, or labels or a teacher that do not fit the outputs.

    Example:
        >>> import bitting, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
        >>> x = torch.rand(64, 8)
        >>> network = bitting.convert(model, "base", x, activation="relu")
        >>> bitting.finetune(network, x.split(16), teacher=model)(x).shape
        torch.Size([64, 3])
    """
    rate = (KEPT_RATE if network.fits else FOLDED_RATE) if learning_rate is None else learning_rate
    optimiser = torch.optim.Adam([{"params": [item], "share": share} for item, share in _shares(network)])
    for epoch in range(epochs):
        network.train()
        batches = loader if isinstance(loader, Sized) else list(loader)
        if not len(batches):
            raise BittingError("the loader gave no batch; a generator serves one epoch only: give a list or a DataLoader")
        total = 0.0
        for step, batch in enumerate(batches):
            done = (epoch + step / len(batches)) / epochs
            for group in optimiser.param_groups:
                group["lr"] = group["share"] * rate * cosine(done)
            loss = _loss(network, batch, teacher, regression) + network.penalty
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total += float(loss.detach())
        if progress:
            progress(epoch + 1, epochs, total / len(batches))
    return network.eval()


def _shares(network: UnitNetwork) -> Iterator[tuple[nn.Parameter, float]]:
    """Each parameter and its share of the learning rate."""
    for name, parameter in network.named_parameters():
        yield parameter, share_of_weights(parameter) if name.endswith("weight") else 1.0


def cosine(done: float) -> float:
    """What is left of a learning rate when this share of a training is done: from 1 to 0."""
    return 0.5 * (1 + math.cos(math.pi * done))


def share_of_weights(parameter: nn.Parameter) -> float:
    """A learning rate in units of the weights' root mean square."""
    return max(float(parameter.detach().square().mean().sqrt()), 1e-3)


def _loss(network: UnitNetwork, batch: Any, teacher: nn.Module | None, regression: bool | None) -> torch.Tensor:
    x, *rest = batch if isinstance(batch, list | tuple) else (batch,)
    labels = rest[0] if rest else None
    logits = network(x)
    numbers = _are_numbers(network, logits, labels) if regression is None else regression
    losses = [] if labels is None else [_apart(network, logits, labels, numbers, "labels")]
    if teacher is not None:
        taught = _taught(network, teacher, x, numbers)
        if taught.shape != logits.shape:
            shapes = f"the teacher gives {tuple(taught.shape)}, the network {tuple(logits.shape)}"
            raise BittingError(f"{shapes}; allowed is the same")
        losses.append(_apart(network, logits, taught, numbers, "answers of the teacher"))
    if not losses:
        raise BittingError("there is nothing to learn: give a teacher, or a loader of (inputs, labels)")
    return torch.stack(losses).mean()


def _are_numbers(network: UnitNetwork, logits: torch.Tensor, labels: torch.Tensor | None) -> bool:
    if labels is None:
        return logits.shape[1] == 1 and network.ends_with != "sigmoid"
    return labels.is_floating_point() and not bool(((labels == 0) | (labels == 1)).all())


@torch.no_grad()
def _taught(network: UnitNetwork, teacher: nn.Module, x: torch.Tensor, numbers: bool) -> torch.Tensor:
    """What a teacher says: numbers, or probabilities, which a model that ends with a sigmoid or softmax gives itself."""
    training = teacher.training
    answers: torch.Tensor = teacher.eval()(x)
    teacher.train(training)
    if numbers or network.ends_with in ("sigmoid", "softmax"):
        return answers
    return answers.softmax(1) if answers.shape[1] > 1 else answers.sigmoid()


def _apart(network: UnitNetwork, logits: torch.Tensor, wanted: torch.Tensor, numbers: bool, what: str) -> torch.Tensor:
    """How far logits are from what they are to be: numbers, classes, probabilities, or labels of 0 and 1."""
    classes = not numbers and logits.shape[1] > 1 and wanted.numel() == len(logits)
    if not classes and wanted.numel() != logits.numel():
        raise BittingError(f"{what} have shape {tuple(wanted.shape)}, the network's answers {tuple(logits.shape)}")
    if numbers:
        return F.mse_loss(logits, wanted.reshape(logits.shape).float()) / (2 * network.output_gain) ** 2
    if classes:
        if wanted.is_floating_point():
            raise BittingError(f"{what} are floating point, for {logits.shape[1]} outputs; allowed are classes, as integers")
        return F.cross_entropy(logits, wanted.reshape(-1).long())
    yes_or_no = logits.shape[1] == 1 or not wanted.is_floating_point() or network.ends_with == "sigmoid"
    if not yes_or_no:
        return F.cross_entropy(logits, wanted)
    wanted = wanted.reshape(logits.shape).float()
    if not bool(((wanted >= 0) & (wanted <= 1)).all()):
        raise BittingError(f"{what} go from {wanted.min():g} to {wanted.max():g}; allowed are 0 and 1, or regression=True")
    return F.binary_cross_entropy_with_logits(logits, wanted)
