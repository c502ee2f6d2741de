"""Locks in the silicon: every pairing equal to Python to the bit and the cycle, and nothing that tells a secret."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bitting.emulator.emulate import Emulator
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device, derive_key
from bitting.locking.keys import lock_key
from bitting.locking.kinds import AES_TRANSFORMS, FINGERPRINTS
from bitting.locking.scheme import LockScheme
from bitting.locking.transform import lock_program, unlock_program
from bitting.program import packets
from bitting.program.layers import Program, dense, multilayer_perceptron
from bitting.program.packets import ExpectedResults
from bitting.sim.enrolment import enrol
from bitting.sim.native import NativeEngine, Stalls, engine_library
from bitting.unit import protocol, timing
from bitting.unit.protocol import ErrorCode, LayerFlag, Packet, Result
from tb.families import AES
from tb.programs import random_activations, sums_of, table_program

ROOT = bytes.fromhex("00f1e2d3c4b5a69788796a5b4c3d2e1f")
NONCE = bytes(range(16))
PAIRINGS = [(fingerprint, transform) for fingerprint in FINGERPRINTS for transform in AES_TRANSFORMS]


@pytest.fixture(scope="module", params=["tiny", "base"])
def chip(request):
    spec = AES[request.param]
    with NativeEngine(engine_library(spec), ROOT) as engine:
        yield Device(spec, ROOT), engine


def expected_of(clear: Program, device: Device, x: np.ndarray, first_tile: int) -> np.ndarray:
    """Result words of a program in clear."""
    table = device.table()
    expected = ExpectedResults.of(clear, clear.tile_cycles(table), first_tile=first_tile)
    return expected.words(Emulator(clear, table)(torch.from_numpy(x)).numpy())


def challenge_tiles(scheme: LockScheme) -> int:
    assert scheme.challenge is not None
    return scheme.challenge.tiles


def batch(program: Program, x: np.ndarray) -> np.ndarray:
    inputs = packets.activations_packet(program.spec, program.input_base, x)
    return np.concatenate([inputs, packets.program_packets(program)])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("fingerprint", "transform"), PAIRINGS)
def test_every_pairing_on_table_programs_for_two_batches(chip, fingerprint, transform, seed):
    """The right device and a wrong key; the second batch begins with UNLOCK; stalls make the host late or the sink slow."""
    device, engine = chip
    spec, rng = device.spec, np.random.default_rng(seed)
    owner = device if seed % 3 else device.with_flipped_bit(seed)
    scheme = LockScheme.new(spec, fingerprint, transform, nonce=rng.bytes(16))
    locked = lock_program(table_program(spec, rng), owner, scheme)
    clear = unlock_program(locked, scheme, ChipModel.of(device))
    tiles = sum(layer.tiles for layer in locked.layers)
    inputs = [random_activations(spec, rng, spec.lanes, locked.input_words) for _ in range(2)]
    commands = [scheme.packets(), batch(locked, inputs[0]), packets.unlock_packet(), batch(locked, inputs[1])]
    first = challenge_tiles(scheme)
    wanted = [expected_of(clear, device, x, first + i * tiles) for i, x in enumerate(inputs)]
    stalls = Stalls(seed, *((0, 0), (200, 0), (0, 230), (120, 120), (250, 0), (30, 30))[seed])
    engine.reset()
    run = engine.run(np.concatenate(commands), sum(map(len, wanted)), stalls)
    assert np.array_equal(run.words, np.concatenate(wanted)), f"seed {seed}"


@pytest.mark.parametrize("transform", AES_TRANSFORMS)
def test_the_unlocker_keeps_up_with_the_mac(chip, transform):
    """With tiles of 64 codes no clock is lost: a tile costs its law and the documented gap, locked as in clear."""
    device, engine = chip
    spec = device.spec
    codes = np.random.default_rng(1).integers(0, spec.codes, (40, 64))
    program = Program(spec, (dense(codes, np.zeros(40), 0, 64, 0), dense(codes[:1], np.zeros(1), 0, 0, 0, emits=True)), 0, 64)
    scheme = LockScheme.new(spec, "clock", transform, nonce=NONCE)
    locked = lock_program(program, device, scheme)
    clear = unlock_program(locked, scheme, ChipModel.of(device))
    law = clear.tile_cycles(device.table())[0]
    for head, shown in ((scheme.packets(), locked), (np.empty(0, np.uint32), clear)):
        layer = shown.layers[0]
        cycles = {}
        for tiles in (10, 40):
            parts = [packets.layer_packet(layer, report=False), *packets.tile_packets(layer)[:tiles], packets.status_packet()]
            engine.reset()
            answer = protocol.STATUS_WORDS + protocol.FRAME_WORDS
            cycles[tiles] = engine.run(np.concatenate([head, *parts]), answer).cycles
        assert cycles[40] - cycles[10] == sum(law[10:]) + 30 * timing.TILE_GAP


def test_a_fresh_chip_is_enrolled_and_another_one_is_refused(chip):
    from bitting.errors import DeviceError

    device, engine = chip
    record = enrol(device, engine)
    assert len(record.known_answers) == len(PAIRINGS) and record.boot_clocks < 20 * device.spec.codes
    with pytest.raises(DeviceError, match="the weight of code"):
        enrol(device.with_flipped_bit(3), engine)


def secrets_of(device: Device, scheme: LockScheme) -> list[bytes]:
    keys = [
        device.root,
        device.fingerprint_key(),
        derive_key(device.root, protocol.LABEL_TABLE),
        lock_key(scheme, ChipModel.of(device)),
    ]
    return keys + [key[::-1] for key in keys]


@pytest.mark.slow
def test_no_packet_in_any_state_makes_the_chip_tell_a_secret(chip):
    """Every command, in every state of the lock, well-formed and malformed: no word of a key is among the result words."""
    device, engine = chip
    spec, rng = device.spec, np.random.default_rng(5)
    scheme = LockScheme.new(spec, "numeric", "aes-clocked", nonce=NONCE)
    locked = lock_program(table_program(spec, rng), device, scheme)
    x = random_activations(spec, rng, spec.lanes, locked.input_words)
    started = scheme.packets()[: protocol.CHALLENGE_WORDS + protocol.FRAME_WORDS]
    states = {
        "booted": np.empty(0, np.uint32),
        "in a challenge": started,
        "keyed": scheme.packets(),
        "running": np.concatenate([scheme.packets(), batch(locked, x)]),
    }
    commands = [
        packets.frame(kind, rng.integers(0, 1 << 32, count, dtype=np.uint32)) for kind in range(256) for count in (0, 5)
    ]
    commands += [packets.status_packet(), packets.unlock_packet(), batch(locked, x), started, scheme.packets()]
    told = b""
    for head in states.values():
        for command in commands:
            engine.reset()
            run = engine.run(np.concatenate([head, command, packets.status_packet()]), 4096, quiet_limit=4000)
            told += run.words.tobytes()
    pieces = {key[i : i + 4] for key in secrets_of(device, scheme) for i in range(13)}
    assert len(told) > 10_000
    assert {piece for piece in pieces if piece in told} == set()


def test_a_hidden_layer_replayed_as_a_linear_one_gives_noise(chip):
    """Emitting layers show sums of weights; the flags are in the counter, so only layers locked as emitting open as such."""
    device, engine = chip
    spec, rng = device.spec, np.random.default_rng(6)
    sizes = (16, 12, 4)
    weights = [rng.integers(0, spec.codes, (o, i)) for i, o in zip(sizes, sizes[1:], strict=False)]
    model = multilayer_perceptron(spec, weights, [np.zeros(12), np.zeros(4)], [0, 0])
    scheme = LockScheme.new(spec, "clock", "aes-pre", nonce=NONCE)
    locked = lock_program(model, device, scheme)
    hidden = replace(locked.layers[0], emits=True, out_base=np.zeros(12, np.int32))
    replayed = Program(spec, (hidden,), 0, 16)
    x = np.zeros((spec.lanes, 16), np.int8)
    x[:, 3] = 1  # shows the fourth weight of each tile
    engine.reset()
    run = engine.run(np.concatenate([scheme.packets(), batch(replayed, x)]), packets.result_words(replayed))
    shown = np.array([sums[0] for sums in sums_of(run.words)])
    true = np.array(spec.values)[weights[0][:, 3]]
    clear = unlock_program(replayed, scheme, ChipModel.of(device))
    assert (shown == true).mean() < 0.5
    assert np.array_equal(run.words, expected_of(clear, device, x, challenge_tiles(scheme)))


@pytest.mark.parametrize("end", ["error", "lock now"])
def test_after_an_error_or_lock_now_only_reset_brings_the_keys_back(chip, end):
    device, engine = chip
    spec, rng = device.spec, np.random.default_rng(7)
    scheme = LockScheme.new(spec, "clock", "aes-pre", nonce=NONCE)
    locked = lock_program(table_program(spec, rng), device, scheme)
    x = random_activations(spec, rng, spec.lanes, locked.input_words)
    stop = packets.frame(Packet.LOCK_NOW if end == "lock now" else 0x77, np.empty(0, np.uint32))
    good = np.concatenate([scheme.packets(), batch(locked, x)])
    engine.reset()
    run = engine.run(np.concatenate([scheme.packets(), stop, good]), 100, quiet_limit=20_000)
    assert run.error == (ErrorCode.LOCKED if end == "lock now" else ErrorCode.BAD_TYPE)
    assert [kind for kind, _ in packets.split(run.words)] == [Result.FAULT]
    engine.reset()
    wanted = expected_of(unlock_program(locked, scheme, ChipModel.of(device)), device, x, challenge_tiles(scheme))
    assert np.array_equal(engine.run(good, len(wanted)).words, wanted)


def test_nothing_is_sent_in_a_challenge_and_state_is_told(chip):
    device, engine = chip
    spec = device.spec
    scheme = LockScheme.new(spec, "numeric", "aes", nonce=NONCE)
    status = packets.status_packet()
    unlock_words = len(packets.unlock_packet())
    head = scheme.packets()
    reply = protocol.STATUS_WORDS + protocol.FRAME_WORDS
    engine.reset()
    run = engine.run(np.concatenate([status, head[:-unlock_words], status, head[-unlock_words:], status]), 3 * reply)
    states = [int(payload[4]) for _, payload in packets.split(run.words)]
    assert states == [0b001, 0b011, 0b101], "booted, in the challenge, keyed; and no other packet"
    tiles = challenge_tiles(scheme)
    assert [int(payload[1]) for _, payload in packets.split(run.words)] == [0, tiles, tiles]


def test_flags_of_the_counter_are_those_of_the_packet():
    layer = dense(np.zeros((1, 4)), np.zeros(1), 0, 0, 0, emits=True)
    assert layer.flags == LayerFlag.EMIT and replace(layer, plain=True, emits=False).flags == LayerFlag.PLAIN_WEIGHTS
