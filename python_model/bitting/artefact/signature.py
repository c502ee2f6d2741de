"""The owner's signature: Ed25519 (RFC 8032) over everything an artefact says.

A host checks it before it streams the codes to a device. It is a signature, not a keyed tag: a tag under the lock key would let
a thief test key guesses offline.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bitting import files
from bitting.errors import SignatureError

_CONTEXT = b"bitting signature 1"
#: More than this is no key file.
_MAX_KEY_FILE = 1 << 14


def message(header: str, tensors: Mapping[str, np.ndarray]) -> bytes:
    """What is signed: the header as it stands in the file, and every tensor with name, type and shape, lengths in front."""
    parts = [_CONTEXT, header.encode()]
    for name in sorted(tensors):
        tensor = tensors[name]
        parts += [f"{name} {tensor.dtype.str} {tensor.shape}".encode(), np.ascontiguousarray(tensor).tobytes()]
    return b"".join(len(part).to_bytes(8) + part for part in parts)


def sign(key: Ed25519PrivateKey, header: str, tensors: Mapping[str, np.ndarray]) -> tuple[bytes, bytes]:
    """(public key, signature), 32 and 64 bytes."""
    return public_bytes(key.public_key()), key.sign(message(header, tensors))


def check(public: bytes, signature: bytes, header: str, tensors: Mapping[str, np.ndarray]) -> None:
    """Raises SignatureError if the signature is not that of `public` over the contents."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message(header, tensors))
    except (InvalidSignature, ValueError):
        raise SignatureError("the signature does not fit the contents: they were changed after signing") from None


def public_bytes(key: Ed25519PublicKey) -> bytes:
    """The 32 bytes of RFC 8032; a signed file holds them."""
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def new_owner(path: Path) -> Path:
    """Write a private key (PEM, mode 0600) and beside it, with suffix .pub, its public one.

    Returns:
        The public key's path.

    Raises:
        SignatureError: if either exists.
    """
    public = path.with_name(path.name + ".pub")
    for target in (path, public):
        if target.exists():
            raise SignatureError(f"{target} exists; a key is not overwritten, choose another name or move the file away")
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files.write_text(path, pem.decode(), mode=0o600)
    text = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    files.write_text(public, text.decode())
    return public


def load_private(path: Path) -> Ed25519PrivateKey:
    """Raises SignatureError if the file is missing, open to others, or no Ed25519 key. The contents are never quoted."""
    data = _read(path)
    if files.open_to_others(path):
        raise SignatureError(f"{path} is open to others; a private key has mode 0600: chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SignatureError(f"{path} is no private key in PEM; make one with `bitting owner new`") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(f"{path} holds a {type(key).__name__}; allowed: Ed25519, from `bitting owner new`")
    return key


def load_public(path: Path) -> bytes:
    """The 32 bytes of a public key. Raises SignatureError if the file is missing or no Ed25519 public key."""
    data = _read(path)
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise SignatureError(f"{path} is no public key in PEM; `bitting owner new` writes one beside the private key") from None
    if not isinstance(key, Ed25519PublicKey):
        raise SignatureError(f"{path} holds a {type(key).__name__}; allowed: an Ed25519 public key")
    return public_bytes(key)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_KEY_FILE:
            raise SignatureError(f"{path} is no key: it has {path.stat().st_size} bytes")
        return path.read_bytes()
    except OSError as error:
        raise SignatureError(f"can not read {path}: {error.strerror}; make a key with `bitting owner new`") from None
