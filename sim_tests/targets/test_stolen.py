"""The thief's network is the unit's to the bit as long as nothing is changed, and what is conceded stays so."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from bitting.emulator.emulate import Emulator
from bitting.errors import ProgramError
from bitting.program import lowering
from bitting.program.layers import Program, dense
from bitting.targets import waves
from bitting.targets.families import Split, every_target, targets
from bitting.targets.onnx_graph import INPUT, onnx_model
from bitting.targets.stolen import Kind, LayerArithmetic, Stolen
from bitting.unit.spec import PRESETS, parse_spec
from tb.banded import random_operations
from tb.moved_networks import MovedNetwork
from tb.networks import RandomNetwork
from tb.programs import random_activations, random_program, random_table
from tb.stolen import network_program

#: Weights beyond eight bits, and sums that wrap all the time: whatever rounds or clips shows.
WILD = PRESETS["wide"].replace(act_bits=6, acc_bits=13, max_shift=6)
BANDS = parse_spec("tiny:scratch_words=16384,lanes=8,tile_codes=64")


@pytest.mark.parametrize("seed", range(12))
def test_unchanged_it_equals_the_emulator_on_random_programs(spec, seed):
    rng = np.random.default_rng(seed)
    program, table = random_program(spec, rng), random_table(spec, rng)
    x = random_activations(spec, rng, 7, program.input_words)
    assert torch.equal(Stolen.of(program, table)(x).long(), Emulator(program, table)(x).long())


@pytest.mark.parametrize("activation", ["fold", "relu"])
def test_unchanged_it_equals_the_emulator_on_networks_of_every_operator(activation):
    kinds = set()
    for seed in range(14):
        program, x = network_program(seed, activation, (RandomNetwork, MovedNetwork)[seed % 2])
        stolen = Stolen.of(program)
        kinds |= {layer.kind for layer in stolen.layers}
        assert torch.equal(stolen(x).long(), Emulator(program, range(program.spec.codes))(x).long()), seed
    # Additions fold where biases push them; maxima come with ReLU, and with max pooling.
    assert kinds == set(Kind)


@pytest.mark.parametrize("seed", range(12))
def test_lanes_that_share_a_sample_are_one_scratch_memory_to_the_thief(seed):
    """Across bands, beyond the first and last of them, in every lane; `Emulator` computes lane by lane. ONNX too."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)), 8 * int(rng.integers(1, 3)), int(rng.integers(3, 9)))
    operations, table = random_operations(BANDS, rng, shape), random_table(BANDS, rng)
    program = lowering.lower(replace(BANDS, stripes=2 << seed % 3), shape, operations)
    x, stolen = torch.from_numpy(random_activations(BANDS, rng, 3, program.sample_words)), Stolen.of(program, table)
    right = Emulator(program, table)(x).long()
    assert stolen.edges and torch.equal(stolen(x).long(), right)
    if seed < 4:
        session = onnxruntime.InferenceSession(onnx_model(stolen).SerializeToString(), providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {INPUT: x.numpy().astype(np.float32)})
        assert np.array_equal(found.astype(np.int64), right.numpy())


@pytest.mark.parametrize("target", targets(Split.CONCEDED, WILD.acc_bits), ids=lambda target: target.name)
def test_what_is_conceded_is_exact_emulation_of_any_program(target):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        program = random_program(WILD, rng)
        x = torch.from_numpy(random_activations(WILD, rng, 16, program.input_words))
        answers = target.run(Stolen.of(program), x[:8])(x)
        assert torch.equal(answers.long(), Emulator(program, range(WILD.codes))(x).long()), seed


def test_nothing_else_is_exact_emulation():
    """A target that changes nothing on any program would be a lock's easy success, or a thief's that is not said."""
    unchanged = {target.name for target in every_target(WILD.acc_bits) if target.family not in ("exact", "half-weights")}
    for seed in range(6):
        rng = np.random.default_rng(seed)
        program = random_program(WILD, rng)
        x = torch.from_numpy(random_activations(WILD, rng, 64, program.input_words))
        stolen = Stolen.of(program)
        exact = stolen(x).double()
        for target in every_target(WILD.acc_bits):
            if target.name in unchanged and not torch.equal(target.run(stolen, x)(x).double(), exact):
                unchanged.remove(target.name)
    assert not unchanged


@pytest.mark.parametrize(("name", "bits"), [("fp16-weights", 11), ("bf16-weights", 8)])
def test_weights_in_half_precision_are_exact_up_to_its_significant_bits(name, bits):
    """Alone they are near the unit: whether they change anything is up to the values of the family."""
    (target,) = (target for target in every_target(16) if target.name == name)
    program = Program(PRESETS["base"], (dense(np.zeros((1, 1)), np.zeros(1), 0, 0, 0, emits=True),), 0, 1)
    x = torch.ones(1, 1)
    for weight, exact in ((2.0**bits - 1, True), (2.0**bits + 1, False)):
        stolen = Stolen.of(program)
        stolen.layers[0].weights.fill_(weight)
        assert bool(target.run(stolen, x)(x) == weight) is exact


def test_maxima_and_copies_stay_exact_whatever_stands_for_the_fold():
    """They are constants, whose purpose everybody sees: a thief has operators for them."""
    spec = PRESETS["base"]
    one = np.full((1, 1), spec.values.index(1), np.uint8)
    pool = lowering.MaxPool("max", (lowering.INPUT,), (2, 2), (1, 1), (0, 0), spec.act_min)
    program = lowering.lower(spec, (1, 2, 2), [pool, lowering.Product("out", ("max",), one, np.zeros(1), emits=True)])
    x = torch.from_numpy(random_activations(spec, np.random.default_rng(0), 200, 4))
    stolen = Stolen.of(program)
    for name in ("relu", "tanh", "clamp"):
        wave = waves.Wave(name, spec, 0.7)
        arithmetic = [LayerArithmetic(layer.weights, layer.bias, wave) for layer in stolen.layers]
        assert torch.equal(stolen(x, arithmetic)[:, 0].long(), x.long().amax(1))


def test_weights_have_gradients_through_the_wave():
    """Straight through where it floors, and with the sign of the slope: what objectives need."""
    spec = PRESETS["base"]
    index = spec.values.index
    first = dense(np.array([[index(16)]]), np.array([0]), 0, 1, 0)
    last = dense(np.array([[index(1)]]), np.zeros(1), 1, 0, 0, emits=True)
    stolen = Stolen.of(Program(spec, (first, last), 0, 1))
    slope = stolen.layers[0].slope
    for bias, sign in ((0.0, 1), (2.0 ** (spec.acc_bits - 2) * 2, -1)):  # rising about 0, falling half a period on
        weights = stolen.layers[0].weights.clone().requires_grad_()
        wave = waves.fold(spec)
        arithmetic = [
            LayerArithmetic(weights, torch.tensor([bias]), wave),
            LayerArithmetic(stolen.layers[1].weights, stolen.layers[1].bias, wave),
        ]
        stolen.run(np.array([[20]]), arithmetic).sum().backward()
        assert weights.grad is not None and weights.grad.item() == sign * slope * 20


def test_other_inputs_are_refused():
    program, x = network_program(0, "fold")
    with pytest.raises(ProgramError, match=r"have shape \(8, 3\); this network reads \(samples, "):
        Stolen.of(program)(x[:, :3])
