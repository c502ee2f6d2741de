"""What ships: one safetensors file with codes, layer program, spec, lock and accuracy claims. No secret, no pickle.

Two kinds share the format: a *model* (unlocked: its codes are value indices; the owner's secret) and an *artefact* (locked;
with the lock's public part, its challenge, and the owner's signature).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bitting import files
from bitting.artefact import signature
from bitting.errors import ArtefactError, BittingError, SignatureError
from bitting.locking import Challenge, Lock
from bitting.program.layers import Layer, Program
from bitting.unit.spec import UnitSpec

_FORMAT = "bitting 3"
KINDS = ("model", "artefact")
#: Larger files are refused before they are read: the largest program of the largest spec stays far below.
MAX_BYTES = 1 << 30
_LAYER_TENSORS = {"codes": np.uint8, "bias": np.int32, "offsets": np.int32, "in_base": np.int32, "out_base": np.int32}
_LAYER_FIELDS = {"positions", "strides", "out_strides", "shift", "linear", "binary", "public", "parts"}
_LOCK_FIELDS = {"transform", "fingerprint", "nonce", "level", "caution"}
_CHALLENGE = "challenge."
_ACTIVATIONS = "challenge.activations"


@dataclass(frozen=True, eq=False)
class Artefact:
    """A program and what is claimed of it.

    Attributes:
        kind: "model" (unlocked) or "artefact" (locked).
        program: layers; the codes of a locked one mean nothing without the device.
        lock: how an artefact is locked (None for a model).
        claims: data set, accuracies and how they were measured.
        signed_by: public key whose signature was found to be right, or None if there is no signature.
    """

    kind: str
    program: Program
    lock: Lock | None = None
    claims: dict[str, Any] = field(default_factory=dict)
    signed_by: bytes | None = None

    def save(self, path: Path, owner: Ed25519PrivateKey | None = None) -> None:
        """Write the file whole or not at all, signed if there is an owner."""
        tensors, described = _from_program("", self.program)
        header: dict[str, Any] = {
            "format": _FORMAT,
            "kind": self.kind,
            "spec": self.program.spec.to_dict(),
            "spec_id": self.program.spec.id,
            **described,
            "lock": self.lock.to_dict() if self.lock else {},
            "claims": self.claims,
        }
        if self.lock and self.lock.challenge:
            more, header["challenge"] = _from_program(_CHALLENGE, self.lock.challenge.program)
            tensors |= more | {_ACTIVATIONS: self.lock.challenge.activations}
        metadata = {"bitting": json.dumps(header, sort_keys=True)}
        if owner:
            public, signed = signature.sign(owner, metadata["bitting"], tensors)
            metadata["signature"] = json.dumps({"public_key": public.hex(), "signature": signed.hex()})
        files.write_bytes(path, safetensors.numpy.save(tensors, metadata))

    @classmethod
    def load(cls, path: Path, kind: str | None = None) -> Artefact:
        """Read and check a file; a signature must fit the contents, whoever made it.

        Args:
            kind: insist on "model" or "artefact".

        Raises:
            ArtefactError: if the file is missing, too large, truncated, corrupted, foreign, of the other kind, or does not
                fit the spec it names.
            SignatureError: if it was changed after it was signed.
        """
        header, tensors, signed_by = _read(path)
        if header.get("format") != _FORMAT:
            raise ArtefactError(f"{path} has format {header.get('format')!r}; this version of bitting reads {_FORMAT!r}")
        try:
            loaded = replace(cls._parse(path, header, tensors), signed_by=signed_by)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"{path} has a malformed header ({type(error).__name__}: {error})") from None
        except ArtefactError:
            raise
        except BittingError as error:
            raise ArtefactError(f"{path}: {error}") from None
        if loaded.kind not in KINDS or (kind and loaded.kind != kind):
            remedy = {"model": "give the model that `bitting train` wrote", "artefact": "lock it first with `bitting lock`"}
            raise ArtefactError(
                f"{path} is of kind {loaded.kind!r}, {kind or 'model or artefact'!r} is needed; {remedy.get(kind or '', '')}"
            )
        return loaded

    @classmethod
    def _parse(cls, path: Path, header: dict[str, Any], tensors: dict[str, np.ndarray]) -> Artefact:
        spec = UnitSpec.from_dict(header["spec"])
        if spec.id != header["spec_id"]:
            raise ArtefactError(
                f"{path} was made for spec {header['spec_id']}, but its parameters give {spec.id} in this version"
            )
        described = {"": header} | ({_CHALLENGE: header["challenge"]} if "challenge" in header else {})
        expected = {
            f"{prefix}layer{i}.{name}"
            for prefix, fields in described.items()
            for i in range(len(fields["layers"]))
            for name in _LAYER_TENSORS
        } | ({_ACTIVATIONS} if "challenge" in header else set())
        if set(tensors) != expected:
            raise ArtefactError(f"{path} lacks or adds tensors: {', '.join(sorted(set(tensors) ^ expected)[:3])}")
        program = _to_program(path, "", spec, header, tensors)
        challenge = None
        if "challenge" in header:
            asked = _to_program(path, _CHALLENGE, spec, header["challenge"], tensors)
            activations = tensors[_ACTIVATIONS]
            if activations.dtype != np.int8 or activations.shape != (spec.lanes, asked.input_words):
                raise ArtefactError(f"{path}: {_ACTIVATIONS} is {activations.dtype} of shape {activations.shape}")
            challenge = Challenge(asked, activations)
        return cls(header["kind"], program, _lock(path, header, challenge), dict(header["claims"]))

    def require_owner(self, path: Path, owner: bytes | None, allow_unsigned: bool) -> None:
        """Insist on the owner's signature.

        Args:
            owner: trusted public key.
            allow_unsigned: a missing signature, or one by an unknown key when no owner is given, will do.

        Raises:
            SignatureError: otherwise.
        """
        if owner and self.signed_by and self.signed_by != owner:
            raise SignatureError(f"{path} is signed by {self.signed_by.hex()[:16]}, not by the owner {owner.hex()[:16]}")
        if allow_unsigned or (owner and self.signed_by):
            return
        if self.signed_by:
            raise SignatureError(
                f"{path} is signed by {self.signed_by.hex()[:16]}, a key nobody vouches for; name the owner's public key with "
                "--owner (or BITTING_OWNER), or give --allow-unsigned"
            )
        raise SignatureError(f"{path} is not signed; sign it with `bitting sign`, or give --allow-unsigned")


def _from_program(prefix: str, program: Program) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and header fields of a program."""
    tensors: dict[str, np.ndarray] = {}
    layers = []
    for index, layer in enumerate(program.layers):
        for name, dtype in _LAYER_TENSORS.items():
            tensors[f"{prefix}layer{index}.{name}"] = np.ascontiguousarray(getattr(layer, name), dtype)
        layers.append({name: getattr(layer, name) for name in sorted(_LAYER_FIELDS)})
    return tensors, {"layers": layers, "input_base": program.input_base, "input_words": program.input_words}


def _to_program(path: Path, prefix: str, spec: UnitSpec, fields: dict[str, Any], tensors: dict[str, np.ndarray]) -> Program:
    layers = tuple(_layer(path, f"{prefix}layer{i}", fields, tensors) for i, fields in enumerate(fields["layers"]))
    program = Program(spec, layers, int(fields["input_base"]), int(fields["input_words"]))
    program.validate()
    return program


def _lock(path: Path, header: dict[str, Any], challenge: Challenge | None) -> Lock | None:
    fields = dict(header["lock"])
    if not fields:
        return None
    if set(fields) != _LOCK_FIELDS:
        raise ArtefactError(f"{path}: the lock has fields {sorted(fields)}; allowed {sorted(_LOCK_FIELDS)}")
    nonce = bytes.fromhex(fields["nonce"])
    return Lock(fields["transform"], fields["fingerprint"], nonce, fields["level"], challenge)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], bytes | None]:
    """Header, tensors and signer of any safetensors file of ours, otherwise unchecked."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ArtefactError(f"{path} has {size} bytes; allowed are {MAX_BYTES}")
        with safetensors.safe_open(path, framework="numpy") as handle:  # type: ignore[no-untyped-call]
            metadata = handle.metadata() or {}
            if "bitting" not in metadata:
                raise ArtefactError(f"{path} is a safetensors file, but not of bitting; make one with `bitting train`")
            header = json.loads(metadata["bitting"])
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a mapping)
    except OSError as error:
        raise ArtefactError(f"can not read {path}: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise ArtefactError(f"{path} is truncated, corrupted or no safetensors file ({error})") from None
    except ValueError:
        raise ArtefactError(f"{path} has a header that is not JSON") from None
    if not isinstance(header, dict):
        raise ArtefactError(f"{path} has a header that is no JSON object")
    return header, tensors, _signer(path, metadata, tensors)


def _signer(path: Path, metadata: dict[str, str], tensors: dict[str, np.ndarray]) -> bytes | None:
    if "signature" not in metadata:
        return None
    try:
        fields = json.loads(metadata["signature"])
        public, signed = (bytes.fromhex(fields[name]) for name in ("public_key", "signature"))
        signature.check(public, signed, metadata["bitting"], tensors)
    except (ValueError, KeyError, TypeError):
        raise SignatureError(f"{path} has a malformed signature; sign it again with `bitting sign`") from None
    except SignatureError as error:
        raise SignatureError(f"{path}: {error}") from None
    return public


def _layer(path: Path, prefix: str, fields: dict[str, Any], tensors: dict[str, np.ndarray]) -> Layer:
    if set(fields) != _LAYER_FIELDS:
        raise ArtefactError(f"{path}: {prefix} has fields {sorted(fields)}; allowed {sorted(_LAYER_FIELDS)}")
    arrays = {}
    for name, dtype in _LAYER_TENSORS.items():
        array = tensors[f"{prefix}.{name}"]
        if array.dtype != dtype or array.ndim != (2 if name == "codes" else 1) or array.size == 0:
            raise ArtefactError(f"{path}: {prefix}.{name} is {array.dtype} of shape {array.shape}; not what a layer holds")
        arrays[name] = array
    pairs = {}
    for name in ("positions", "strides", "out_strides"):
        row, column = fields[name]
        pairs[name] = (int(row), int(column))
    flags = {name: bool(fields[name]) for name in ("linear", "binary", "public")}
    plain: dict[str, Any] = {**arrays, **pairs, **flags}
    return Layer(**plain, shift=int(fields["shift"]), parts=int(fields["parts"]))
