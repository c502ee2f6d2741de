"""What conversion keeps: accuracy or R squared of float networks, of their conversions, and after fine-tuning.

    python scripts/conversion_report.py [--sets wine digits] [--seeds 0 1 2] [--json FILE]
    python scripts/conversion_report.py --sets cifar-10 --weights FOLDER      # float networks that were trained before

Float networks are trained first (`--device cuda` is faster for CIFAR-10) and kept in `--weights`. One line for a data set and
a way to convert, means over the seeds: "fold" puts the unit's own wave in ReLU's place, "relu" keeps ReLU.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import bitting
from bitting import malloc
from bitting.data import datasets
from bitting.network.graph import UnitNetwork
from bitting.training.architectures import ResNet8

#: Epochs of fine-tuning, each from the converted network.
EPOCHS = (1, 3, 10)
#: Unlabelled training samples that conversion sees.
CALIBRATION = 512


class Standardised(nn.Module):
    """A network behind `(x - mean) / deviation`, as whoever trains one writes it."""

    def __init__(self, network: nn.Module, x: torch.Tensor, axes: tuple[int, ...]):
        super().__init__()
        self.network = network
        self.register_buffer("mean", x.mean(axes, keepdim=True)[0:1])
        self.register_buffer("deviation", x.std(axes, keepdim=True)[0:1] + 1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answers for inputs as they come."""
        answers: torch.Tensor = self.network((x - self.get_buffer("mean")) / self.get_buffer("deviation"))
        return answers


@dataclass
class Task:
    """A data set, a float network for it, and how long that is trained."""

    train_x: torch.Tensor
    train_y: torch.Tensor
    test_x: torch.Tensor
    test_y: torch.Tensor
    make: Callable[[], nn.Module]
    epochs: int
    batch: int
    rate: float
    spec: str = "base"
    pictures: bool = False

    @property
    def regression(self) -> bool:
        """Targets are numbers."""
        return self.train_y.is_floating_point()

    def score(self, network: nn.Module) -> float:
        """Accuracy in percent, or R squared."""
        network.eval()
        device = next(network.parameters()).device
        with torch.no_grad():
            answers = torch.cat([network(part.to(device)) for part in self.test_x.split(500)]).cpu()
        if self.regression:
            return 1 - float((answers - self.test_y).square().sum() / (self.test_y - self.test_y.mean()).square().sum())
        return 100 * float((answers.argmax(1) == self.test_y).float().mean())


def table(name: str, seed: int) -> Task:
    """One of scikit-learn's, a fifth of it held out."""
    from sklearn import datasets as tables

    x, y = getattr(tables, f"load_{name}")(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    x, y = torch.from_numpy(x[order]).float(), torch.from_numpy(y[order])
    y = y.float()[:, None] if name == "diabetes" else y.long()
    cut = len(x) // 5
    outputs = 1 if name == "diabetes" else int(y.max()) + 1
    width = 16 if name == "diabetes" else 32

    def make() -> nn.Module:
        last = nn.Linear(width, outputs)
        layers = nn.Sequential(nn.Linear(x.shape[1], width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), last)
        if outputs == 1:  # it begins where the targets are
            with torch.no_grad():
                last.bias.fill_(float(y.mean()))
                last.weight.mul_(float(y.std()))
        return Standardised(layers, x[cut:], (0,))

    return Task(x[cut:], y[cut:], x[:cut], y[:cut], make, 40, 16, 3e-3)


def digits(seed: int) -> Task:
    """8 x 8 pixels, a small convolutional network with both kinds of pooling."""
    data = datasets.load("digits")
    train_x, test_x = (torch.from_numpy(x).float().reshape(-1, 1, 8, 8) / 255 for x in (data.train_x, data.test_x))

    def make() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(128, 10),
        )  # fmt: skip

    targets = (torch.from_numpy(y) for y in (data.train_y, data.test_y))
    return Task(train_x, next(targets), test_x, next(targets), make, 20, 32, 3e-3, pictures=True)


def series(seed: int) -> Task:
    """Sines, squares, triangles and noise of random frequency and phase, two channels of 64 samples; made here."""
    rng = np.random.default_rng(seed)

    def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        y = rng.integers(0, 4, count)
        phase = rng.uniform(0, 1, (count, 1)) + rng.uniform(1, 5, (count, 1)) * np.arange(64) / 64
        waves = np.stack([
            np.sin(2 * np.pi * phase), np.sign(np.sin(2 * np.pi * phase)), 4 * np.abs(phase % 1 - 0.5) - 1,
            rng.normal(0, 0.7, (count, 64)),
        ])  # fmt: skip
        first = waves[y, np.arange(count)] + rng.normal(0, 0.4, (count, 64))
        second = rng.normal(0, 1, (count, 64)) + 0.5 * first
        return torch.from_numpy(np.stack([first, second], 1)).float(), torch.from_numpy(y)

    def make() -> nn.Module:
        return nn.Sequential(
            nn.Conv1d(2, 16, 5, padding=2), nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(16, 24, 5, padding=2), nn.BatchNorm1d(24), nn.ReLU(), nn.AvgPool1d(4),
            nn.Flatten(), nn.Linear(24 * 8, 4),
        )  # fmt: skip

    (train_x, train_y), (test_x, test_y) = draw(4000), draw(2000)
    return Task(train_x, train_y, test_x, test_y, make, 10, 64, 3e-3)


def cifar(seed: int) -> Task:
    """ResNet8 of MLPerf Tiny; pictures are flipped and shifted while training."""
    data = datasets.load("cifar-10")
    train_x, test_x = (torch.from_numpy(x).float().reshape(-1, 3, 32, 32) / 255 for x in (data.train_x, data.test_x))
    targets = [torch.from_numpy(y).long() for y in (data.train_y, data.test_y)]
    return Task(train_x, targets[0], test_x, targets[1], ResNet8, 70, 128, 4e-3, "base:scratch_words=65536", pictures=True)


SETS: dict[str, Callable[[int], Task]] = {
    **{name: lambda seed, name=name: table(name, seed) for name in ("breast_cancer", "wine", "diabetes")},  # type: ignore[misc]
    "digits": digits,
    "series": series,
    "cifar-10": cifar,
}


def shifted(x: torch.Tensor, most: int) -> torch.Tensor:
    """Half of the pictures mirrored, all moved by up to so many pixels."""
    flip = torch.rand(len(x), device=x.device) < 0.5
    x = torch.where(flip[:, None, None, None], x.flip(3), x)
    places = torch.arange(x.shape[2], device=x.device)
    rows, columns = (places + torch.randint(0, 2 * most + 1, (len(x), 1), device=x.device) for _ in range(2))
    each = torch.arange(len(x), device=x.device)[:, None, None]
    return F.pad(x, (most,) * 4)[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


class Batches:
    """Another order in each epoch, and CIFAR-10's pictures moved a little."""

    def __init__(self, task: Task, device: torch.device, batch: int):
        self.x, self.y, self.batch = task.train_x.to(device), task.train_y.to(device), batch
        self.moves = task.pictures and self.x.shape[1] == 3

    def __len__(self) -> int:
        return -(-len(self.x) // self.batch)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for chosen in torch.randperm(len(self.x), device=self.x.device).split(self.batch):
            yield (shifted(self.x[chosen], 4) if self.moves else self.x[chosen]), self.y[chosen]


def train(task: Task, network: nn.Module, device: torch.device) -> nn.Module:
    """The float network, as usual: Adam, one cycle of the learning rate."""
    network = network.to(device)
    batches = Batches(task, device, task.batch)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, task.rate, total_steps=task.epochs * len(batches))
    spread = float(task.train_y.float().var()) if task.regression else 1.0
    for _ in range(task.epochs):
        network.train()
        for x, y in batches:
            loss = F.mse_loss(network(x), y) / spread if task.regression else F.cross_entropy(network(x), y)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def clocks(network: UnitNetwork) -> int:
    """Of one batch, all lanes full."""
    return sum(map(sum, network.cpu().to_program().tile_cycles(range(network.spec.codes))))


def float_network(name: str, seed: int, device: torch.device, weights: Path) -> tuple[Task, nn.Module]:
    """A task and its trained network, from the folder of weights or else put there."""
    torch.manual_seed(seed)
    task = SETS[name](seed)
    network = task.make()
    path = weights / f"{name}-{seed}.pt"
    if path.exists():
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    else:
        network = train(task, network, device).cpu()
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), path)
    return task, network.eval()


def measure(name: str, seed: int, device: torch.device, weights: Path, epochs: tuple[int, ...]) -> dict[str, Any]:
    """Every figure of one seed."""
    task, network = float_network(name, seed, device, weights)
    found: dict[str, Any] = {"float": task.score(network.to(device))}
    calibration = task.train_x[torch.randperm(len(task.train_x))[:CALIBRATION]]
    ways: dict[str, dict[str, Any]] = {
        "fold": {}, "relu, nearest": {"activation": "relu", "reconstruct": False}, "relu": {"activation": "relu"},
    }  # fmt: skip
    for way, options in ways.items():
        converted = bitting.convert(network.cpu().eval(), task.spec, calibration, **options)
        of_way: dict[str, Any] = {"clocks": clocks(converted), "converted": task.score(converted.to(device))}
        for count in epochs if way != "relu, nearest" else ():
            batches = Batches(task, device, task.batch)
            tuned = copy.deepcopy(converted).to(device)
            bitting.finetune(tuned, batches, network.to(device), count, regression=task.regression)
            of_way[str(count)] = task.score(tuned)
            bitting.export(tuned.cpu(), task.test_x[:16])  # insists on equality of training and program
        found[way] = of_way
        print(f"{name} seed {seed}: float {found['float']:.4g}, {way}: {of_way}", flush=True)
    return found


def main() -> None:
    """Measure what the command line asks for."""
    malloc.keep_freed()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=[name for name in SETS if name != "cifar-10"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, nargs="*", default=EPOCHS, help="of fine-tuning, each from the start")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--weights", type=Path, default=Path("out/conversion"), help="folder of the float networks")
    parser.add_argument("--json", type=Path, help="every figure of every seed")
    options = parser.parse_args()
    device = torch.device(options.device)
    everything = {}
    for name in options.sets:
        seeds = [measure(name, seed, device, options.weights, tuple(options.epochs)) for seed in options.seeds]
        everything[name] = seeds
        print(f"\n{name}: float {np.mean([each['float'] for each in seeds]):.4g}, mean of {len(seeds)} seeds")
        for way in seeds[0]:
            if way != "float":
                row = {key: float(np.mean([each[way][key] for each in seeds])) for key in seeds[0][way]}
                print(f"  {way}: " + ", ".join(f"{key} {value:.4g}" for key, value in row.items()))
        print(flush=True)
        if options.json:
            options.json.write_text(json.dumps(everything, indent=1) + "\n")


if __name__ == "__main__":
    main()
