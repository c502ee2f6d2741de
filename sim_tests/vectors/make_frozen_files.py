"""Write the frozen model and artefacts of the present format: `python sim_tests/vectors/make_frozen_files.py`.

They are samples for whoever writes a reader of his own (`docs/format.md`). The test `sim_tests/artefact/test_format.py` holds
this version to them: it loads them, and what it writes itself says the same. When the format is raised, this script adds files
of the new number; those of earlier formats stay as they are, as samples of what must be refused.

Everything is fixed: the root key, the owner's signing key and the nonce below are public, and nothing of value is locked with
them.
"""

from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bitting.artefact.artefact import Artefact
from bitting.artefact.container import FORMAT
from bitting.artefact.model import Model
from bitting.artefact.self_test import SelfTest
from bitting.locking.device import Device
from bitting.locking.scheme import LockScheme
from bitting.locking.transform import lock_program, seal_model
from bitting.program.layers import Layer, Program, dense
from bitting.unit.spec import PRESETS, UnitSpec
from tb.families import AES

SPEC = AES["tiny"]
SEALED_SPEC = PRESETS["tiny"]
ROOT = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
OWNER = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")  # RFC 8032, test 1
NONCE = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
CLAIMS = {"dataset": "none", "accuracy": 0.0}
SEED = 4

FOLDER = Path(__file__).parent
NUMBER = FORMAT.split()[1]
MODEL = FOLDER / f"model-{NUMBER}.safetensors"
ARTEFACT = FOLDER / f"artefact-{NUMBER}.safetensors"
SEALED = FOLDER / f"sealed-{NUMBER}.safetensors"


def program(spec: UnitSpec = SPEC) -> Program:
    """Small, but with every field in use: a convolution, an average of constants, a chain of two tiles a sum, logits."""
    rng = np.random.default_rng(SEED)

    def codes(tiles: int, count: int) -> np.ndarray:
        return rng.integers(0, SPEC.codes, (tiles, count)).astype(np.uint8)

    def bias(tiles: int) -> np.ndarray:
        return rng.integers(-200, 200, tiles).astype(np.int32)

    def addresses(*values: int) -> np.ndarray:
        return np.array(values, np.int32)

    convolution = Layer(  # 3 channels of 4 x 4 from an image of 6 x 6 at address 0
        codes=codes(3, 9),
        bias=bias(3),
        offsets=addresses(0, 1, 2, 6, 7, 8, 12, 13, 14),
        in_base=addresses(0, 0, 0),
        out_base=addresses(36, 52, 68),
        positions=(4, 4),
        strides=(6, 1),
        out_strides=(4, 1),
        shift=1,
    )
    average = Layer(  # each channel to 2 x 2
        codes=np.full((3, 4), 1, np.uint8),
        bias=np.zeros(3, np.int32),
        offsets=addresses(0, 1, 4, 5),
        in_base=addresses(36, 52, 68),
        out_base=addresses(84, 88, 92),
        positions=(2, 2),
        strides=(8, 2),
        out_strides=(2, 1),
        shift=3,
        plain=True,
        constant=True,
    )
    chained = Layer(  # 5 sums over 12 words, each in two tiles of 6 codes
        codes=codes(10, 6),
        bias=bias(10),
        offsets=np.arange(6, dtype=np.int32),
        in_base=np.tile(addresses(84, 90), 5),
        out_base=np.repeat(np.arange(96, 101, dtype=np.int32), 2),
        parts=2,
    )
    logits = dense(codes(4, 5), bias(4), 96, 0, 0, emits=True)
    whole = Program(spec, (convolution, average, chained, logits), input_base=0, input_words=36)
    whole.validate()
    return whole


def model() -> Model:
    return Model(program(), CLAIMS)


def artefact() -> Artefact:
    """Locked by `clock` x `aes-clocked`: that needs every rule of the format."""
    scheme = LockScheme.new(SPEC, "clock", "aes-clocked", nonce=NONCE)
    return Artefact(lock_program(program(), Device(SPEC, ROOT), scheme), scheme, CLAIMS)


def sealed() -> Artefact:
    """The same program sealed by `clock` x `sealed-clocked`, with a self-test of two questions."""
    clear, scheme = program(SEALED_SPEC), LockScheme.new(SEALED_SPEC, "clock", "sealed-clocked", nonce=NONCE)
    packets = seal_model(clear, Device(SEALED_SPEC, ROOT, sealed=True), scheme)
    return Artefact(packets, scheme, CLAIMS, self_test=SelfTest.of(clear, 2))


if __name__ == "__main__":
    owner = Ed25519PrivateKey.from_private_bytes(OWNER)
    model().save(MODEL)
    artefact().save(ARTEFACT, owner)
    sealed().save(SEALED, owner)
    print(*(f"{path.name}: {path.stat().st_size} bytes" for path in (MODEL, ARTEFACT, SEALED)), sep="\n")
