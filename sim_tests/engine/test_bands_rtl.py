"""Lanes that share samples, on the RTL: golden = emulator = RTL, bits and cycles, for random layers and random networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bitting.emulator.emulate import Emulator
from bitting.locking.device import Device
from bitting.program import bands, packets
from bitting.program.layers import dense
from bitting.program.lowering import lower
from bitting.program.packets import ExpectedResults
from bitting.sim.native import NativeEngine, Stalls, engine_library
from bitting.unit.protocol import BAND_FLAGS, ErrorCode, LayerFlag, Packet
from bitting.unit.spec import PRESETS, parse_spec
from bitting_rtl.engine.export import engine_verilog
from tb.banded import banded_program, random_operations
from tb.broken_packets import broken_packets
from tb.programs import golden_cycles, golden_run, random_activations, random_program

ROOT = bytes(range(1, 17))
FAMILIES = ("tiny:vault=aes,lanes=8,stripes=4,scratch_words=4096", "base:vault=aes,lanes=4,stripes=2,scratch_words=8192")


@pytest.fixture(scope="module", params=FAMILIES)
def device(request):
    spec = parse_spec(request.param)
    with NativeEngine(engine_library(spec), ROOT) as engine:
        yield spec, Device(spec, ROOT).table(), engine


def run(engine, program, lanes, expected, stalls=Stalls()):
    """The result words of a clear program for (lanes, input_words)."""
    engine.reset()
    first = packets.activations_packet(program.spec, program.input_base, lanes)
    return engine.run(np.concatenate([first, packets.program_packets(program)]), expected, stalls)


@pytest.mark.parametrize("seed", range(40))
def test_random_layers_that_read_across_lanes(device, seed):
    spec, table, engine = device
    rng = np.random.default_rng(seed)
    program = banded_program(spec, rng)
    x = random_activations(spec, rng, spec.lanes, program.input_words)
    logits = Emulator(program, table)(torch.from_numpy(x)).numpy()
    expected = ExpectedResults.of(program, program.tile_cycles(table))
    stalls = Stalls(seed, *(0, 0) if seed % 3 == 0 else (int(rng.integers(1, 240)), int(rng.integers(1, 240))))
    found = run(engine, program, x, len(expected), stalls)
    assert np.array_equal(found.words, expected.words(logits)), f"seed {seed}"
    if seed < 10:
        assert np.array_equal(logits, golden_run(program, table, x))
        assert [tile.cycles for tile in packets.parse_results(found.words)] == golden_cycles(program, table)


@pytest.mark.parametrize("seed", [*range(16), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(16, 120))])
def test_random_networks_give_what_they_give_in_one_lane(device, seed):
    spec, table, engine = device
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)), spec.stripes * int(rng.integers(1, 4)), int(rng.integers(3, 7)))
    alone = replace(spec, stripes=1)
    operations = random_operations(alone, rng, shape)
    program = lower(spec, shape, operations)
    x = random_activations(spec, rng, spec.samples, int(np.prod(shape)))
    logits = Emulator(lower(alone, shape, operations), table)(torch.from_numpy(x)).numpy()
    expected = ExpectedResults.of(program, program.tile_cycles(table))
    found = run(engine, program, bands.split(x, program.picture, spec.stripes), len(expected))
    assert np.array_equal(found.words, expected.words(logits)), f"seed {seed}"
    assert len(expected.logits(found.words)) == spec.samples, "a sum for each sample leaves, and nothing of its other lanes"


def banded_case(spec):
    """(LAYER payload, TILE payload) of a layer of one code that reads bands of eight words at 16."""
    layer = replace(
        dense(np.zeros((1, 1)), np.zeros(1), 16, 0, 0, emits=True, every_lane=True), band=(16, 8), edge=1
    )  # fmt: skip
    first, (tile,) = packets.layer_packet(layer, report=False), packets.tile_packets(layer)
    return first[1:-1], tile[1:-1]


def changed(words, index, value):
    words = words.copy()
    words[index] = value & 0xFFFFFFFF
    return words


def test_what_a_layer_in_bands_may_not_say(device):
    spec, _, engine = device
    layer, tile = banded_case(spec)
    words = spec.scratch_words
    plain = changed(np.delete(layer, [4, 5]), 0, int(layer[0]) & ~(LayerFlag.BAND << 16))
    cases = [
        ("a good one", layer, tile, ErrorCode.NONE),
        ("more than a band below 0", layer, changed(tile, 0, -9 & 0xFFFF), ErrorCode.BAD_ADDRESS),
        ("a band before", layer, changed(tile, 0, -4 & 0xFFFF), ErrorCode.NONE),
        ("a band after", layer, changed(tile, 0, 16 + 16), ErrorCode.NONE),
        (
            "before a band that ends beyond the memory",
            changed(layer, 4, words - 4 | 8 << 16),
            changed(tile, 0, words - 5 - 8),
            ErrorCode.NONE,
        ),
        ("no address at all", layer, changed(tile, 0, 1 << 15 | words), ErrorCode.BAD_ADDRESS),
        ("below 0 without bands", plain, changed(tile, 0, 0xFFFF), ErrorCode.BAD_ADDRESS),
        ("a start beyond the memory", changed(layer, 4, words | 8 << 16), tile, ErrorCode.BAD_ADDRESS),
        ("a band as large as the memory", changed(layer, 4, 16 | words << 16), tile, ErrorCode.BAD_ADDRESS),
        ("no word for the edge", np.delete(layer, 5), tile, ErrorCode.BAD_LENGTH),
        ("no words for bands", np.delete(layer, [4, 5]), tile, ErrorCode.BAD_LENGTH),
        ("words for bands without the flag", changed(layer, 0, plain[0]), tile, ErrorCode.BAD_LENGTH),
    ]
    for name, *payloads, error in cases:
        engine.reset()
        commands = [packets.frame(kind, part) for kind, part in zip((Packet.LAYER, Packet.TILE), payloads, strict=True)]
        assert engine.run(np.concatenate(commands), 100, quiet_limit=2000).error == error, name


def test_packets_that_are_wrong_for_every_engine_are_so_here(device):
    spec, _, engine = device
    program = random_program(replace(spec, stripes=1), np.random.default_rng(4))
    for name, words, error in broken_packets(spec, program):
        engine.reset()
        assert engine.run(words, 100, quiet_limit=2000).error == error, name


@pytest.mark.parametrize("flag", BAND_FLAGS)
def test_an_engine_whose_lanes_share_nothing_knows_no_bands(flag):
    spec = PRESETS["tiny"].replace(vault="aes")
    layer = dense(np.zeros((1, 1)), np.zeros(1), 16, 0, 0, emits=True)
    words = packets.layer_packet(layer, report=False)[1:-1]
    with NativeEngine(engine_library(spec), ROOT) as engine:
        run = engine.run(packets.frame(Packet.LAYER, changed(words, 0, int(words[0]) | flag << 16)), 9, quiet_limit=2000)
    assert run.error == ErrorCode.BAD_FIELD


def test_one_stripe_leaves_nothing_of_bands_in_the_verilog():
    """Of an engine whose lanes share samples there is something to be found by the same names."""
    names = ("neighbours", "band_start", "every_lane")
    for family in ("tiny", "base", "tiny:vault=aes"):
        alone, shared = engine_verilog(family), engine_verilog(parse_spec(family).replace(stripes=2))
        assert not [name for name in names if name in alone] and all(name in shared for name in names)
