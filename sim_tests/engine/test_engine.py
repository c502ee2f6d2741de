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
from bitting.unit.protocol import BIAS_FIELD_BITS, ErrorCode, LayerFlag, Packet, Result, TileFlag
from bitting.unit.spec import PRESETS
from tb.programs import golden_cycles, golden_run, random_activations, random_program

ROOT = bytes(range(1, 17))


@pytest.fixture(scope="module", params=["tiny", "base"])
def device(request):
    spec = PRESETS[request.param]
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


def broken_packets(spec, program):
    """Name, words, and the error each must give."""
    layer = program.layers[0]
    good_layer, good_tile = packets.layer_packet(layer, report=True), packets.tile_packets(layer)[0]

    def payload(packet, index, value):
        words = packet[1:-1].copy()
        words[index] = value
        return packets.frame(int(packet[0]) & 0xFF, words)

    def reframed(packet, words):
        return packets.frame(int(packet[0]) & 0xFF, words)

    flipped = good_tile.copy()
    flipped[2] ^= 1 << 9
    word0 = int(good_layer[1])
    outside = good_tile[1:-1].copy()
    outside[0] = spec.scratch_words - 1 | int(outside[0]) & 0xFFFF0000 if max(layer.offsets) else 0xFFFF
    nowhere = good_tile[1:-1].copy()
    nowhere[0] = int(nowhere[0]) & 0xFFFF | spec.scratch_words - 1 << 16 if layer.position_count > 1 else 0xFFFF0000
    emits = LayerFlag.EMIT << 16
    chained = payload(good_tile, 1, TileFlag.HOLD << BIAS_FIELD_BITS)
    return [
        ("unknown type", packets.frame(0x77, np.zeros(1, np.uint32)), ErrorCode.BAD_TYPE),
        ("result type as command", packets.frame(Result.TILE_DONE, np.zeros(2, np.uint32)), ErrorCode.BAD_TYPE),
        ("reserved header bits", np.concatenate([[good_layer[0] | 0x100], good_layer[1:]]), ErrorCode.BAD_FIELD),
        ("tile before layer", good_tile, ErrorCode.BAD_ORDER),
        ("status with payload", packets.frame(Packet.STATUS, np.zeros(1, np.uint32)), ErrorCode.BAD_LENGTH),
        ("layer too short", reframed(good_layer, good_layer[1:3]), ErrorCode.BAD_LENGTH),
        ("layer too long", reframed(good_layer, np.append(good_layer[1:-1], 0)), ErrorCode.BAD_LENGTH),
        ("empty layer", packets.frame(Packet.LAYER, np.zeros(0, np.uint32)), ErrorCode.BAD_LENGTH),
        ("no codes", payload(good_layer, 0, word0 & ~0xFFFF), ErrorCode.BAD_FIELD),
        ("too many codes", payload(good_layer, 0, word0 & ~0xFFFF | spec.tile_codes + 1), ErrorCode.BAD_FIELD),
        ("shift too large", payload(good_layer, 0, word0 & 0xFFFFFF | (spec.max_shift + 1) << 24), ErrorCode.BAD_FIELD),
        ("unknown flag", payload(good_layer, 0, word0 | 0x80 << 16), ErrorCode.BAD_FIELD),
        (
            "constants of a secret table",
            payload(good_layer, 0, word0 & ~(0xFF << 16) | LayerFlag.CONSTANT << 16),
            ErrorCode.BAD_FIELD,
        ),
        ("unknown tile flag", np.concatenate([good_layer, payload(good_tile, 1, 1 << 30)]), ErrorCode.BAD_FIELD),
        ("chain over positions", np.concatenate([payload(good_layer, 1, 2 | 1 << 16), chained]), ErrorCode.BAD_FIELD),
        ("no columns", payload(good_layer, 1, int(good_layer[2]) & 0xFFFF0000), ErrorCode.BAD_FIELD),
        ("no rows", payload(good_layer, 1, int(good_layer[2]) & 0xFFFF), ErrorCode.BAD_FIELD),
        ("emitting with positions", payload(payload(good_layer, 0, word0 | emits), 1, 2 | 1 << 16), ErrorCode.BAD_FIELD),
        ("layer CRC", np.append(good_layer[:-1], good_layer[-1] ^ 1), ErrorCode.BAD_CRC),
        ("tile CRC", np.concatenate([good_layer, flipped]), ErrorCode.BAD_CRC),
        ("tile too short", np.concatenate([good_layer, reframed(good_tile, good_tile[1:-2])]), ErrorCode.BAD_LENGTH),
        (
            "tile too long",
            np.concatenate([good_layer, reframed(good_tile, np.append(good_tile[1:-1], 5))]),
            ErrorCode.BAD_LENGTH,
        ),
        ("gather outside", np.concatenate([good_layer, reframed(good_tile, outside)]), ErrorCode.BAD_ADDRESS),
        ("write outside", np.concatenate([good_layer, reframed(good_tile, nowhere)]), ErrorCode.BAD_ADDRESS),
        ("as many rows as words", payload(good_layer, 1, spec.scratch_words << 16 | 1), ErrorCode.BAD_FIELD),
        ("stride beyond the memory", payload(good_layer, 2, spec.scratch_words), ErrorCode.BAD_ADDRESS),
        ("stride of writing, the same", payload(good_layer, 3, spec.scratch_words << 16), ErrorCode.BAD_ADDRESS),
        ("offset, the same", payload(good_layer, 4, spec.scratch_words), ErrorCode.BAD_ADDRESS),
        ("base, the same", np.concatenate([good_layer, payload(good_tile, 0, spec.scratch_words)]), ErrorCode.BAD_ADDRESS),
        *broken_activations(spec),
        *broken_locks(),
    ]


def broken_activations(spec):
    """The same for input vectors."""
    far = np.array([(spec.scratch_words - 1) | 2 << 16, *[0] * (2 * spec.lanes // 4)], np.uint32)
    return [
        ("no vectors", packets.frame(Packet.ACTIVATIONS, np.zeros(1, np.uint32)), ErrorCode.BAD_FIELD),
        ("vectors beyond the memory", packets.frame(Packet.ACTIVATIONS, far), ErrorCode.BAD_ADDRESS),
        ("vectors missing", packets.frame(Packet.ACTIVATIONS, np.array([3 << 16, 0], np.uint32)), ErrorCode.BAD_LENGTH),
    ]


def broken_locks():
    """The same for the packets of the locks."""
    challenge = np.array([1 | 2 << 8, 5, 6, 7, 8], np.uint32)
    return [
        ("unlock without challenge", packets.unlock_packet(), ErrorCode.BAD_ORDER),
        ("unlock with payload", packets.frame(Packet.UNLOCK, np.zeros(1, np.uint32)), ErrorCode.BAD_LENGTH),
        ("challenge too short", packets.frame(Packet.CHALLENGE, challenge[:4]), ErrorCode.BAD_LENGTH),
        ("challenge too long", packets.frame(Packet.CHALLENGE, np.append(challenge, 0)), ErrorCode.BAD_LENGTH),
        ("unknown fingerprint", packets.frame(Packet.CHALLENGE, challenge ^ [4, 0, 0, 0, 0]), ErrorCode.BAD_FIELD),
        ("unknown transform", packets.frame(Packet.CHALLENGE, challenge ^ [3 << 9, 0, 0, 0, 0]), ErrorCode.BAD_FIELD),
        ("reserved challenge bits", packets.frame(Packet.CHALLENGE, challenge ^ [1 << 16, 0, 0, 0, 0]), ErrorCode.BAD_FIELD),
        ("challenge CRC", np.append(packets.frame(Packet.CHALLENGE, challenge)[:-1], 0), ErrorCode.BAD_CRC),
        ("lock now", packets.frame(Packet.LOCK_NOW, challenge[:0]), ErrorCode.LOCKED),
        ("lock now with payload", packets.frame(Packet.LOCK_NOW, challenge[:1]), ErrorCode.BAD_LENGTH),
    ]


CASES = [name for name, _, _ in broken_packets(PRESETS["tiny"], random_program(PRESETS["tiny"], np.random.default_rng(5)))]


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
    assert [int(tile.accumulators[0]) for tile in packets.parse_results(run.words)] == bias.tolist()


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
    (emitted,) = packets.parse_results(run.words)
    assert emitted.accumulators.tolist() == [6] * spec.lanes, "its own bias, nothing of the hidden sums"
