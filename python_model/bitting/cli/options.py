"""What commands share: options, and reading what they name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from bitting.artefact.artefact import Artefact
from bitting.artefact.model import Model
from bitting.errors import BittingError
from bitting.locking.device import Device
from bitting.locking.kinds import AES_TRANSFORMS, FINGERPRINTS, SEALING, Transform
from bitting.unit.spec import PRESETS

SpecOption = Annotated[str, typer.Option("--spec", help=f"Family: {', '.join(PRESETS)}, or e.g. base:lanes=64.")]
DeviceOption = Annotated[Path, typer.Option("--device", help="Key file of the device.")]
DataOption = Annotated[str, typer.Option("--data", help="digits, mnist or fashion-mnist; default: what the artefact claims.")]
NetworkOption = Annotated[str, typer.Option("--network", help="mlp, lenet or residual; the last two take images of 28 x 28.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
SamplesOption = Annotated[str, typer.Option("--samples", help="Test samples FIRST:LAST, or a count; empty: all.")]
ArtefactArgument = Annotated[Path, typer.Argument(help="Locked artefact, from `bitting lock`.")]
ModelArgument = Annotated[Path, typer.Argument(help="Model, from `bitting train`.")]
OwnerOption = Annotated[
    Path | None, typer.Option("--owner", envvar="BITTING_OWNER", help="Public key that must have signed the artefact.")
]
UnsignedOption = Annotated[
    bool, typer.Option("--allow-unsigned", help="Accept an artefact without signature, or with an unknown one.")
]
FingerprintOption = Annotated[
    str, typer.Option("--fingerprint", help=f"{', '.join(FINGERPRINTS)}; none with {Transform.TABLE}.")
]
TransformOption = Annotated[
    str,
    typer.Option(
        "--transform",
        help=f"Vault aes (as in the paper: no integrity): {', '.join(AES_TRANSFORMS)}; vault ascon: {', '.join(SEALING)}; "
        f"{Transform.TABLE}: no lock by itself. Default: {Transform.AES_CLOCKED} with vault aes, {Transform.SEALED_CLOCKED} "
        "with ascon.",
    ),
]


def load_artefact(path: Path, owner: Path | None, allow_unsigned: bool) -> Artefact:
    """An artefact whose signature will do.

    Raises:
        BittingError: if it can not be read, or is not signed as it should be.
    """
    from bitting.artefact import signature

    artefact = Artefact.load(path)
    artefact.require_owner(path, signature.load_public(owner) if owner else None, allow_unsigned)
    return artefact


def load_locked(path: Path, device: Path, owner: Path | None, allow_unsigned: bool) -> tuple[Artefact, Device]:
    """An artefact whose signature will do, and a device of its family.

    Raises:
        BittingError: if either can not be read, or they do not fit.
    """
    artefact = load_artefact(path, owner, allow_unsigned)
    chip = Device.load(device)
    chip.require_spec(artefact.program.spec, str(path))
    return artefact, chip


def selected(samples: str, available: int, at_most: int | None = None) -> slice:
    """`FIRST:LAST`, a count, or nothing: then all that are available, or `at_most` so many."""
    if not samples:
        return slice(0, min(available, at_most or available))
    first, colon, last = samples.partition(":")
    try:
        begin, end = (int(first or 0), int(last or available)) if colon else (0, int(first or available))
    except ValueError:
        raise BittingError(f"--samples {samples!r} is neither FIRST:LAST nor a count") from None
    if not 0 <= begin < end <= available:
        raise BittingError(f"--samples {samples} is outside 0:{available}")
    return slice(begin, end)


def test_set(
    artefact: Model | Artefact, data: str, samples: str, at_most: int | None = None
) -> tuple[np.ndarray, np.ndarray, slice]:
    """Activations and labels of the chosen part of a test set; by default all of it, or `at_most` so many samples."""
    from bitting.data import datasets

    name = data or artefact.claims.get("dataset", "")
    dataset = datasets.load(name)
    if dataset.pixels != artefact.program.input_words:
        raise BittingError(
            f"{name} has {dataset.pixels} inputs, the artefact needs {artefact.program.input_words}; choose --data"
        )
    part = selected(samples, len(dataset.test_labels), at_most)
    x = datasets.activations(artefact.program.spec, dataset.test_images[part])
    return x, dataset.test_labels[part], part
