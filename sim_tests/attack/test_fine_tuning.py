"""Fine-tuning from a file that is in clear helps much, from a sealed one as much as from nothing; one layer can learn alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bitting.artefact.artefact import lock
from bitting.attack import fine_tuning, random_networks
from bitting.data import datasets
from bitting.locking.device import Device
from bitting.targets.relearning import Effort, fine_tuned
from bitting.targets.stolen import Stolen
from bitting.training import loop, recipes
from bitting.unit.spec import parse_spec

QUICK = Effort(steps=60, seed=2)


@pytest.fixture(scope="module")
def digits():
    data = datasets.load("digits")
    return data, loop.train("base", data, replace(recipes.RECIPES["digits"], hidden=(48,), epochs=20, seed=1))


def best(starts, digits, share):
    data, model = digits
    return max(one.accuracy for one in fine_tuning.tries(starts, data, model.interface, share, [0.03, 0.1], QUICK))


def starts_of(artefact, digits, share, count=2):
    data, model = digits
    his = fine_tuning.samples_of(data, model.interface, share, QUICK.seed)
    return fine_tuning.starts_of_file(artefact, model.program, count, 1, his)


def test_a_clear_file_helps_and_a_sealed_one_does_not(digits):
    data, model = digits
    artefact = lock(model, Device.new(model.program.spec), allow_reproducible=True)
    x = model.interface.activations(data.train_x[:256])
    clear = best([Stolen.of(model.program)], digits, 0.05)
    sealed = best(starts_of(artefact, digits, 0.05), digits, 0.05)
    scratch = best(fine_tuning.starts_from_scratch(model.program, x, 2, seed=1), digits, 0.05)
    codes = best(fine_tuning.starts_of_random_codes(model.program, 2, seed=1), digits, 0.05)
    assert clear > 0.93 and 0.6 < scratch < 0.9 and abs(sealed - max(scratch, codes)) < 0.08


def of_vault_aes(model, *how):
    program = replace(model.program, spec=parse_spec("base:vault=aes"))
    device = Device(program.spec, bytes(range(16)))
    return lock(replace(model, program=program), device, *how, allow_reproducible=True)


def test_under_the_table_alone_the_file_is_a_beginning(digits):
    """Codes side by side tell the table, 68 labels choose the guess; read at random the file is worth nothing."""
    _, model = digits
    table = of_vault_aes(model, "none", "table")
    told = best(starts_of(table, digits, 0.05, 4), digits, 0.05)
    hidden = best(starts_of(of_vault_aes(model, "clock", "aes-pre"), digits, 0.05, 4), digits, 0.05)
    assert told > hidden + 0.04


@pytest.mark.parametrize("transform", ["aes", "aes-pre"])
def test_each_reading_of_an_enciphered_file_is_another_network(digits, transform):
    _, model = digits
    one, two = starts_of(of_vault_aes(model, "clock", transform), digits, 0.05)
    assert not any(torch.equal(a.weights, b.weights) for a, b in zip(one.layers, two.layers, strict=True))


def test_a_share_is_drawn_once_for_all_starts(digits):
    data, model = digits
    stolen = Stolen.of(model.program)
    tries = fine_tuning.tries([stolen, stolen], data, model.interface, 0.02, [0.03], QUICK)
    assert [one.accuracy for one in tries[:2]] == [one.accuracy for one in tries[2:]]
    assert {(one.start, one.scope) for one in tries} == {(n, scope) for n in range(2) for scope in fine_tuning.Scope}


def test_only_the_layers_that_are_named_learn(digits):
    data, model = digits
    stolen = Stolen.of(model.program)
    x = torch.from_numpy(model.interface.activations(data.train_x[:64]))
    learnt = fine_tuned(stolen, fine_tuning.EXACT, x, data.train_y[:64], QUICK, only=[1])
    same = [torch.equal(a.weights, b.weights) for a, b in zip(stolen.layers, learnt.layers, strict=True)]
    assert same == [True, False]


def test_random_networks_are_near_chance_and_the_best_of_many_is_not(digits):
    data, model = digits
    x = model.interface.activations(data.test_x)
    found = list(random_networks.scores(model.program, 200, 3, x, data.test_y, model.interface))
    assert 0.07 < np.mean(found) < 0.13 < max(found) < 0.4
    assert found == list(random_networks.scores(model.program, 200, 3, x, data.test_y, model.interface))
