"""Your own PyTorch model: convert it, fine-tune it, export it, lock it, and verify the whole test set on the RTL.

    python examples/own_model.py

It takes a minute or two, most of it the first build of the simulation. One run's output is kept in own_model.txt.
"""

import argparse

import torch
from torch import nn

import bitting
from bitting.data import datasets
from bitting.training.randomness import draw, seed_torch

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--epochs", type=int, default=30)
epochs = parser.parse_args().epochs
seed_torch(draw())  # 128 secret bits: torch's own seed has 32, and whoever tries them all has the weights

# Your model and your data: here a small network for digits of 8 x 8 pixels.
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
data = datasets.load("digits")
x, y = torch.from_numpy(data.train_x).float() / 255, torch.from_numpy(data.train_y)
test_x, test_y = torch.from_numpy(data.test_x).float() / 255, torch.from_numpy(data.test_y)

# The same architecture on the unit's exact arithmetic. It is an nn.Module: train it as you always do.
network = bitting.convert(model, "base", x[:256])
optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
for _ in range(epochs):
    network.train()
    for batch in torch.randperm(len(x)).split(32):
        loss = nn.functional.cross_entropy(network(x[batch]), y[batch]) + network.penalty
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
network.eval()
accuracy = (network(test_x).argmax(1) == test_y).float().mean().item()
print(f"trained on the unit's arithmetic: {accuracy:.1%} of {len(test_y)} test samples")

# Model: the owner's secret. Artefact: what ships. Device: one chip; the other is a single key bit away.
exported = bitting.export(network, test_x[:64], claims={"dataset": "digits", "accuracy": accuracy})
device = bitting.Device.new(network.spec)
artefact = bitting.lock(exported, device)
print(f"locked: {exported.program.parameters} codes, {artefact.scheme.fingerprint} x {artefact.scheme.transform}")

activations = network.integers(test_x).numpy().astype("int8")
for name, chip in (("right device", device), ("wrong device", device.with_flipped_bit(0))):
    report = bitting.verify(artefact, chip, activations, test_y.numpy())
    if report.refused:
        print(f"{name}, RTL: refuses the artefact, and tells nothing")
        continue
    print(f"{name}, RTL: {report.accuracy:.1%}, {report.wrong_logits} wrong logits, {report.wrong_cycles} wrong cycle counts")
