"""Commands that attack artefacts through the ports of their device, or in their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from bitting.cli import console
from bitting.cli.options import (
    ArtefactArgument,
    DataOption,
    DeviceOption,
    JsonOption,
    OwnerOption,
    UnsignedOption,
    inputs_of,
    load_artefact,
    load_locked,
    numbers,
    test_data,
)
from bitting.errors import BittingError
from bitting.program.interface import Task

if TYPE_CHECKING:
    from bitting.artefact.artefact import Artefact
    from bitting.attack.findings import Finding

_COLUMNS = ("attack", "attacker", "sought", "got", "right", "queries", "words", "clocks", "ms at 100 MHz")


def port(
    artefact: ArtefactArgument,
    device: DeviceOption,
    layers: Annotated[int, typer.Option(min=0, help="Layers whose weights are read; 0: all.")] = 0,
    edits: Annotated[int, typer.Option(min=0, help="Also send so many random edits of the program.")] = 0,
    mutants: Annotated[bool, typer.Option("--mutants", help="Also let emulated mutants make up challenges (minutes).")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of inputs and edits.")] = 0,
    owner: OwnerOption = None,
    allow_unsigned: UnsignedOption = False,
    json: JsonOption = False,
) -> None:
    """What the owner of the chip, a counterfeiter and the next user get out of the simulated RTL, through its ports only.

    Artefacts of the vault `aes` give everything; of a sealed device with the vault `ascon`, nothing should come. "right" is how
    much of what was got is right, by the device's key.
    """
    from bitting.check import attacks

    loaded, chip = load_locked(artefact, device, owner, allow_unsigned)
    with console.progress("attacks") as done:
        tried = attacks.port_attacks(
            loaded, chip, layers=layers or None, edits=edits, seed=seed, progress=lambda _what, now, total: done(now, total)
        )
        console.err.print("building the simulation ...", style="dim")
        findings = list(tried)
    if mutants:
        findings.append(attacks.mutant_attacks(loaded, chip))
    _show(artefact, loaded, findings, json)


def file(
    artefact: ArtefactArgument,
    second: Annotated[Path | None, typer.Argument(help="Another artefact for the same device.")] = None,
    device: Annotated[
        Path | None, typer.Option("--device", help="Key file: to tell right keys from wrong ones, and to run mixes.")
    ] = None,
    model: Annotated[Path | None, typer.Option("--model", help="Unlocked model: to tell what is right.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="A guess at the training's seed, if the file does not say it.")] = 0,
    owner: OwnerOption = None,
    allow_unsigned: UnsignedOption = False,
    json: JsonOption = False,
) -> None:
    """What a thief gets out of one artefact, or two: training again, histograms, versions mixed, two programs added."""
    from bitting.artefact import container
    from bitting.artefact.model import Model
    from bitting.check import attacks
    from bitting.locking.device import Device

    loaded = load_artefact(artefact, owner, allow_unsigned)
    other = load_artefact(second, owner, allow_unsigned) if second else None
    chip = Device.load(device) if device else None
    if chip:
        for item in [loaded, other] if other else [loaded]:
            chip.require_spec(item.program.spec, "the artefact")
    claims = container.load(artefact, loaded.KIND).header["claims"]
    unlocked = Model.load(model) if model else None
    with console.progress("attacks") as done:
        findings = list(
            attacks.file_attacks(
                loaded, claims, other, chip, unlocked, seed=seed,
                progress=lambda _what, now, total: done(now, total),
            )
        )  # fmt: skip
    _show(artefact, loaded, findings, json)


def questions(
    artefact: ArtefactArgument,
    device: DeviceOption,
    data: DataOption = "",
    counts: Annotated[
        str, typer.Option(help="Numbers of questions to try, with commas.")
    ] = "100,200,500,1000,2000,5000,10000,20000,50000",
    hidden: Annotated[str, typer.Option(help="Widths of the copy's hidden layers, with commas.")] = "256,128",
    steps: Annotated[int, typer.Option(min=1, help="Steps of training a copy.")] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="Of the copies.")] = 0,
    owner: OwnerOption = None,
    allow_unsigned: UnsignedOption = False,
    json: JsonOption = False,
) -> None:
    """What a copy costs that is trained on the answers of the right device to whole inputs (emulator). No lock prevents it."""
    import torch

    from bitting.attack import distillation
    from bitting.emulator.emulate import Emulator
    from bitting.locking.chip import ChipModel
    from bitting.locking.transform import unlock_program

    loaded, chip = load_locked(artefact, device, owner, allow_unsigned)
    dataset = test_data(loaded, data)
    if dataset.task != Task.CLASSES:
        raise BittingError(f"{dataset.name} is for {dataset.task}; copies are made of networks that tell classes")
    most = len(dataset.train_y)
    asked = [count for count in numbers("--counts", counts) if count <= most]
    if not asked:
        raise BittingError(f"--counts is {counts!r}, and {dataset.name} has {most} inputs to ask about; give fewer")
    emulator = Emulator(unlock_program(loaded.program, loaded.scheme, ChipModel.of(chip)), chip.table())

    def answers(inputs: np.ndarray) -> np.ndarray:
        return np.asarray(emulator(torch.from_numpy(inputs_of(loaded, inputs))).numpy())

    with console.progress("copies", len(asked)) as done:
        made = distillation.copies(
            answers, dataset, numbers("--hidden", hidden), asked, steps=steps, seed=seed, progress=done
        )  # fmt: skip
    if json:
        console.emit_json([copy.to_dict() for copy in made])
        return
    rows = [(copy.questions, console.percent(copy.accuracy), console.percent(copy.with_labels)) for copy in made]
    title = f"{artefact}: copies of a {dataset.name} network by questions and answers, {len(dataset.test_y)} test samples"
    console.table(title, ("questions", "copy", "the same inputs, labelled by hand"), rows)


def _show(path: Path, artefact: Artefact, findings: Sequence[Finding], json: bool) -> None:
    if json:
        console.emit_json([finding.to_dict() for finding in findings])
        return
    rows = [
        (
            one.attack, one.attacker, one.sought, f"{one.got} of {one.of}", "" if one.right is None else one.right,
            one.queries, one.words, one.clocks, f"{1000 * one.seconds:.3f}",
        )
        for one in findings
    ]  # fmt: skip
    scheme, spec = artefact.scheme, artefact.program.spec
    title = f"{path}: {scheme.fingerprint} x {scheme.transform}, {spec.name}, vault {spec.vault}; level of claim: key"
    console.table(title, _COLUMNS, rows)
    for one in findings:
        console.out.print(f"{one.attack}: {one.note}")
