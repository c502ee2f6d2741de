"""What wrong devices and thieves achieve, and the whole MNIST test set on the RTL."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bitting import datasets, train
from bitting.attack import wrong_keys
from bitting.demo import break_table
from bitting.device import Device
from bitting.emulate import Emulator
from bitting.lock import lock
from bitting.sim.native import Stalls
from bitting.spec import PRESETS
from bitting.verify import verify

SPEC = PRESETS["base"]
OWNER = Device(SPEC, bytes(range(16)))


@pytest.fixture(scope="module")
def digits():
    data = datasets.load("digits")
    model = train.train(SPEC, data, replace(train.RECIPES["digits"], epochs=30))
    return data, model, lock(model.program, OWNER)[0]


def test_a_wrong_device_makes_noise_and_keeps_other_time(digits):
    data, model, locked = digits
    x = datasets.activations(SPEC, data.test_images)
    found = wrong_keys.survey(locked, OWNER, x, data.test_labels, random_keys=100)
    assert found.right == model.claims["accuracy"]
    assert found.neighbours == 128 and found.mean < 0.15
    right, wrong = (locked.tile_cycles(device.table()) for device in (OWNER, OWNER.with_flipped_bit(7)))
    tiles = sum(len(layer) for layer in right)
    same = sum(a == b for one, other in zip(right, wrong, strict=True) for a, b in zip(one, other, strict=True))
    assert same < tiles / 4


def test_wrong_devices_are_seeded_and_distinct():
    tables = [device.table() for _, device in wrong_keys.wrong_devices(OWNER, 50, True, seed=3)]
    assert len(set(tables)) == 178 and OWNER.table() not in tables
    again = [device.table() for _, device in wrong_keys.wrong_devices(OWNER, 50, True, seed=3)]
    assert tables == again


def test_the_table_alone_is_no_lock(digits):
    """The claim of the README: 200 labelled samples and gradient descent recover most of the accuracy."""
    data, _, locked = digits
    assert break_table(locked, data, 200) > 0.85


@pytest.mark.slow
def test_mnist_whole_test_set_on_the_rtl_of_the_right_and_a_wrong_device():
    """Ten thousand images: not one wrong bit, not one wrong cycle; on a wrong device noise, and the same noise in both."""
    data = datasets.load("mnist")
    config = replace(train.RECIPES["mnist"], epochs=8)  # fewer than the recipe: the claims here are equalities
    claims = (model := train.train(SPEC, data, config)).claims
    locked, _ = lock(model.program, OWNER)
    x, y = datasets.activations(SPEC, data.test_images), data.test_labels
    report = verify(locked, OWNER.table(), x, y)
    assert report.equal and report.samples == 10_000 and report.wrong_logits == report.wrong_cycles == 0
    assert report.accuracy == claims["accuracy"] >= 0.96
    neighbour = OWNER.with_flipped_bit(0)
    part = slice(0, 1000)
    wrong = verify(locked, neighbour.table(), x[part], y[part], stalls=Stalls(1, 40, 40))
    emulated = Emulator(locked, neighbour.table())(torch.from_numpy(x[part])).numpy().argmax(1)
    assert wrong.equal and wrong.accuracy == float(np.mean(emulated == y[part])) < 0.25
