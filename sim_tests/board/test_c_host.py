"""The host in C, compiled strictly, with simulated engines: answers to the bit, every refusal by its name."""

import functools
import platform
import re
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bitting
from bitting.artefact import packet_file
from bitting.artefact.packet_file import C_HOST
from bitting.locking.device import Device
from bitting.program import packets
from bitting.program.layers import multilayer_perceptron
from bitting.sim.native import NativeEngine, engine_library
from bitting.sim.session import BOOT_ATTEMPTS
from bitting.unit.protocol import ErrorCode, Packet
from bitting.unit.spec import PRESETS
from tb.banded import banded_model
from tb.c_host import STRICT, CHost, Fifos, MeasuringFifos, library
from tb.programs import random_activations
from tb.puf_chips import Chip

TINY = PRESETS["tiny"]
AES, ASCON = TINY.replace(vault="aes"), TINY.replace(vault="ascon")
LOCKS = [(AES, "table"), (AES, "shuffle"), (AES, "aes-clocked"), (ASCON, "sealed"), (ASCON, "sealed-clocked")]


class Maker:
    """Makes hosts, each with an engine that has a device's fuses."""

    def __init__(self, folder: Path):
        self.library = library(folder)
        self.engines: list[NativeEngine] = []
        self.built = functools.cache(engine_library)

    def __call__(self, device: Device, kind: type[Fifos] = Fifos) -> CHost:
        self.engines.append(NativeEngine(self.built(device.spec), device.root, device.sealed))
        return CHost(self.library, kind(self.engines[-1]))


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    maker = Maker(tmp_path_factory.mktemp("c"))
    yield maker
    for engine in maker.engines:
        engine.close()


def locked(spec, transform, seed=1, self_test=4, device=None):
    """(packet file, model, device). Inputs fill no whole number of words."""
    rng = np.random.default_rng(seed)
    weights = [rng.integers(0, spec.codes, shape) for shape in ((13, 21), (5, 13))]
    model = bitting.Model(multilayer_perceptron(spec, weights, [rng.integers(-99, 99, 13), rng.integers(-99, 99, 5)], [1, 0]))
    device, fingerprint = device or Device.new(spec), "none" if transform == "table" else "clock"
    artefact = bitting.lock(model, device, fingerprint, transform, self_test=self_test)
    return packet_file.contents(artefact), model.program, device


def changed(data: bytes, change: Callable[[np.ndarray], None]) -> bytes:
    """By somebody who can compute a checksum."""
    words = np.frombuffer(data, "<u4").copy()
    change(words)
    words[-1] = zlib.crc32(words[:-1].tobytes())
    return words.tobytes()


def in_body(words: np.ndarray) -> int:
    """A word in the middle of the program."""
    return int(16 + words[10:13].sum() + words[13] // 2)


@pytest.mark.parametrize(("spec", "transform"), LOCKS)
@pytest.mark.parametrize("questions", [1, 9])
def test_answers_are_the_emulator_s_in_every_batch(host, spec, transform, questions):
    """Nine questions take three batches of four lanes; then batches of every size, one after another."""
    data, program, device = locked(spec, transform, seed=questions, self_test=questions)
    small = host(device)
    assert small.open(data) == small.start() == small.self_test() == "OK"
    rng = np.random.default_rng(questions)
    for count in (4, 1, 3, 2):
        x = random_activations(spec, rng, count, program.input_words)
        expected = bitting.Emulator(program, range(spec.codes))(x).numpy()
        assert np.array_equal(small.run(x, program.outputs), expected), count
    assert small.start() == small.self_test() == "OK"


@pytest.mark.parametrize("transform", ["aes-clocked", "sealed-clocked"])
def test_lanes_share_samples(host, transform):
    """Two samples at a time in eight lanes; three questions take two batches."""
    spec = TINY.replace(lanes=8, stripes=4, scratch_words=1024, vault="aes" if transform == "aes-clocked" else "ascon")
    model, device = banded_model(spec), Device.new(spec)
    small = host(device)
    data = packet_file.contents(bitting.lock(model, device, "clock", transform, self_test=3))
    assert small.open(data) == small.start() == small.self_test() == "OK"
    for count in (2, 1):
        x = random_activations(spec, np.random.default_rng(count), count, model.program.sample_words)
        assert np.array_equal(small.run(x, model.program.outputs), model.sums(x)), count
    answers = np.zeros((3, model.program.outputs), np.int32)
    assert small.status_of_run(np.zeros((3, model.program.sample_words)), answers) == "BAD_CALL"
    for field in (4, 16, 17, 18, 19):
        for value in (0, 3, 1 << 9, 1 << 16, 1 << 31, 0xFFFFFFFF):

            def lie(words, field=field, value=value):
                words[field] = value

            assert small.open(changed(data, lie)) == "BAD_FILE", (field, value)
    other = host(device.with_flipped_bit(3))
    assert other.open(data) == other.start() == "OK"
    assert other.self_test() in ("OTHER_DEVICE", "REFUSED")


@pytest.mark.parametrize(("spec", "transform"), [(AES, "aes-clocked"), (ASCON, "sealed-clocked")])
def test_a_device_with_a_puf_boots_with_the_helper_data_of_the_file(host, spec, transform):
    """A file for another chip, or a changed one, is refused after three attempts."""
    chip = Chip(spec, sealed=spec == ASCON)
    data, program, _ = locked(spec, transform, device=chip.device)
    fifos = MeasuringFifos(chip.engine)
    small = CHost(host.library, fifos)
    assert small.open(data) == small.start() == small.self_test() == "OK"
    x = random_activations(spec, np.random.default_rng(2), 3, program.input_words)
    assert np.array_equal(small.run(x, program.outputs), bitting.Emulator(program, range(spec.codes))(x).numpy())

    def flip(words):
        payload = words[17 : 17 + chip.design.key.helper_words]
        payload[1] ^= 1 << 3
        words[16 : 16 + len(payload) + 2] = packets.helper_packet(payload.tolist())

    assert small.open(changed(data, flip)) == "OK" and small.start() == "NO_ROOT"
    assert "could not make its root secret" in small.message
    own = chip.differences
    chip.become(Chip(spec, seed=5).differences)
    assert small.open(data) == "OK" and small.start() == "NO_ROOT"
    chip.become(own)
    assert small.start() == small.self_test() == "OK"


class Flaky(MeasuringFifos):
    """Before a chip that measures another one's silicon in its first attempts; counts how often it is asked."""

    def __init__(self, chip: Chip, failures: int):
        super().__init__(chip.engine)
        self.chip, self.own, self.left, self.asked_for = chip, chip.differences, failures, 0

    def write(self, word: int) -> int:
        taken = super().write(word)
        if taken and word & 0xFF == Packet.HELPER and word >> 16 == self.chip.design.key.helper_words:
            self.asked_for += 1
            self.chip.engine.load(self.chip.increments(self.own if self.left <= 0 else -self.own))
            self.left -= 1
        return taken


@pytest.mark.parametrize(("failures", "status", "attempts"), [(0, "OK", 1), (1, "OK", 2), (2, "OK", 3), (3, "NO_ROOT", 3)])
def test_a_failed_attempt_is_followed_by_another_one_three_in_all(host, failures, status, attempts):
    chip = Chip(ASCON, sealed=True)
    data, _, _ = locked(ASCON, "sealed", device=chip.device)
    fifos = Flaky(chip, failures)
    small = CHost(host.library, fifos)
    assert small.open(data) == "OK" and small.start() == status
    assert (fifos.asked_for, small.attempts) == (attempts, attempts) and attempts <= BOOT_ATTEMPTS


def test_helper_data_for_a_device_without_a_puf_are_a_fault(host):
    data, _, _ = locked(ASCON, "sealed", device=Chip(ASCON, sealed=True).device)
    small = host(Device.new(ASCON))
    assert small.open(data) == "OK" and small.start() == "FAULT" and "BAD_TYPE" in small.message


def test_a_device_with_a_puf_takes_no_file_without_helper_data(host):
    data, _, _ = locked(ASCON, "sealed")
    small = CHost(host.library, MeasuringFifos(Chip(ASCON, sealed=True).engine))
    assert small.open(data) == "OK" and small.start() == "BAD_ANSWER"


@pytest.mark.parametrize(
    ("spec", "transform", "status", "said"),
    [
        (AES, "table", "OTHER_DEVICE", "is not the device"),
        (AES, "shuffle", "OTHER_DEVICE", "is not the device"),
        (AES, "aes-clocked", "OTHER_DEVICE", "is not the device"),
        (ASCON, "sealed", "REFUSED", "BAD_TAG"),
        (ASCON, "sealed-clocked", "REFUSED", "BAD_TAG"),
    ],
)
def test_another_device_is_told_by_the_self_test(host, spec, transform, status, said):
    data, program, device = locked(spec, transform)
    small = host(device.with_flipped_bit(77))
    assert small.open(data) == small.start() == "OK"
    assert small.self_test() == status and said in small.message
    answers = np.zeros((1, program.outputs), np.int32)
    assert small.status_of_run(np.zeros((1, program.input_words)), answers) == "BAD_CALL", "a reset comes first"


@pytest.mark.parametrize(
    ("spec", "transform", "status", "said"),
    [(AES, "aes-clocked", "FAULT", "BAD_CRC"), (ASCON, "sealed-clocked", "REFUSED", "BAD_TAG")],
)
def test_a_changed_word_is_refused_by_name(host, spec, transform, status, said):
    data, program, device = locked(spec, transform)
    small = host(device)

    def flip(words):
        words[in_body(words)] ^= 1 << 9

    assert small.open(changed(data, flip)) == small.start() == "OK"
    assert small.self_test() == status and said in small.message
    assert small.start() == "OK"
    x = np.zeros((2, program.input_words))
    assert small.status_of_run(x, np.zeros((2, program.outputs), np.int32)) == status and said in small.message
    assert small.open(data) == small.start() == small.self_test() == "OK"


def test_a_file_that_is_not_whole_is_refused(host):
    data, _, device = locked(AES, "aes-clocked")
    small = host(device)
    for length in (0, 3, 4, 64, 68, len(data) - 4, len(data) - 1):
        assert small.open(data[:length]) == "BAD_FILE", length
        assert small.start() == "BAD_CALL"
    assert small.open(data + bytes(4)) == "BAD_FILE"
    for position in range(0, len(data), 97):
        broken = bytearray(data)
        broken[position] ^= 0x10
        assert small.open(bytes(broken)) == "BAD_FILE", position


@pytest.mark.parametrize("field", [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
def test_a_header_that_lies_is_refused(host, field):
    """It would have the host read past the file's end. Only what still fits the file is believed."""
    data, _, device = locked(AES, "aes-clocked")
    small = host(device)
    believed = {5: range(2, 9), 6: range(0x10000 - 21 + 1), 9: range(5 * (4 + 4), 1 << 32)}.get(field, range(0))
    for value in (0, 1, 3, 1 << 16, 1 << 17, 1 << 24, 1 << 31, 0xFFFFFFFF):
        words = np.frombuffer(data, "<u4").copy()
        lies = words[field] != value
        words[field] = value
        words[-1] = zlib.crc32(words[:-1].tobytes())
        assert small.open(words.tobytes()) == ("BAD_FILE" if lies and value not in believed else "OK"), (field, value)


def test_another_family_is_told_before_anything_is_sent(host):
    data, _, _ = locked(AES, "aes-clocked")
    small = host(Device.new(ASCON))
    assert small.open(data) == "OK" and small.start() == "FAMILY" and "family" in small.message


class Silent(Fifos):
    def read(self):
        return None


class Broken(Fifos):
    def write(self, word):
        return -1


class Noisy(Fifos):
    """A bit of the ninth word that comes is wrong."""

    came = 0

    def read(self):
        word = super().read()
        self.came += word is not None
        return None if word is None else word ^ (self.came == 9) << 5


@pytest.mark.parametrize(("kind", "status"), [(Silent, "SILENT"), (Broken, "LINK"), (Noisy, "BAD_ANSWER")])
def test_a_bad_link_is_named(host, kind, status):
    data, _, device = locked(AES, "aes-clocked")
    small = host(device, kind)
    assert small.open(data) == "OK"
    started = small.start()
    assert (small.self_test() if started == "OK" else started) == status and small.message


def test_wrong_calls_are_refused(host):
    data, program, device = locked(AES, "aes-clocked", self_test=0)
    small = host(device)
    assert small.open(data) == "OK"
    x, answers = np.zeros((5, program.input_words)), np.zeros((5, program.outputs), np.int32)
    assert small.self_test() == small.status_of_run(x[:1], answers) == "BAD_CALL"
    assert small.start() == "OK" and small.self_test() == "NO_SELF_TEST"
    assert small.status_of_run(x, answers) == small.status_of_run(x[:0], answers) == "BAD_CALL"
    for beyond in (AES.act_min - 1, AES.act_max + 1):
        assert small.status_of_run(np.full((1, program.input_words), beyond), answers) == "BAD_CALL"
    assert small.status_of_run(x[:4], answers) == "OK"


def test_every_error_has_its_name(host):
    for code in ErrorCode:
        if code:
            assert host.library.bitting_fault_name(int(code)).decode() == code.name
    assert host.library.bitting_fault_name(99).decode() == "unknown error"


def test_it_compiles_strictly_and_needs_nothing(tmp_path):
    """C99 and C++, with every warning an error; no floating point, no allocation, nothing of a C library."""
    source, out = str(C_HOST / "bitting_host.c"), tmp_path / "host.o"
    integers = ["-mgeneral-regs-only"] if platform.machine() in ("x86_64", "aarch64") else []
    for command in (
        ["gcc", "-std=c99", *STRICT, "-O2", *integers],
        ["g++", "-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-x", "c++"],
        ["gcc", "-std=c99", *STRICT, "-Os", "-ffreestanding", *integers],
    ):
        subprocess.run([*command, "-c", source, "-o", str(out)], check=True)
    undefined = subprocess.run(["nm", "-u", str(out)], check=True, capture_output=True, text=True).stdout.split()
    assert not set(undefined) - {"U", "memcpy", "memset"}
    subprocess.run(["gcc", "-std=c99", *STRICT, "-c", str(C_HOST / "example.c"), "-o", str(out)], check=True)
    text = (C_HOST / "bitting_host.c").read_text() + (C_HOST / "bitting_host.h").read_text()
    assert set(re.findall("#include (.*)", text)) == {'"bitting_host.h"', "<stddef.h>", "<stdint.h>"}
    assert not re.search(r"\b(float|double|malloc)\b", text)
