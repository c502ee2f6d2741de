"""Extraction by questions and answers: what a copy costs that is trained on what the right device says.

Level of claim: any. The attacker owns a right device, or may ask one. He has inputs of the kind that the network is for,
without labels, and shows them to the device, whole; its answers (all accumulators of the last layer) train a network of his
own. No lock prevents that, and none raises the price. His network here has real weights, ReLU, and hidden layers as he likes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from bitting.data.dataset import Dataset
from bitting.network.metrics import accuracy

Progress = Callable[[int, int], None]

#: Answers of a device to images: (n, pixels) uint8 to (n, classes) accumulators.
Device = Callable[[np.ndarray], np.ndarray]

#: Steps of training a copy.
STEPS = 4000
_BATCH, _RATE = 128, 2e-3
#: Softmax of the standardised answers at this temperature is what the copy learns: near enough to the answer's certainty.
_SHARPNESS = 3.0


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
    hidden: Sequence[int],
    counts: Sequence[int],
    *,
    steps: int = STEPS,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Copy]:
    """Train a copy for each number of questions.

    Args:
        device: the right one; what it answers is all that is used of it.
        data: training images are what is asked, in their order (labels only for the control); test images judge.
        hidden: widths of the copy's hidden layers.
        counts: numbers of questions, at most as many as there are training images.
        steps: of training, for each copy.
        seed: of the copies' weights and order.
        progress: called with (copies done, in all).
    """
    done: list[Copy] = []
    for count in counts:
        images = data.train_x[:count]
        classes = data.outputs
        answers = torch.from_numpy(np.asarray(device(images), np.float32))
        scaled = (answers - answers.mean(1, keepdim=True)) / answers.std(1, keepdim=True).clamp(min=1e-6)
        labels = nn.functional.one_hot(torch.tensor(data.train_y[:count]).long(), classes).float()
        told = _trained(images, (scaled * _SHARPNESS).softmax(1), data, hidden, steps, seed)
        done.append(Copy(count, told, _trained(images, labels, data, hidden, steps, seed)))
        if progress:
            progress(len(done), len(counts))
    return done


def _trained(images: np.ndarray, targets: torch.Tensor, data: Dataset, hidden: Sequence[int], steps: int, seed: int) -> float:
    """Test accuracy of a network trained towards (n, classes) targets."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        widths = [data.words, *hidden, targets.shape[1]]
        layers = [layer for pair in zip(widths, widths[1:], strict=False) for layer in (nn.Linear(*pair), nn.ReLU())]
        network = nn.Sequential(*layers[:-1])
    x = torch.from_numpy(data.floats(images))
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        batch = torch.randint(len(x), (_BATCH,), generator=generator)
        shown = x[batch] + 0.1 * torch.randn(len(batch), data.words, generator=generator)  # noise: few questions go further
        loss = nn.functional.cross_entropy(network(shown), targets[batch])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        logits = network(torch.from_numpy(data.floats(data.test_x)))
    return accuracy(logits, torch.from_numpy(data.test_y))
