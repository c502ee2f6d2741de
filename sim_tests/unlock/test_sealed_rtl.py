"""Sealed programs on the RTL of a device: right to the bit and the cycle, and refused whatever is changed in them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bitting.emulator.emulate import Emulator
from bitting.errors import LockError
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.keys import lock_key
from bitting.locking.kinds import FINGERPRINTS, SEALING
from bitting.locking.scheme import LockScheme
from bitting.locking.sealed_program import seal_program
from bitting.locking.transform import inverse, restore_program, seal_model
from bitting.program import packets
from bitting.program.layers import Program, dense, multilayer_perceptron
from bitting.sim.native import NativeEngine, Stalls, engine_library
from bitting.unit.protocol import FAULT_WORDS, FRAME_WORDS, MAX_PAYLOAD_WORDS, TAG_WORDS, ErrorCode, Packet, Result
from bitting.unit.spec import parse_spec
from bitting.unit.timing import TILE_GAP
from tb.programs import random_activations, random_program

SPEC = parse_spec("tiny:vault=ascon")
ROOT = bytes(range(16))
PAIRINGS = [(fingerprint, transform) for fingerprint in FINGERPRINTS for transform in SEALING]
FAULT = FAULT_WORDS + FRAME_WORDS


@pytest.fixture(scope="module")
def sealed_engine():
    with NativeEngine(engine_library(SPEC), ROOT, sealed=True) as engine:
        yield engine


@pytest.fixture(scope="module")
def bench_engine():
    """A device whose fuse `sealed` is not blown."""
    with NativeEngine(engine_library(SPEC), ROOT) as engine:
        yield engine


def answers(engine, words, expected, stalls=Stalls(), quiet_limit=None):
    engine.reset()
    return engine.run(words, expected, stalls, quiet_limit)


def with_input(sealed, x, *before):
    inputs = packets.activations_packet(SPEC, sealed.input_base, x)
    return np.concatenate([*before, sealed.head, inputs, sealed.body])


def stalls_of(seed):
    return Stalls(seed, *(0, 0) if seed % 3 == 0 else (60, 60))


@pytest.mark.parametrize("seed", range(12))
def test_an_unsealed_device_runs_what_is_sealed_with_zeros(bench_engine, seed):
    device = Device(SPEC, ROOT)
    rng = np.random.default_rng(seed)
    program = random_program(SPEC, rng)
    x = random_activations(SPEC, rng, SPEC.lanes, program.input_words)
    sealed = seal_program(program, bytes(16), ChipModel.of(device), clocked=False, reports=True)
    logits = Emulator(program, device.table())(torch.from_numpy(x)).numpy()
    expected = packets.ExpectedResults.of(program, program.tile_cycles(device.table())).words(logits)
    run = answers(bench_engine, with_input(sealed, x), len(expected), stalls_of(seed))
    assert np.array_equal(run.words, expected) and not run.error


@pytest.mark.parametrize(("fingerprint", "transform"), PAIRINGS)
@pytest.mark.parametrize("reports", [False, True], ids=["silent", "reporting"])
def test_sealed_programs_are_right_to_the_bit_and_the_cycle(sealed_engine, fingerprint, transform, reports):
    device = Device(SPEC, ROOT, sealed=True)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        program = random_program(SPEC, rng)
        program = replace(program, layers=tuple(replace(layer, constant=layer.plain) for layer in program.layers))
        model = program.map_codes(device.table())
        x = random_activations(SPEC, rng, SPEC.lanes, program.input_words)
        scheme = LockScheme.new(SPEC, fingerprint, transform)
        chip = ChipModel.of(device)  # not `seal_model`: random programs read what nothing has written
        sealed = seal_program(program, lock_key(scheme, chip), chip, scheme.clocked, reports)
        logits = Emulator(program, device.table())(torch.from_numpy(x)).numpy()
        expected = packets.ExpectedResults.of(program, program.tile_cycles(device.table()), reports).words(logits)
        if not reports:
            expected = untold(expected)
        assert len(expected) == sealed.result_words
        run = answers(sealed_engine, with_input(sealed, x, scheme.packets()), len(expected), stalls_of(seed))
        assert np.array_equal(run.words, expected) and not run.error
        again = restore_program(sealed, scheme, device)
        for ours, theirs in zip(again.layers, model.layers, strict=True):
            assert np.array_equal(ours.codes, theirs.codes) and np.array_equal(ours.bias, theirs.bias)


def untold(words):
    """Results of a device that tells neither numbers nor cycles of tiles."""
    parts = []
    for kind, payload in packets.split(words):
        payload = payload.copy()
        payload[:2] = 0
        parts.append(packets.frame(kind, payload))
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def small():
    """A device, a scheme, a sealed program of a few packets, and an input."""
    device = Device(SPEC, ROOT, sealed=True)
    scheme = LockScheme.new(SPEC, "clock", "sealed-clocked")
    rng = np.random.default_rng(5)
    weights = [rng.integers(0, SPEC.codes, shape) for shape in ((3, 5), (2, 3))]
    model = multilayer_perceptron(SPEC, weights, [np.zeros(3), np.zeros(2)], [1, 0])
    sealed = seal_model(model, device, scheme)
    x = random_activations(SPEC, rng, SPEC.lanes, 5)
    return device, scheme, sealed, x


def refused(engine, words, error=None, quiet_limit=None):
    """Nothing comes but one FAULT, and silence after it, for `quiet_limit` clocks."""
    run = answers(engine, np.concatenate([words, packets.status_packet()]), FAULT + 1, quiet_limit=quiet_limit)
    kinds = [kind for kind, _ in packets.split(run.words)]
    assert kinds == [Result.FAULT], kinds
    assert run.error != ErrorCode.NONE and error in (None, run.error), ErrorCode(run.error)
    return ErrorCode(run.error)


@pytest.mark.slow
def test_no_bit_of_a_program_can_be_flipped(sealed_engine, small):
    """Every bit of every word, headers and tags too. Before the fault nothing leaves: the results would be last.

    Silence after it is as long as the right run takes from the reset on; after one bit of each word as long as in all tests.
    """
    _, scheme, sealed, x = small
    head = len(scheme.packets())
    inputs = len(packets.activations_packet(SPEC, 0, x))
    words = with_input(sealed, x, scheme.packets())
    run = answers(sealed_engine, words, sealed.result_words)
    right, clocks = list(packets.split(run.words)), run.cycles
    assert len(right) == sealed.outputs
    emitting = last_layer_at(sealed) + inputs + head
    starts = np.cumsum([0, *map(len, sealed.packets())])
    headers = {int(start) + head + inputs * (start > 0) for start in starts}
    for index in [*range(head, head + len(sealed.head)), *range(head + len(sealed.head) + inputs, len(words))]:
        for bit in range(32):
            changed = words.copy()
            changed[index] ^= 1 << bit
            silence = clocks if bit else None
            if index in headers and bit >= 16:  # the packet is longer now: give it the words it waits for
                changed = np.concatenate([changed, np.zeros(MAX_PAYLOAD_WORDS + TAG_WORDS, np.uint32)])
            if index < emitting:
                refused(sealed_engine, changed, quiet_limit=silence)
            else:  # only answers of the tiles before, which are right, and the FAULT
                run = answers(sealed_engine, changed, sealed.result_words + FAULT, quiet_limit=silence)
                came = list(packets.split(run.words))
                assert run.error and len(came) <= len(right) and came[-1][0] == Result.FAULT
                for (kind, payload), (_, expected) in zip(came[:-1], right, strict=False):
                    assert kind == Result.TILE_DONE and np.array_equal(payload, expected)


def last_layer_at(sealed):
    """Words before the last LAYER packet."""
    at, last = 0, 0
    for packet in sealed.packets():
        if int(packet[0]) & 0xFF == Packet.LAYER:
            last = at
        at += len(packet)
    return last


def test_packets_left_out_repeated_or_in_another_order_are_refused(sealed_engine, small):
    _, scheme, sealed, x = small
    program, layer, first, second, *rest = sealed.packets()
    inputs = packets.activations_packet(SPEC, sealed.input_base, x)
    head = scheme.packets()
    for order, error in (
        ([program, inputs, layer, second, first, *rest], ErrorCode.BAD_TAG),
        ([program, inputs, layer, first, first, second, *rest], ErrorCode.BAD_TAG),
        ([program, inputs, layer, second, *rest], ErrorCode.BAD_TAG),
        ([program, inputs, layer, layer, first], ErrorCode.BAD_TAG),
        ([program, program], ErrorCode.BAD_ORDER),
        ([program, layer], ErrorCode.BAD_ORDER),
        ([inputs], ErrorCode.BAD_ORDER),
        ([layer], ErrorCode.BAD_ORDER),
        ([program, inputs, inputs], ErrorCode.BAD_ORDER),
        ([program, inputs, layer, first, inputs], ErrorCode.BAD_ORDER),
        ([program, head], ErrorCode.BAD_ORDER),
        ([program, inputs, layer, packets.unlock_packet(), layer], ErrorCode.BAD_ORDER),
    ):
        refused(sealed_engine, np.concatenate([head, *order]), error)


def test_a_program_can_be_begun_again_for_the_next_input(sealed_engine, small):
    device, scheme, sealed, x = small
    clear = restore_program(sealed, scheme, device).map_codes(inverse(device.table()))
    inputs = [x, -1 - x, x[::-1].copy()]
    words, expected = [scheme.packets()], []
    for number, batch in enumerate(inputs):
        words += [packets.unlock_packet()] * (number > 0)
        words.append(with_input(sealed, batch))
        logits = Emulator(clear, device.table())(torch.from_numpy(batch)).numpy()
        cycles = clear.tile_cycles(device.table())
        expected.append(untold(packets.ExpectedResults.of(clear, cycles, report=False).words(logits)))
    run = answers(sealed_engine, np.concatenate(words), sum(map(len, expected)))
    assert np.array_equal(run.words, np.concatenate(expected)) and not run.error


def test_clear_execution_is_over_on_a_sealed_device(sealed_engine, bench_engine, small):
    """What an unsealed device with the same root runs, a sealed one refuses; and the other way round."""
    device, scheme, sealed, x = small
    bench = Device(SPEC, ROOT)
    assert bench.table() != device.table()
    clear = restore_program(sealed, scheme, device).map_codes(inverse(bench.table()))
    open_to_all = seal_program(clear, bytes(16), ChipModel.of(bench), clocked=False)
    assert not answers(bench_engine, with_input(open_to_all, x), open_to_all.result_words).error
    refused(sealed_engine, with_input(open_to_all, x), ErrorCode.BAD_ORDER)
    refused(bench_engine, with_input(sealed, x, scheme.packets()), ErrorCode.BAD_TAG)
    with pytest.raises(LockError, match=r"packet 0 .* not authentic"):
        restore_program(sealed, scheme, bench)


def test_a_challenge_is_bound_word_by_word(sealed_engine, small):
    """A challenge that differs in any bit derives another key, whatever the device answers to it."""
    _, scheme, sealed, x = small
    parts = [scheme.packets()[:7], *scheme.challenge_packets()[1:]]
    for number, part in enumerate(parts):
        for word in {1, len(part) - 2}:
            if number == 0 and word == 1:
                continue  # fingerprint and transform: the next test
            payload = part[1:-1].copy()
            payload[word - 1] ^= 1
            changed = [*parts[:number], packets.frame(int(part[0]) & 0xFF, payload), *parts[number + 1 :]]
            run = answers(
                sealed_engine, np.concatenate([*changed, packets.unlock_packet(), with_input(sealed, x)]), sealed.result_words
            )
            assert run.error and [kind for kind, _ in packets.split(run.words)] == [Result.FAULT]


def test_a_program_that_reads_what_nothing_has_written_is_not_sealed():
    """A crafted challenge, or the batch before, could have put something there."""
    model = multilayer_perceptron(SPEC, [np.zeros((2, 5), int)], [np.zeros(2)], [0])
    beside = replace(model, layers=(replace(model.layers[0], offsets=model.layers[0].offsets + 1),))
    assert beside.unwritten() == [(0, 5)] and not model.unwritten()
    with pytest.raises(LockError, match="layer 0 reads scratch word 5"):
        seal_model(beside, Device(SPEC, ROOT, sealed=True), LockScheme.new(SPEC, "clock", "sealed"))


def test_one_challenge_a_reset(sealed_engine, small):
    _, scheme, _, _ = small
    refused(sealed_engine, np.concatenate([scheme.packets(), scheme.packets()]), ErrorCode.BAD_ORDER)


def test_nothing_leaves_a_sealed_device_before_its_program(sealed_engine, small):
    """The challenge runs, layers that ask for reports among it, and only STATUS answers: the state of the lock, no counters."""
    _, scheme, _, _ = small
    reporting = []
    for layer in scheme.challenge.program.layers:
        reporting += [packets.layer_packet(layer, report=True), *packets.tile_packets(layer)]
    words = [
        *scheme.challenge_packets()[:2],
        *reporting,
        packets.status_packet(),
        packets.unlock_packet(),
        packets.status_packet(),
    ]
    run = answers(sealed_engine, np.concatenate(words), 64)
    replies = list(packets.split(run.words))
    assert [kind for kind, _ in replies] == [Result.STATUS_REPLY] * 2 and not run.error
    for (_, payload), state in zip(replies, (0b10011, 0b10101), strict=True):
        assert payload.tolist() == [int(SPEC.id, 16) & 0xFFFFFFFF, 0, 0, 0, state]


@pytest.mark.slow
@pytest.mark.parametrize("transform", SEALING)
def test_opening_keeps_up_with_dense_layers(transform):
    """No clock is lost on tiles of 48 codes or more: they follow one another as the timing law says."""
    spec = parse_spec("base:vault=ascon")
    device = Device(spec, ROOT, sealed=True)
    with NativeEngine(engine_library(spec), ROOT, sealed=True) as engine:
        for codes in (48, 64, 784):
            clocks, law = zip(*(_clocks(engine, device, transform, tiles, codes) for tiles in (20, 60)), strict=True)
            assert clocks[1] - clocks[0] == law[1] - law[0], codes


def _clocks(engine, device, transform, tiles, codes):
    """Clocks of a run, and what the hidden layer's tiles take by the law."""
    spec = device.spec
    rng = np.random.default_rng(codes)
    weights = [np.resize(rng.integers(0, spec.codes, (60, codes)), (tiles, codes)), rng.integers(0, spec.codes, (1, 16))]
    layers = (dense(weights[0], np.zeros(tiles), 0, 1024, 0), dense(weights[1], np.zeros(1), 1024, 0, 0, emits=True))
    model = Program(spec, layers, 0, codes)
    scheme = LockScheme.new(spec, "clock", transform)
    sealed = seal_model(model, device, scheme)
    inputs = packets.activations_packet(spec, 0, np.zeros((spec.lanes, codes), np.int8))
    engine.reset()
    run = engine.run(np.concatenate([scheme.packets(), sealed.head, inputs, sealed.body]), sealed.result_words)
    assert not run.error
    cycles = model.map_codes(inverse(device.table())).tile_cycles(device.table())[0]
    return run.cycles, sum(count + TILE_GAP for count in cycles)
