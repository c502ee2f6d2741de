"""A table in scikit-learn to Verilog: convert a trained MLPClassifier, lock it, verify it on the RTL, pack it for a chip.

    python examples/table_to_verilog.py

It takes some seconds, and a minute more where the simulation is built first. One run's output is kept in table_to_verilog.txt.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from torch import nn

import bitting

# Your table: 13 measurements of a wine, from hundredths to thousands, and which of three growers it is from.
wine = load_wine()
x, test_x, y, test_y = train_test_split(wine.data, wine.target, test_size=0.4, random_state=0, stratify=wine.target)
# The classifier has no random_state: whoever knows the table and the seed has the weights, without any key.
scaler = StandardScaler().fit(x)
classifier = MLPClassifier((16,), max_iter=2000).fit(scaler.transform(x), y)
print(f"scikit-learn: {classifier.score(scaler.transform(test_x), test_y):.1%} of {len(test_y)} test samples")


class Copy(nn.Module):
    """The scaler and the classifier in PyTorch. With the scaler in the model, the chip is asked in the table's own units."""

    def __init__(self):
        super().__init__()
        self.mean, self.deviation = (nn.Buffer(torch.tensor(of).float()) for of in (scaler.mean_, scaler.scale_))
        layers: list[nn.Module] = []
        for weight, bias in zip(classifier.coefs_, classifier.intercepts_, strict=True):
            layers += [nn.Linear(*weight.shape), nn.ReLU()]
            layers[-2].load_state_dict({"weight": torch.tensor(weight.T), "bias": torch.tensor(bias)})
        self.layers = nn.Sequential(*layers[:-1])  # the last layer gives logits

    def forward(self, x):
        """Rows of the table to logits."""
        return self.layers((x - self.mean) / self.deviation)


# With its ReLUs kept, the network answers nearly as the classifier does, and needs no training.
network = bitting.convert(Copy(), "base", x, activation="relu")
model = bitting.export(network, x)
print(f"on the unit's arithmetic: {(model(test_x).argmax(1) == test_y).mean():.1%}; {', '.join(network.notes)}")

# Model: the owner's secret. Artefact: what ships. Device: one chip.
device = bitting.Device.new(network.spec)
artefact = bitting.lock(model, device)
report = bitting.verify(artefact, device, artefact.interface.activations(test_x), test_y)
wrong = f"{report.wrong_logits} wrong logits, {report.wrong_cycles} wrong cycle counts"
print(f"locked, on the RTL: {report.accuracy:.1%}, {wrong}")

# What a hardware engineer gets: Verilog, a testbench (`make` in the folder runs it), constraints, a host in C, and the words of
# this artefact. No key is in it. The artefact is not signed, which will do for an example; docs/boards.md shows how to sign.
with tempfile.TemporaryDirectory() as folder:
    artefact.save(Path(folder) / "wine.safetensors")
    command = [sys.executable, "-m", "bitting", "package", "wine.safetensors", "--allow-unsigned", "-o", "package"]
    print(subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout, end="")
    for path in sorted((Path(folder) / "package" / "rtl").iterdir()):
        print(f"package/rtl/{path.name}: {len(path.read_text().splitlines())} lines")
