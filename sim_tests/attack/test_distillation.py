"""Copies that are trained on a device's answers."""

import numpy as np
import pytest

from bitting.attack.distillation import copies
from bitting.data import datasets


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
