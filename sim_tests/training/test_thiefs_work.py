"""A split network after the thief's work: what takes the lock off, and what does not, as docs/soft-locks.md says."""

import pytest
import torch

from bitting.data import datasets
from bitting.targets import relearning
from bitting.targets.families import every_target
from bitting.targets.judge import accuracy
from bitting.targets.relearning import Effort
from bitting.targets.repair import shrunk, trimmed, with_reduced_biases
from bitting.targets.stolen import Stolen
from bitting.targets.unfolding import unfolded
from bitting.targets.waves import Wave
from bitting.training import loop, recipes
from bitting.training.recipes import TrainConfig
from bitting.unit.spec import PRESETS

SOFT = PRESETS["soft"]
TARGETS = {target.name: target for target in every_target(SOFT.acc_bits)}


@pytest.fixture(scope="module")
def thief():
    """The stolen network, samples, their labels, and the accuracy of a network on a target (None: on the unit)."""
    data = datasets.load("digits")
    model = loop.train(SOFT, data, recipes.soft(TrainConfig(hidden=(64, 32), epochs=25, seed=0), "quantisation"))
    x, unseen = (torch.as_tensor(model.interface.activations(part)) for part in (data.train_x[:600], data.test_x))

    def judged(network: Stolen, name: str | None = None) -> float:
        answers = TARGETS[name].run(network, x[:200])(unseen) if name else network(unseen)
        return accuracy(answers, data.test_y)

    return Stolen.of(model.program), x, data.train_y[:600], judged


def test_the_smallest_weights_with_the_same_sums_take_it_off(thief):
    stolen, _, _, judged = thief
    found = shrunk(stolen)
    assert judged(found) == pytest.approx(judged(stolen), abs=0.01)
    for name in ("int8-channel", "fp8-e4m3-channel"):
        assert judged(stolen, name) < 0.5 < 0.9 < judged(found, name)
    assert judged(trimmed(stolen, 0.01), "int8-channel") < 0.5, "which trimming does not"


@pytest.mark.parametrize("name", ["clamp-1", "relu-1"])
def test_the_wave_written_out_takes_it_off(thief, name):
    stolen, _, _, judged = thief
    wave = Wave(TARGETS[name].wave, SOFT)
    assert judged(unfolded(with_reduced_biases(stolen), wave, 3), name) == pytest.approx(judged(stolen), abs=0.01)
    assert judged(stolen, name) < 0.3


def test_training_from_scratch_beats_training_what_was_stolen(thief):
    stolen, x, labels, judged = thief
    effort, target = Effort(150, rate=0.03), TARGETS["int8-channel"]
    tuned = relearning.fine_tuned(stolen, target, x, labels, effort)
    scratch = relearning.fine_tuned(relearning.random_weights(stolen, target, x), target, x, labels, effort)
    assert judged(tuned, target.name) < 0.5 < 0.75 < judged(scratch, target.name)


def test_layers_that_learn_their_sums_take_it_off_and_those_that_learn_what_is_written_do_not(thief):
    stolen, x, _, judged = thief
    effort, target = Effort(150), TARGETS["int8-channel"]
    behind = relearning._by_layers(stolen, target, x, effort, stolen, before_wave=False)
    found = relearning.reconstructed(stolen, target, x, effort)
    assert judged(stolen, target.name) < 0.3 and judged(behind, target.name) < 0.3
    assert judged(found, target.name) > 0.8
