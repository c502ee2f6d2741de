"""Commands about boards: their bitstreams, and artefacts that run on them."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from bitting import files
from bitting.artefact.artefact import Artefact
from bitting.cli import console
from bitting.cli.options import (
    ArtefactArgument,
    DataOption,
    DeviceOption,
    JsonOption,
    OwnerOption,
    SamplesOption,
    UnsignedOption,
    load_locked,
    test_set,
)
from bitting.errors import BittingError, missing_extra
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.transform import unlock_program
from bitting.sim.serial_link import Port
from bitting.unit.spec import parse_spec

if TYPE_CHECKING:
    from bitting.sim.session import Outcome

#: The port that needs no board.
SIMULATED = "simulated"
_TIMEOUT_SECONDS = 2.0


def board(
    name: Annotated[str, typer.Argument(help="icebreaker, ulx3s-25f or ulx3s-85f.")],
    device: DeviceOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="Bitstream to write, as secret as the device's key.")],
    spec: Annotated[str, typer.Option("--spec", help="Family; default: what is meant for the board.")] = "",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of place and route; the fastest is taken.")] = 1,
    json: JsonOption = False,
) -> None:
    """Make a board a device: the engine behind the board's serial line, its root secret in the bitstream.

    Load it with the board's own tool (`openFPGALoader -b ulx3s FILE`, `iceprog FILE`), then use `bitting run`.
    """
    with missing_extra(f"board {name}", "fpga"):
        from bitting.fpga import boards

    wanted = boards.find(name)
    family, chip = parse_spec(spec or wanted.spec), Device.load(device)
    chip.require_spec(family, "--spec")
    with files.private_folder() as folder:
        with console.progress(f"{family.name} on {name}", seeds) as done:
            report = boards.implement(wanted, family, chip.root, range(1, seeds + 1), folder, done, chip.sealed)
        files.write_bytes(output, Path(report.bitstream).read_bytes(), files.PRIVATE)
    facts = {key: value for key, value in report.to_dict().items() if key != "bitstream"}
    if json:
        console.emit_json(facts)
        return
    used = {cell: f"{count} of {available}" for cell, (count, available) in report.placed[0].utilisation.items()}
    rows = [*used.items(), ("Fmax", f"{max(run.fmax for run in report.placed):.1f} MHz"), ("bitstream", output)]
    console.table(f"{family.name} ({family.id}) on {name}", ("", ""), rows)


@contextlib.contextmanager
def _opened(name: str, chip: Device) -> Iterator[Port]:
    """A serial port by name or URL, or the simulated board of a device.

    Raises:
        BittingError: if it can not be opened.
    """
    if name == SIMULATED:
        from bitting.sim.serial_port import SimulatedPort

        console.err.print("building the simulation ...", style="dim")
        with contextlib.closing(SimulatedPort(chip)) as simulated:
            yield simulated
        return
    from bitting.unit.serial_protocol import BAUD

    with missing_extra("a serial port"):
        import serial
    try:
        with serial.serial_for_url(name, baudrate=BAUD, timeout=_TIMEOUT_SECONDS) as port:
            yield port
    except (serial.SerialException, ValueError) as error:
        raise BittingError(f"--port {name}: {error}") from None


def run(
    artefact: ArtefactArgument,
    device: DeviceOption,
    port: Annotated[str, typer.Option("--port", help=f"Serial port, socket://HOST:PORT, or {SIMULATED}.")],
    data: DataOption = "",
    samples: SamplesOption = "16",
    owner: OwnerOption = None,
    allow_unsigned: UnsignedOption = False,
    json: JsonOption = False,
) -> None:
    """Run test samples on a board and compare every logit bit and every tile's cycles with the emulator of the device.

    Exit status 1 if anything differs. Without PyTorch (`bitting[train]`) there is no emulator: then only the accuracy is shown.
    `--port simulated` plays the board's top and its serial line under Verilator.
    """
    from bitting.sim import session
    from bitting.sim.serial_link import SerialLink

    loaded, chip = load_locked(artefact, device, owner, allow_unsigned)
    x, y, part = test_set(loaded, data, samples)
    with _opened(port, chip) as opened, console.progress(f"on {port}", len(y)) as done:
        outcome = session.on_board(loaded, x, SerialLink(opened), done)
    facts = {"samples": len(y), "accuracy": float((outcome.logits.argmax(1) == y).mean())} | _differences(
        loaded, chip, x, outcome
    )
    if json:
        console.emit_json({**facts, "logits": outcome.logits.tolist(), "labels": y.tolist()})
    else:
        rows = [(name.replace("_", " "), "not compared" if value is None else value) for name, value in facts.items()]
        console.table(f"{artefact} on {port}, samples {part.start} to {part.stop - 1}", ("", ""), rows)
    if facts["wrong_logits"] is None:
        console.err.print(
            "not compared with the emulator, which needs torch; to get it: pip install 'bitting[train]'", markup=False
        )
    if facts["wrong_logits"] or facts["wrong_cycles"]:
        raise typer.Exit(console.EXIT_MISMATCH)


def _differences(artefact: Artefact, chip: Device, x: np.ndarray, outcome: Outcome) -> dict[str, int | None]:
    """How many logits and cycle counts differ from the emulator's; None if there is no emulator here."""
    if importlib.util.find_spec("torch") is None:
        return {"wrong_logits": None, "wrong_cycles": None}
    from bitting.emulator.emulate import Emulator

    clear = unlock_program(artefact.program, artefact.scheme, ChipModel.of(chip))
    logits = Emulator(clear, chip.table())(x).numpy()
    cycles = [count for layer in clear.tile_cycles(chip.table()) for count in layer]
    return {
        "wrong_logits": int((outcome.logits != logits).sum()),
        "wrong_cycles": int((np.array(outcome.tile_cycles) != np.array(cycles)).sum()),
    }
