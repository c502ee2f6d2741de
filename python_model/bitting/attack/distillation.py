"""Extraction by questions and answers: what a copy costs that is trained on what the right device says.

Level of claim: any. The attacker owns a right device, or may ask one. He has inputs of the kind that the network is for,
without labels, and shows them to the device, whole; its answers (all accumulators of the last layer) train a network of his
own. No lock prevents that, and none raises the price. His network here has real weights, ReLU, and dense layers as he likes, or
it is of the same kind as the device's, which a file tells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from bitting.data.dataset import Dataset
from bitting.errors import BittingError
from bitting.network.metrics import accuracy
from bitting.training.architectures import Convolutional, multilayer_perceptron
from bitting.training.augmentation import moved

Progress = Callable[[int, int], None]

#: Answers of a device to images: (n, pixels) uint8 to (n, classes) accumulators.
Device = Callable[[np.ndarray], np.ndarray]

#: Widths of the hidden layers of a copy of dense layers, or a convolutional network.
Kind = Sequence[int] | Convolutional

#: Steps of training a copy.
STEPS = 4000
_BATCH, _RATE = 128, 2e-3
#: Softmax of the standardised answers at this temperature is what the copy learns: near enough to the answer's certainty.
_SHARPNESS = 3.0
#: Noise on inputs, so that few questions go further.
_NOISE = 0.1
#: Inputs that are answered at once.
_AT_ONCE = 1000


@dataclass(frozen=True)
class Copy:
    """A copy trained on so many answers, and the control beside it.

    Attributes:
        questions: whole inputs that were asked.
        accuracy: of the copy, on the test set.
        with_labels: of the same training on true labels of the same inputs: what the thief reaches who labels them himself.
    """

    questions: int
    accuracy: float
    with_labels: float

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)


def copies(
    device: Device,
    data: Dataset,
    kind: Kind,
    counts: Sequence[int],
    *,
    steps: int = STEPS,
    moves: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Copy]:
    """Train a copy for each number of questions.

    Args:
        device: the right one; what it answers is all that is used of it.
        data: training images are what is asked, in their order (labels only for the control); test images judge.
        kind: of the copies; a convolutional network takes inputs of its own shape only.
        counts: numbers of questions, at most as many as there are training images.
        steps: of training, for each copy.
        moves: pixels by which pictures are moved, and half of them mirrored, each time a convolutional copy sees them; 0:
            inputs have noise instead.
        seed: of the copies' weights and order.
        progress: called with (copies done, in all).

    Raises:
        BittingError: if the network of `kind` takes other inputs than there are.
    """
    if isinstance(kind, Convolutional) and kind.shape != data.shape:
        raise BittingError(f"the copy takes inputs of shape {kind.shape}, and those of {data.name} have {data.shape}")
    done: list[Copy] = []
    for count in counts:
        images = data.train_x[:count]
        classes = data.outputs
        answers = torch.from_numpy(np.asarray(device(images), np.float32))
        scaled = (answers - answers.mean(1, keepdim=True)) / answers.std(1, keepdim=True).clamp(min=1e-6)
        labels = nn.functional.one_hot(torch.tensor(data.train_y[:count]).long(), classes).float()
        told = _trained(images, (scaled * _SHARPNESS).softmax(1), data, kind, steps, moves, seed)
        done.append(Copy(count, told, _trained(images, labels, data, kind, steps, moves, seed)))
        if progress:
            progress(len(done), len(counts))
    return done


def _begun(kind: Kind, words: int, outputs: int) -> tuple[nn.Module, tuple[int, ...]]:
    """A copy that has learnt nothing yet, and the shape of its inputs."""
    if isinstance(kind, Convolutional):
        return kind.make(outputs, 0.0), kind.shape
    return multilayer_perceptron([words, *kind, outputs]), (words,)


def _trained(images: np.ndarray, targets: torch.Tensor, data: Dataset, kind: Kind, steps: int, moves: int, seed: int) -> float:
    """Test accuracy of a network trained towards (n, classes) targets."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network, shape = _begun(kind, data.words, targets.shape[1])
        x, test = (torch.from_numpy(data.floats(part)).reshape(len(part), *shape) for part in (images, data.test_x))
        optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            batch = torch.randint(len(x), (_BATCH,), generator=generator)
            shown = moved(x[batch], moves) if moves else x[batch] + _NOISE * torch.randn(_BATCH, *shape, generator=generator)
            loss = nn.functional.cross_entropy(network(shown), targets[batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    network.eval()
    with torch.no_grad():
        logits = torch.cat([network(part) for part in test.split(_AT_ONCE)])
    return accuracy(logits, torch.from_numpy(data.test_y))
