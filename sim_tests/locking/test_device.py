"""Devices, keys, tables and locks."""

import json
import stat

import numpy as np
import pytest

from bitting.errors import DeviceError
from bitting.locking.device import Device, EnrolledPuf, derive_key, keystream, shuffled_table
from bitting.locking.kinds import Level
from bitting.locking.scheme import LockScheme
from bitting.locking.transform import lock_program
from bitting.unit.bch import BchCode
from bitting.unit.puf_key import PufDesign, PufKey
from bitting.unit.puf_spec import PufSpec
from bitting.unit.spec import PRESETS
from tb.families import AES
from tb.programs import random_program

ROOT = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")


def test_key_derivation_is_aes_cmac_of_rfc_4493():
    assert derive_key(ROOT, bytes.fromhex("6bc1bee22e409f96e93d7e117393172a")).hex() == "070a16b46b4d4144f79bdd9dd04a287c"


def test_keystream_is_aes_128_in_counter_mode():
    """Block 0 is FIPS 197 appendix B-style AES of a zero block; block 1 of a one: taken from single-block ECB."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    encryptor = Cipher(algorithms.AES128(ROOT), modes.ECB()).encryptor()
    expected = encryptor.update(bytes(16)) + encryptor.update(bytes(15) + b"\x01")
    assert keystream(ROOT, 32) == expected


def test_table_of_a_known_device_never_changes(spec):
    """Artefacts in the field depend on it; the vectors were computed by a separate, plain implementation (see vectors/)."""
    from pathlib import Path

    vectors = json.loads((Path(__file__).parents[1] / "vectors" / "bitting_tables.json").read_text())
    assert list(Device(AES[spec.name], ROOT).table()) == vectors[spec.name]


def test_shuffle_is_even():
    """All 24 orders of 4 codes about equally often: chi-square with 23 degrees of freedom, 99.99% quantile 58.6."""
    rng = np.random.default_rng(1)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(24_000):
        table = shuffled_table(rng.integers(0, 1 << 16, 3).tolist(), 4)
        counts[table] = counts.get(table, 0) + 1
    assert len(counts) == 24
    assert sum((n - 1000) ** 2 / 1000 for n in counts.values()) < 58.6


def test_one_key_bit_changes_the_whole_table(spec):
    right = np.array(Device(spec, ROOT).table())
    for bit in range(128):
        wrong = np.array(Device(spec, ROOT).with_flipped_bit(bit).table())
        assert sorted(wrong) == list(range(spec.codes))
        assert (wrong == right).mean() < 0.5


def test_key_files_are_private_and_never_overwritten(tmp_path, spec):
    path = tmp_path / "A.key"
    device = Device.new(spec)
    device.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Device.load(path) == device
    with pytest.raises(DeviceError, match="exists"):
        Device.new(spec).save(path)
    assert Device.load(path) == device
    assert device.root.hex() not in repr(device) and device.root.hex() not in str(device)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[]", "no device key"),
        ('{"format": "other"}', "no device key"),
        ("{}", "no device key"),
        (None, "can not read"),
    ],
)
def test_foreign_key_files_are_refused(tmp_path, text, message):
    path = tmp_path / "A.key"
    if text is not None:
        path.write_text(text)
        path.chmod(0o600)
    with pytest.raises(DeviceError, match=message):
        Device.load(path)


def test_malformed_secrets_are_refused_without_being_quoted(tmp_path):
    path = tmp_path / "A.key"
    Device(PRESETS["tiny"], ROOT).save(path)
    data = json.loads(path.read_text())
    for root in ("00" * 15, "zz" * 16, 5, None):
        path.write_text(json.dumps({**data, "root": root}))
        with pytest.raises(DeviceError) as caught:
            Device.load(path)
        assert str(root) * 2 not in str(caught.value)
    path.write_text(json.dumps({**data, "spec": {**data["spec"], "lanes": 5}}))
    with pytest.raises(DeviceError, match="malformed spec"):
        Device.load(path)


def test_a_key_file_open_to_others_is_refused(tmp_path):
    path = tmp_path / "A.key"
    Device.new(PRESETS["tiny"]).save(path)
    path.chmod(0o644)
    with pytest.raises(DeviceError, match="chmod 600"):
        Device.load(path)


@pytest.mark.parametrize("sealed", [1, 0, "true", None])
def test_a_fuse_that_is_neither_true_nor_false_is_refused(tmp_path, sealed):
    """Read as unsealed, everything would be locked for a device that there is not."""
    path = tmp_path / "A.key"
    Device.new(PRESETS["tiny"].replace(vault="ascon")).save(path)
    assert Device.load(path).sealed
    path.write_text(json.dumps({**json.loads(path.read_text()), "sealed": sealed}))
    with pytest.raises(DeviceError, match="allowed: true or false"):
        Device.load(path)


def test_a_device_of_another_family_is_refused():
    model = random_program(PRESETS["base"], np.random.default_rng(0))
    with pytest.raises(DeviceError, match="they differ in"):
        lock_program(model, Device(PRESETS["tiny"], ROOT), LockScheme())


def test_a_puf_is_kept_and_a_malformed_one_is_refused(tmp_path):
    design = PufDesign(PufKey(BchCode(5, 3), blocks=2, kept=24, pairs=64), PufSpec(pairs=64), tuple(range(64)))
    helper = tuple(range(100, 100 + design.key.helper_words))
    device = Device(PRESETS["tiny"], ROOT, sealed=True, puf=EnrolledPuf(design, helper))
    device.save(tmp_path / "a.key")
    again = Device.load(tmp_path / "a.key")
    assert again.puf == device.puf and again.level == Level.DIE
    assert device.with_flipped_bit(3).puf is None
    with pytest.raises(DeviceError, match="this PUF has"):
        EnrolledPuf(design, helper[:-1])
    fields = json.loads((tmp_path / "a.key").read_text())
    changes = {
        "no list of helper data": {"helper": 5},
        "has the fields": {"more": 1},
        "no integer": {"window": 16384.0},
        "no BCH code": {"t": 4},
        "which 48 are kept; allowed": {"pairs": 40},
        "constants for 64 pairs": {"constants": [0]},
        "this PUF has": {"helper": [1 << 32] * len(helper)},
    }
    for number, (said, change) in enumerate(changes.items()):
        path = tmp_path / f"{number}.key"
        path.write_text(json.dumps(fields | {"puf": fields["puf"] | change}))
        path.chmod(0o600)
        with pytest.raises(DeviceError, match=said) as caught:
            Device.load(path)
        assert ROOT.hex() not in str(caught.value)
