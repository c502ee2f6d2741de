"""Golden, its independent oracle, and the emulator: one arithmetic."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from apytypes import APyFixed

from bitting.emulator import emulate
from bitting.emulator.emulate import Emulator
from bitting.errors import ProgramError
from bitting.program.layers import Program, dense
from bitting.unit import golden, timing
from bitting.unit.spec import PRESETS
from tb.programs import golden_cycles, golden_run, random_activations, random_program, random_table, table_program


def test_golden_accumulates_as_apytypes_does(spec, rng):
    """APyTypes' two's-complement wrap-around, digit by digit, is the oracle."""
    unit = golden.Unit(spec, random_table(spec, rng))
    for _ in range(20):
        codes = [int(c) for c in rng.integers(0, spec.codes, 30)]
        x = [int(v) for v in rng.integers(spec.act_min, spec.act_max + 1, 30)]
        bias = int(rng.integers(-(1 << (spec.acc_bits - 1)), 1 << (spec.acc_bits - 1)))
        oracle = APyFixed.from_float(bias, int_bits=spec.acc_bits, frac_bits=0)
        for code, activation in zip(codes, x, strict=True):
            weight = APyFixed.from_float(spec.values[unit.table[code]], int_bits=16, frac_bits=0)
            operand = APyFixed.from_float(activation, int_bits=spec.act_bits, frac_bits=0)
            oracle = (oracle + weight * operand).cast(int_bits=spec.acc_bits, frac_bits=0)
        assert unit.accumulate(codes, x, bias) == int(float(oracle))


def test_fold_is_the_triangular_wave(spec):
    """Where no bits are cut off: a wave of period 2^W that rises and falls by one, between -2^(W-2) and 2^(W-2) - 1."""
    whole = spec.replace(act_bits=8, acc_bits=10, max_shift=0)
    wave = [golden.fold(whole, acc, 0) for acc in range(-512, 512)]
    quarter = [wave[512 + i] * 2 for i in range(0, 256, 2)]
    assert quarter == list(range(0, 256, 2))
    assert max(wave) == 127 and min(wave) == -128
    assert {abs(b - a) for a, b in zip(wave, wave[1:], strict=False)} <= {0, 1}


def test_emulated_fold_equals_golden_for_every_accumulator(spec):
    every = 1 if spec.acc_bits <= 20 else 5  # odd, as below
    accumulators = torch.arange(-(1 << (spec.acc_bits - 1)), 1 << (spec.acc_bits - 1), every, dtype=torch.float64)
    step = max(1, len(accumulators) // 4096)  # golden is slow: a stride that is coprime to the period visits all residues
    chosen = torch.arange(0, len(accumulators), step | 1)
    for shift in range(spec.max_shift + 1):
        found = emulate.fold(spec, accumulators, shift)
        expected = [golden.fold(spec, int(accumulators[i]), shift) for i in chosen]
        assert found[chosen].tolist() == expected
        assert torch.equal(emulate.fold(spec, accumulators + (5 << spec.acc_bits), shift), found)  # wraps by itself


@pytest.mark.parametrize("seed", range(12))
def test_emulator_equals_golden_on_random_gather_programs(spec, seed):
    rng = np.random.default_rng(seed)
    program, table = random_program(spec, rng), random_table(spec, rng)
    x = random_activations(spec, rng, 3, program.input_words)
    assert np.array_equal(Emulator(program, table)(torch.from_numpy(x)).numpy(), golden_run(program, table, x))
    assert [c for layer in program.tile_cycles(table) for c in layer] == golden_cycles(program, table)


def test_emulator_widens_the_product_when_the_bound_asks_for_it(rng):
    """Layers of `wide` with long rows exceed 2^24: fp32 would round, and the emulator must not use it."""
    family = PRESETS["wide"].replace(tile_codes=2048)
    codes = np.full((4, 2000), len(family.values) - 1)
    program_bound = emulate.accumulation_bound(family, np.asarray(family.values)[codes], np.zeros(4))
    assert program_bound > 1 << 24
    assert emulate.exact_dtype(program_bound) is torch.float64
    assert emulate.exact_dtype(1 << 24) is torch.float32
    with pytest.raises(ProgramError):
        emulate.exact_dtype(1 << 60)
    from bitting.program.layers import Program

    program = Program(family, (dense(codes, np.arange(4), 0, 0, 0, emits=True),), 0, 2000)
    x = np.full((2, 2000), family.act_min, np.int8)
    x[1] = rng.integers(family.act_min, family.act_max + 1, 2000)
    table = tuple(range(family.codes))
    assert np.array_equal(Emulator(program, table)(torch.from_numpy(x)).numpy(), golden_run(program, table, x))


def test_timing_law_counts_digits():
    family = PRESETS["base"]
    table = tuple(range(family.codes))
    zero, one, two_digits = (family.values.index(v) for v in (0, 1, 3))
    assert timing.tile_cycles(family.decoding(table).cycles, [zero, one, two_digits], 1) == 4 + timing.TILE_OVERHEAD
    assert timing.tile_cycles(family.decoding(table).cycles, [two_digits] * 5, 3) == 30 + timing.TILE_OVERHEAD


@pytest.mark.parametrize("seed", range(4))
def test_programs_that_do_not_fit_are_refused(seed):
    rng = np.random.default_rng(seed)
    family = PRESETS["tiny"]
    good = table_program(family, rng)
    first = good.layers[1]
    bad = {
        "tiles": replace(first, codes=first.codes[:0], bias=first.bias[:0]),
        "a code": replace(first, codes=np.full_like(first.codes, 255)),
        "shift": replace(first, shift=family.max_shift + 1),
        "a bias": replace(first, bias=np.full_like(first.bias, 1 << family.acc_bits)),
        "an input address": replace(first, in_base=np.full_like(first.in_base, family.scratch_words)),
        "furthest input": replace(
            first, in_base=np.full_like(first.in_base, family.scratch_words - 1), positions=(2, 1), strides=(1, 0)
        ),
        "an output address": replace(first, out_base=np.full_like(first.out_base, family.scratch_words)),
        "last output": replace(
            first, out_base=np.full_like(first.out_base, family.scratch_words - 1), positions=(2, 1), out_strides=(1, 0)
        ),
        "positions": replace(first, positions=(0, 1)),
        "emits with positions": replace(first, emits=True, positions=(2, 1), strides=(0, 0)),
        "offsets of shape": replace(first, offsets=first.offsets[:0]),
        "is constant but not plain": replace(first, constant=True),
        "in chains of 7": replace(first, parts=7),
    }
    for message, layer in bad.items():
        with pytest.raises(ProgramError, match=f"layer 1.*{message}"):
            replace(good, layers=(good.layers[0], layer, *good.layers[2:])).validate()
    with pytest.raises(ProgramError, match="no layer that emits"):
        replace(good, layers=good.layers[:1]).validate()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((3, 9), np.int8), r"have shape \(3, 9\); this program reads \(samples, 8\)"),
        (np.zeros(8), r"have shape \(8,\)"),
        (np.full((2, 8), 100), "reach from 100 to 100; allowed are -8..7"),
        (np.full((2, 8), np.nan), "allowed are -8..7"),
    ],
)
def test_inputs_that_the_unit_can_not_read_are_refused(x, message):
    family = PRESETS["tiny"]
    program = Program(family, (dense(np.zeros((2, 8)), np.zeros(2), 0, 0, 0, emits=True),), 0, 8)
    with pytest.raises(ProgramError, match=message):
        Emulator(program, range(family.codes))(x)
