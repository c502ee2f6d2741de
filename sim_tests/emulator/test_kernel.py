"""The native kernel: every instruction set that can be built here gives the bits of golden and of torch."""

import ctypes

import numpy as np
import pytest
import torch

from bitting.emulator import arithmetic, kernel, native
from bitting.emulator.emulate import Emulator
from bitting.errors import BittingError
from bitting.network import straight_through
from bitting.network.straight_through import WeightQuantiser, fold
from bitting.program.layers import Layer, Program, dense
from bitting.unit.spec import PRESETS, UnitSpec, parse_spec
from tb.programs import golden_run, random_activations, random_program, random_table


@pytest.fixture(params=list(kernel.CHOICES))
def choice(request, monkeypatch):
    monkeypatch.setenv("BITTING_KERNEL", request.param)
    return request.param


def test_this_machine_has_the_kernels_it_is_built_for(monkeypatch):
    """Otherwise the tests below would compare torch with torch, or one kernel with itself."""
    flags = next(line for line in open("/proc/cpuinfo") if line.startswith("flags")).split()  # noqa: SIM115, PTH123
    vnni = 3 if "avx512_vnni" in flags else 2 if "avx_vnni" in flags else 1 if "avx2" in flags else 0
    best = {"auto": vnni, "vnni256": min(2, vnni), "avx2": min(1, vnni), "loops": 0}
    for choice, isa in best.items():
        monkeypatch.setenv("BITTING_KERNEL", choice)
        found = kernel.load()
        assert found is not None and found.isa == isa


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_are_golden(spec, monkeypatch, seed):
    rng = np.random.default_rng(seed)
    program, table = random_program(spec, rng), random_table(spec, rng)
    x = random_activations(spec, rng, int(rng.integers(1, 6)), program.input_words)
    expected = golden_run(program, table, x)  # slow: once for all choices
    for choice in kernel.CHOICES:
        monkeypatch.setenv("BITTING_KERNEL", choice)
        assert np.array_equal(Emulator(program, table)(torch.from_numpy(x)).numpy(), expected), choice


#: Bytes and wider weights, activations of up to 8 bits, sums modulo less and more than 2^16, one to three limbs of weights.
FAMILIES = (
    "tiny", "base", "wide", "soft", "base:act_bits=7", "base:act_bits=8", "soft:acc_bits=16,max_shift=7",
    "soft:act_bits=8,acc_bits=16,max_shift=7", "tiny:max_digits=1,max_exponent=14,act_bits=8,acc_bits=24",
)  # fmt: skip


@pytest.mark.parametrize(
    "samples, inputs, outputs", [(1, 1, 1), (63, 5, 7), (64, 4, 6), (65, 13, 13), (130, 1023, 25), (200, 784, 128)]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_and_remainders(choice, family, samples, inputs, outputs):
    """Against int64 products; kept accumulators, folded activations and logits."""
    spec = parse_spec(family).replace(tile_codes=1024, scratch_words=2048)
    rng = np.random.default_rng(inputs)
    codes = [rng.integers(0, spec.codes, shape) for shape in ((outputs, inputs), (3, outputs))]
    half = 1 << spec.acc_bits - 1
    bias = [rng.integers(-half, half, len(c)) for c in codes]
    shift = int(rng.integers(0, spec.max_shift + 1))
    layers = (dense(codes[0], bias[0], 0, inputs, shift), dense(codes[1], bias[1], inputs, 0, 0, emits=True))
    program, table = Program(spec, layers, 0, inputs), random_table(spec, rng)
    values = np.array(spec.decoding(table).values)
    x = random_activations(spec, rng, samples, inputs).astype(np.int64)
    first = wrapped(x @ values[codes[0]].T + bias[0], spec.acc_bits)
    hidden = arithmetic.fold(spec, first, shift)
    emulator = Emulator(program, table)
    assert (emulator._native is not None) == (choice != "off")
    kept = emulator.accumulators(torch.from_numpy(x))
    assert np.array_equal(kept[0].numpy(), first)
    logits = wrapped(hidden @ values[codes[1]].T + bias[1], spec.acc_bits)
    assert np.array_equal(kept[1].numpy(), logits) and np.array_equal(emulator(torch.from_numpy(x)).numpy(), logits)
    writes = Emulator(Program(spec, layers[:1], 0, inputs), table).activations(torch.from_numpy(x))
    assert np.array_equal(writes.numpy(), hidden)


@pytest.mark.parametrize("samples", [0, 1, 65, 200, 330])
def test_threads_share_the_work_exactly(choice, samples):
    """More threads than blocks, than sums of a layer, and blocks left over; a layer with positions among others."""
    spec = PRESETS["soft"]
    rng = np.random.default_rng(samples)
    inputs, channels, size = 12 * 40, 7, 40  # a window of 12 x 9 slides over 12 rows of 40
    offsets = (np.arange(12)[:, None] * size + np.arange(9)).ravel()
    window = Layer(
        codes=rng.integers(0, spec.codes, (channels, len(offsets))), bias=rng.integers(-999, 999, channels),
        in_base=np.zeros(channels, np.int64), out_base=inputs + 32 * np.arange(channels), offsets=offsets,
        positions=(32, 1), strides=(1, 0), out_strides=(1, 0), shift=3,
    )  # fmt: skip
    layers = (
        window,
        dense(rng.integers(0, spec.codes, (130, 224)), np.zeros(130), inputs, 0, 2),
        dense(rng.integers(0, spec.codes, (3, 130)), np.zeros(3), 0, 0, 0, emits=True),
    )
    emulator = Emulator(Program(spec, layers, 0, inputs), random_table(spec, rng))
    x = torch.from_numpy(random_activations(spec, rng, samples, inputs))
    found = {}
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found[threads] = [emulator(x), *emulator.accumulators(x)]
    finally:
        torch.set_num_threads(1)
    for threads in (2, 5):
        for one, many in zip(found[1], found[threads], strict=True):
            assert torch.equal(one, many)
    assert len(found[1][0]) == samples


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


@pytest.mark.parametrize("bits, acc_bits", [(7, 16), (8, 16), (7, 22), (8, 22), (8, 24), (8, 10), (32, 24)])
def test_limbs_are_the_weights(bits, acc_bits):
    """Every weight of any family, and the ends of the limbs."""
    weights = np.array([np.arange(-(1 << 15), 1 << 15)])
    found = native.limbs(weights, bits, acc_bits)
    assert found.min() >= -(1 << bits - 1) and found.max() < 1 << bits - 1
    total = sum(limb << bits * p for p, limb in enumerate(found))
    assert np.array_equal(wrapped(total, acc_bits), wrapped(weights, acc_bits)) and len(found) <= 3
    assert len(native.limbs(np.zeros((2, 4), np.int64), bits, acc_bits)) == 1


def test_two_products_of_bytes_fit_16_bits_where_they_are_added_in_16():
    """Only AVX2 adds so; the others take whole bytes."""
    for isa in (1, 2, 3):
        made = kernel.Kernel(ctypes.CDLL(None), isa, 32, 6)
        for act_bits in range(2, 9):
            spec = UnitSpec(act_bits=act_bits, max_shift=0)
            bits = made.limb_bits(spec)
            pair = 2 * ((1 << act_bits) - 1) << bits - 1
            assert bits == 8 if isa > 1 else pair < 1 << 15


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
    for fast, plain in zip(found["auto"], found["off"], strict=True):
        assert torch.equal(fast, plain)


def test_an_unknown_choice_is_named(monkeypatch):
    monkeypatch.setenv("BITTING_KERNEL", "fast")
    with pytest.raises(BittingError, match="allowed: auto, vnni256, avx2, loops, off"):
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
