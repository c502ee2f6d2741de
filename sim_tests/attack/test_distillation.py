"""Copies that are trained on a device's answers."""

import numpy as np
import pytest
from torch import nn

from bitting.attack.distillation import copies
from bitting.data import datasets
from bitting.errors import BittingError
from bitting.training.architectures import Convolutional


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def test_a_copy_is_as_good_as_the_answers(digits):
    """From a device that is always right the thief learns what labels would teach him; from noise nothing."""
    labels = {image.tobytes(): label for image, label in zip(digits.train_x, digits.train_y, strict=True)}
    asked = []

    def right(images):
        asked.append(len(images))
        return 1000 * np.eye(10)[[labels[image.tobytes()] for image in images]]

    few, many = copies(right, digits, [32], [50, 1000], steps=300)
    assert asked == [few.questions, many.questions] == [50, 1000]
    assert few.accuracy < many.accuracy and many.accuracy > 0.9 and abs(many.accuracy - many.with_labels) < 0.03
    noise = np.random.default_rng(0)
    (none,) = copies(lambda images: noise.normal(size=(len(images), 10)), digits, [32], [1000], steps=300)
    assert none.accuracy < 0.4 and none.with_labels == many.with_labels


def test_a_copy_may_be_of_the_devices_kind(digits):
    """A convolution sees pictures, not words in a row, and learns as dense layers do."""
    seen = []

    class Seen(nn.Module):
        def forward(self, x):
            seen.append(x.shape[1:])
            return x

    def make(classes, dropout):
        norm = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten())
        return nn.Sequential(Seen(), norm, nn.Linear(8 * 36, classes))

    kind = Convolutional(make, (1, 8, 8))
    answers = {image.tobytes(): 1000 * np.eye(10)[label] for image, label in zip(digits.train_x, digits.train_y, strict=True)}

    def device(images):
        return np.array([answers[image.tobytes()] for image in images])

    (copy,) = copies(device, digits, kind, [1000], steps=300)
    assert set(seen) == {(1, 8, 8)} and copy.accuracy > 0.9 and abs(copy.accuracy - copy.with_labels) < 0.03
    with pytest.raises(BittingError, match=r"takes inputs of shape \(1, 4, 16\), and those of digits have \(1, 8, 8\)"):
        copies(device, digits, Convolutional(make, (1, 4, 16)), [1000])
    (astray,) = copies(device, digits, kind, [1000], steps=300, moves=4)
    assert astray.accuracy < 0.5, "half of a digit is out of sight, and mirrored digits are others"
