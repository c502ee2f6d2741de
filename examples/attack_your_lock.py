"""Attack your own lock: wrong keys, and gradient descent on the bitting table, with the table alone and with a keyed transform.

    python examples/attack_your_lock.py

It takes some minutes, needs no simulator, and shows why the bitting table alone is no lock. The family has the vault `aes`
(as in the paper: no integrity), for there such attacks have something to start from: a sealed program (vault `ascon`) is
refused by every wrong device. The output of one run is kept in attack_your_lock.txt. What else fails is in docs/locks.md.
"""

import argparse

import bitting
from bitting.attack.baselines import from_scratch
from bitting.attack.free_table import STARTS, Reader, recover
from bitting.attack.wrong_keys import survey
from bitting.data import datasets
from bitting.training.recipes import TrainConfig

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--epochs", type=int, default=30, help="of training the victim")
parser.add_argument("--keys", type=int, default=300, help="random wrong keys to try")
parser.add_argument("--labels", type=int, default=200, help="labelled samples that the thief holds")
parser.add_argument("--starts", type=int, default=STARTS, help="of gradient descent, at most")
arguments = parser.parse_args()

spec, data = bitting.parse_spec("base:vault=aes"), datasets.load("digits")
model = bitting.train(spec, data, TrainConfig(epochs=arguments.epochs))
device = bitting.Device.new(spec)
x, labels = datasets.activations(spec, data.test_x), data.test_y
print(f"the victim: {model.claims['accuracy']:.1%} on digits, {model.program.parameters} weights")

# What a thief reaches who has the labels, and no file at all: an attack has to beat this to be worth anything.
print(f"{arguments.labels} labels and no file: {from_scratch(data, arguments.labels):.1%}")

for fingerprint, transform in (("none", "table"), ("clock", "aes-clocked")):
    artefact = bitting.lock(model, device, fingerprint, transform)
    print(f"\n{fingerprint} x {transform}")

    # A thief with a chip of his own, or many: another root key, or a root key that is one bit away.
    wrong = survey(artefact.locked_layers(), artefact.scheme, device, x, labels, random_keys=arguments.keys)
    tried = wrong.random_keys + wrong.neighbours
    print(f"  best of {tried} wrong devices: {wrong.best:.1%}; right device: {wrong.right:.1%}")

    # A thief with the file and some labels: he takes the codes as they are, guesses a weight for each by which codes lie side
    # by side, as those of neighbouring pixels are alike, and lets it learn.
    some = slice(arguments.labels)
    few = datasets.activations(spec, data.train_x[some])
    reader = Reader(artefact.locked_layers())
    tables = recover(reader, few, data.train_y[some], starts=arguments.starts)
    if tables.told is not None:
        print(f"  stolen codes, table told by neighbours: {reader.accuracy(tables.told, x, labels):.1%}")
    print(f"  and learnt from {arguments.labels} labels: {reader.accuracy(tables.learnt, x, labels):.1%}")
