"""Lanes that share samples: the same sums for every number of lanes, golden = emulator; clear words for what does not fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bitting.emulator.emulate import Emulator
from bitting.errors import ProgramError, SpecError
from bitting.program import bands, packets
from bitting.program.lowering import left_bands, lower
from bitting.program.reading import read_program
from bitting.unit.spec import UnitSpec, parse_spec, spec_text
from tb.banded import Builder, banded_program, random_operations
from tb.programs import golden_cycles, golden_run, random_activations, random_table

SPEC = parse_spec("tiny:scratch_words=16384,lanes=8,tile_codes=64")


@pytest.mark.parametrize("seed", [*range(60), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(60, 600))])
def test_a_network_gives_the_same_sums_however_many_lanes_share_a_sample(seed, monkeypatch):
    """Golden and emulator (kernel and torch) for p = 2, 4 and 8 against the program of one lane."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)), 8 * int(rng.integers(1, 3)), int(rng.integers(3, 9)))
    operations = random_operations(SPEC, rng, shape)
    table = random_table(SPEC, rng)
    x = random_activations(SPEC, rng, 3, int(np.prod(shape)))
    alone = lower(SPEC, shape, operations)
    assert not alone.unwritten(), "a lock would refuse it"
    right = Emulator(alone, table)(x).numpy()
    for stripes in (2, 4, 8):
        program = lower(replace(SPEC, stripes=stripes), shape, operations)
        assert not program.unwritten()
        assert program.sample_words == alone.input_words and program.outputs == alone.outputs
        assert np.array_equal(Emulator(program, table)(x).numpy(), right), f"stripes = {stripes}"
        with monkeypatch.context() as without_kernel:
            without_kernel.setenv("BITTING_KERNEL", "off")
            assert np.array_equal(Emulator(program, table)(x).numpy(), right), f"torch, stripes = {stripes}"
        if seed < 12 and stripes == 2 << seed % 3:
            assert np.array_equal(golden_run(program, table, x[:1]), right[:1])
            assert [c for layer in program.tile_cycles(table) for c in layer] == golden_cycles(program, table)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kernel", ["auto", "loops", "off"])
def test_random_layers_that_read_across_lanes_are_emulated_as_golden_says(seed, kernel, monkeypatch):
    monkeypatch.setenv("BITTING_KERNEL", kernel)
    spec = replace(SPEC, stripes=2 << seed % 3)
    rng = np.random.default_rng(seed)
    program, table = banded_program(spec, rng), random_table(spec, rng)
    x = random_activations(spec, rng, 2 * spec.stripes, program.input_words)
    assert np.array_equal(Emulator(program, table)(x).numpy(), golden_run(program, table, x))
    assert [c for layer in program.tile_cycles(table) for c in layer] == golden_cycles(program, table)


def test_threads_that_share_a_block_read_across_lanes_alike():
    spec = replace(SPEC, stripes=4)
    rng = np.random.default_rng(3)
    program = lower(spec, (2, 8, 24), random_operations(SPEC, np.random.default_rng(8), (2, 8, 24)))
    x = random_activations(spec, rng, 3, program.sample_words)
    found = {}
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            found[threads] = Emulator(program, range(spec.codes))(np.repeat(x, 40, axis=0))
        finally:
            torch.set_num_threads(1)
    assert torch.equal(found[1], found[3]) and any(layer.band[1] for layer in program.layers)


@pytest.mark.parametrize("seed", range(6))
def test_a_program_comes_back_from_its_packets(seed):
    spec = replace(SPEC, stripes=4)
    rng = np.random.default_rng(seed)
    program = lower(spec, (2, 8, 5), random_operations(SPEC, rng, (2, 8, 5)))
    clear = [packet[:-1] for packet in packets.packet_list(program, report=False)]
    back = read_program(spec, program.input_base, program.input_words, clear, program.picture)
    for layer, other in zip(program.layers, back.layers, strict=True):
        assert (layer.band, layer.edge, layer.every_lane) == (other.band, other.edge, other.every_lane)
        for name in ("codes", "bias", "offsets", "in_base"):
            assert np.array_equal(getattr(layer, name), getattr(other, name)), name


def test_a_sample_is_split_as_a_picture_is_cut():
    picture = np.arange(2 * 4 * 3).reshape(1, 2, 4, 3)
    lanes = bands.split(picture.reshape(1, -1), (2, 4, 3), 2)
    for lane, rows in enumerate((slice(0, 2), slice(2, 4))):
        assert lanes[lane].tolist() == np.moveaxis(picture[0, :, rows], 1, 0).reshape(-1).tolist()


def test_one_stripe_is_the_family_as_it_was():
    assert replace(SPEC, stripes=1).id == SPEC.id and "stripes" not in SPEC.to_dict()
    shared = replace(SPEC, stripes=2)
    assert shared.id != SPEC.id and UnitSpec.from_dict(shared.to_dict()) == shared
    assert parse_spec(spec_text(shared)).stripes == 2
    assert (shared.samples, SPEC.samples) == (4, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stripes": 3}, "stripes = 3 must be a power of two that divides lanes = 8"),
        ({"stripes": 16}, "stripes = 16 is out of range"),
        ({"stripes": 2, "scratch_words": 65536}, "scratch_words with stripes = 65536"),
        ({"stripes": 8, "lanes": 12}, "must be a power of two that divides lanes = 12"),
    ],
)
def test_each_bad_number_of_stripes_is_named(change, message):
    with pytest.raises(SpecError, match=message):
        replace(SPEC, **change)


def test_rows_that_do_not_come_out_even_are_refused():
    spec = replace(SPEC, stripes=4)
    operations = random_operations(SPEC, np.random.default_rng(0), (1, 8, 6))
    with pytest.raises(ProgramError, match=r"input of 6 rows can not be split into stripes = 4 equal bands; allowed: 1, 2"):
        lower(spec, (1, 6, 6), operations)
    with pytest.raises(ProgramError, match=r"allowed: 1$"):
        lower(spec, (12, 1, 1), operations)


def test_what_a_layer_may_not_say_of_bands():
    spec = replace(SPEC, stripes=2)
    program = lower(spec, (2, 8, 5), random_operations(SPEC, np.random.default_rng(0), (2, 8, 5)))
    number, layer = next((n, layer) for n, layer in enumerate(program.layers) if layer.band[1])
    start, _ = layer.band
    reach = int(np.ptp(layer.reached())) + 1

    def refused(changed, message, spec=spec, **more):
        layers = (*program.layers[:number], changed, *program.layers[number + 1 :])
        with pytest.raises(ProgramError, match=message):
            replace(program, spec=spec, layers=layers, **more).validate()

    refused(replace(layer, band=(start, (reach + 2) // 4)), "at most a band")
    refused(replace(layer, band=(start, spec.scratch_words)), "words of a band")
    refused(replace(layer, edge=99), "beyond the bands")
    refused(replace(layer, every_lane=True), "does not emit")
    refused(layer, "stripes = 1", spec=SPEC, picture=None)
    refused(layer, "emit must do so from every lane", picture=None)
    refused(layer, "has not", picture=(2, 8, 6))


@pytest.mark.parametrize(
    ("kernel", "padding", "rows", "stripes", "said"),
    [
        ((3, 3), (1, 1), 8, 4, ""),
        ((5, 3), (2, 1), 8, 4, ""),
        ((7, 3), (3, 1), 8, 4, "windows of 7 rows reach beyond a neighbour's band of 2: 4 stripes are too many"),
        ((5, 3), (2, 1), 4, 4, "windows of 5 rows reach beyond a neighbour's band of 1: 4 stripes are too many"),
        ((3, 3), (1, 1), 4, 4, ""),
        ((3, 3), (0, 1), 8, 2, "8 rows become 6, which 2 lanes do not share alike, each from its own rows"),
    ],
)
def test_where_a_network_leaves_its_bands_is_told(kernel, padding, rows, stripes, said):
    build = Builder(SPEC, np.random.default_rng(0), (1, rows, 5))
    build.product(2, kernel, padding=padding)
    build.product(2, (1, 1), stride=(1, 1))
    build.dense(2, emits=True)
    spec = replace(SPEC, stripes=stripes)
    ends = left_bands(spec, (1, rows, 5), build.operations)
    where = "t0" if said else "t2"
    assert ends == f"from layer {where} on a sample has one lane: {said or 'it needs all rows'}"
    x = random_activations(SPEC, np.random.default_rng(1), 2, rows * 5)
    programs = [lower(each, (1, rows, 5), build.operations) for each in (SPEC, spec)]
    alone, shared = (Emulator(program, range(SPEC.codes))(x) for program in programs)
    assert torch.equal(alone, shared)
