"""What learns on a target: an unlocked network comes back on hardware too coarse for it, and sooner than from scratch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bitting.data import datasets
from bitting.errors import BittingError
from bitting.targets import relearning
from bitting.targets.formats import IntegerFormat
from bitting.targets.judge import accuracy
from bitting.targets.pruning import Pruning
from bitting.targets.relearning import Effort
from bitting.targets.stolen import Kind, Stolen
from bitting.targets.target import Target
from bitting.training import loop
from bitting.training.recipes import TrainConfig
from tb.stolen import network_program

COARSE = Target("two bits", "", weights=IntegerFormat(2), activations=IntegerFormat(8))
SHORT = Target("short clamp", "", wave="clamp", gain=0.5)
PRUNED = Target("a fifth", "", pruning=Pruning("unstructured", 0.8))
RUNTIME = Target("runtime", "", engine="torchao", method="int8-weights")
EFFORT = Effort(120, rate=0.02)


@pytest.fixture(scope="module")
def digits():
    """An unlocked network, samples, labels, and the accuracy of a network on a target."""
    data = datasets.load("digits")
    model = loop.train("base", data, TrainConfig(hidden=(32, 16), epochs=10, seed=0))
    x, unseen = (torch.as_tensor(model.interface.activations(part)) for part in (data.train_x[:800], data.test_x))

    def judged(target: Target, network: Stolen) -> float:
        return accuracy(target.run(network, x[:200])(unseen), data.test_y)

    return Stolen.of(model.program), x, data.train_y[:800], judged


def unchanged(stolen: Stolen, other: Stolen) -> bool:
    return all(
        torch.equal(a.weights, b.weights) and torch.equal(a.bias, b.bias)
        for a, b in zip(stolen.layers, other.layers, strict=True)
    )


@pytest.mark.parametrize("target", [COARSE, SHORT, PRUNED], ids=lambda target: target.name)
def test_an_unlocked_network_comes_back_and_sooner_than_from_scratch(digits, target):
    stolen, x, labels, judged = digits
    kept = Stolen(**{name: getattr(stolen, name) for name in stolen.__dataclass_fields__})
    before, scratch = judged(target, stolen), relearning.random_weights(stolen, target, x)
    tuned = relearning.fine_tuned(stolen, target, x, labels, EFFORT)
    assert before < 0.75 < judged(target, tuned)
    assert judged(target, relearning.distilled(stolen, target, x, stolen(x), EFFORT)) > before + 0.1
    assert judged(target, relearning.reconstructed(stolen, target, x, EFFORT)) > before + 0.05
    assert judged(target, scratch) < 0.3
    assert 0.4 < judged(target, relearning.fine_tuned(scratch, target, x, labels, EFFORT)) < judged(target, tuned)
    assert unchanged(stolen, kept)


@pytest.mark.parametrize("kind", ["fine_tuned", "distilled", "reconstructed"])
def test_it_is_repeated_by_its_seed(digits, kind):
    stolen, x, labels, _ = digits
    given = {"fine_tuned": (labels,), "distilled": (stolen(x),), "reconstructed": ()}[kind]

    def made(seed: int) -> Stolen:
        return getattr(relearning, kind)(stolen, COARSE, x, *given, effort=Effort(4, seed=seed))

    assert unchanged(made(0), made(0)) and not unchanged(made(0), made(1))


def test_layers_are_taught_by_another_network(digits):
    """Random weights learn what each layer of the stolen network writes: the control of reconstruction."""
    stolen, x, _, judged = digits
    scratch = relearning.random_weights(stolen, SHORT, x)
    assert judged(SHORT, relearning.reconstructed(scratch, SHORT, x, Effort(300, rate=0.03), stolen)) > 0.5


def test_random_weights_know_nothing_but_what_is_kept(digits):
    stolen, x, _, _ = digits
    other = replace(stolen, layers=tuple(replace(each, weights=-each.weights, bias=each.bias + 7) for each in stolen.layers))
    assert unchanged(*(relearning.random_weights(each, COARSE, x) for each in (stolen, other)))
    assert not unchanged(*(relearning.random_weights(stolen, COARSE, x, seed) for seed in (0, 1)))
    kept = relearning.random_weights(stolen, COARSE, x, kept=1)
    same = [torch.equal(a.weights, b.weights) for a, b in zip(kept.layers, stolen.layers, strict=True)]
    assert same == [True, False, False]


@pytest.mark.parametrize("seed", range(4))
def test_constants_stay_in_networks_of_every_operator(seed):
    program, x = network_program(seed, ("fold", "relu")[seed % 2])
    stolen = Stolen.of(program)
    found = relearning.distilled(stolen, PRUNED, x, stolen(x), Effort(2))
    layers = relearning.reconstructed(stolen, PRUNED, x, Effort(6))
    for learnt in (found, layers):
        assert not unchanged(stolen, learnt)
        for before, after in zip(stolen.layers, learnt.layers, strict=True):
            assert before.kind is Kind.PRODUCT or torch.equal(before.weights, after.weights)


def test_what_can_not_be_trained_is_refused(digits):
    stolen, x, labels, _ = digits
    for bad in ({"steps": 0}, {"batch": 0}, {"rate": 0.0}, {"rate": -1.0}):
        with pytest.raises(BittingError, match="all must be positive"):
            Effort(**bad)
    for wrong in (labels[:5], np.zeros(0), np.full(len(x), 10), np.full(len(x), -1)):
        with pytest.raises(BittingError, match=r"as many labels as samples are needed, at least one, of 0\.\.9"):
            relearning.fine_tuned(stolen, COARSE, x, wrong)
    with pytest.raises(BittingError, match="800 samples have 3 answers"):
        relearning.distilled(stolen, COARSE, x, stolen(x[:3]))
    for learn in (relearning.reconstructed, relearning.random_weights):
        with pytest.raises(BittingError, match="no samples to train two bits with"):
            learn(stolen, COARSE, x[:0])
        with pytest.raises(BittingError, match="runs on torchao, which has no gradients"):
            learn(stolen, RUNTIME, x)
