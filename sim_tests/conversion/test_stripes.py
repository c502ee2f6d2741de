"""How many lanes share a sample: chosen and said why, forced, refused; the answers stay those of one lane."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import bitting
from bitting.errors import ProgramError, SpecError
from bitting.program import choosing, latency
from bitting.training import architectures
from bitting.unit.spec import parse_spec
from tb.networks import RandomNetwork

SPEC = "base:lanes=8,scratch_words=8192"


def network_of(plain, spec=SPEC, shape=(1, 16, 12), **options):
    torch.manual_seed(0)
    x = torch.rand(20, *shape)
    return bitting.convert(plain.eval(), spec, x, fresh=True, **options), x


def convolutions():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 8 * 6, 3)
    )  # fmt: skip


@pytest.mark.parametrize("stripes", [1, 2, 4, 8])
def test_a_forced_number_answers_as_every_other(stripes):
    network, x = network_of(convolutions(), stripes=stripes)
    model = bitting.export(network, x)  # insists on training's answers
    assert model.program.spec.stripes == stripes and f"stripes = {stripes}: about" in network.notes[-1]
    network.spec = replace(network.spec, stripes=1)
    assert np.array_equal(model.sums(x.numpy()), bitting.export(network, x).sums(x.numpy()))


def test_the_chosen_number_answers_soonest_and_the_note_says_why():
    network, _ = network_of(convolutions(), stripes="auto")
    found = network.choices()
    assert [choice.stripes for choice in found] == [1, 2, 4, 8]
    clocks = {choice.stripes: choice.clocks for choice in found}
    program = network.to_program()
    assert clocks[network.spec.stripes] == latency.clocks(program, program.tile_cycles(range(64)))
    assert clocks[network.spec.stripes] <= min(clocks.values()) / choosing._WORTH
    note = network.notes[-1]
    assert f"stripes = {network.spec.stripes}: about {clocks[network.spec.stripes]} clocks" in note and "lanes busy" in note
    assert all(f"{other}: {clocks[other]} clocks" in note for other in clocks if other != network.spec.stripes)


def test_dense_networks_and_odd_rows_stay_alone():
    for plain, shape in ((nn.Sequential(nn.Flatten(), nn.Linear(30, 3)), (30,)), (convolutions_of(15), (1, 15, 12))):
        network, _ = network_of(plain, shape=shape, stripes="auto")
        assert network.spec == parse_spec(SPEC)
        assert all("can not be split" in choice.refused for choice in network.choices()[1:])
        with pytest.raises(ProgramError, match=r"can not be split into stripes = 2 equal bands; allowed: 1$"):
            network_of(plain, shape=shape, stripes=2)
    with pytest.raises(SpecError, match="stripes = 3"):
        network_of(convolutions(), stripes=3)


def convolutions_of(rows):
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(2 * rows * 12, 3))


def test_a_network_that_fits_with_more_lanes_a_sample_only_is_told_so():
    with pytest.raises(ProgramError, match=r"or let 8 lanes share a sample: stripes=8$"):
        network_of(architectures.ResNet8(), shape=(3, 32, 32))
    network, _ = network_of(architectures.ResNet8(), shape=(3, 32, 32), stripes="auto")
    (choice,) = choosing.fitting(network.spec, network.choices())
    assert (choice.stripes, network.spec.stripes, network.spec.name) == (8, 8, f"{SPEC},stripes=8")
    assert choice.words <= 8192 and choice.busy > 0.95
    small = replace(network.spec, scratch_words=1024)
    with pytest.raises(ProgramError, match="no number of stripes fits"):
        choosing.chosen(small, network.choices())


@pytest.mark.parametrize("seed", [*range(12), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(12, 60))])
@pytest.mark.parametrize("activation", ["fold", "relu"])
def test_random_models_answer_alike_however_many_lanes_share_a_sample(seed, activation):
    """Kept ReLUs pad with activations that are not 0."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    plain = RandomNetwork(rng, largest=60)
    x = torch.from_numpy(rng.uniform(-1, 1, (12, *plain.shape))).float()
    try:
        network = bitting.convert(plain.eval(), "base:scratch_words=8192", x, activation=activation)
    except bitting.errors.ConversionError:
        pytest.fail("no random network of these is refused") if activation == "fold" else None
        return
    sums = bitting.export(network, x).sums(x.numpy())
    spec = network.spec
    for choice in choosing.fitting(spec, network.choices()):
        network.spec = replace(spec, stripes=choice.stripes)
        assert np.array_equal(bitting.export(network, x).sums(x.numpy()), sums), choice
