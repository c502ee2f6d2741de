"""What commands share: options, and reading what they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from bitting.artefact.artefact import Artefact
from bitting.artefact.model import Model
from bitting.errors import BittingError
from bitting.locking.device import Device
from bitting.locking.kinds import AES_TRANSFORMS, FINGERPRINTS, SEALING, Transform
from bitting.program.interface import Task
from bitting.unit.spec import PRESETS

if TYPE_CHECKING:
    from bitting.data.dataset import Dataset

#: The port, and the board, that need no board.
SIMULATED = "simulated"
#: Inputs at random that a verification without data takes.
RANDOM_INPUTS = 256

StripesOption = Annotated[
    str,
    typer.Option(
        "--stripes",
        help="Lanes that share a sample, each a band of its rows: a number, or auto, the one that answers one sample soonest. "
        "Default: as --spec says, 1.",
    ),
]
SpecOption = Annotated[str, typer.Option("--spec", help=f"Family: {', '.join(PRESETS)}, or e.g. base:lanes=64.")]
DeviceOption = Annotated[Path, typer.Option("--device", help="Key file of the device.")]
SiliconOption = Annotated[
    Path | None,
    typer.Option("--silicon", help="Oscillators of a simulated chip with a PUF (.npz of one board); default: KEY.silicon.npz."),
]
DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        help="digits, mnist, fashion-mnist or cifar-10; or your own: FILE.npz (x_train, y_train, x_test, y_test), FILE.csv "
        "(the last column is the target, or FILE.csv:COLUMN), a folder or archive of pictures (`train/CLASS/*.png`, "
        "`test/CLASS/*.png`), module:function. By default what a trained file claims.",
    ),
]
TaskOption = Annotated[
    str | None,
    typer.Option("--task", help=f"{', '.join(Task)}; default: what the targets look like."),
]
NetworkOption = Annotated[
    str, typer.Option("--network", help="mlp; lenet or residual, for images of 28 x 28; resnet8, for colour images of 32 x 32.")
]
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


def numbers(option: str, text: str) -> list[int]:
    """Whole numbers from 1, with commas between them. Raises BittingError for another text."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise BittingError(f"{option} is {text!r}; allowed are whole numbers from 1, with commas: 100,1000")
    return found


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
    """Activations and targets of the chosen part of a test set; by default all of it, or `at_most` so many samples.

    Raises:
        BittingError: as `test_data`.
    """
    dataset = test_data(artefact, data)
    part = selected(samples, len(dataset.test_y), at_most)
    return inputs_of(artefact, dataset.test_x[part]), dataset.test_y[part], part


def test_data(artefact: Model | Artefact, data: str) -> Dataset:
    """The data set that is named, or that the artefact claims.

    Raises:
        BittingError: if it is not one for the artefact's inputs and task.
    """
    from bitting.data import datasets

    name, interface = data or datasets.claimed(artefact.claims), artefact.interface
    known = not interface.plain
    dataset = datasets.load(name, interface.task if known and name not in datasets.NAMES else None)
    if dataset.words != artefact.program.sample_words or (known and dataset.shape != interface.shape != (dataset.words,)):
        raise BittingError(
            f"{name} has inputs of shape {dataset.shape}, the artefact takes {interface.shape}; choose other --data"
        )
    if dataset.task == Task.CLASSES and dataset.outputs > artefact.program.outputs:
        raise BittingError(
            f"{name} has {dataset.outputs} classes, the artefact {artefact.program.outputs}; choose other --data"
        )
    if known and (dataset.task, dataset.names or interface.names) != (interface.task, interface.names or dataset.names):
        raise BittingError(
            f"{name} is for {dataset.task} ({', '.join(dataset.names) or 'without names'}), the artefact for {interface.task} "
            f"({', '.join(interface.names) or 'without names'}); choose other --data"
        )
    return dataset


def inputs_of(artefact: Model | Artefact, inputs: np.ndarray) -> np.ndarray:
    """Inputs of a data set as activations.

    A program that says nothing of its inputs reads pixels as every recipe does. One to which all inputs beyond 2 are the same
    was made from a network that takes pixels from 0 to 1.
    """
    from bitting.data import datasets

    interface = artefact.interface
    if interface.plain:
        return datasets.activations(artefact.program.spec, inputs)
    largest = float((interface.offset + (interface.high + 1) / interface.scale).max())
    return interface.activations(inputs / np.float32(255) if inputs.dtype == np.uint8 and largest <= 2 else inputs)


def has_data(artefact: Model | Artefact, data: str) -> bool:
    """A data set is named, or the file claims one that is known by name."""
    from bitting.data import datasets

    return bool(data or datasets.claimed(artefact.claims))


def random_inputs(artefact: Model | Artefact, samples: str) -> tuple[np.ndarray, slice]:
    """Activations at random, for who has no data: `samples` or 256 of them, always the same."""
    part = selected(samples, RANDOM_INPUTS)
    interface = artefact.interface
    shape = (RANDOM_INPUTS, artefact.program.sample_words)
    return np.random.default_rng(0).integers(interface.low, interface.high + 1, shape).astype(np.int8)[part], part


def stripes_of(text: str) -> int | str | None:
    """What `--stripes` says; None for nothing. Raises BittingError for what is no number."""
    from bitting.program.choosing import AUTO

    if text in ("", AUTO):
        return text or None
    try:
        return int(text)
    except ValueError:
        raise BittingError(f"--stripes {text!r} is neither a number nor {AUTO}") from None
