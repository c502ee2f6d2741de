"""Locks in Python: transforms against a plain restatement, fingerprints against golden, wrong and mutated chips."""

from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from bitting.attack import mutants
from bitting.errors import DeviceError, LockError
from bitting.locking.challenge import Challenge, min_entropy
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.keys import fingerprint_message, lock_key
from bitting.locking.kinds import AES_TRANSFORMS, FINGERPRINTS, Fingerprint, Level, Transform
from bitting.locking.scheme import LockScheme
from bitting.locking.transform import lock_program, restore_program, unlock_program
from bitting.program.layers import Layer, Program
from bitting.unit import timing
from bitting.unit.golden import Unit
from bitting.unit.spec import parse_spec
from tb.families import AES
from tb.programs import golden_cycles, table_program

ROOT = bytes.fromhex("00f1e2d3c4b5a69788796a5b4c3d2e1f")
NONCE = bytes(range(16))
PAIRINGS = [(fingerprint, transform) for fingerprint in FINGERPRINTS for transform in AES_TRANSFORMS]


@pytest.fixture(params=["tiny", "base", "wide"])
def family(request):
    return AES[request.param]


@pytest.fixture
def model(rng):
    return table_program(AES["base"], rng)


def plain_tiles(program: Program) -> list[tuple[Layer, int, list[int]]]:
    """(layer, tile in the layer, codes) of every tile in order."""
    return [(layer, tile, layer.codes[tile].tolist()) for layer in program.layers for tile in range(layer.tiles)]


def restated(locked: Program, scheme: LockScheme, device: Device) -> list[list[int]]:
    """What a chip unlocks, in plain Python, tile after tile, as the documentation says it."""
    unit = Unit(device.spec, device.table())
    key = lock_key(scheme, ChipModel.of(device))
    opened: list[list[int]] = []
    cycles: list[int] = []
    for number, (layer, _, codes) in enumerate(plain_tiles(locked)):
        counted = sum(cycles[: number - 1]) if scheme.transform == "aes-clocked" and number > 1 else 0
        flags = (1 if layer.emits else 0) | (4 if layer.plain else 0)
        word = (len(codes) - 1) | flags << 16 | layer.shift << 24
        counter = (counted << 80 | word << 48 | number << 16).to_bytes(16)
        stream = Cipher(algorithms.AES128(key), modes.CTR(counter)).encryptor().update(bytes(2 * len(codes)))
        if layer.constant:
            clear = codes
        elif scheme.transform == "shuffle":
            clear = []
            for i, code in enumerate(codes):
                place = int.from_bytes(stream[2 * i : 2 * i + 2]) * (i + 1) >> 16
                clear.append(code)
                clear[i], clear[place] = clear[place], code
        else:
            mask = 255 if layer.plain else device.spec.codes - 1
            clear = [(code ^ byte) & mask for code, byte in zip(codes, stream, strict=False)]
        opened.append(clear)
        cycles.append(unit.tile_cycles(replace(layer, codes=np.array([clear])), 0))
    return opened


@pytest.mark.parametrize(("fingerprint", "transform"), PAIRINGS)
def test_every_pairing_opens_on_its_device_and_on_no_other(model, fingerprint, transform):
    device = Device(model.spec, ROOT)
    scheme = LockScheme.new(model.spec, fingerprint, transform, nonce=NONCE)
    locked = lock_program(model, device, scheme)
    assert [codes for _, _, codes in plain_tiles(unlock_program(locked, scheme, ChipModel.of(device)))] == restated(
        locked, scheme, device
    )
    back = restore_program(locked, scheme, device)
    assert all(np.array_equal(a.codes, b.codes) for a, b in zip(back.layers, model.layers, strict=True)), "the same integers"
    assert all(np.array_equal(a.bias, b.bias) for a, b in zip(locked.layers, model.layers, strict=True))
    wrong = device.with_flipped_bit(99)
    clear = unlock_program(locked, scheme, ChipModel.of(wrong))
    assert [codes for _, _, codes in plain_tiles(clear)] == restated(locked, scheme, wrong), "noise, but the same noise"
    assert clear.secret[0].codes.tolist() != unlock_program(locked, scheme, ChipModel.of(device)).secret[0].codes.tolist()


def test_nonce_fingerprint_and_transform_all_change_the_key(model):
    chip = ChipModel.of(Device(model.spec, ROOT))
    locks = [LockScheme.new(model.spec, *pairing, nonce=nonce) for pairing in PAIRINGS for nonce in (NONCE, bytes(16))]
    # aes and aes-pre are one transform of the chip; the BINARY flag in the counter tells them apart.
    assert len({lock_key(scheme, chip) for scheme in locks}) == 2 * len(FINGERPRINTS) * (len(AES_TRANSFORMS) - 1)
    assert len({LockScheme.new(model.spec, "clock", "aes-pre").nonce for _ in range(20)}) == 20


def test_the_absorbed_message_tells_its_parts_apart(model):
    scheme = LockScheme.new(model.spec, "clock", "aes-pre", nonce=NONCE)
    seen = set()
    for count in range(9):
        for last in (0, 5):
            words = np.array([*[1] * count, last], np.uint32)
            message = fingerprint_message(scheme, words)
            assert len(message) % 16 == 0 and message.endswith((5 + len(words)).to_bytes(4))
            seen.add(message)
    assert len(seen) == 18


def test_fingerprints_are_what_golden_does(family):
    device = Device(family, ROOT)
    challenge = Challenge.of(family)
    unit = Unit(family, device.table())
    cycles, accumulators = ChipModel.of(device).run(challenge.program, challenge.activations)
    assert cycles.tolist() == golden_cycles(challenge.program, device.table())
    for lane in (0, family.lanes - 1):
        scratch = [0] * family.scratch_words
        scratch[: challenge.program.input_words] = challenge.activations[lane].tolist()
        emitted = []
        for layer in challenge.program.layers:
            sums = unit.run_layer(layer, scratch)
            emitted += sums if layer.emits else []
        assert accumulators[:, lane].tolist() == emitted
    assert ChipModel.of(device).fingerprint(challenge, Fingerprint.CLOCK).tolist() == cycles.tolist()


def test_the_clock_fingerprint_tells_the_cycles_of_every_code(family):
    """Each timing tile is a number whose digits are its codes' cycles: its formula of entropy rests on that."""
    device = Device(family, ROOT)
    challenge = Challenge.of(family)
    cycles, _ = ChipModel.of(device).run(challenge.program, challenge.activations)
    base = max(family.value_cycles)
    meaning = family.decoding(device.table()).cycles
    layer = challenge.program.layers[0]
    for tile, found in enumerate(cycles[: layer.tiles]):
        once = (found - timing.TILE_OVERHEAD) // layer.position_count - layer.tile_codes  # every code takes one at least
        digits = [int(once) // base**k % base + 1 for k in range(4)]
        assert digits == [meaning[code] for code in range(4 * tile, 4 * tile + 4)]


def test_the_numeric_fingerprint_tells_the_weight_of_every_code(family):
    """The linear system of the second layer has full rank over GF(2), so one solution modulo 2^W."""
    challenge = Challenge.of(family)
    layer = challenge.program.layers[1]
    rows = []
    for codes in layer.codes:
        for lane in challenge.activations:
            row = 0
            for code, offset in zip(codes, layer.offsets, strict=True):
                row ^= (int(lane[offset]) & 1) << int(code)
            rows.append(row)
    rank = 0
    for bit in range(family.codes):
        pivot = next((row for row in rows if row >> bit & 1), None)
        if pivot is not None:
            rank += 1
            rows = [row ^ pivot if row >> bit & 1 else row for row in rows if row is not pivot]
    assert rank == family.codes


def test_min_entropy_of_the_fingerprints():
    base = AES["base"]
    assert all(min_entropy(base, fingerprint, Level.FAMILY) == 0 for fingerprint in FINGERPRINTS)
    assert 43.4 < min_entropy(base, Fingerprint.CLOCK, Level.KEY) < 43.6  # 64! / (13! 51!) ways, less 0.05
    assert min_entropy(base, Fingerprint.NUMERIC, Level.KEY) == 128  # 296 bits, capped by the root
    assert 13.6 < min_entropy(AES["tiny"], Fingerprint.CLOCK, Level.KEY) < 13.7


@pytest.mark.parametrize("name", ["tiny", "base"])
def test_every_mutant_is_noticed(name, rng):
    """Every code a cycle off, every stall, every wrong bit of table, fold and accumulator: another key, and other codes."""
    spec = AES[name]
    device = Device(spec, ROOT)
    honest = ChipModel.of(device)
    program = table_program(spec, rng)
    first_secret = [layer.constant for layer, _, _ in plain_tiles(program)].index(False)
    for kind, chips in (
        ("clock", list(mutants.timing_mutants(honest))),
        ("numeric", list(mutants.arithmetic_mutants(honest, device.table()))),
    ):
        scheme = LockScheme.new(spec, kind, "aes-pre", nonce=NONCE)
        locked = lock_program(program, device, scheme)
        opened = unlock_program(locked, scheme, honest)
        assert len(chips) >= {"tiny": 25, "base": 110}[name]
        for mutant, chip in chips:
            assert lock_key(scheme, chip) != lock_key(scheme, honest), mutant
            assert mutants.first_wrong_tile(opened, unlock_program(locked, scheme, chip)) == first_secret, mutant


def test_aes_clocked_derails_two_tiles_after_one_extra_cycle(model):
    device = Device(model.spec, ROOT)
    scheme = LockScheme.new(model.spec, "numeric", "aes-clocked", nonce=NONCE)
    layers = tuple(replace(layer, codes=np.repeat(layer.codes, 4, axis=0)[:4], parts=1) for layer in model.secret)
    zeros = np.zeros(4, np.int32)
    layers = tuple(replace(x, bias=zeros, in_base=zeros, out_base=zeros + np.arange(4, dtype=np.int32)) for x in layers)
    locked = lock_program(replace(model, layers=layers), device, scheme)
    tiles = 4 * len(layers)
    expected = [(n, n + 2 if n + 2 < tiles else None) for n in range(tiles)]
    assert mutants.derailments(locked, scheme, device, list(range(tiles))) == expected


def test_locks_that_do_not_exist_are_refused(model):
    spec = model.spec
    with pytest.raises(LockError, match="there is no lock"):
        LockScheme.new(spec, "smell", "aes-pre")
    with pytest.raises(LockError, match="there is no lock"):
        LockScheme.new(spec, "clock", "rot13")
    with pytest.raises(LockError, match="there is no lock"):
        LockScheme.new(spec, "clock", Transform.TABLE)
    with pytest.raises(LockError, match="nonce of 16 bytes"):
        LockScheme(Transform.AES, Fingerprint.CLOCK, b"short", challenge=Challenge.of(spec))
    with pytest.raises(LockError, match="allowed up to 127"):
        LockScheme.new(AES["wide"], "clock", "aes")
    with pytest.raises(LockError, match="tile_codes of at least 65"):
        LockScheme.new(parse_spec("base:vault=aes,tile_codes=32"), "clock", "aes-pre")
    with pytest.raises(LockError, match="locked before"):
        lock_program(
            lock_program(model, Device(spec, ROOT), LockScheme.new(spec, "clock", "aes")), Device(spec, ROOT), LockScheme()
        )
    with pytest.raises(DeviceError, match="they differ in"):
        lock_program(model, Device(AES["tiny"], ROOT), LockScheme())


def test_the_level_of_a_public_secret_is_family(model):
    device = Device.family(model.spec)
    assert device.level == "family" and Device(model.spec, ROOT).level == "key"
    assert "anyone with the RTL" in LockScheme.new(model.spec, "clock", "aes-pre", device.level).caution


def test_nothing_secret_shows_in_a_repr(model):
    device = Device(model.spec, ROOT)
    scheme = LockScheme.new(model.spec, "clock", "aes-pre", nonce=NONCE)
    chip = ChipModel.of(device)
    texts = repr(device) + repr(scheme) + repr(chip)
    for secret in (ROOT, device.fingerprint_key(), lock_key(scheme, chip)):
        assert secret.hex() not in texts and repr(secret) not in texts
