"""One physical unit: a spec and a 128-bit root secret, and the bitting table that follows from it. Secret; handle with care.

The table is what the chip will derive at boot, so its derivation needs AES-128 and a byte at a time:

    K_table = AES-CMAC(root, 01 || "bitting/tabl" || 00 || 00 80)          NIST SP 800-108 counter mode, one iteration
    stream  = AES-128(K_table, 0) || AES-128(K_table, 1) || ...             counter as a 128-bit big-endian block
    table   = 0, 1, ..., 2^b - 1
    for i = 2^b - 1 down to 1:                                              Fisher-Yates (Knuth, TAOCP 2, algorithm P)
        r = next two bytes of stream, big-endian
        swap table[i], table[r (i + 1) >> 16]

That is vault `aes`. With `ascon` (docs/sealed-programs.md) the draws come from CXOF128 under the device key, lowest byte
first, and the fuse `sealed` enters that key.

No draw is rejected, so that a chip takes the same time on every device and its boot tells nothing. The price: an index is
drawn with probability at most (1 + (i + 1) / 2^16) / (i + 1), so a table has log2((2^b)!) - sum log2(1 + (i + 1) / 2^16)
bits of min-entropy or more: 0.05 bits below uniform for 64 codes, 0.72 for 256.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

from bitting import files
from bitting.errors import DeviceError, SpecError
from bitting.locking import sealing
from bitting.locking.kinds import Level
from bitting.unit.protocol import DRAW_BITS, LABEL_SEED, LABEL_TABLE, WORD_BITS
from bitting.unit.puf_key import PufDesign
from bitting.unit.spec import UnitSpec, VaultKind, spec_text

ROOT_BYTES = 16
_FORMAT = "bitting device key 1"
_FIELDS = {"format", "spec", "root"}
#: More than this is no key file.
_MAX_KEY_FILE = 1 << 16


def derive_key(root: bytes, label: bytes) -> bytes:
    """One iteration of the key derivation above: AES-CMAC (RFC 4493) of a one-block label."""
    cmac = CMAC(algorithms.AES128(root))
    cmac.update(label)
    return cmac.finalize()


def keystream(key: bytes, count: int) -> bytes:
    """The first bytes of AES-128 in counter mode from block 0 on (NIST SP 800-38A)."""
    return Cipher(algorithms.AES128(key), modes.CTR(bytes(16))).encryptor().update(bytes(count))


def draw(two_bytes: Any, bound: Any) -> Any:
    """A number in 0..bound-1 from 16 random bits; integers or integer arrays."""
    return two_bytes * bound >> DRAW_BITS


def shuffled_table(draws: Sequence[int], size: int) -> tuple[int, ...]:
    """The Fisher-Yates shuffle above: a permutation of 0..size-1 from size - 1 draws of 16 bits."""
    table = list(range(size))
    for step, i in enumerate(range(size - 1, 0, -1)):
        j = draw(int(draws[step]), i + 1)
        table[i], table[j] = table[j], table[i]
    return tuple(table)


@dataclass(frozen=True)
class EnrolledPuf:
    """Where a device's root secret comes from, if silicon makes it.

    Attributes:
        design: of the PUF; public, and the same for a family of devices.
        helper: words of the device's helper data; public too (`bitting.puf.extractor`).

    Raises:
        DeviceError: if the words are not those of the design.
    """

    design: PufDesign
    helper: tuple[int, ...]

    def __post_init__(self) -> None:
        wanted = self.design.key.helper_words
        if len(self.helper) != wanted or any(type(word) is not int or not 0 <= word < 1 << WORD_BITS for word in self.helper):
            raise DeviceError(
                f"helper data of {len(self.helper)} words; this PUF has {wanted}, of {WORD_BITS} bits: enrol the chip"
            )


@dataclass(frozen=True)
class Device:
    """A spec and a root secret of 16 bytes. The secret appears in no repr, artefact, log or error.

    `enrolment` is what the factory saw of the chip (`bitting.sim.enrolment`), if there was one. `sealed`: the fuse of that
    name is blown: the device runs sealed programs only, for ever (vault `ascon`; the other has no such fuse). `puf`: the chip
    stores no root secret but makes it; who enrolled it keeps it here all the same, or could lock nothing to it.

    Example:
        >>> import bitting
        >>> device = bitting.Device.new(bitting.parse_spec("tiny"))
        >>> sorted(device.table()) == list(range(16)), device.level
        (True, <Level.KEY: 'key'>)
        >>> "root" in repr(device)
        False
    """

    spec: UnitSpec
    root: bytes = field(repr=False)
    enrolment: dict[str, Any] | None = field(default=None, compare=False, repr=False)
    sealed: bool = False
    puf: EnrolledPuf | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.root) != ROOT_BYTES:
            raise DeviceError(f"a root secret has {ROOT_BYTES} bytes, found {len(self.root)}")
        if self.sealed and self.spec.vault != VaultKind.ASCON:
            raise DeviceError(f"only devices with the vault {VaultKind.ASCON} can be sealed, this has {self.spec.vault}")

    @classmethod
    def family(cls, spec: UnitSpec) -> Device:
        """The device with unblown fuses: its secret is all zeros, known to everyone."""
        return cls(spec, bytes(ROOT_BYTES))

    @classmethod
    def new(cls, spec: UnitSpec, sealed: bool | None = None) -> Device:
        """A device with a root secret from the system's random source; sealed, unless its vault has no such fuse."""
        seals = spec.vault == VaultKind.ASCON if sealed is None else sealed
        return cls(spec, secrets.token_bytes(ROOT_BYTES), sealed=seals)

    def table(self) -> tuple[int, ...]:
        """The bitting table, code -> value index."""
        size = self.spec.codes
        if self.spec.vault == VaultKind.ASCON:
            return shuffled_table(sealing.table_draws(self.fingerprint_key(), size - 1).tolist(), size)
        stream = keystream(derive_key(self.root, LABEL_TABLE), 2 * (size - 1))
        return shuffled_table([int.from_bytes(stream[at : at + 2]) for at in range(0, len(stream), 2)], size)

    def fingerprint_key(self) -> bytes:
        """The key that fingerprints are absorbed under (vault `ascon`: the device key); secret."""
        if self.spec.vault == VaultKind.ASCON:
            return sealing.device_key(self.spec, self.root, self.sealed)
        return derive_key(self.root, LABEL_SEED)

    @property
    def level(self) -> Level:
        """Level of any claim about this device: `FAMILY` if its secret is public."""
        return Level.FAMILY if not any(self.root) else Level.DIE if self.puf else Level.KEY

    def with_flipped_bit(self, bit: int) -> Device:
        """The device whose root secret differs in one bit (0..127)."""
        flipped = int.from_bytes(self.root) ^ (1 << bit)
        return Device(self.spec, flipped.to_bytes(ROOT_BYTES), sealed=self.sealed)

    def save(self, path: Path) -> None:
        """Write a key file of mode 0600. An existing file is not overwritten.

        Raises:
            DeviceError: if the file exists.
        """
        if path.exists():
            raise DeviceError(f"{path} exists; a key is not overwritten, choose another name or move the file away")
        fields: dict[str, Any] = {"format": _FORMAT, "spec": self.spec.to_dict(), "root": self.root.hex()}
        fields |= {"sealed": True} if self.sealed else {}
        fields |= {"puf": {**self.puf.design.to_dict(), "helper": list(self.puf.helper)}} if self.puf else {}
        fields |= {"enrolment": self.enrolment} if self.enrolment else {}
        files.write_text(path, json.dumps(fields, indent=2) + "\n", mode=0o600)

    @classmethod
    def load(cls, path: Path | str) -> Device:
        """Read a key file.

        Raises:
            DeviceError: if it is missing, readable by others, or malformed. The contents are never quoted.
        """
        path = Path(path)
        try:
            if files.open_to_others(path):
                raise DeviceError(f"{path} is open to others; a key file has mode 0600: chmod 600 {path}")
            if path.stat().st_size > _MAX_KEY_FILE:
                raise DeviceError(f"{path} is no device key: it has {path.stat().st_size} bytes")
            data = json.loads(path.read_text())
        except OSError as error:
            raise DeviceError(f"can not read {path}: {error.strerror}; make one with `bitting device new {path}`") from None
        except (ValueError, RecursionError):  # RecursionError: it is nested without end
            raise DeviceError(f"{path} is no device key (not JSON); make one with `bitting device new`") from None
        if not isinstance(data, dict) or data.get("format") != _FORMAT or set(data) - {"enrolment", "sealed", "puf"} != _FIELDS:
            raise DeviceError(f"{path} is no device key; allowed format: {_FORMAT!r}")
        try:
            root = bytes.fromhex(data["root"])
        except (TypeError, ValueError):
            raise DeviceError(f"{path} has a malformed root secret; allowed: {2 * ROOT_BYTES} hex digits") from None
        sealed = data.get("sealed", False)
        if not isinstance(sealed, bool):  # 1 would read as unsealed, and everything locked for it as for another device
            raise DeviceError(f"{path} has a fuse `sealed` of type {type(sealed).__name__}; allowed: true or false")
        try:
            spec = UnitSpec.from_dict(data["spec"])
            return cls(spec, root, data.get("enrolment"), sealed, _puf(data["puf"]) if "puf" in data else None)
        except (SpecError, TypeError) as error:
            raise DeviceError(f"{path} has a malformed spec: {error}") from None

    def require_spec(self, spec: UnitSpec, what: str) -> None:
        """Raises DeviceError if this device is of another family than `spec`."""
        if spec.id != self.spec.id:
            changed = [k for k, v in spec.parameters().items() if v != self.spec.parameters()[k]]
            raise DeviceError(
                f"the device is a {self.spec.name!r} ({self.spec.id}), {what} needs {spec.name!r} ({spec.id}); "
                f"they differ in {', '.join(changed)}; `bitting enroll NEW.key --spec {spec_text(spec)}` makes such a device"
            )


def _puf(fields: Any) -> EnrolledPuf:
    """From a key file.

    Raises:
        SpecError, DeviceError: if it is malformed.
    """
    if not isinstance(fields, dict) or not isinstance(fields.get("helper"), list):
        raise SpecError("what it says of a PUF has no list of helper data; enrol the chip again")
    design = PufDesign.from_dict({name: value for name, value in fields.items() if name != "helper"})
    return EnrolledPuf(design, tuple(fields["helper"]))
