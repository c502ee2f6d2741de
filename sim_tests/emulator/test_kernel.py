"""The native kernel: every instruction set that can be built here gives the bits of golden and of torch."""

import ctypes

import numpy as np
import pytest
import torch

from bitting.emulator import emulate, kernel
from bitting.emulator.emulate import Emulator
from bitting.errors import BittingError
from bitting.network import straight_through
from bitting.network.straight_through import WeightQuantiser, fold
from bitting.program.layers import Program, dense
from bitting.unit.spec import PRESETS, UnitSpec
from tb.programs import golden_run, random_activations, random_program, random_table


@pytest.fixture(params=["auto", "avx2", "loops", "off"])
def choice(request, monkeypatch):
    monkeypatch.setenv("BITTING_KERNEL", request.param)
    return request.param


def test_this_machine_has_the_kernels_it_is_built_for():
    """Otherwise the tests below would compare torch with torch."""
    flags = next(line for line in open("/proc/cpuinfo") if line.startswith("flags")).split()  # noqa: SIM115, PTH123
    found = kernel.load()
    assert found is not None
    assert found.isa == (2 if "avx512_vnni" in flags else 1 if "avx2" in flags else 0)


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_are_golden(spec, choice, seed):
    rng = np.random.default_rng(seed)
    program, table = random_program(spec, rng), random_table(spec, rng)
    x = random_activations(spec, rng, int(rng.integers(1, 6)), program.input_words)
    assert np.array_equal(Emulator(program, table)(torch.from_numpy(x)).numpy(), golden_run(program, table, x))


@pytest.mark.parametrize(
    "samples, inputs, outputs", [(1, 1, 1), (63, 5, 7), (64, 4, 6), (65, 13, 13), (130, 1023, 25), (200, 784, 128)]
)
def test_shapes_and_remainders(choice, samples, inputs, outputs):
    """Against int64 products; kept accumulators, folded activations and logits."""
    spec = PRESETS["base"]
    rng = np.random.default_rng(inputs)
    codes = [rng.integers(0, spec.codes, shape) for shape in ((outputs, inputs), (3, outputs))]
    bias = [rng.integers(-(1 << 15), 1 << 15, len(c)) for c in codes]
    layers = (dense(codes[0], bias[0], 0, inputs, 3), dense(codes[1], bias[1], inputs, 0, 0, emits=True))
    program, table = Program(spec, layers, 0, inputs), random_table(spec, rng)
    values = np.array(spec.decoding(table).values)
    x = random_activations(spec, rng, samples, inputs).astype(np.int64)
    first = wrapped(x @ values[codes[0]].T + bias[0], 16)
    hidden = emulate.fold(spec, torch.from_numpy(first).double(), 3).long().numpy()
    emulator = Emulator(program, table)
    native = False
    if choice in ("auto", "avx2"):
        built = kernel.load()
        assert built is not None
        native = built.isa > 0
    assert (emulator._native is not None) == native
    kept = emulator.accumulators(torch.from_numpy(x))
    assert np.array_equal(kept[0].numpy(), first)
    logits = wrapped(hidden @ values[codes[1]].T + bias[1], 16)
    assert np.array_equal(kept[1].numpy(), logits) and np.array_equal(emulator(torch.from_numpy(x)).numpy(), logits)


def wrapped(values, bits):
    half = 1 << (bits - 1)
    return (values + half) % (1 << bits) - half


def test_extreme_sums_do_not_saturate(choice):
    """All weights and activations at their ends: where a saturating instruction would show."""
    for spec in PRESETS.values():
        ends = [spec.values.index(spec.values[0]), spec.values.index(spec.values[-1])]
        codes = np.array([[a] * 300 for a in ends] + [ends * 150])[:, : spec.tile_codes]
        layer = dense(codes, np.zeros(3), 0, 0, 0, emits=True)
        program = Program(spec, (layer,), 0, codes.shape[1])
        x = np.stack([np.full(codes.shape[1], end, np.int8) for end in (spec.act_min, spec.act_max)])
        values = np.array(spec.values)[codes]
        found = Emulator(program, range(spec.codes))(torch.from_numpy(x)).numpy()
        assert np.array_equal(found, wrapped(x.astype(np.int64) @ values.T, spec.acc_bits))


def test_sums_modulo_2_to_the_16_are_used_only_where_they_are_exact():
    library = ctypes.CDLL(None)  # is not asked
    half, full, none = (kernel.Kernel(library, isa, block) for isa, block in ((1, 32), (2, 64), (0, 1)))
    assert half.computes(PRESETS["base"], 96) and not half.computes(PRESETS["wide"], 112)
    assert not half.computes(UnitSpec(act_bits=8, acc_bits=16), 96), "two products of 255 x 96 saturate 16 bits"
    assert full.computes(PRESETS["wide"], 127) and not none.computes(PRESETS["base"], 1)


def test_passes_of_training_have_the_bits_of_torch(spec, rng, monkeypatch):
    """Quantised weights, biases, the fold and its gradient, natively and not."""
    latent = torch.from_numpy(rng.standard_normal((2000, 2000)) * 2).float()  # one rounding in a million would show
    accumulators = torch.from_numpy(rng.integers(-(1 << 20), 1 << 20, (30, 70))).float()
    upstream = torch.from_numpy(rng.standard_normal((30, 70))).float()

    def passes():
        scaled = (accumulators * 2.0**-6).requires_grad_()
        found = fold(scaled * 1.0, spec, 0.25)
        found.backward(upstream)
        bias = straight_through.round_bias(latent[0], 777.0, spec.acc_bits, 0.5)
        inputs = straight_through.integers(latent, 7.3, spec)
        return [inputs, WeightQuantiser(spec).values(latent), bias, found.detach(), scaled.grad]

    found = {}
    for choice in ("auto", "off"):
        monkeypatch.setenv("BITTING_KERNEL", choice)
        found[choice] = passes()
    for native, plain in zip(found["auto"], found["off"], strict=True):
        assert torch.equal(native, plain)


def test_an_unknown_choice_is_named(monkeypatch):
    monkeypatch.setenv("BITTING_KERNEL", "fast")
    with pytest.raises(BittingError, match="allowed: auto, avx2, loops, off"):
        kernel.load()


def test_without_a_compiler_everything_still_works(monkeypatch):
    kernel._load.cache_clear()
    monkeypatch.setattr(kernel.shutil, "which", lambda _: None)
    assert kernel.load() is None
    spec, rng = PRESETS["tiny"], np.random.default_rng(3)
    program, table = random_program(spec, rng), random_table(spec, rng)
    x = random_activations(spec, rng, 2, program.input_words)
    assert np.array_equal(Emulator(program, table)(torch.from_numpy(x)).numpy(), golden_run(program, table, x))
    kernel._load.cache_clear()
