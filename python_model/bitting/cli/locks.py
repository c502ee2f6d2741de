"""Commands about devices, owners and locks."""

from __future__ import annotations

import time
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bitting import files
from bitting.artefact.self_test import DEFAULT as SELF_TEST
from bitting.cli import console, enrolments
from bitting.cli.careful import App
from bitting.cli.options import (
    ArtefactArgument,
    DataOption,
    DeviceOption,
    FingerprintOption,
    JsonOption,
    ModelArgument,
    SamplesOption,
    SpecOption,
    TransformOption,
    test_set,
)
from bitting.cli.puf_boards import ConstantsOption
from bitting.locking.kinds import Fingerprint, Transform
from bitting.unit.spec import parse_spec

if TYPE_CHECKING:
    from bitting.locking.device import Device

device_app = App(no_args_is_help=True, help="Make and look at devices (a spec and a secret root key).")
owner_app = App(no_args_is_help=True, help="The owner's signing key.")


class Format(StrEnum):
    """How a table is printed."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


def _sealed(device: Device) -> str:
    return "; its fuse `sealed` is blown" if device.sealed else ""


@device_app.command("new")
def device_new(path: Annotated[Path, typer.Argument(help="Key file to write (mode 0600).")], spec: SpecOption = "base") -> None:
    """Make a device with a random root secret. An existing key is never overwritten."""
    from bitting.locking.device import Device

    device = Device.new(parse_spec(spec))
    device.save(path)
    console.out.print(f"{path}: new {device.spec.name} device ({device.spec.id}); keep the file secret{_sealed(device)}")


@device_app.command("show")
def device_show(path: Annotated[Path, typer.Argument(help="Key file.")], json: JsonOption = False) -> None:
    """Print what is public about a device: its family, and the entropy of its fingerprints. The secret is not shown."""
    from bitting.locking.challenge import min_entropy
    from bitting.locking.device import Device
    from bitting.locking.kinds import FINGERPRINTS

    device = Device.load(path)
    entropies = {name: min_entropy(device.spec, name, device.level) for name in FINGERPRINTS}
    if json:
        console.emit_json(
            {
                "spec": device.spec.to_dict(), "spec_id": device.spec.id, "level": device.level, "min_entropy": entropies,
                "enrolled": device.enrolment is not None, "sealed": device.sealed,
            }
        )  # fmt: skip
        return
    if device.puf:
        pairs = device.puf.design.key.pairs
        console.out.print(
            f"{path}: the chip stores no root secret, {pairs} pairs of oscillators make it; artefacts carry its helper data"
        )
    enrolled = "enrolled" if device.enrolment or device.puf else "not enrolled: made by calculation"
    console.out.print(
        f"{path}: a {device.spec.name} device ({device.spec.id}), {enrolled}, level of claim {device.level}{_sealed(device)}"
    )
    for name, bits in entropies.items():
        console.out.print(f"min-entropy of the {name} fingerprint, for who knows the family: {bits:.1f} bits")


def enroll(
    path: Annotated[Path, typer.Argument(help="Key file to write (mode 0600).")],
    spec: SpecOption = "base",
    puf: Annotated[bool, typer.Option("--puf", help="The chip stores no secret: oscillators make it (docs/puf.md).")] = False,
    silicon: Annotated[
        Path | None,
        typer.Option("--silicon", help="Oscillators of the chip to simulate (.npz of one board); without: those of a new die."),
    ] = None,
    port: Annotated[str, typer.Option("--port", help="Serial port of a board of `bitting board --puf --enrolment`.")] = "",
    constants: ConstantsOption = None,
    json: JsonOption = False,
) -> None:
    """Enrol a fresh simulated chip as a factory would: burn a secret, boot, measure through the ports, write the key file.

    Nothing is written if the chip differs from its family in anything. With --puf nothing is burnt: the chip measures itself,
    and helper data go into the key file. The oscillators of a new simulated die are written beside it (KEY.silicon.npz).
    """
    from bitting.errors import BittingError, DeviceError
    from bitting.locking.device import Device
    from bitting.sim.enrolment import enrol
    from bitting.sim.native import NativeEngine, engine_library

    if path.exists():
        raise DeviceError(f"{path} exists; a key is not overwritten, choose another name or move the file away")
    if puf:
        enrolments.with_puf(path, parse_spec(spec), silicon, port, constants, json)
        return
    if silicon or port or constants:
        raise BittingError("--silicon, --port and --constants are for chips whose oscillators make the root secret; add --puf")
    device = Device.new(parse_spec(spec))
    console.err.print("building the chip's simulation ...", style="dim")
    with NativeEngine(engine_library(device.spec), device.root) as chip, console.progress("self-tests") as done:
        record = enrol(device, chip, done)
    replace(device, enrolment=record.to_dict()).save(path)
    if json:
        console.emit_json({"spec_id": device.spec.id, **record.to_dict()})
        return
    console.out.print(f"{path}: enrolled a {device.spec.name} chip ({device.spec.id}); keep the file secret")
    enrolments.tell_record(record)


@owner_app.command("new")
def owner_new(path: Annotated[Path, typer.Argument(help="Private key to write (mode 0600); .pub is put beside it.")]) -> None:
    """Make an owner's Ed25519 key."""
    from bitting.artefact import signature

    public = signature.new_owner(path)
    console.out.print(f"{path}: private, signs artefacts; {public}: public, checks them (--owner, or BITTING_OWNER)")


def lock(
    model: ModelArgument,
    device: DeviceOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="Artefact to write.")],
    fingerprint: FingerprintOption = Fingerprint.CLOCK,
    transform: TransformOption = "",
    sign_with: Annotated[Path | None, typer.Option("--sign", help="Owner's private key: sign at once.")] = None,
    allow_reproducible: Annotated[
        bool, typer.Option("--allow-reproducible", help="Lock a model that was trained with --seed: anyone can train it again.")
    ] = False,
    self_test: Annotated[
        int, typer.Option("--self-test", help="Questions with the device's answers to put in; `bitting run` asks them first.")
    ] = SELF_TEST,
    json: JsonOption = False,
) -> None:
    """Personalise a trained model to a device, without training."""
    from bitting.artefact import signature
    from bitting.artefact.artefact import lock as lock_model
    from bitting.artefact.model import Model
    from bitting.locking.device import Device

    unlocked = Model.load(model)
    owner = signature.load_private(sign_with) if sign_with else None
    chip = Device.load(device)
    shown = Fingerprint.NONE if transform == Transform.TABLE else fingerprint
    started = time.perf_counter()
    artefact = lock_model(unlocked, chip, shown, transform or None, allow_reproducible=allow_reproducible, self_test=self_test)
    milliseconds = 1000 * (time.perf_counter() - started)
    artefact.save(output, owner)
    scheme = artefact.scheme
    told = self_test * unlocked.program.outputs * chip.spec.acc_bits
    if json:
        facts = {"milliseconds": milliseconds, "lock": scheme.to_dict(), "parameters": unlocked.program.parameters}
        console.emit_json({**facts, "signed": owner is not None, "self_test": {"questions": self_test, "bits": told}})
        return
    name = f"{scheme.fingerprint} x {scheme.transform}" if scheme.keyed else scheme.transform
    console.out.print(f"{output}: {unlocked.program.parameters} codes locked ({name}) in {milliseconds:.1f} ms")
    console.out.print(f"level of claim: {scheme.level}; caution: {scheme.caution}")
    if told:
        held = unlocked.program.parameters * chip.spec.code_bits
        console.out.print(f"self-test: {self_test} questions; their answers tell at most {told} bits (all codes: {held})")
    if not owner:
        console.out.print("not signed: `bitting sign` it, or readers will need --allow-unsigned")


def sign(
    artefact: ArtefactArgument,
    key: Annotated[Path, typer.Option("--key", help="Owner's private key, from `bitting owner new`.")],
) -> None:
    """Sign an artefact with the owner's Ed25519 key, in place; an earlier signature is replaced."""
    from bitting.artefact import signature
    from bitting.artefact.artefact import Artefact

    owner = signature.load_private(key)
    Artefact.load(artefact).save(artefact, owner)
    console.out.print(f"{artefact}: signed by {signature.public_bytes(owner.public_key()).hex()[:16]}")


def lock_table(
    model: ModelArgument,
    device: DeviceOption,
    data: DataOption = "",
    samples: SamplesOption = "",
    wrong_keys: Annotated[int, typer.Option(min=0, help="Random wrong devices a row, beside 128 one-bit neighbours.")] = 1000,
    form: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TEXT,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write there instead of printing (json, markdown).")
    ] = None,
) -> None:
    """What each fingerprint x transform gives and costs, measured on the emulator and the RTL."""
    import json

    from bitting.artefact.model import Model
    from bitting.check import lock_table as tables
    from bitting.locking.device import Device

    unlocked, chip = Model.load(model), Device.load(device)
    chip.require_spec(unlocked.program.spec, str(model))
    x, y, _ = test_set(unlocked, data, samples)
    with console.progress("wrong devices") as done:
        table = tables.measure(unlocked, chip, x, y, wrong_keys, done)
    if form is Format.TEXT and not output:
        rows = [tables.cells(row, table.metric) for row in table.rows]
        console.table(f"{model} on {chip.spec.name} ({chip.spec.id})", tables.COLUMNS, rows)
        console.out.print(tables.caption(table))
        return
    text = json.dumps(console.without_nan(table.to_dict()), indent=2) if form is Format.JSON else tables.markdown(table)
    if output:
        files.write_text(output, text + "\n")
        console.out.print(f"{output}: {len(table.rows)} locks")
    else:
        print(text)
