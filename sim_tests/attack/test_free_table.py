"""The bitting table from codes in their places: read with its true weights a network is the unit's, and neighbours tell it."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from bitting.attack import code_neighbours, free_table
from bitting.attack.free_table import Reader
from bitting.program.layers import Program, multilayer_perceptron
from bitting.targets.accumulators import reduced
from bitting.targets.stolen import Stolen
from tb.families import AES
from tb.stolen import network_program

SPEC = AES["base"]
#: Weights of `SPEC` by value index.
WEIGHTS = np.asarray(SPEC.value_set.values, float)


def dense_program(rng: np.random.Generator, *widths: int) -> Program:
    """Codes at random, no biases."""
    codes = [rng.integers(0, SPEC.codes, pair[::-1]).astype(np.uint8) for pair in pairwise(widths)]
    biases = [np.zeros(len(matrix), np.int64) for matrix in codes]
    return multilayer_perceptron(SPEC, codes, biases, [0] * len(codes))


def of_smooth_weights(rng: np.random.Generator, table: np.ndarray, smooth: float):
    """A dense program with codes under a table, whose weights are alike where words are side by side."""
    program = dense_program(rng, 300, 40, 10)
    alike = rng.normal(size=(40, 300))
    for place in range(1, 300):
        alike[:, place] = smooth * alike[:, place - 1] + np.sqrt(1 - smooth**2) * alike[:, place]
    # Every value as often as any other: the histogram tells nothing.
    indices = np.empty(alike.size, np.int64)
    indices[np.argsort(alike.reshape(-1))] = np.arange(alike.size) * SPEC.codes // alike.size
    first, last = program.layers
    codes = np.argsort(table)[indices.reshape(alike.shape)].astype(np.uint8)
    return replace(program, layers=(replace(first, codes=codes.reshape(first.codes.shape)), last))


@pytest.mark.parametrize("activation", ["fold", "relu"])
def test_read_with_its_weights_it_is_the_units(activation):
    """Dense and convolution layers, constants, chains of tiles; `Stolen` is the emulator's to the bit (test_stolen)."""
    for seed in range(6):
        program, x = network_program(seed, activation)
        reader, stolen = Reader(program), Stolen.of(program)
        values = torch.tensor(program.spec.value_set.values).float()
        quarter = next(layer.quarter for layer in stolen.layers if layer.emits)
        assert torch.equal(reduced(reader.sums(values, x), 4 * quarter).double(), stolen(x).double()), seed


def test_the_gradient_of_a_weight_is_what_its_code_meets():
    rng = np.random.default_rng(0)
    program = dense_program(rng, 20, 3)
    values, x = torch.zeros(SPEC.codes, requires_grad=True), torch.from_numpy(rng.integers(-32, 32, (5, 20)))
    Reader(program).sums(values, x).sum().backward()
    codes = program.layers[0].codes.reshape(3, 20)
    met = [sum(int(x[:, codes[row] == code].sum()) for row in range(3)) for code in range(SPEC.codes)]
    assert values.grad is not None and values.grad.tolist() == met


def test_neighbours_put_codes_in_the_order_of_their_weights():
    rng = np.random.default_rng(1)
    table = rng.permutation(SPEC.codes)
    program = of_smooth_weights(rng, table, 0.5)
    told = code_neighbours.guesses(program, Stolen.of(program), SPEC.codes)
    of_first = [abs(np.corrcoef(guess, WEIGHTS[table])[0, 1]) for guess in told[:2]]
    assert min(of_first) > 0.95
    assert len(told) == 6 and all(sorted(guess) == sorted(WEIGHTS) for guess in told)
    assert np.array_equal(told[0], -told[1]) or np.corrcoef(told[0], told[1])[0, 1] < -0.95


def test_rare_codes_are_put_at_the_ends():
    """As trained weights are: bell-shaped, so that the largest are seldom used, and their neighbours say little."""
    rng = np.random.default_rng(4)
    table = rng.permutation(SPEC.codes)
    program = of_smooth_weights(rng, table, 0.5)
    first, last = program.layers
    # The outermost values on each side become twenty times rarer; what they leave are values at random, without likeness.
    index = table[first.codes]
    rare = (np.minimum(index, SPEC.codes - 1 - index) < 3) & (rng.random(index.shape) < 0.95)
    inner = rng.integers(3, SPEC.codes - 3, index.shape)
    codes = np.argsort(table)[np.where(rare, inner, index)].astype(np.uint8)
    program = replace(program, layers=(replace(first, codes=codes), last))
    told = code_neighbours.guesses(program, Stolen.of(program), SPEC.codes)
    alike = [abs(np.corrcoef(guess, WEIGHTS[table])[0, 1]) for guess in told]
    assert len(told) > 6 and all(sorted(guess) == sorted(WEIGHTS) for guess in told)
    assert max(alike[6:]) > 0.97 and max(alike[6:]) > max(alike[:6]) + 0.02


def test_unused_codes_keep_the_order_of_the_axis():
    order, often = np.arange(16), np.array([0, 0, 9, 90, 99, 99, 99, 99, 99, 99, 99, 99, 90, 9, 0, 0])
    assert np.array_equal(code_neighbours._with_rare_at_ends(order, often), order)
    astray = np.array([2, 3, 4, 0, 5, 6, 1, 7, 8, 9, 14, 10, 11, 15, 12, 13])
    put = code_neighbours._with_rare_at_ends(astray, often)
    assert put.tolist() == order.tolist()
    assert np.array_equal(code_neighbours._with_rare_at_ends(astray[::-1], often), np.r_[15, 14, put[2:-2][::-1], 1, 0])


def test_weights_that_are_not_alike_tell_nothing():
    rng = np.random.default_rng(2)
    table = rng.permutation(SPEC.codes)
    program = of_smooth_weights(rng, table, 0.0)
    told = code_neighbours.guesses(program, Stolen.of(program), SPEC.codes)
    assert max(abs(np.corrcoef(guess, WEIGHTS[table])[0, 1]) for guess in told) < 0.6  # of six guesses, 0.125 each by chance


def test_the_sign_is_told_by_labels():
    """All that a thief of a smooth network needs labels for: one bit, and here ten of them give it."""
    rng = np.random.default_rng(3)
    table = rng.permutation(SPEC.codes)
    program, x = of_smooth_weights(rng, table, 0.5), rng.integers(-4, 5, (510, 300))
    reader = Reader(program)
    with torch.no_grad():
        labels = reader.sums(torch.from_numpy(WEIGHTS[table]).float(), torch.from_numpy(x)).argmax(1).numpy()
    tables = free_table.recover(reader, x[:10], labels[:10], steps=1, starts=1)
    assert tables.told is not None and np.corrcoef(tables.told.numpy(), WEIGHTS[table])[0, 1] > 0.95
    assert np.bincount(labels).max() < 200 and reader.accuracy(tables.told, x[10:], labels[10:]) > 0.5
