"""Training of a converted network on the user's own batches, taught by the model that it was converted from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from bitting.errors import BittingError
from bitting.network.graph import UnitNetwork

#: Peak learning rates of Adam, in units of the root mean square of each layer's weights (of biases: in quarter periods of the
#: fold): of a network that answers nearly as its model does already, and of one whose activations became folds.
KEPT_RATE, FOLDED_RATE = 3e-3, 3e-2
#: Probabilities of a sample sum to 1 up to this.
_SUM_ERROR = 1e-3


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

    What is learnt is the mean of what there is: labels (cross entropy of classes, as integers or as probabilities that sum to
    1, or of one logit or several labels as 0 or 1; squared error of numbers), and the teacher's answers (its probabilities, or
    its numbers).

    Args:
        network: from `bitting.convert`, best with `activation="relu"`; is changed, and ends in evaluation mode.
        loader: gives the batches of an epoch each time it is gone through, a `DataLoader` say, or a list: inputs, or (inputs,
            labels), on the network's device.
        teacher: the model that was converted, or another with the same outputs, which takes the same inputs.
        epochs: passes over the loader.
        learning_rate: at the beginning, in units of the weights' size; falls to zero along a cosine. By default `KEPT_RATE` or
            `FOLDED_RATE`.
        regression: outputs are numbers and not logits. By default the first batch tells: they are if its labels are floating
            point and neither all 0 or 1 nor the probabilities of classes; without labels, if there is one output and the model
            did not end with a sigmoid; always if it was converted so.
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
    lesson: _Lesson | None = None
    for epoch in range(epochs):
        network.train()
        batches = _in_batches(loader)
        if not len(batches):
            raise BittingError("the loader gave no batch; a generator serves one epoch only: give a list or a DataLoader")
        total = 0.0
        for step, batch in enumerate(batches):
            done = (epoch + step / len(batches)) / epochs
            for group in optimiser.param_groups:
                group["lr"] = group["share"] * rate * cosine(done)
            lesson = lesson or _Lesson.of(network, batch, teacher, regression)
            loss = lesson.loss(batch) + network.penalty
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


class Kind(StrEnum):
    """What a network's outputs are learnt as."""

    NUMBERS = "numbers"
    CLASSES = "classes"
    YES_OR_NO = "yes or no"


@dataclass(frozen=True)
class _Lesson:
    """What is learnt of a batch, the same of all batches."""

    network: UnitNetwork
    teacher: nn.Module | None
    kind: Kind

    @classmethod
    def of(cls, network: UnitNetwork, batch: Any, teacher: nn.Module | None, regression: bool | None) -> _Lesson:
        """Decided by the first batch's labels, if there are any."""
        x, labels = _parts(batch)
        if labels is None and teacher is None:
            raise BittingError("there is nothing to learn: give a teacher, or a loader of (inputs, labels)")
        return cls(network, teacher, _kind(network, len(network.products[-1].weight), len(x), labels, regression))

    def loss(self, batch: Any) -> torch.Tensor:
        """Mean over what there is, without penalty."""
        x, labels = _parts(batch)
        logits = self.network(x)
        losses = [] if labels is None else [self._apart(logits, labels, "labels")]
        if self.teacher is not None:
            taught = self._taught(x)
            if taught.shape != logits.shape:
                shapes = f"the teacher gives {tuple(taught.shape)}, the network {tuple(logits.shape)}"
                raise BittingError(f"{shapes}; allowed is the same")
            losses.append(self._apart(logits, taught, "answers of the teacher"))
        return torch.stack(losses).mean()

    @torch.no_grad()
    def _taught(self, x: torch.Tensor) -> torch.Tensor:
        """What the teacher says: numbers, or probabilities, which a model that ends with a sigmoid or softmax gives itself."""
        assert self.teacher is not None
        training = self.teacher.training
        answers: torch.Tensor = self.teacher.eval()(x)
        self.teacher.train(training)
        if self.kind == Kind.NUMBERS or self.network.ends_with in ("sigmoid", "softmax"):
            return answers
        return answers.softmax(1) if self.kind == Kind.CLASSES else answers.sigmoid()

    def _apart(self, logits: torch.Tensor, wanted: torch.Tensor, what: str) -> torch.Tensor:
        """How far logits are from what they are to be: numbers, classes or their probabilities, labels from 0 to 1."""
        numbered = self.kind == Kind.CLASSES and wanted.numel() == len(logits)
        if not numbered and wanted.numel() != logits.numel():
            raise BittingError(f"{what} have shape {tuple(wanted.shape)}, the network's answers {tuple(logits.shape)}")
        if numbered:
            if wanted.is_floating_point():
                raise BittingError(
                    f"{what} are floating point, for {logits.shape[1]} outputs; allowed are classes, as integers"
                )
            return F.cross_entropy(logits, wanted.reshape(-1).long())
        wanted = wanted.reshape(logits.shape).float()
        if self.kind == Kind.NUMBERS:
            return ((logits - wanted) / (2 * self.network.output_gain)).square().mean()
        if self.kind == Kind.CLASSES:
            return F.cross_entropy(logits, wanted)
        if not bool(((wanted >= 0) & (wanted <= 1)).all()):
            raise BittingError(f"{what} go from {wanted.min():g} to {wanted.max():g}; allowed are 0 and 1, or regression=True")
        return F.binary_cross_entropy_with_logits(logits, wanted)


def _parts(batch: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Inputs, and labels if there are any."""
    x, *rest = batch if isinstance(batch, list | tuple) else (batch,)
    return x, rest[0] if rest else None


def _kind(network: UnitNetwork, outputs: int, samples: int, labels: torch.Tensor | None, regression: bool | None) -> Kind:
    """What the outputs are, by the labels of a batch or else by how the model ended."""
    single = outputs == 1
    regression = True if regression is None and network.regression else regression
    if labels is None:
        numbers = single and network.ends_with != "sigmoid" if regression is None else regression
        several = single or network.ends_with == "sigmoid"
    else:
        shares = labels.is_floating_point() and labels.numel() == samples * outputs
        sums_to_one = shares and not single and bool((labels >= 0).all() & ((labels.sum(1) - 1).abs() < _SUM_ERROR).all())
        plain = not labels.is_floating_point() or sums_to_one or bool(((labels == 0) | (labels == 1)).all())
        numbers = not plain if regression is None else regression
        several = single or (labels.numel() != samples and not sums_to_one) or network.ends_with == "sigmoid"
    return Kind.NUMBERS if numbers else Kind.YES_OR_NO if several else Kind.CLASSES


def _in_batches(loader: Iterable[Any]) -> Sequence[Any] | Any:
    """The batches of an epoch, whose number is known."""
    try:
        len(loader)  # type: ignore[arg-type]
    except TypeError:  # a generator, or a DataLoader of an iterable data set
        return list(loader)
    return loader
