"""A folder of pictures to a locked convolutional network: train in PyTorch, convert, fine-tune, lock, and verify on the RTL.

    python examples/pictures_folder.py

It takes half a minute, and a minute more where the simulation is built first. One run's output is kept in pictures_folder.txt.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import bitting
from bitting.data import datasets
from bitting.training.randomness import draw, seed_torch

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--epochs", type=int, default=20, help="of training in PyTorch")
parser.add_argument("--pictures", type=int, default=1797, help="how many to write to the folder, of 1797")
parser.add_argument("--verified", type=int, default=48, help="how many pictures the RTL is given")
arguments = parser.parse_args()
seed_torch(draw())  # 128 secret bits: torch's own seed has 32, and whoever tries them all has the weights

# Your folder: train/CLASS/NAME.png and test/CLASS/NAME.png, all of one size. Here it is written first, and every fourth picture
# is for the test. It is read as `--data FOLDER` reads it on the command line.
with tempfile.TemporaryDirectory() as folder:
    digits = load_digits()
    for number, (picture, label) in enumerate(zip(digits.images[: arguments.pictures], digits.target, strict=False)):
        path = Path(folder) / ("train" if number % 4 else "test") / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((picture * 255 / 16).astype("uint8")).save(path)  # they come as 0..16
    data = datasets.load(folder)
x, test_x = (torch.from_numpy(part).float().reshape(-1, *data.shape) for part in (data.train_x, data.test_x))
y, test_y = torch.from_numpy(data.train_y), torch.from_numpy(data.test_y)
print(f"{len(y)} pictures of {data.shape} to learn from, {len(test_y)} for the test, {len(data.names)} classes")


class Network(nn.Module):
    """Any network of yours. It takes pixels as files have them, so the chip will be asked in pixels too."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        self.second = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2))
        self.last = nn.Linear(16 * 2 * 2, 10)

    def forward(self, x):
        """Pixels 0..255 to logits."""
        return self.last(self.second(self.first(x / 255)).flatten(1))


def accuracy(network):
    """Share of the test's pictures that it gets right."""
    with torch.no_grad():
        return (network(test_x).argmax(1) == test_y).float().mean().item()


# Training as ever.
model, loader = Network(), DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)
optimiser = torch.optim.Adam(model.parameters(), lr=0.005)
for _ in range(arguments.epochs):
    for batch, labels in loader:
        loss = nn.functional.cross_entropy(model(batch), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
model.eval()
print(f"in PyTorch: {accuracy(model):.1%}")

# The same network on the unit: batch normalisation goes into weights, ReLU and max pooling are kept, weights are rounded.
network = bitting.convert(model, "base", x[:256], activation="relu")
print(f"converted: {accuracy(network):.1%}")

# What rounding cost, if it did, a short training gives back. The model is the teacher: inputs without labels would do as well.
bitting.finetune(network, loader, teacher=model)
tuned = accuracy(network)
print(f"fine-tuned: {tuned:.1%}")

# Model: the owner's secret. Artefact: what ships. Device: one chip; the other is a single key bit away.
exported = bitting.export(network, x[:64], claims={"accuracy": tuned})
device = bitting.Device.new(network.spec)
artefact = bitting.lock(exported, device)
print(f"locked: {exported.program.parameters} weights, {artefact.scheme.fingerprint} x {artefact.scheme.transform}")

some = slice(arguments.verified)
for name, chip in (("right device", device), ("wrong device", device.with_flipped_bit(0))):
    report = bitting.verify(artefact, chip, artefact.interface.activations(test_x[some].numpy()), data.test_y[some])
    if report.refused:
        print(f"{name}, RTL: refuses the artefact, and tells nothing")
        continue
    wrong = f"{report.wrong_logits} wrong logits, {report.wrong_cycles} wrong cycle counts"
    print(f"{name}, RTL: {report.accuracy:.1%} of {report.samples} pictures, {wrong}")
