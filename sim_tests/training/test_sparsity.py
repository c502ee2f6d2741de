"""The sparsity lock: shorter on the unit and equal to the bit there, wrong where it is pruned, exact where nobody prunes."""

import contextlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import bitting
from bitting.data import datasets
from bitting.emulator.emulate import Emulator
from bitting.errors import BittingError, ProgramError
from bitting.locking.device import Device
from bitting.locking.scheme import LockScheme, pairings
from bitting.locking.transform import lock_program
from bitting.network.pattern import PatternQuantiser
from bitting.program import latency, lowering, packets
from bitting.program.lowering import Product
from bitting.program.packets import ExpectedResults
from bitting.sim.native import NativeEngine, engine_library
from bitting.targets.families import Split, every_target
from bitting.targets.filling import filled
from bitting.targets.judge import judge
from bitting.targets.pruning import Pruning
from bitting.targets.stolen import Stolen
from bitting.training import loop, recipes, sparsity
from bitting.training.recipes import TrainConfig
from bitting.training.soft import SoftObjective
from bitting.unit.spec import PRESETS, parse_spec
from tb.programs import golden_cycles, random_activations
from tb.resuming import resumed

BASE = PRESETS["base"]
NOTHING = BASE.values.index(0)


def convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(8, 8, 3, groups=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3),
    )  # fmt: skip


def sparse(model, *shape, spec=BASE):
    """A network with the pattern and random signs, calibrated."""
    torch.manual_seed(4)
    x = torch.rand(40, *shape)
    network = bitting.convert(model, spec, x, fresh=True)
    sparsity.prepare(network, 7)
    network.calibrate(x, (0.4,))
    return network.eval()


def without_lists(network):
    """The same network lowered with its zeros: what to compare with."""
    kept = lowering.without_zeros
    lowering.without_zeros = lambda spec, layer: [layer]
    try:
        return network.to_program()
    finally:
        lowering.without_zeros = kept


def clocks(program):
    return latency.clocks(program, program.tile_cycles(range(program.spec.codes)))


def dense():
    return nn.Sequential(nn.Linear(80, 64), nn.ReLU(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 4))


@pytest.mark.parametrize(("make", "shape"), [(convolutional, (2, 8, 8)), (dense, (80,))])
def test_short_lists_give_the_same_answers_in_fewer_clocks(make, shape):
    network = sparse(make(), *shape)
    short, whole = network.to_program(), without_lists(network)
    short.validate()
    x = np.random.default_rng(0).integers(BASE.act_min, BASE.act_max + 1, (200, int(np.prod(shape)))).astype(np.int8)
    assert torch.equal(*(Emulator(each, range(BASE.codes))(x) for each in (short, whole)))
    assert len(short.layers) > len(whole.layers) and short.macs < whole.macs and clocks(short) < clocks(whole)
    assert not short.unwritten()
    hidden = [layer for layer in short.layers if not layer.emits and not layer.constant]
    assert len(shape) > 1 or all(NOTHING not in layer.codes for layer in hidden), "nothing is left that is multiplied by 0"
    assert {cycles for layer in hidden for cycles in (np.array(BASE.value_cycles)[layer.codes]).flat} == {1}


def test_a_pattern_reads_three_quarters_and_every_input_somewhere():
    network = sparse(nn.Sequential(nn.Linear(40, 24), nn.ReLU(), nn.Linear(24, 3)), 40)
    hidden, last = network.products
    values = hidden.quantiser.values(hidden.latent)
    magnitude = sparsity.one_digit(BASE)
    assert values.unique().tolist() == [-magnitude, 0, magnitude]
    assert bool(((values != 0).sum(1) == 30).all()) and bool(((values != 0).sum(0) == 18).all())
    assert len((values != 0).unique(dim=0)) == sparsity.GROUPS
    assert not isinstance(last.quantiser, PatternQuantiser)
    again = sparse(nn.Sequential(nn.Linear(40, 24), nn.ReLU(), nn.Linear(24, 3)), 40).products[0].quantiser.pattern
    assert torch.equal(again, hidden.quantiser.pattern)
    optimiser = torch.optim.SGD(network.parameters(), 0.1)
    network.train().loss(torch.rand(20, 40), torch.arange(20) % 3).backward()
    optimiser.step()
    assert torch.equal(hidden.quantiser.values(hidden.latent) == 0, values == 0), "whatever is learnt"


def product(codes, **more):
    return Product("p", ("input",), np.asarray(codes, np.uint8), np.zeros(len(codes), np.int32), **more)


def test_lists_are_shortened_only_where_it_saves_clocks_and_only_if_asked():
    rng = np.random.default_rng(1)
    codes = rng.integers(0, BASE.codes, (40, 60)).astype(np.uint8)
    codes[codes == NOTHING] = NOTHING + 1
    codes[:, ::3] = NOTHING
    codes[20:, :30] = NOTHING
    codes[rng.random(codes.shape) < 0.01] = NOTHING  # no channel has the zeros of another
    last = replace(product(rng.integers(0, BASE.codes, (4, 40)), emits=True), sources=("p",), name="q")
    whole, short = (lowering.lower(BASE, (60, 1, 1), [product(codes, skips_zeros=asked), last]) for asked in (False, True))
    assert [layer.tile_codes for layer in whole.layers] == [60, 40]
    assert [layer.tile_codes for layer in short.layers] == [40, 40], "one list of what any channel reads: forty lists cost more"
    x = random_activations(BASE, rng, 50, 60)
    assert torch.equal(*(Emulator(each, range(BASE.codes))(torch.from_numpy(x)) for each in (whole, short)))
    codes[:] = NOTHING
    (empty, _) = lowering.lower(BASE, (60, 1, 1), [product(codes, skips_zeros=True), last]).layers
    assert empty.tile_codes == 1, "a tile without codes is none"


def test_answers_keep_their_order():
    codes = np.full((6, 40), NOTHING)
    codes[:3, :20] = BASE.values.index(4)
    codes[3:, 20:] = BASE.values.index(1)
    codes = codes.repeat(20, axis=0)
    whole, short = (
        lowering.lower(BASE, (40, 1, 1), [product(codes, emits=True, skips_zeros=asked)]) for asked in (False, True)
    )
    x = torch.from_numpy(random_activations(BASE, np.random.default_rng(3), 30, 40))
    assert len(short.layers) == 2 and short.outputs == 120
    assert torch.equal(*(Emulator(each, range(BASE.codes))(x) for each in (whole, short)))


def test_a_sum_that_needs_a_chain_of_tiles_keeps_its_regular_list():
    spec = parse_spec("base:tile_codes=32")
    codes = np.full((8, 80), spec.values.index(1))
    codes[:, ::4] = NOTHING
    (layer,) = lowering.lower(spec, (80, 1, 1), [product(codes, emits=True, skips_zeros=True)]).layers
    assert layer.parts == 3
    codes[:, 10:] = NOTHING
    (layer,) = lowering.lower(spec, (80, 1, 1), [product(codes, emits=True, skips_zeros=True)]).layers
    assert layer.parts == 1 and layer.tile_codes == 7


def test_the_rtl_runs_short_lists_to_the_bit_and_the_cycle_in_fewer_clocks():
    spec, root = parse_spec("base:vault=aes"), bytes(range(7, 23))
    network, device = sparse(convolutional(), 2, 8, 8, spec=spec), Device(spec, root)
    x = random_activations(spec, np.random.default_rng(2), spec.lanes, 128)
    table, found = device.table(), []
    with NativeEngine(engine_library(spec), root) as engine:
        for clear in (network.to_program(), without_lists(network)):
            program = lock_program(clear, device, LockScheme())
            engine.reset()
            inputs = packets.activations_packet(spec, program.input_base, x)
            expected = ExpectedResults.of(program, program.tile_cycles(table))
            run = engine.run(np.concatenate([inputs, packets.program_packets(program)]), len(expected))
            logits = Emulator(program, table)(torch.from_numpy(x)).numpy()
            assert np.array_equal(run.words, expected.words(logits))
            assert [tile.cycles for tile in packets.parse_results(run.words)] == golden_cycles(program, table)
            found.append(run.cycles)
    assert found[0] < 0.85 * found[1]


def test_a_pruned_network_in_training_is_one_that_a_thief_may_have():
    torch.manual_seed(0)
    weights = torch.where(torch.rand(40, 60) < 0.5, 8.0, -8.0)
    for run, unread in zip(weights.split(10), torch.randperm(60).split(15), strict=True):
        run[:, unread] = 0
    read = int((weights != 0).sum())
    for share, is_filled, left in ((0.5, False, read / 2), (0.5, True, 1200), (0.2, True, read)):
        drawn = [sparsity.Pruned(share, is_filled, by_place=False).weights(weights) for _ in range(2)]
        for each in drawn:
            assert abs(int((each != 0).sum()) - left) <= 2 and bool(((each == weights) | (each == 0)).all())
        assert torch.equal(*drawn) == (left == read), "equal magnitudes: chance decides"
    of_runs = sparsity.Pruned(0.5, False, by_place=True).weights(weights)
    for run, whole in zip(of_runs.split(10), weights.split(10), strict=True):  # each run is a layer of its own to the thief
        dense = whole[whole != 0]
        pruned = Pruning("unstructured", 0.5)(dense[None])[0]
        assert abs(int((run[whole != 0] != pruned).sum())) <= 1
    learnt = torch.randn(10, 40).mul(3).round()  # of answers: zeros of their own, and no pattern
    assert torch.equal(sparsity.Pruned(0.5, False, True).weights(learnt), sparsity.Pruned(0.5, True, True).weights(learnt))
    weights[0] *= 2
    kept = sparsity.Pruned(0.75, True, by_place=False).weights(weights)
    assert torch.equal(kept[0], weights[0]), "what is larger stays"
    objective = SoftObjective("sparsity", BASE, 3)
    assert {each.family for each in objective.targets} == {"unstructured"}


def test_what_can_not_be_trained_so_is_refused_before_training(tmp_path):
    with pytest.raises(BittingError, match="no hidden layer, and answers keep all of their inputs"):
        sparse(nn.Sequential(nn.Linear(4, 3)), 4)
    with pytest.raises(BittingError, match="has no weights 2\\^k and -2\\^k"):
        sparsity.one_digit(_without_opposites())
    with pytest.raises(BittingError, match="has not both of the weights 3000 and -3000"):
        PatternQuantiser(BASE, 3000, torch.ones(2, 2, dtype=torch.bool))
    residual = recipes.soft(recipes.recipe(datasets.load("fashion-mnist"), "residual"), "sparsity")
    with pytest.raises(BittingError, match="batch normalisation"):
        loop.train("base:scratch_words=8192", "fashion-mnist", residual)
    told = []
    config = recipes.soft(TrainConfig(hidden=(400, 32), epochs=1, seed=0), "sparsity")
    with pytest.raises(ProgramError, match="scratch"):
        loop.train("base:scratch_words=256", "digits", config, tmp_path / "run", lambda *item: told.append(item))
    assert not told


def _without_opposites():
    class Spec:
        name, values = "odd", (-3, 0, 1, 2, 4)

    return Spec()


def test_training_is_repeated_and_resumed(tmp_path):
    data = datasets.load("digits")
    config = recipes.soft(TrainConfig(hidden=(16, 12), epochs=3, seed=0), "sparsity")
    whole = loop.train("soft", data, config)
    again = resumed("soft", data, config, tmp_path / "run")
    for a, b in zip(whole.program.layers, again.program.layers, strict=True):
        assert np.array_equal(a.codes, b.codes) and np.array_equal(a.bias, b.bias) and np.array_equal(a.offsets, b.offsets)
    artefact = bitting.lock(whole, Device(whole.program.spec, bytes(range(16))), allow_reproducible=True)
    assert artefact.claims["soft"] == "sparsity"


@pytest.fixture(scope="module")
def models():
    """With the lock and without, on one data set and with one recipe."""
    data = datasets.load("digits")
    config = replace(recipes.recipe(data), epochs=30, seed=0)
    return data, *(loop.train("soft", data, each) for each in (recipes.soft(config, "sparsity"), config))


def test_pruned_networks_fall_and_without_the_lock_they_do_not(models):
    data, locked, plain = models
    pruned = [each for each in every_target(locked.program.spec.acc_bits) if each.pruning]
    accuracies = []
    for model in (locked, plain):
        x = model.interface.activations(data.test_x)
        found = judge(model.program, x, data.test_y, pruned, calibration=x[:128])
        assert found.authorised == model.claims["accuracy"] > 0.9
        accuracies.append({each.target: each.accuracy for each in found.results})
    locked_at, plain_at = accuracies
    for name in ("pruned-50", "pruned-75", "pruned-2-4"):
        assert locked_at[name] < 0.3, (name, locked_at)
    assert plain_at["pruned-50"] > 0.8 and plain_at["pruned-2-4"] > 0.8, plain_at
    hidden = [[each for each in model.program.layers if not each.emits] for model in (locked, plain)]
    assert clocks(locked.program) < 0.7 * clocks(plain.program) and len(hidden[0]) == 8 and len(hidden[1]) == 2


@pytest.mark.parametrize("vault", ["ascon", "aes"])
def test_with_a_hard_lock_on_top_the_right_device_has_the_same_network(models, vault):
    data, locked, _ = models
    spec = locked.program.spec.replace(vault=vault)
    own = bitting.Model(replace(locked.program, spec=spec), locked.claims, locked.interface)
    device, x = Device(spec, bytes(range(16))), data.test_x[:50]
    for scheme in pairings(spec):
        artefact = bitting.lock(own, device, scheme.fingerprint, scheme.transform, allow_reproducible=True)
        assert np.array_equal(bitting.unlock(artefact, device).sums(x), locked.sums(x)), scheme


def test_who_fills_lists_up_has_the_same_answers_and_still_may_not_prune(models):
    data, locked, _ = models
    x = locked.interface.activations(data.test_x)
    stolen = Stolen.of(locked.program)
    dense = filled(stolen)
    assert [len(layer.weights) for layer in dense.layers] == [128, 64, 10]
    assert torch.equal(dense(x), stolen(x)), "and that is what it does not stop"
    found = judge(dense, x, data.test_y, [each for each in every_target(24) if each.pruning], calibration=x[:128])
    at = {each.target: each.accuracy for each in found.results}
    assert at["pruned-2-4"] < 0.3 and at["pruned-50"] < 0.3, at
    assert at["pruned-25"] > 0.9, "at the share that the unit leaves out itself hardly anything goes"
    assert found.worst(Split.TRAINING).accuracy < 0.3


class Answers:
    """In place of a network: it gives what it is told, on any hardware."""

    def __init__(self, answers):
        self.answers = answers

    def altered(self, hardware):
        assert isinstance(hardware, sparsity.Pruned)
        return contextlib.nullcontext()

    def integers(self, x):
        return x

    def accumulators(self, x):
        return self.answers


def test_the_penalty_is_what_levelled_answers_say_of_the_classes():
    torch.manual_seed(1)
    labels = torch.arange(60) % 10
    right = torch.eye(10)[labels] + 0.1 * torch.randn(60, 10)
    objective = SoftObjective("sparsity", BASE, 3)

    def penalty(answers, done=1.0):
        network: Any = Answers(answers)
        return float(objective.penalty(network, torch.zeros(60, 4), labels, done))

    assert penalty(right) > 1 and penalty(right, 0.05) == 0
    assert penalty(right + 50 * torch.arange(10)) == pytest.approx(penalty(right), rel=1e-3), (
        "one answer always wins: no matter"
    )
    assert penalty(torch.zeros(60, 10)) == 0 and penalty(-right) == 0
    assert penalty(torch.randn(60, 10)) < 0.2 * penalty(right)
