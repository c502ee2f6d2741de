"""Pruning that looks at data: what goes, what makes up for it, and that it beats pruning by magnitude."""

import pytest
import torch

from bitting.errors import BittingError
from bitting.targets import relearning
from bitting.targets.data_pruning import CRITERIA, DataPruning
from bitting.targets.pruning import Pruning
from bitting.targets.relearning import Effort
from bitting.targets.stolen import Kind, Stolen
from bitting.targets.target import Target
from tb.stolen import network_program

HALF, TWO_OF_FOUR = Pruning("unstructured", 0.5), Pruning("2:4")


@pytest.fixture
def layer():
    """Weights (12, 46), and inputs of which some are large, some have large means, and all depend on one another a little."""
    generator = torch.Generator().manual_seed(1)
    mixing = torch.randn(30, 46, generator=generator) * torch.logspace(-1, 1, 46)[torch.randperm(46, generator=generator)]
    x = torch.randn(500, 30, generator=generator) @ mixing + 5 * torch.randn(46, generator=generator)
    return torch.randn(12, 46, generator=generator), x


def error(found: torch.Tensor, weights: torch.Tensor, x: torch.Tensor) -> float:
    """Of the sums, means left out."""
    return float((x @ (found - weights).t()).var(0).mean())


@pytest.mark.parametrize("criterion", ["wanda", "deviation"])
@pytest.mark.parametrize("share", [0.25, 0.5])
def test_the_least_scores_of_each_row_go(layer, criterion, share):
    weights, x = layer
    found = DataPruning(criterion, Pruning("unstructured", share))(weights, x)
    size = x.std(0, correction=0) if criterion == "deviation" else x.square().mean(0).sqrt()
    scores, gone = weights.abs() * size, found == 0
    assert torch.equal(found[~gone], weights[~gone])
    assert (gone.sum(1) == round(share * 46)).all()
    assert (torch.where(gone, scores, 0).amax(1) <= torch.where(gone, torch.inf, scores).amin(1)).all()


@pytest.mark.parametrize("pattern", [HALF, TWO_OF_FOUR], ids=lambda pattern: pattern.kind)
def test_each_step_up_leaves_a_smaller_error_of_sums(layer, pattern):
    weights, x = layer
    made = {name: DataPruning(name, pattern)(weights, x) for name in CRITERIA}
    made["magnitude"] = pattern(weights)
    made["refit"] = DataPruning("sparsegpt", pattern, refits=True)(weights, x)
    errors = {name: error(found, weights, x) for name, found in made.items()}
    assert errors["refit"] < errors["sparsegpt"] < errors["deviation"] < errors["magnitude"], errors
    assert errors["wanda"] < errors["magnitude"], errors
    assert torch.equal(made["refit"] == 0, made["sparsegpt"] == 0)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_two_of_every_four_stay(layer, criterion):
    weights, x = layer
    stays = DataPruning(criterion, TWO_OF_FOUR)(weights, x) != 0
    counts = [int(stays[:, start : start + 4].sum(1).unique()) for start in range(0, 46, 4)]
    assert counts == [2] * 12


def test_of_two_equal_inputs_one_is_enough():
    """Small sums hidden in differences of large weights: the usual damping leaves a hundredth of a large one."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(400, 30, generator=generator)
    small = torch.randint(-12, 13, (8, 30), generator=generator).float()
    weights, twice = torch.cat([4096.0 + small, torch.full_like(small, -4096.0)], 1), torch.cat([x, x], 1)
    wanted = float((x @ small.t()).var(0).mean())
    found = DataPruning("sparsegpt", HALF)(weights, twice)
    assert error(found, weights, twice) < 0.02 * wanted and float(found.abs().max()) < 20
    mixed = torch.randperm(60, generator=generator)
    refit = DataPruning("wanda", HALF, refits=True)(weights[:, mixed], twice[:, mixed])
    assert error(refit, weights[:, mixed], twice[:, mixed]) < wanted
    assert error(HALF(weights), weights, twice) > 1000 * wanted


@pytest.mark.parametrize("seed", range(2))
def test_networks_of_every_operator_are_pruned_and_learn_under_their_masks(seed):
    program, x = network_program(seed, "fold")
    stolen = Stolen.of(program)
    target = Target("x", "x", pruning_by_data=DataPruning("sparsegpt", TWO_OF_FOUR), corrects_bias=True)
    for network in (stolen, relearning.distilled(stolen, target, x, stolen(x), Effort(3))):
        arithmetic = target.arithmetic(network, x)
        for layer, how in zip(network.layers, arithmetic, strict=True):
            if layer.kind is Kind.PRODUCT:
                padded = torch.nn.functional.pad(how.weights != 0, (0, -how.weights.shape[1] % 4)).reshape(
                    len(how.weights), -1, 4
                )
                assert int(padded.sum(2).max()) <= 2
            else:
                assert torch.equal(layer.weights, how.weights)


def test_what_is_no_criterion_is_refused():
    with pytest.raises(BittingError, match="pruning by 'size'; allowed: wanda, deviation, sparsegpt"):
        DataPruning("size", HALF)
