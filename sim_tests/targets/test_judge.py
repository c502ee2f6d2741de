"""A model is judged on every target, and the naive lock (the fold, no objective) is shown for what it is."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import bitting
from bitting.data import datasets
from bitting.errors import BittingError, ExtraError
from bitting.targets.families import Split, every_target, targets
from bitting.targets.judge import Judged, accuracy, judge
from bitting.training.recipes import RECIPES


@pytest.fixture(scope="module")
def digits():
    data = datasets.load("digits")
    model = bitting.train("base", data, replace(RECIPES["digits"], hidden=(48, 32), epochs=8, seed=0))
    return data, model, model.interface.activations(data.test_x), model.interface.activations(data.train_x[:256])


def test_the_naive_lock_is_none(digits):
    """Accuracies are those of the claims; conceded targets have all of it, and so, nearly, has int8."""
    data, model, x, seen = digits
    calls: list[tuple[int, int, Judged]] = []
    found = judge(model.program, x, data.test_y, calibration=seen, progress=lambda *call: calls.append(call))
    every = every_target(model.program.spec.acc_bits)
    assert found.authorised == model.claims["accuracy"] > 0.85 and found.samples == len(x)
    assert [result.target for result in found.results] == [target.name for target in every]
    assert [call[:2] for call in calls] == [(i + 1, len(every)) for i in range(len(every))]
    assert tuple(call[2] for call in calls) == found.results
    assert {result.accuracy for result in found.results if result.split == Split.CONCEDED} == {found.authorised}
    worst = found.worst_of_families()
    assert set(worst) == {target.family for target in every}
    for family in ("half", "int8", "onnxruntime", "torchao", "half-weights"):
        assert worst[family].accuracy > found.authorised - 0.03
    for result in found.results:
        assert result.accuracy <= worst[result.family].accuracy <= found.worst(result.split).accuracy
    # Hardware that has neither the wave nor its range fails by itself.
    assert worst["relu"].accuracy < found.authorised - 0.15
    assert found.to_dict()["results"][0] == {"target": "fp16", "family": "half", "split": "training",
                                             "accuracy": found.results[0].accuracy}  # fmt: skip


def test_a_missing_runtime_is_said_before_any_target_is_run(digits, monkeypatch):
    """It was said after forty of them, minutes later."""
    data, model, x, _ = digits
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    calls: list[tuple[int, int, Judged]] = []
    chosen = [each for each in every_target(16) if each.family in ("int8", "onnxruntime")]
    with pytest.raises(ExtraError, match="a target on onnxruntime needs the package onnxruntime"):
        judge(model.program, x[:20], data.test_y[:20], chosen, progress=lambda *call: calls.append(call))
    assert not calls


def test_what_is_no_number_is_wrong_and_one_sum_says_yes_or_no():
    labels = np.array([0, 1, 1])
    answers = torch.tensor([[1.0, 0.0], [0.0, 1.0], [torch.nan, 1.0]])
    assert accuracy(answers, labels) == pytest.approx(2 / 3)
    assert accuracy(torch.tensor([[-1.0], [2.0], [-2.0]]), labels) == pytest.approx(2 / 3)


def test_a_score_of_one_s_own_decides(digits):
    data, model, x, _ = digits
    chosen = targets(Split.CONCEDED, 16)[:1]
    found = judge(model.program, x[:20], data.test_y[:20], chosen, score=lambda answers, _: float(answers.shape[1]))
    assert found.authorised == found.results[0].accuracy == 10
    with pytest.raises(BittingError, match="no target of split 'training' was judged"):
        found.worst("training")


def test_samples_without_labels_are_refused(digits):
    data, model, x, _ = digits
    with pytest.raises(BittingError, match="20 samples have 10 labels"):
        judge(model.program, x[:20], data.test_y[:10])
    with pytest.raises(BittingError, match="has no inputs to calibrate on"):
        judge(model.program, x[:20], data.test_y[:20], calibration=x[:0])
