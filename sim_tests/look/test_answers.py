"""Answers beside targets: the numbers of another library, and a picture for each task."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics

from bitting.look import answers
from bitting.program.interface import Task, of_program
from bitting.unit.spec import PRESETS

RNG = np.random.default_rng(5)


def test_confusions_are_counted_as_elsewhere():
    said, true = RNG.integers(0, 4, 90), RNG.integers(0, 3, 90)
    assert np.array_equal(answers.confusion(said, true, 4), metrics.confusion_matrix(true, said, labels=range(4)))


def test_scores_of_labels_are_those_of_others():
    said, true = RNG.integers(0, 2, (90, 3)), RNG.integers(0, 2, (90, 3))
    found = answers.label_scores(said, true)
    assert np.allclose(found["precision"], metrics.precision_score(true, said, average=None))
    assert np.allclose(found["recall"], metrics.recall_score(true, said, average=None))
    assert np.array_equal(found["accuracy"], [metrics.accuracy_score(*columns) for columns in zip(true.T, said.T, strict=True)])


@pytest.mark.parametrize(
    ("task", "outputs", "names", "shown"),
    [
        (Task.CLASSES, 3, ("ant", "bee", "cow"), ("ant", "cow", "answered", "asked for")),
        (Task.CLASSES, 30, (), ("29", "most frequent mistakes")),
        (Task.BINARY, 1, ("no", "it's yes"), ("no", "it's yes")),
        (Task.LABELS, 2, ("red", "blue"), ("red", "blue", "accuracy", "precision", "recall")),
        (Task.REGRESSION, 2, ("price", "size"), ("price", "size", "target", "answer")),
    ],
)
def test_every_task_has_its_picture(tmp_path, task, outputs, names, shown):
    interface = replace(of_program(PRESETS["tiny"], 4), task=task, names=names)
    sums = RNG.integers(-99, 100, (80, outputs))
    kinds = {
        Task.REGRESSION: RNG.normal(size=(80, 2)),
        Task.LABELS: RNG.integers(0, 2, (80, 2)),
        Task.BINARY: np.arange(80) % 2,
    }
    targets = kinds.get(task, np.arange(80) % max(outputs, 2))
    answers.draw(tmp_path / "a.svg", interface, sums, targets, "a title of its own")
    drawn = (tmp_path / "a.svg").read_text()
    assert not [text for text in (*shown, "a title of its own", "of 80 samples") if text not in drawn]


def test_a_small_matrix_has_its_counts_in_it(tmp_path):
    interface = of_program(PRESETS["tiny"], 4)
    targets = np.repeat([0, 1], [617, 243])
    answers.draw(tmp_path / "a.svg", interface, np.eye(2, dtype=int)[targets], targets, "all right")
    assert all(f">{count}<" in (tmp_path / "a.svg").read_text() for count in (617, 243))
