"""What ships: a locked program, what is public about its lock, and the owner's signature. It holds no secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bitting.artefact import container, interface_format, program_format, sealed_format, self_test
from bitting.artefact.claims import public as public_claims
from bitting.artefact.model import Model
from bitting.artefact.self_test import DEFAULT as SELF_TEST
from bitting.artefact.self_test import SelfTest
from bitting.errors import ArtefactError, LockError, SignatureError
from bitting.locking.challenge import Challenge
from bitting.locking.device import Device
from bitting.locking.kinds import SEALING, Fingerprint, Level, Transform, default_transform
from bitting.locking.scheme import LockScheme
from bitting.locking.sealed_program import SealedProgram
from bitting.locking.transform import personalise, restore_program
from bitting.program.interface import NO_INTERFACE, Interface, of_program
from bitting.program.layers import Program
from bitting.program.packets import WORDS
from bitting.unit.protocol import MAX_PAYLOAD_WORDS
from bitting.unit.spec import UnitSpec

_SCHEME_FIELDS = {"transform", "fingerprint", "nonce", "level", "caution"}
_CHALLENGE = "challenge."
_ACTIVATIONS = "challenge.activations"
_HELPER = "puf.helper"


@dataclass(frozen=True, eq=False)
class Artefact:
    """A locked program and what is claimed of it.

    Attributes:
        program: layers, of whose codes only the device knows the meaning; or, with the vault `ascon`, sealed packets.
        scheme: how they are locked.
        claims: data set and accuracies; those that may ship (`bitting.artefact.claims`), others are dropped.
        signed_by: 32 bytes of the public key whose signature was seen to be right, or None if there is no signature.
        self_test: questions, and what the right device answers; None if there are none.
        interface: how a user's inputs become activations, and what the sums say; by default inputs are activations.
        helper: words of the device's helper data, if silicon makes its root secret; public, and changed ones open nothing.

    Example:
        >>> import bitting, numpy
        >>> from bitting.program.layers import multilayer_perceptron
        >>> spec = bitting.parse_spec("tiny")
        >>> weights = numpy.arange(24).reshape(2, 12) % spec.codes
        >>> model = bitting.Model(multilayer_perceptron(spec, [weights], [numpy.zeros(2)], [0]))
        >>> artefact = bitting.lock(model, bitting.Device.new(spec), "clock", "sealed")
        >>> artefact.scheme.transform, artefact.signed_by
        (<Transform.SEALED: 'sealed'>, None)
    """

    KIND: ClassVar[str] = "artefact"

    program: Program | SealedProgram
    scheme: LockScheme = field(default_factory=LockScheme)
    claims: dict[str, Any] = field(default_factory=dict)
    signed_by: bytes | None = None
    self_test: SelfTest | None = None
    interface: Interface = field(default=NO_INTERFACE, repr=False)
    helper: tuple[int, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "claims", public_claims(self.claims))
        if self.interface is NO_INTERFACE:
            object.__setattr__(self, "interface", of_program(self.program.spec, self.program.sample_words))

    def save(self, path: Path, owner: Ed25519PrivateKey | None = None) -> None:
        """Write the file whole or not at all, signed if there is an owner."""
        if isinstance(self.program, SealedProgram):
            tensors, fields = sealed_format.write(self.program)
        else:
            tensors, fields = program_format.write("", self.program)
        tensors, fields = interface_format.added(self.interface, tensors, fields)
        header = {**fields, "lock": self.scheme.to_dict(), "claims": public_claims(self.claims)}
        if self.scheme.challenge:
            more, header["challenge"] = program_format.write(_CHALLENGE, self.scheme.challenge.program)
            tensors |= more | {_ACTIVATIONS: self.scheme.challenge.activations}
        tensors |= self_test.write(self.self_test)
        tensors |= {_HELPER: np.array(self.helper, WORDS)} if self.helper else {}
        container.save(path, self.KIND, self.program.spec, header, tensors, owner=owner)

    @classmethod
    def load(cls, path: Path | str) -> Artefact:
        """Read and check a file; a signature must fit the contents, whoever made it.

        Raises:
            ArtefactError: if it is missing, too large, truncated, corrupted, foreign, a model, or does not fit its spec.
            SignatureError: if it was changed after it was signed.
        """
        return cls.of(container.load(path, cls.KIND))

    @classmethod
    def of(cls, contents: container.Contents) -> Artefact:
        """From a file that was read. Raises as `load`."""
        header = contents.header
        with container.malformed(contents.path):
            spec = contents.spec()
            seals = Transform(header["lock"]["transform"]) in SEALING
            expected = set(sealed_format.TENSORS) if seals else program_format.tensor_names("", header)
            if "challenge" in header:
                expected |= program_format.tensor_names(_CHALLENGE, header["challenge"]) | {_ACTIVATIONS}
            if self_test.TENSORS & set(contents.tensors):
                expected |= self_test.TENSORS
            expected |= {_HELPER} & set(contents.tensors)
            contents.require_tensors(expected | interface_format.names(header))
            program = (
                sealed_format.read(contents.path, spec, header, contents.tensors)
                if seals
                else program_format.read(contents.path, "", spec, header, contents.tensors)
            )
            challenge = _challenge(contents, spec) if "challenge" in header else None
            scheme = _scheme(contents.path, dict(header["lock"]), challenge)
            test = self_test.read(contents.path, program.sample_words, program.outputs, spec, contents.tensors)
            interface = interface_format.read(header, contents.tensors, spec, program.sample_words, program.outputs)
            helper = _helper(contents) if _HELPER in contents.tensors else ()
            return cls(program, scheme, dict(header["claims"]), contents.signed_by, test, interface, helper)

    def locked_layers(self) -> Program:
        """The program of an artefact that is not sealed.

        Raises:
            LockError: if it is sealed.
        """
        if isinstance(self.program, SealedProgram):
            raise LockError(
                "the artefact is sealed: it has no codes to look at; this works on artefacts of the vault `aes` only"
            )
        return self.program

    def require_owner(self, path: Path, owner: bytes | None, allow_unsigned: bool) -> None:
        """Insist on the owner's signature.

        Args:
            path: of the artefact, for the error's text.
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


def load(path: Path | str) -> Model | Artefact:
    """A model or an artefact from its file; whichever it is.

    Raises:
        ArtefactError: if it can not be read, or is not what it should be.
        SignatureError: if it was changed after it was signed.

    Example:
        >>> import bitting, numpy, tempfile, pathlib
        >>> from bitting.program.layers import multilayer_perceptron
        >>> spec = bitting.parse_spec("tiny")
        >>> weights = numpy.arange(24).reshape(2, 12) % spec.codes
        >>> model = bitting.Model(multilayer_perceptron(spec, [weights], [numpy.zeros(2)], [0]))
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> model.save(path)
        >>> type(bitting.load(path)).__name__
        'Model'
    """
    contents = container.load(Path(path))
    return Model.of(contents) if contents.kind == Model.KIND else Artefact.of(contents)


def lock(
    model: Model,
    device: Device,
    fingerprint: str = Fingerprint.CLOCK,
    transform: str | None = None,
    *,
    allow_reproducible: bool = False,
    self_test: int = SELF_TEST,
) -> Artefact:
    """Personalise a model to a device, without training. Its weights stay the same integers.

    Args:
        model: stays as it is.
        device: the one that is to open the artefact, of the same family as the model.
        fingerprint: "clock" or "numeric"; "none" with the transform "table".
        transform: with the vault `ascon` "sealed" or "sealed-clocked" (the default); with `aes`, which is as in the paper and
            has no integrity, "shuffle", "aes", "aes-pre", "aes-clocked" (the default), or "table" (which alone is no lock).
        allow_reproducible: for experiments: lock a model whose training began with a seed that was given, though who trains
            again with this seed needs no key.
        self_test: how many questions to put in, 0..64, with the answers of the right device. They are inputs that the spec
            alone decides.

    Raises:
        DeviceError: if the device is of another family.
        LockError: if there is no such pairing, if the spec can not hold it, or if the model is reproducible.

    Example:
        >>> import bitting, numpy
        >>> from bitting.program.layers import multilayer_perceptron
        >>> spec = bitting.parse_spec("tiny")
        >>> weights = numpy.arange(24).reshape(2, 12) % spec.codes
        >>> model = bitting.Model(multilayer_perceptron(spec, [weights], [numpy.zeros(2)], [0]))
        >>> artefact = bitting.lock(model, bitting.Device.new(spec), "numeric")
        >>> artefact.program.tiles, artefact.scheme.transform
        (2, <Transform.SEALED_CLOCKED: 'sealed-clocked'>)
    """
    if model.reproducible and not allow_reproducible:
        raise LockError(
            "the model is reproducible: its training began with a seed that was given, and who trains again with that seed has "
            "every weight without a key; allowed are models whose seed was drawn: train again without --seed "
            "(TrainConfig.seed), or for an experiment give --allow-reproducible (allow_reproducible=True)"
        )
    scheme = LockScheme.new(device.spec, fingerprint, transform or default_transform(device.spec.vault), device.level)
    locked = personalise(model.program, device, scheme)
    test = SelfTest.of(model.program, self_test)
    helper = device.puf.helper if device.puf else ()
    return Artefact(locked, scheme, model.claims, self_test=test, interface=model.interface, helper=helper)


def unlock(artefact: Artefact | Path | str, device: Device | Path | str) -> Model:
    """The model of an artefact, for the owner of the device's key. With the vault `aes` another key gives noise.

    Args:
        artefact: or the path of its file. Nobody's signature is asked for.
        device: or the path of its key file.

    Raises:
        ArtefactError, SignatureError: if the artefact's file can not be read, or was changed after it was signed.
        DeviceError: if the device is of another family, or its key file can not be read.
        AuthenticityError: if the artefact is sealed, and not for this device, or was changed.

    Example:
        >>> import bitting, numpy
        >>> from bitting.program.layers import multilayer_perceptron
        >>> spec = bitting.parse_spec("tiny")
        >>> weights = numpy.arange(24).reshape(2, 12) % spec.codes
        >>> model = bitting.Model(multilayer_perceptron(spec, [weights], [numpy.zeros(2)], [0]))
        >>> device = bitting.Device.new(spec)
        >>> artefact = bitting.lock(model, device)
        >>> bool((bitting.unlock(artefact, device).program.layers[0].codes == weights).all())
        True
        >>> try:
        ...     bitting.unlock(artefact, device.with_flipped_bit(0))
        ... except bitting.errors.AuthenticityError as error:
        ...     print(str(error).partition(":")[0])
        packet 0 of the sealed program is not authentic
    """
    artefact = artefact if isinstance(artefact, Artefact) else Artefact.load(Path(artefact))
    device = device if isinstance(device, Device) else Device.load(Path(device))
    return Model(restore_program(artefact.program, artefact.scheme, device), artefact.claims, artefact.interface)


def _challenge(contents: container.Contents, spec: UnitSpec) -> Challenge:
    program = program_format.read(contents.path, _CHALLENGE, spec, contents.header["challenge"], contents.tensors)
    activations = contents.tensors[_ACTIVATIONS]
    if activations.dtype != np.int8 or activations.shape != (spec.lanes, program.input_words):
        raise ArtefactError(f"{contents.path}: {_ACTIVATIONS} is {activations.dtype} of shape {activations.shape}")
    return Challenge(program, activations)


def _helper(contents: container.Contents) -> tuple[int, ...]:
    words = contents.tensors[_HELPER]
    if words.dtype != WORDS or words.ndim != 1 or not 0 < len(words) <= MAX_PAYLOAD_WORDS:
        raise ArtefactError(
            f"{contents.path}: {_HELPER} is {words.dtype} of shape {words.shape}; allowed: up to {MAX_PAYLOAD_WORDS} uint32"
        )
    return tuple(words.tolist())


def _scheme(path: Path, fields: dict[str, Any], challenge: Challenge | None) -> LockScheme:
    if set(fields) != _SCHEME_FIELDS:
        raise ArtefactError(f"{path}: the lock has fields {sorted(fields)}; allowed {sorted(_SCHEME_FIELDS)}")
    nonce = bytes.fromhex(fields["nonce"])
    return LockScheme(fields["transform"], fields["fingerprint"], nonce, Level(fields["level"]), challenge)
