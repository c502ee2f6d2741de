"""Files that somebody made to break the reader: each is refused in one line."""

import json

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import torch

import bitting
from bitting.artefact.model import Model
from bitting.errors import ArtefactError, BittingError, DeviceError, SignatureError
from bitting.locking.device import Device
from bitting.program.layers import multilayer_perceptron
from bitting.training.checkpoint import Checkpoint
from bitting.training.recipes import TrainConfig
from bitting.unit.spec import PRESETS

SPEC = PRESETS["tiny"]
#: Deeper than Python's parser of JSON follows.
NESTED = "[" * 200_000


@pytest.fixture
def saved(tmp_path):
    """A model's file, its header and its tensors."""
    path = tmp_path / "m.safetensors"
    codes = [np.arange(24).reshape(2, 12) % SPEC.codes]
    Model(multilayer_perceptron(SPEC, codes, [np.zeros(2)], [0])).save(path)
    with safetensors.safe_open(path, framework="numpy") as handle:
        header = handle.metadata()["bitting"]
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    return path, header, tensors


def refusal(kind: type[BittingError], path) -> str:
    """What loading a file is refused with."""
    with pytest.raises(kind) as caught:
        bitting.load(path)
    text = str(caught.value)
    assert len(text.splitlines()) == 1 and str(path) in text
    return text


def test_a_header_nested_without_end_is_no_json(saved):
    path, _, tensors = saved
    path.write_bytes(safetensors.numpy.save(tensors, {"bitting": NESTED}))
    assert "a header that is not JSON" in refusal(ArtefactError, path)


@pytest.mark.parametrize("signature", [NESTED, "[]", '{"public_key": 1, "signature": "00"}', "1"])
def test_a_signature_of_any_other_form_is_malformed(saved, signature):
    path, header, tensors = saved
    path.write_bytes(safetensors.numpy.save(tensors, {"bitting": header, "signature": signature}))
    assert "malformed signature" in refusal(SignatureError, path)


@pytest.mark.parametrize("kind", [["model"], {}, None, 4])
def test_a_kind_that_is_no_text_is_no_kind(saved, kind):
    path, header, tensors = saved
    path.write_bytes(safetensors.numpy.save(tensors, {"bitting": json.dumps(json.loads(header) | {"kind": kind})}))
    assert f"is of kind {kind!r}" in refusal(ArtefactError, path)


def test_a_number_beyond_all_integers_is_malformed(saved):
    path, header, tensors = saved
    huge = header.replace('"input_words": 12', '"input_words": 1e999')
    assert huge != header
    path.write_bytes(safetensors.numpy.save(tensors, {"bitting": huge}))
    assert "malformed header (OverflowError" in refusal(ArtefactError, path)


@pytest.mark.parametrize(("kind", "size"), [("BF16", 2), ("F8_E4M3", 1), ("F8_E5M2", 1), ("C64", 8)])
def test_a_tensor_of_a_type_that_numpy_lacks_is_named(saved, kind, size):
    path, _, _ = saved
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    said, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
    said["extra"] = {"dtype": kind, "shape": [4], "data_offsets": [len(rest), len(rest) + 4 * size]}
    header = json.dumps(said).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + rest + bytes(4 * size))
    assert f"extra is of type {kind}" in refusal(ArtefactError, path)


def test_a_key_file_nested_without_end_is_no_key(tmp_path):
    path = tmp_path / "A.key"
    path.write_text("[" * 60_000)
    path.chmod(0o600)
    with pytest.raises(DeviceError, match="is no device key"):
        Device.load(path)


@pytest.mark.parametrize("state", [[], [1, 2], {}, {"run": "x", "state": []}, torch.zeros(3)], ids=str)
def test_a_checkpoint_that_holds_something_else_is_none(tmp_path, state):
    path = tmp_path / "checkpoint"
    torch.save(state, path)
    path.chmod(0o600)
    with pytest.raises(BittingError, match="no checkpoint") as caught:
        Checkpoint(path, SPEC, "digits", TrainConfig(seed=1))
    assert len(str(caught.value).splitlines()) == 1
