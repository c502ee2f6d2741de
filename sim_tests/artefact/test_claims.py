"""What an artefact says of its model: what is on a list, and nothing else, whoever asks for more."""

import json

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import bitting
from bitting.artefact import container, program_format
from bitting.errors import ArtefactError
from bitting.program.layers import multilayer_perceptron
from bitting.unit.spec import PRESETS

SPEC = PRESETS["tiny"]
SEED = 0x5F1D36A08C2BE94477D210FE6B3AC985
PUBLIC = {
    "dataset": "digits", "test_samples": 450, "accuracy": 0.9, "twin_accuracy": 0.95,
    "reproducible": True,
}  # fmt: skip
SECRET = {
    "config": {"seed": SEED, "balance": "drawn", "hidden": [16]}, "seed": SEED, "history": [0.5, 0.9], "twin": "fp32, ReLU",
    "note": f"trained from {SEED}",
}  # fmt: skip


@pytest.fixture
def model():
    program = multilayer_perceptron(SPEC, [np.arange(24).reshape(2, 12) % SPEC.codes], [np.zeros(2)], [0])
    return bitting.Model(program, PUBLIC | SECRET)


def written(path):
    """Claims of a file, as they stand in it."""
    return container.load(path).header["claims"]


def test_a_model_keeps_what_its_artefacts_do_not_say(model, tmp_path):
    model.save(tmp_path / "model")
    assert bitting.Model.load(tmp_path / "model").claims == PUBLIC | SECRET
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o600
    artefact = bitting.lock(model, bitting.Device.new(SPEC), allow_reproducible=True)
    assert artefact.claims == PUBLIC
    artefact.save(tmp_path / "artefact", Ed25519PrivateKey.generate())
    data = (tmp_path / "artefact").read_bytes()
    assert written(tmp_path / "artefact") == PUBLIC
    assert not [text for text in (str(SEED), f"{SEED:x}", "config", "history", "hidden") if text.encode() in data]


def test_a_model_that_others_may_read_is_refused(model, tmp_path):
    path = tmp_path / "model"
    model.save(path)
    path.chmod(0o640)
    for load in (bitting.Model.load, bitting.load):
        with pytest.raises(ArtefactError, match=f"open to others.*chmod 600 {path}"):
            load(path)


def test_claims_that_are_added_later_are_not_written(model, tmp_path):
    artefact = bitting.lock(model, bitting.Device.new(SPEC), allow_reproducible=True)
    artefact.claims["config"] = SECRET["config"]
    artefact.save(tmp_path / "artefact")
    assert written(tmp_path / "artefact") == PUBLIC


def test_a_claim_of_another_type_does_not_ship(model):
    claims = {"dataset": {"seed": SEED}, "accuracy": [SEED], "twin_accuracy": "0.9", "test_samples": None, "reproducible": 1}
    assert bitting.Artefact(model.program, claims=claims).claims == {}


def test_other_claims_of_a_file_are_dropped_when_it_is_read(model, tmp_path):
    """Files of format 4 that were written before hold the whole configuration. Their signature still counts."""
    device, owner, path = bitting.Device.new(SPEC), Ed25519PrivateKey.generate(), tmp_path / "artefact"
    artefact = bitting.lock(model, device, "none", "table", allow_reproducible=True)
    tensors, fields = program_format.write("", artefact.locked_layers())
    header = {**fields, "lock": artefact.scheme.to_dict(), "claims": PUBLIC | SECRET}
    container.save(path, "artefact", SPEC, header, tensors, owner=owner)
    assert str(SEED) in json.dumps(written(path))
    loaded = bitting.Artefact.load(path)
    assert loaded.claims == PUBLIC and loaded.signed_by
    loaded.save(path, owner)
    assert written(path) == PUBLIC
