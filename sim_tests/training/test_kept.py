"""Networks of ours that keep their ReLU: pictures that move, the twin first, its answers for what was seen, resumption."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bitting.data import datasets
from bitting.data.dataset import Dataset
from bitting.emulator.emulate import Emulator
from bitting.errors import BittingError
from bitting.training import loop, recipes
from bitting.training.augmentation import moved
from bitting.training.inputs import Inputs
from bitting.training.material import Material
from bitting.unit.spec import parse_spec

SPEC = parse_spec("base:scratch_words=8192")


@pytest.fixture(scope="module")
def pictures():
    """A bright band at one of four heights, with noise: (1, 28, 28), a class each, also in a mirror."""
    rng = np.random.default_rng(0)

    def part(count):
        y = rng.integers(0, 4, count)
        x = rng.integers(0, 60, (count, 28, 28))
        for picture, label in zip(x, y, strict=True):
            picture[7 * label :][:7] += 150
        return x.reshape(count, -1).astype(np.uint8), y

    (train_x, train_y), (test_x, test_y) = part(160), part(64)
    return Dataset("bands", train_x, train_y, test_x, test_y, (1, 28, 28))


CONFIG = replace(
    recipes.recipe(datasets.load("digits"), "lenet"),
    activation="relu", moved=2, epochs=8, tuning_epochs=2, batch_size=16, seed=5, learning_rate=3e-3, label_smoothing=0.0,
)  # fmt: skip


def test_moved_pictures_are_pictures_moved_and_mirrored():
    x = torch.rand(200, 3, 7, 5)
    torch.manual_seed(1)
    found = moved(x, 2)
    places = set()
    for before, after in zip(x, found, strict=True):
        for mirrored in (False, True):
            padded = np.pad((before.flip(2) if mirrored else before).numpy(), ((0, 0), (2, 2), (2, 2)))
            for row in range(5):
                for column in range(5):
                    if np.array_equal(padded[:, row : row + 7, column : column + 5], after.numpy()):
                        places.add((mirrored, row, column))
                        break
    assert len(places) > 45, "of 50: all occur"
    with pytest.raises(BittingError, match="moved pictures"):
        moved(torch.rand(3, 10), 1)


def test_the_teacher_answers_for_what_was_seen(pictures):
    """Of pictures that stay as they are it is asked once, of those that move each time."""
    asked = []

    def teacher(x):
        asked.append(len(x))
        return x.flatten(1)[:, :4]

    for config in (CONFIG, replace(CONFIG, moved=0)):
        material = Material.of(pictures, Inputs.of_data(SPEC, pictures, False), config)
        asked.clear()
        lesson = material.lesson(teacher)
        chosen = torch.arange(10)
        seen = material.train_x[chosen] + (1 if config.moved else 0)
        expected = material.goal.targets[:10].lerp(seen.flatten(1)[:, :4].softmax(1), config.distillation_weight)
        assert torch.equal(lesson(chosen, seen), expected)
        assert asked == ([10] if config.moved else [160])


class _InterruptError(Exception):
    pass


def test_the_twin_comes_first_and_an_interrupted_run_resumes(pictures, tmp_path):
    """Before and after conversion: the same weights to the bit. It answers as its twin does, and the emulator as it does."""
    whole = loop.train(SPEC, pictures, CONFIG)
    checkpoint = tmp_path / "run"
    for place in (("twin", 2), ("unit", 1)):

        def stop(name, epoch, _epochs, _score, place=place):
            if (name, epoch) == place:
                raise _InterruptError

        with pytest.raises(_InterruptError):
            loop.train(SPEC, pictures, CONFIG, checkpoint, stop)
    resumed = loop.train(SPEC, pictures, CONFIG, checkpoint)
    assert resumed.claims == whole.claims
    for a, b in zip(whole.program.layers, resumed.program.layers, strict=True):
        assert np.array_equal(a.codes, b.codes) and np.array_equal(a.bias, b.bias)
    claims = whole.claims
    assert [(one["network"], one["epoch"]) for one in claims["epochs"]] == [
        (name, n + 1) for name, count in (("twin", 8), ("unit", 2)) for n in range(count)
    ]
    assert claims["twin_accuracy"] > 0.9 and claims["converted_accuracy"] > 0.9 and claims["accuracy"] > 0.9
    assert "trained first" in claims["twin"]
    x = whole.interface.activations(pictures.test_x)
    answers = Emulator(whole.program, range(SPEC.codes))(x).numpy()
    assert float(np.mean(answers.argmax(1) == pictures.test_y)) == claims["accuracy"]


def test_without_tuning_it_is_the_conversion(pictures):
    model = loop.train(SPEC, pictures, replace(CONFIG, tuning_epochs=0))
    assert model.claims["accuracy"] == model.claims["converted_accuracy"]
    assert {one["network"] for one in model.claims["epochs"]} == {"twin"}


def test_networks_for_other_pictures_and_soft_locks_are_refused(pictures):
    with pytest.raises(BittingError, match=r"resnet8 takes images of \(3, 32, 32\), bands has \(1, 28, 28\)"):
        loop.train(SPEC, pictures, recipes.recipe(pictures, "resnet8"))
    with pytest.raises(BittingError, match="converted from its twin"):
        loop.train(SPEC, pictures, replace(CONFIG, soft="sampled"))
