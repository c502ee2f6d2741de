"""Questions and answers in the artefact: exact, the same for everybody, signed, and refused if they are not whole."""

import json

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import bitting
from bitting.artefact import self_test
from bitting.artefact.self_test import SelfTest, require_device
from bitting.errors import ArtefactError, DeviceError, LockError, SignatureError
from bitting.locking.device import Device
from bitting.program.layers import multilayer_perceptron
from bitting.unit.spec import PRESETS
from tb.command import bitting as command
from tb.command import error_of
from tb.programs import random_program
from vectors import page_reader

TINY = PRESETS["tiny"].replace(vault="aes")
ASCON = TINY.replace(vault="ascon")
LOCKS = [(TINY, "table"), (TINY, "shuffle"), (TINY, "aes"), (TINY, "aes-clocked"), (ASCON, "sealed"), (ASCON, "sealed-clocked")]


def model_of(spec, seed=3):
    rng = np.random.default_rng(seed)
    weights = [rng.integers(0, spec.codes, shape) for shape in ((6, 12), (3, 6))]
    return bitting.Model(multilayer_perceptron(spec, weights, [rng.integers(-9, 9, 6), rng.integers(-9, 9, 3)], [1, 0]))


def asked_of(artefact):
    assert artefact.self_test is not None
    return artefact.self_test


def locked(spec, transform, device=None, **options):
    fingerprint = "none" if transform == "table" else "clock"
    return bitting.lock(model_of(spec), device or Device.new(spec), fingerprint, transform, **options)


def test_answers_are_the_emulator_s(spec):
    """Of every shape of program: several positions, chains, constants, plain weights."""
    for seed in range(8):
        program = random_program(spec, np.random.default_rng(seed))
        test = SelfTest.of(program, 5)
        assert test
        assert np.array_equal(test.answers, bitting.Emulator(program, range(spec.codes))(test.questions).numpy()), seed


def test_questions_are_the_same_for_everybody(spec):
    """Drawn from the family's id, as docs/format.md says: no data, no nonce, and more of them begin with the fewer."""
    asked = self_test.questions(spec, 30, 7)
    assert asked.dtype == np.int8 and np.array_equal(asked[:3], self_test.questions(spec, 30, 3))
    assert (asked.min(), asked.max()) >= (spec.act_min, spec.act_min) and asked.max() <= spec.act_max
    assert len(np.unique(self_test.questions(spec, 1000, 4))) == 1 << spec.act_bits
    assert np.array_equal(asked, page_reader.questions(spec.to_dict(), 30, 7))


def test_many_artefacts_of_a_model_give_away_no_more_than_one():
    one, other = asked_of(locked(TINY, "aes-clocked")), asked_of(locked(TINY, "shuffle"))
    assert np.array_equal(one.questions, other.questions) and np.array_equal(one.answers, other.answers)
    assert len(one.questions) == self_test.DEFAULT == 4


@pytest.mark.parametrize(("spec", "transform"), LOCKS)
def test_it_travels_signed_in_every_kind_of_artefact(spec, transform, tmp_path):
    path, owner = tmp_path / "artefact", Ed25519PrivateKey.generate()
    artefact = locked(spec, transform, self_test=5)
    artefact.save(path, owner)
    loaded = asked_of(bitting.Artefact.load(path))
    for name in ("questions", "answers"):
        assert np.array_equal(getattr(loaded, name), getattr(asked_of(artefact), name))
    loaded.answers[2, 1] ^= 1
    changed = tmp_path / "changed"
    rewrite(path, changed, {"self_test.answers": loaded.answers})
    with pytest.raises(SignatureError, match="changed after signing"):
        bitting.Artefact.load(changed)


def rewrite(source, target, tensors, without=()):
    """A file with other tensors, and the metadata of before."""
    with safetensors.safe_open(source, framework="numpy") as handle:
        metadata = handle.metadata()
        before = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    kept = {name: tensor for name, tensor in (before | tensors).items() if name not in without}
    target.write_bytes(safetensors.numpy.save({name: np.ascontiguousarray(t) for name, t in kept.items()}, metadata))


@pytest.mark.parametrize(
    ("tensors", "without", "message"),
    [
        ({}, ("self_test.answers",), "lacks or adds tensors: self_test.answers"),
        ({}, ("self_test.questions",), "lacks or adds tensors: self_test.questions"),
        ({"self_test.questions": np.zeros((4, 11), np.int8)}, (), "questions is int8 of shape"),
        ({"self_test.questions": np.zeros((4, 12), np.uint8)}, (), "questions is uint8"),
        ({"self_test.questions": np.zeros((3, 12), np.int8)}, (), "answers is int32 of shape"),
        ({"self_test.questions": np.full((4, 12), 8, np.int8)}, (), "allowed -8..7"),
        ({"self_test.questions": np.zeros(12, np.int8)}, (), "questions is int8 of shape"),
        ({"self_test.answers": np.zeros((4, 2), np.int32)}, (), "answers is int32 of shape"),
        ({"self_test.answers": np.zeros((4, 3), np.int8)}, (), "answers is int8"),
        (
            {"self_test.questions": np.zeros((65, 12), np.int8), "self_test.answers": np.zeros((65, 3), np.int32)},
            (),
            r"\(1..64, 12\)",
        ),
        (
            {"self_test.questions": np.zeros((0, 12), np.int8), "self_test.answers": np.zeros((0, 3), np.int32)},
            (),
            r"\(1..64, 12\)",
        ),
    ],
)
def test_what_is_no_self_test_is_refused(tensors, without, message, tmp_path):
    locked(TINY, "aes-clocked").save(tmp_path / "artefact")
    rewrite(tmp_path / "artefact", tmp_path / "changed", tensors, without)
    with pytest.raises(ArtefactError, match=message):
        bitting.Artefact.load(tmp_path / "changed")


@pytest.mark.parametrize("count", [-1, 65])
def test_too_many_questions_are_refused(count):
    with pytest.raises(LockError, match=r"allowed 0\.\.64"):
        locked(TINY, "aes-clocked", self_test=count)


@pytest.mark.parametrize(("spec", "transform"), LOCKS)
def test_an_owner_can_tell_whose_artefact_it_is(spec, transform):
    device = Device.new(spec)
    artefact = locked(spec, transform, device)
    require_device(artefact, device, "it")
    for other in (device.with_flipped_bit(0), Device.new(spec)):
        with pytest.raises(DeviceError, match="it is not for this device"):
            require_device(artefact, other, "it")
    without = locked(spec, transform, device, self_test=0)
    assert without.self_test is None
    if artefact.scheme.seals:
        require_device(without, device, "it")
    else:
        with pytest.raises(DeviceError, match="does not say which device"):
            require_device(without, device, "it")


def test_the_command_takes_the_number_and_signing_keeps_them(tmp_path):
    model_of(TINY).save(tmp_path / "model")
    command("device", "new", tmp_path / "A.key", "--spec", "tiny:vault=aes")
    command("owner", "new", tmp_path / "owner")
    arguments = ("lock", tmp_path / "model", "--device", tmp_path / "A.key", "-o", tmp_path / "artefact", "--self-test")
    assert "allowed 0..64" in error_of(*arguments, 65) and not (tmp_path / "artefact").exists()
    command(*arguments, 7)
    command("sign", tmp_path / "artefact", "--key", tmp_path / "owner")
    loaded = bitting.Artefact.load(tmp_path / "artefact")
    assert len(asked_of(loaded).questions) == 7 and loaded.signed_by
    command(*arguments, 0)
    assert bitting.Artefact.load(tmp_path / "artefact").self_test is None


def test_a_packet_file_is_what_the_page_says(tmp_path):
    """Read by the page's own reader, for a program in clear packets and a sealed one."""
    for spec, transform in ((TINY, "aes-clocked"), (ASCON, "sealed-clocked"), (TINY, "table")):
        artefact, path, words = locked(spec, transform), tmp_path / transform, tmp_path / f"{transform}.bin"
        artefact.save(path)
        printed = json.loads(command("packets", path, "-o", words, "--allow-unsigned", "--json").stdout)
        found = page_reader.read_packet_file(words)
        program, test = artefact.program, artefact.self_test
        assert printed == {"bytes": words.stat().st_size, "questions": 4, "c_host": []}
        facts = {"lanes": 4, "act_bits": 4, "input_base": 0, "input_words": 12, "outputs": 3}
        assert {name: found[name] for name in facts} == facts and found["spec"] == int(spec.id[8:], 16)
        assert found["once"] == artefact.scheme.packets().tolist()
        assert np.array_equal(found["questions"], test.questions) and np.array_equal(found["answers"], test.answers)
        if artefact.scheme.seals:
            assert found["head"] + found["body"] == program.words.tolist()
        else:
            file = page_reader.read_file(path)
            assert found["head"] == [] and found["body"] == page_reader.program_words(file.header, file.tensors, "", 0)
        assert found["again"] == (page_reader.packet(6, []) if artefact.scheme.keyed else [])
        assert found["results"] == 3 * (4 + 4)


def test_packets_writes_the_host_in_c_and_no_unsigned_artefact(tmp_path):
    locked(TINY, "aes-clocked").save(tmp_path / "artefact")
    arguments = ("packets", tmp_path / "artefact", "-o", tmp_path / "words.bin", "--c-host", tmp_path / "c")
    assert "is not signed" in error_of(*arguments) and not (tmp_path / "c").exists() and not (tmp_path / "words.bin").exists()
    command(*arguments, "--allow-unsigned")
    sources = {"bitting_host.c", "bitting_host.h", "bitting_units.c", "bitting_units.h", "example.c"}
    assert {path.name for path in (tmp_path / "c").iterdir()} == sources
