"""Commands of a host, which runs artefacts on boards and needs no secret for it."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from bitting import files
from bitting.artefact import flash_file
from bitting.artefact.artefact import Artefact
from bitting.artefact.self_test import require_device
from bitting.cli import console
from bitting.cli.enrolments import increments_of
from bitting.cli.options import (
    SIMULATED,
    ArtefactArgument,
    DataOption,
    JsonOption,
    OwnerOption,
    SamplesOption,
    SiliconOption,
    UnsignedOption,
    load_artefact,
    test_set,
)
from bitting.errors import BittingError, FaultError, missing_extra
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.sealed_program import SealedProgram
from bitting.locking.transform import unlock_program
from bitting.program.interface import score_text
from bitting.sim.serial_link import Port, SerialLink
from bitting.unit.flash_image import OFFSET
from bitting.unit.protocol import ErrorCode

if TYPE_CHECKING:
    from bitting.sim.session import Outcome

#: How long a board may be silent; one with a PUF while it measures, or one that checks a flash of which all is image: for
#: seconds, with the clock of a small board.
_TIMEOUT_SECONDS, _MEASURING_SECONDS = 2.0, 20.0


@contextlib.contextmanager
def opened(
    name: str,
    simulated: Device | None = None,
    increments: np.ndarray | None = None,
    measures: bool = False,
    image: bytes | None = None,
) -> Iterator[Port]:
    """A serial port by name or URL, or the simulated board of a device, whose oscillators are `increments` if it has a PUF.

    With `measures` the board may be silent for longer. `image`: what the simulated board's flash holds, if it plays.

    Raises:
        BittingError: if it can not be opened.
    """
    if simulated:
        from bitting.sim.serial_port import SimulatedPort

        console.err.print("building the simulation ...", style="dim")
        with contextlib.closing(SimulatedPort.for_host(simulated, increments, image)) as played:
            yield played
        return
    from bitting.unit.serial_protocol import BAUD

    with missing_extra("a serial port"):
        import serial
    try:
        timeout = _MEASURING_SECONDS if measures else _TIMEOUT_SECONDS
        with serial.serial_for_url(name, baudrate=BAUD, timeout=timeout) as port:
            yield port
    except (serial.SerialException, ValueError) as error:
        raise BittingError(f"--port {name}: {error}") from None


def run(
    artefact: ArtefactArgument,
    port: Annotated[str, typer.Option("--port", help=f"Serial port, socket://HOST:PORT, or {SIMULATED}.")],
    device: Annotated[
        Path | None, typer.Option("--device", help=f"Key file of the chip to simulate: for --port {SIMULATED} only.")
    ] = None,
    silicon: SiliconOption = None,
    expect_device: Annotated[
        Path | None,
        typer.Option(
            "--expect-device",
            help="For owners: key file of the device that the artefact must be for; checked before anything is sent.",
        ),
    ] = None,
    flash: Annotated[
        bool, typer.Option("--flash", help="The board plays the program from its flash: send inputs only.")
    ] = False,
    self_test: Annotated[bool, typer.Option(help="Ask the artefact's own questions first.")] = True,
    data: DataOption = "",
    samples: SamplesOption = "16",
    owner: OwnerOption = None,
    allow_unsigned: UnsignedOption = False,
    json: JsonOption = False,
) -> None:
    """Run test samples on a board: that takes the artefact and its owner's public key, and no secret.

    First the board answers the artefact's self-test: exit status 1 if it is not the device that the artefact is for.

    Where the device's key is at hand (--expect-device, or --device of a simulated board), every logit bit and every tile's
    cycles are compared with the emulator of the device: exit status 1 if anything differs. The emulator needs PyTorch
    (`bitting[train]`). `--port simulated` plays the board's top and its serial line under Verilator.
    """
    from bitting.sim import session

    loaded = load_artefact(artefact, owner, allow_unsigned)
    if flash and loaded.helper:
        raise BittingError(f"{artefact} is for a device with a PUF, and no board with one plays from flash; leave --flash out")
    simulated, expected = _keys(artefact, loaded, port, device, expect_device)
    x, y, part = test_set(loaded, data, samples)
    increments = increments_of(simulated, device, silicon) if simulated and device else None
    image = flash_file.contents(loaded) if flash and simulated else None
    with (
        opened(port, simulated, increments, bool(loaded.helper) or flash, image) as line,
        console.progress(f"on {port}", len(y)) as done,
    ):
        link = SerialLink(line)
        session.require_family(loaded, link)
        tested = "not asked" if not self_test else "none in the artefact" if loaded.self_test is None else "passed"
        wrong = session.self_test(loaded, link, flash) if tested == "passed" else ""
        if not wrong:
            try:
                # A player that passed is not reset: after a reset the flash might hold another program.
                outcome = session.on_board(loaded, x, link, done, flash, booted=flash and tested == "passed")
            except FaultError as fault:
                if fault.code != ErrorCode.BAD_TAG:
                    raise
                wrong = str(fault)
    if wrong:
        _say_wrong(artefact, port, wrong, "failed" if tested == "passed" else tested, json)
        raise typer.Exit(console.EXIT_MISMATCH)
    interface = loaded.interface
    metric = interface.metric
    facts: dict[str, Any] = {
        "samples": len(y), metric.lower(): interface.rating(outcome.logits, y), "self_test": tested,
    } | _differences(loaded, expected, x, outcome, flash)  # fmt: skip
    if json:
        said = {"logits": outcome.logits.tolist(), "answers": interface.answers(outcome.logits).tolist(), "labels": y.tolist()}
        console.emit_json({**facts, **said})
    else:
        shown = facts | {metric.lower(): score_text(facts[metric.lower()], metric)}
        rows = [(name.replace("_", " "), "not compared" if value is None else value) for name, value in shown.items()]
        console.table(f"{artefact} on {port}, samples {part.start} to {part.stop - 1}", ("", ""), rows)
    if tested == "none in the artefact":
        console.err.print(f"{artefact} has no self-test: another device than its own would not have been told")
    if facts["wrong_logits"] is None:
        why = "the device's key (--expect-device)" if not expected else "torch; to get it: pip install 'bitting[train]'"
        console.err.print(f"not compared with the emulator, which needs {why}")
    if facts["wrong_logits"] or facts["wrong_cycles"]:
        raise typer.Exit(console.EXIT_MISMATCH)


def _keys(
    path: Path, artefact: Artefact, port: str, device: Path | None, expect_device: Path | None
) -> tuple[Device | None, Device | None]:
    """The device to simulate, and the one to compare with.

    Raises:
        BittingError: if a key file is missing, too many, can not be read, or is not that of the artefact's device.
    """
    if port != SIMULATED and device:
        raise BittingError(
            f"--device is the key of a chip to simulate (--port {SIMULATED}); a board holds its own secret and needs none: "
            "leave it out, or, to compare with the emulator, give --expect-device"
        )
    if port == SIMULATED and not device:
        raise BittingError(f"--port {SIMULATED} builds a chip with its fuses, so it needs its key file: give --device")
    simulated = Device.load(device) if device else None
    if simulated:
        simulated.require_spec(artefact.program.spec, str(path))
    expected = Device.load(expect_device) if expect_device else None
    if expected:
        require_device(artefact, expected, str(path))
    return simulated, expected or simulated


def _say_wrong(artefact: Path, port: str, wrong: str, tested: str, json: bool) -> None:
    if json:
        console.emit_json({"self_test": tested, "reason": wrong})
    console.err.print(f"the device on {port} is not the one that {artefact} is locked to, or the artefact was changed: {wrong}")


def _differences(
    artefact: Artefact, chip: Device | None, x: np.ndarray, outcome: Outcome, flash: bool
) -> dict[str, int | None]:
    """How many logits and cycle counts differ from the emulator's; None where there is nothing to compare with.

    Raises:
        DeviceError: if the artefact is sealed for another device than `chip`, whose board ran it.
    """
    if not chip or importlib.util.find_spec("torch") is None:
        return {"wrong_logits": None, "wrong_cycles": None}
    from bitting.emulator.emulate import Emulator

    clear = unlock_program(artefact.program, artefact.scheme, ChipModel.of(chip))
    logits = Emulator(clear, chip.table())(x).numpy()
    cycles = np.array([count for layer in clear.tile_cycles(chip.table()) for count in layer])
    told = artefact.program.reports if isinstance(artefact.program, SealedProgram) else not flash
    return {
        "wrong_logits": int((outcome.logits != logits).sum()),
        "wrong_cycles": int((np.array(outcome.tile_cycles) != cycles).sum()) if told else None,
    }


def packets(
    artefact: ArtefactArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Packet file to write.")],
    c_host: Annotated[
        Path | None, typer.Option("--c-host", help="Also write a host in C to this folder: it reads packet files.")
    ] = None,
    flash: Annotated[
        bool, typer.Option("--flash", help="For a board that plays the program from its flash: leave it out of the file.")
    ] = False,
    owner: OwnerOption = None,
    allow_unsigned: UnsignedOption = False,
    json: JsonOption = False,
) -> None:
    """Write what a small host needs to run an artefact: the words to send, and the self-test. That takes no key file.

    The packet file is not signed: keep it as you keep the firmware of the host. It holds no secret.
    """
    from bitting.artefact import packet_file

    loaded = load_artefact(artefact, owner, allow_unsigned)
    data = packet_file.contents(loaded, flash)
    files.write_bytes(output, data)
    sources = packet_file.c_host() if c_host else {}
    for name, text in sources.items():
        files.write_text(Path(c_host or ".") / name, text)
    questions = 0 if loaded.self_test is None else len(loaded.self_test.questions)
    if json:
        console.emit_json({"bytes": len(data), "questions": questions, "c_host": list(sources)})
        return
    console.out.print(f"{output}: {len(data)} bytes, {questions} questions; not signed, and no secret")
    if c_host:
        console.out.print(f"{c_host}: {', '.join(sources)}")


def flash(
    artefact: ArtefactArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Flash image to write.")],
    owner: OwnerOption = None,
    allow_unsigned: UnsignedOption = False,
    json: JsonOption = False,
) -> None:
    """Write what a board of `bitting board NAME --flash` reads from its flash: the program. That takes no key file.

    The image is not signed and holds no secret: the device authenticates a sealed program word by word, wherever it comes from.
    """
    loaded = load_artefact(artefact, owner, allow_unsigned)
    data = flash_file.contents(loaded)
    files.write_bytes(output, data)
    if json:
        console.emit_json({"bytes": len(data), "offset": OFFSET})
        return
    console.out.print(f"{output}: {len(data)} bytes, for the flash from byte {OFFSET:#x} on; not signed, and no secret")
    console.out.print(f"icebreaker: iceprog -o {OFFSET >> 20}M {output}", soft_wrap=True)
    console.out.print(f"ulx3s: openFPGALoader -b ulx3s -f -o {OFFSET:#x} --file-type raw {output}", soft_wrap=True)
    vouched = f"--owner {owner}" if owner else "--allow-unsigned"
    console.out.print(f"then: bitting run {artefact} {vouched} --port PORT --flash", soft_wrap=True)
