"""The safetensors container that models and artefacts share: a JSON header, tensors, and perhaps a signature. No pickle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bitting import files
from bitting.artefact import signature
from bitting.errors import ArtefactError, BittingError, SignatureError
from bitting.unit.spec import UnitSpec

#: The one format that this version reads and writes (`docs/format.md` has the rule for versions).
FORMAT = "bitting 4"
#: Larger files are refused before they are read: the largest program of the largest spec stays far below.
MAX_BYTES = 1 << 30

#: Types of tensors that numpy has; safetensors knows others, with which no file of ours is written.
_TYPES = {"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "F32", "F64"}
#: What ill-typed, missing or endlessly nested fields raise where they are used.
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)

_REMEDIES = {"model": "give the model that `bitting train` wrote", "artefact": "lock it first with `bitting lock`"}


@dataclass(frozen=True, eq=False)
class Contents:
    """What a file holds, known to be of our format, but otherwise unchecked.

    Attributes:
        signed_by: 32 bytes of the public key whose signature fits the contents, or None if there is no signature.
    """

    path: Path
    kind: str
    header: dict[str, Any]
    tensors: dict[str, np.ndarray]
    signed_by: bytes | None

    def spec(self) -> UnitSpec:
        """The spec the file was made for. Raises ArtefactError if this version gives it another id."""
        spec = UnitSpec.from_dict(self.header["spec"])
        if spec.id != self.header["spec_id"]:
            raise ArtefactError(
                f"{self.path} was made for spec {self.header['spec_id']}, but its parameters give {spec.id} in this version"
            )
        return spec

    def require_tensors(self, names: set[str]) -> None:
        """Raises ArtefactError if the file has other tensors than these."""
        if set(self.tensors) != names:
            difference = ", ".join(sorted(set(self.tensors) ^ names)[:3])
            raise ArtefactError(f"{self.path} lacks or adds tensors: {difference}")


def save(
    path: Path,
    kind: str,
    spec: UnitSpec,
    header: dict[str, Any],
    tensors: dict[str, np.ndarray],
    *,
    owner: Ed25519PrivateKey | None = None,
    mode: int = 0o644,
) -> None:
    """Write a file whole or not at all, signed if there is an owner."""
    complete = {"format": FORMAT, "kind": kind, "spec": spec.to_dict(), "spec_id": spec.id, **header}
    metadata = {"bitting": json.dumps(complete, sort_keys=True)}
    if owner:
        public, signed = signature.sign(owner, metadata["bitting"], tensors)
        metadata["signature"] = json.dumps({"public_key": public.hex(), "signature": signed.hex()})
    files.write_bytes(path, safetensors.numpy.save(tensors, metadata), mode)


def load(path: Path | str, kind: str | None = None) -> Contents:
    """Read a file; a signature must fit the contents, whoever made it.

    Args:
        path: of a file that `save` wrote.
        kind: insist on "model" or "artefact".

    Raises:
        ArtefactError: if the file is missing, too large, truncated, corrupted, foreign, or of another kind.
        SignatureError: if it was changed after it was signed.
    """
    path = Path(path)
    header, tensors, signed_by = _read(path)
    if header.get("format") != FORMAT:
        raise ArtefactError(f"{path} has format {header.get('format')!r}; this version of bitting reads {FORMAT!r}")
    actual = header.get("kind")
    if not isinstance(actual, str) or actual not in _REMEDIES or (kind and actual != kind):
        raise ArtefactError(
            f"{path} is of kind {actual!r}, {kind or 'model or artefact'!r} is needed; {_REMEDIES.get(kind or '', '')}"
        )
    return Contents(path, actual, header, tensors, signed_by)


@contextmanager
def malformed(path: Path) -> Iterator[None]:
    """What goes wrong with the header of a file inside this block is said of the file.

    Raises:
        ArtefactError: for any other error of ours, and for those that a missing or ill-typed field causes.
    """
    try:
        yield
    except _MALFORMED as error:
        raise ArtefactError(f"{path} has a malformed header ({type(error).__name__}: {error})") from None
    except ArtefactError:
        raise
    except BittingError as error:
        raise ArtefactError(f"{path}: {error}") from None


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], bytes | None]:
    """Header, tensors and signer of any safetensors file of ours."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ArtefactError(f"{path} has {size} bytes; allowed are {MAX_BYTES}")
        with safetensors.safe_open(path, framework="numpy") as handle:  # type: ignore[no-untyped-call]
            metadata = handle.metadata() or {}
            if "bitting" not in metadata:
                raise ArtefactError(f"{path} is a safetensors file, but not of bitting; make one with `bitting train`")
            header = json.loads(metadata["bitting"])
            tensors = {name: _tensor(path, handle, name) for name in handle.keys()}  # noqa: SIM118 (not a mapping)
    except OSError as error:
        raise ArtefactError(f"can not read {path}: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise ArtefactError(f"{path} is truncated, corrupted or no safetensors file ({error})") from None
    except (ValueError, RecursionError):  # RecursionError: it is nested without end
        raise ArtefactError(f"{path} has a header that is not JSON") from None
    if not isinstance(header, dict):
        raise ArtefactError(f"{path} has a header that is no JSON object")
    return header, tensors, _signer(path, metadata, tensors)


def _tensor(path: Path, handle: Any, name: str) -> np.ndarray:
    """A tensor of an open file. Raises ArtefactError for one of a type that numpy lacks."""
    if (kind := handle.get_slice(name).get_dtype()) not in _TYPES:
        raise ArtefactError(f"{path}: {name} is of type {kind}; no tensor of a file of bitting is: make the file again")
    array: np.ndarray = handle.get_tensor(name)
    return array


def _signer(path: Path, metadata: dict[str, str], tensors: dict[str, np.ndarray]) -> bytes | None:
    if "signature" not in metadata:
        return None
    try:
        fields = json.loads(metadata["signature"])
        public, signed = (bytes.fromhex(fields[name]) for name in ("public_key", "signature"))
        signature.check(public, signed, metadata["bitting"], tensors)
    except _MALFORMED:
        raise SignatureError(f"{path} has a malformed signature; sign it again with `bitting sign`") from None
    except SignatureError as error:
        raise SignatureError(f"{path}: {error}") from None
    return public
