"""The engine on the native harness: golden = emulator = RTL, and every protocol error."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bitting.emulator.emulate import Emulator
from bitting.errors import SimulationError
from bitting.locking.device import Device
from bitting.program import packets
from bitting.program.layers import Program, dense
from bitting.program.packets import ExpectedResults
from bitting.sim.native import NativeEngine, Stalls, engine_library
from bitting.unit import protocol, timing
from bitting.unit.protocol import ErrorCode, Result
from tb.broken_packets import broken_packets
from tb.families import AES
from tb.programs import golden_cycles, golden_run, random_activations, random_program, sums_of

ROOT = bytes(range(1, 17))


@pytest.fixture(scope="module", params=["tiny", "base", pytest.param("soft", marks=pytest.mark.slow)])
def device(request):
    spec = AES[request.param]
    with NativeEngine(engine_library(spec), ROOT) as engine:
        yield spec, Device(spec, ROOT).table(), engine


def commands_of(program, activations):
    first = packets.activations_packet(program.spec, program.input_base, activations)
    return np.concatenate([first, packets.program_packets(program)])


@pytest.mark.parametrize("seed", range(40))
def test_golden_emulator_and_rtl_agree_on_random_programs(device, seed):
    spec, table, engine = device
    rng = np.random.default_rng(seed)
    program = random_program(spec, rng)
    x = random_activations(spec, rng, spec.lanes, program.input_words)
    logits = Emulator(program, table)(torch.from_numpy(x)).numpy()
    expected = ExpectedResults.of(program, program.tile_cycles(table))
    stalls = Stalls(seed, *(0, 0) if seed % 3 == 0 else (int(rng.integers(1, 240)), int(rng.integers(1, 240))))
    engine.reset()
    run = engine.run(commands_of(program, x), len(expected), stalls)
    assert np.array_equal(run.words, expected.words(logits)), f"seed {seed}"
    if seed < 10:
        assert np.array_equal(logits, golden_run(program, table, x))
        assert [tile.cycles for tile in packets.parse_results(run.words)] == golden_cycles(program, table)


def test_no_clock_is_lost_between_long_tiles(device):
    """With tiles of 64 codes or more the next one is there in time: a tile costs its law and the documented gap."""
    spec, table, engine = device
    codes = np.random.default_rng(1).integers(0, spec.codes, (40, 64))
    program = Program(spec, (dense(codes, np.zeros(40), 0, 64, 0),), 0, 64)
    (layer,) = program.layers
    cycles = {}
    for tiles in (10, 40):
        parts = [packets.layer_packet(layer, report=False), *packets.tile_packets(layer)[:tiles], packets.status_packet()]
        engine.reset()
        cycles[tiles] = engine.run(np.concatenate(parts), protocol.STATUS_WORDS + protocol.FRAME_WORDS).cycles
    law = program.tile_cycles(table)[0]
    assert cycles[40] - cycles[10] == sum(law[10:]) + 30 * timing.TILE_GAP


def test_status_counts_tiles_and_cycles(device):
    spec, table, engine = device
    rng = np.random.default_rng(2)
    program = random_program(spec, rng)
    x = random_activations(spec, rng, 1, program.input_words)
    words = np.concatenate([packets.status_packet(), commands_of(program, x), packets.status_packet()])
    reply = protocol.STATUS_WORDS + protocol.FRAME_WORDS
    engine.reset()
    run = engine.run(words, 2 * reply + packets.result_words(program))
    replies = [payload for kind, payload in packets.split(run.words) if kind == Result.STATUS_REPLY]
    cycles = golden_cycles(program, table)
    booted = 1
    assert replies[0].tolist() == [int(spec.id, 16) & 0xFFFFFFFF, 0, 0, 0, booted]
    assert replies[1].tolist() == [int(spec.id, 16) & 0xFFFFFFFF, len(cycles), sum(cycles), 0, booted]


CASES = [name for name, _, _ in broken_packets(AES["tiny"], random_program(AES["tiny"], np.random.default_rng(5)))]


@pytest.mark.parametrize("case", CASES)
def test_every_malformed_packet_is_named_and_ends_all_results(device, case):
    spec, _, engine = device
    rng = np.random.default_rng(5)
    program = random_program(spec, rng)
    words, error = next((w, e) for name, w, e in broken_packets(spec, program) if name == case)
    x = random_activations(spec, rng, 1, program.input_words)
    good = commands_of(program, x)
    fault = protocol.FAULT_WORDS + protocol.FRAME_WORDS
    engine.reset()
    run = engine.run(np.concatenate([words, good, packets.status_packet()]), fault + 1, Stalls(3, 60, 60), quiet_limit=5000)
    assert run.error == error
    assert run.taken == len(words) + len(good) + 2, "the engine swallows everything: the host never hangs"
    with pytest.raises(SimulationError, match=error.name):
        packets.parse_results(run.words)
    assert len(run.words) == fault, "one FAULT packet, then silence"
    engine.reset()
    again = engine.run(good, packets.result_words(program))
    assert len(packets.parse_results(again.words)) == sum(layer.tiles for layer in program.layers), "reset cures it"


def test_every_single_bit_of_a_tile_packet_is_protected(device):
    """No flipped bit passes: each gives an error, never a result."""
    spec, _, engine = device
    program = random_program(spec, np.random.default_rng(6))
    layer = packets.layer_packet(program.layers[0], report=True)
    tile = packets.tile_packets(program.layers[0])[0]
    for bit in range(32 * len(tile)):
        broken = tile.copy()
        broken[bit // 32] ^= np.uint32(1 << bit % 32)
        # Enough words follow for any length the flip may have asked for.
        filler = np.zeros(70_000 if bit // 32 == 0 else 8, np.uint32)
        engine.reset()
        run = engine.run(np.concatenate([layer, broken, filler]), 4, quiet_limit=500 + spec.tile_codes)
        assert run.error != ErrorCode.NONE, f"bit {bit}"
        assert [kind for kind, _ in packets.split(run.words)] == [Result.FAULT]


def test_reset_in_the_middle_of_anything_leaves_no_trace(device):
    spec, table, engine = device
    rng = np.random.default_rng(8)
    program = random_program(spec, rng)
    x = random_activations(spec, rng, spec.lanes, program.input_words)
    commands = commands_of(program, x)
    logits = Emulator(program, table)(torch.from_numpy(x)).numpy()
    expected = ExpectedResults.of(program, program.tile_cycles(table))
    for cut in range(1, len(commands), max(1, len(commands) // 60)):
        engine.reset()
        engine.run(commands[:cut], len(expected), quiet_limit=int(rng.integers(1, 60)))
        engine.reset()
        run = engine.run(commands, len(expected))
        assert np.array_equal(run.words, expected.words(logits))


def test_accumulators_are_sent_sign_extended(device):
    spec, _, engine = device
    half = 1 << (spec.acc_bits - 1)
    bias = np.array([-1, -half, half - 1])
    program = Program(spec, (dense(np.zeros((3, 1)), bias, 0, 0, 0, emits=True),), 0, 1)
    engine.reset()
    run = engine.run(commands_of(program, np.zeros((1, 1), np.int8)), packets.result_words(program))
    assert [int(sums[0]) for sums in sums_of(run.words)] == bias.tolist()


def test_sums_held_over_do_not_reach_another_layer(device):
    """Else an emitting layer, which needs no key if it is constant, could tell the sums of a hidden one."""
    spec, _, engine = device
    rng = np.random.default_rng(4)
    hidden = dense(rng.integers(0, spec.codes, (2, 8)), np.zeros(2), 0, 8, 0)
    reader = replace(dense(np.zeros((2, 1)), np.array([5, 6]), 0, 0, 0, emits=True), plain=True, constant=True, parts=2)
    first = packets.tile_packets(replace(hidden, parts=2))[0]  # holds
    second = packets.tile_packets(reader)[1]  # resumes
    x = packets.activations_packet(spec, 0, random_activations(spec, rng, spec.lanes, 8))
    words = [x, packets.layer_packet(hidden, report=False), first, packets.layer_packet(reader, report=False), second]
    engine.reset()
    run = engine.run(np.concatenate(words), protocol.TILE_DONE_FIXED_WORDS + spec.lanes + protocol.FRAME_WORDS)
    (emitted,) = sums_of(run.words)
    assert emitted.tolist() == [6] * spec.lanes, "its own bias, nothing of the hidden sums"
