"""One physical unit: a spec and a 128-bit root secret, and the bitting table that follows from it. Secret; handle with care.

The table is what the chip will derive at boot, so its derivation needs AES-128 and a byte at a time:

    K_table = AES-CMAC(root, 01 || "bitting/tabl" || 00 || 00 80)          NIST SP 800-108 counter mode, one iteration
    stream  = AES-128(K_table, 0) || AES-128(K_table, 1) || ...             counter as a 128-bit big-endian block
    table   = 0, 1, ..., 2^b - 1
    for i = 2^b - 1 down to 1:                                              Fisher-Yates (Knuth, TAOCP 2, algorithm P)
        repeat  j = next byte of stream AND (2^bitlength(i) - 1)            rejection keeps it unbiased
        until   j <= i
        swap table[i], table[j]
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

from bitting import files
from bitting.errors import DeviceError, SpecError
from bitting.spec import UnitSpec

ROOT_BYTES = 16
_TABLE_LABEL = b"\x01bitting/tabl\x00\x00\x80"
_FORMAT = "bitting device key 1"
#: More than this is no key file.
_MAX_KEY_FILE = 1 << 16


def derive_key(root: bytes, label: bytes) -> bytes:
    """One iteration of the key derivation above: AES-CMAC (RFC 4493) of a one-block label."""
    cmac = CMAC(algorithms.AES128(root))
    cmac.update(label)
    return cmac.finalize()


def keystream(key: bytes) -> Iterator[int]:
    """Bytes of AES-128 in counter mode from block 0 on (NIST SP 800-38A), without end."""
    encryptor = Cipher(algorithms.AES128(key), modes.CTR(bytes(16))).encryptor()
    while True:
        yield from encryptor.update(bytes(256))


def shuffled_table(stream: Iterator[int], size: int) -> tuple[int, ...]:
    """The Fisher-Yates shuffle above: a permutation of 0..size-1 from a stream of bytes; size at most 256."""
    table = list(range(size))
    for i in range(size - 1, 0, -1):
        mask = (1 << i.bit_length()) - 1
        j = next(byte & mask for byte in stream if byte & mask <= i)
        table[i], table[j] = table[j], table[i]
    return tuple(table)


def family_table(spec: UnitSpec) -> tuple[int, ...]:
    """The unkeyed table: every code is its own value index."""
    return tuple(range(spec.codes))


@dataclass(frozen=True)
class Device:
    """A spec and a root secret of 16 bytes. The secret appears in no repr, artefact, log or error."""

    spec: UnitSpec
    root: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.root) != ROOT_BYTES:
            raise DeviceError(f"a root secret has {ROOT_BYTES} bytes, found {len(self.root)}")

    @classmethod
    def new(cls, spec: UnitSpec) -> Device:
        """A device with a root secret from the system's random source."""
        return cls(spec, secrets.token_bytes(ROOT_BYTES))

    def table(self) -> tuple[int, ...]:
        """The bitting table, code -> value index."""
        return shuffled_table(keystream(derive_key(self.root, _TABLE_LABEL)), self.spec.codes)

    def with_flipped_bit(self, bit: int) -> Device:
        """The device whose root secret differs in one bit (0..127)."""
        flipped = int.from_bytes(self.root) ^ (1 << bit)
        return Device(self.spec, flipped.to_bytes(ROOT_BYTES))

    def save(self, path: Path) -> None:
        """Write a key file of mode 0600. An existing file is not overwritten.

        Raises:
            DeviceError: if the file exists.
        """
        if path.exists():
            raise DeviceError(f"{path} exists; a key is not overwritten, choose another name or move the file away")
        text = json.dumps({"format": _FORMAT, "spec": self.spec.to_dict(), "root": self.root.hex()}, indent=2)
        files.write_text(path, text + "\n", mode=0o600)

    @classmethod
    def load(cls, path: Path) -> Device:
        """Read a key file.

        Raises:
            DeviceError: if it is missing, readable by others, or malformed. The contents are never quoted.
        """
        try:
            if path.stat().st_mode & 0o077:
                raise DeviceError(f"{path} is open to others; a key file has mode 0600: chmod 600 {path}")
            if path.stat().st_size > _MAX_KEY_FILE:
                raise DeviceError(f"{path} is no device key: it has {path.stat().st_size} bytes")
            data = json.loads(path.read_text())
        except OSError as error:
            raise DeviceError(f"can not read {path}: {error.strerror}; make one with `bitting device new {path}`") from None
        except ValueError:
            raise DeviceError(f"{path} is no device key (not JSON); make one with `bitting device new`") from None
        if not isinstance(data, dict) or data.get("format") != _FORMAT or set(data) != {"format", "spec", "root"}:
            raise DeviceError(f"{path} is no device key; allowed format: {_FORMAT!r}")
        try:
            root = bytes.fromhex(data["root"])
        except (TypeError, ValueError):
            raise DeviceError(f"{path} has a malformed root secret; allowed: {2 * ROOT_BYTES} hex digits") from None
        try:
            return cls(UnitSpec.from_dict(data["spec"]), root)
        except (SpecError, TypeError) as error:
            raise DeviceError(f"{path} has a malformed spec: {error}") from None

    def require_spec(self, spec: UnitSpec, what: str) -> None:
        """Raises DeviceError if this device is of another family than `spec`."""
        if spec.id != self.spec.id:
            changed = [k for k, v in spec.parameters().items() if v != self.spec.parameters()[k]]
            raise DeviceError(
                f"the device is a {self.spec.name!r} ({self.spec.id}), {what} needs {spec.name!r} ({spec.id}); "
                f"they differ in {', '.join(changed)}"
            )
