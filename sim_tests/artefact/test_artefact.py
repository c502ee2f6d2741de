"""Artefacts: what they hold, and every way a bad one ends."""

import dataclasses
import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import bitting
from bitting import files
from bitting.artefact import container
from bitting.artefact.artefact import Artefact
from bitting.errors import ArtefactError, BittingError
from bitting.locking.device import Device
from bitting.locking.scheme import LockScheme
from bitting.locking.transform import lock_program
from bitting.program.layers import multilayer_perceptron
from bitting.unit.spec import PRESETS
from tb.families import AES

SPEC = AES["base"]
ROOT = bytes.fromhex("5f1d36a08c2be94477d210fe6b3ac985")


@pytest.fixture
def shipped(tmp_path, rng):
    scheme = LockScheme.new(SPEC, "clock", "aes-clocked")
    model = multilayer_perceptron(
        SPEC, [rng.integers(0, SPEC.codes, (5, 9)), rng.integers(0, SPEC.codes, (3, 5))], [np.arange(5), np.arange(3)], [1, 0]
    )
    program = lock_program(model, Device(SPEC, ROOT), scheme)
    path = tmp_path / "a.safetensors"
    Artefact(program, scheme, {"dataset": "digits", "accuracy": 0.5}).save(path)
    return path, program


def test_round_trip_keeps_everything(shipped):
    path, program = shipped
    loaded = Artefact.load(path)
    assert loaded.program.spec == SPEC and loaded.claims["accuracy"] == 0.5 and loaded.scheme.transform == "aes-clocked"
    for a, b in zip(program.layers, loaded.locked_layers().layers, strict=True):
        for name in ("codes", "bias", "offsets", "in_base", "out_base"):
            assert np.array_equal(getattr(a, name), getattr(b, name))
        assert (a.positions, a.strides, a.shift, a.emits) == (b.positions, b.strides, b.shift, b.emits)


def test_what_one_file_holds_is_not_wanted_of_the_next(tmp_path, rng):
    """Helper data of a PUF, in one sealed artefact of two."""
    spec = PRESETS["base"]
    device = Device(spec, ROOT, sealed=True)
    weights = [rng.integers(0, spec.codes, (3, 5))]
    with_helper = bitting.lock(bitting.Model(multilayer_perceptron(spec, weights, [np.arange(3)], [0])), device)
    without = dataclasses.replace(with_helper)
    with_helper = dataclasses.replace(with_helper, helper=(1, 2, 3))
    for name, artefact in (("with", with_helper), ("without", without), ("again", with_helper)):
        artefact.save(tmp_path / name)
        assert Artefact.load(tmp_path / name).helper == artefact.helper


@pytest.mark.parametrize("kind", [str, Path])
def test_files_are_unlocked_by_their_names(shipped, tmp_path, kind):
    path, _ = shipped
    Device(SPEC, ROOT).save(tmp_path / "A.key")
    model = bitting.unlock(kind(path), kind(tmp_path / "A.key"))
    loaded = bitting.unlock(Artefact.load(kind(path)), Device.load(kind(tmp_path / "A.key")))
    for a, b in zip(model.program.layers, loaded.program.layers, strict=True):
        assert np.array_equal(a.codes, b.codes)
    with pytest.raises(ArtefactError, match="can not read"):
        bitting.unlock(kind(tmp_path / "absent"), kind(tmp_path / "A.key"))


def test_no_secret_and_no_pickle_in_the_file(shipped):
    path, _ = shipped
    data = path.read_bytes()
    table = bytes(Device(SPEC, ROOT).table())
    assert ROOT not in data and ROOT.hex().encode() not in data and table not in data
    assert safetensors.numpy.load(data)  # plain safetensors: any reader opens it


def test_every_truncation_is_refused(shipped):
    path, _ = shipped
    data = path.read_bytes()
    for length in [0, 1, 7, 8, 9, 100, len(data) // 2, len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(ArtefactError):
            Artefact.load(path)


def test_corruption_of_the_header_never_ends_in_a_traceback(shipped):
    path, _ = shipped
    data = bytearray(path.read_bytes())
    header = int.from_bytes(data[:8], "little")
    rng = np.random.default_rng(3)
    for _ in range(400):
        broken = bytearray(data)
        for position in rng.integers(0, 8 + header, 2):
            broken[position] = rng.integers(0, 256)
        path.write_bytes(broken)
        try:
            Artefact.load(path)  # a harmless change, as in a claim, may load
        except BittingError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(format="bitting 99"), "reads 'bitting 4'"),
        (lambda h: h.update(kind="model"), "is of kind 'model'"),
        (lambda h: h["spec"].update(lanes=32), "was made for spec"),
        (lambda h: h["spec"].update(lanes=5), "multiple of 4"),
        (
            lambda h: h["spec"].update(name="base\nmodule m; initial $system(1); endmodule //"),
            "of a spec; allowed are up to 200",
        ),
        (lambda h: h["spec"].update(name=["base"]), "of a spec; allowed are up to 200"),
        (lambda h: h["spec"].update(name="base\x1b[31m"), "of a spec; allowed are up to 200"),
        (lambda h: h["spec"].pop("lanes"), "missing or unknown: lanes"),
        (lambda h: h["layers"].pop(), "lacks or adds tensors"),
        (lambda h: h["layers"][0].update(shift=99), "layer 0 has shift 99"),
        (lambda h: h["layers"][0].update(positions=[10**9, 10**9]), "layer 0 has"),
        (lambda h: h["layers"][0].pop("shift"), "layer0 has fields"),
        (lambda h: h.update(input_words=10**9), "the input has words"),
        (lambda h: h.pop("claims"), "malformed header"),
        (lambda h: h.update(layers=5), "malformed header"),
    ],
)
def test_wrong_headers_are_named(shipped, change, message):
    path, _ = shipped
    with safetensors.safe_open(path, framework="numpy") as handle:
        header = json.loads(handle.metadata()["bitting"])
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    change(header)
    path.write_bytes(safetensors.numpy.save(tensors, {"bitting": json.dumps(header)}))
    with pytest.raises(ArtefactError, match=message):
        Artefact.load(path)


def test_foreign_and_oversized_files_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    with pytest.raises(ArtefactError, match="can not read"):
        Artefact.load(path)
    path.write_bytes(safetensors.numpy.save({"w": np.zeros(3)}))
    with pytest.raises(ArtefactError, match="not of bitting"):
        Artefact.load(path)
    monkeypatch.setattr(container, "MAX_BYTES", 10)
    with pytest.raises(ArtefactError, match="allowed are 10"):
        Artefact.load(path)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(shipped, monkeypatch):
    path, _ = shipped
    before = path.read_bytes()
    loaded = Artefact.load(path)

    def full(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BittingError, match="No space left on device; nothing was changed"):
        loaded.save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_an_unwritable_folder_is_named(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(BittingError, match="can not write"):
        files.write_text(blocker / "x", "text")
