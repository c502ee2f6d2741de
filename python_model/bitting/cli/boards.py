"""Commands about boards: their bitstreams, and one that is simulated."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import Annotated

import typer

from bitting import files
from bitting.cli import console
from bitting.cli.enrolments import increments_of
from bitting.cli.options import SIMULATED, JsonOption, SiliconOption
from bitting.cli.puf_boards import ConstantsOption, design_of_boards
from bitting.errors import BittingError, missing_extra
from bitting.locking.device import Device
from bitting.unit.spec import UnitSpec, VaultKind, parse_spec


def board(
    name: Annotated[str, typer.Argument(help=f"icebreaker, ulx3s-25f, ulx3s-85f or {SIMULATED}.")],
    device: Annotated[Path | None, typer.Option("--device", help="Key file of the device; not with --puf.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Bitstream to write, as secret as the device's key; with --puf it holds no secret."
        ),
    ] = None,
    spec: Annotated[str, typer.Option("--spec", help="Family; default: what is meant for the board.")] = "",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of place and route; the fastest is taken.")] = 1,
    puf: Annotated[bool, typer.Option("--puf", help="Oscillators make the root secret: the same file for all boards.")] = False,
    enrolment: Annotated[
        bool,
        typer.Option("--enrolment", help="With --puf, for the factory: the board is not sealed, and measures for anybody."),
    ] = False,
    flash: Annotated[
        bool,
        typer.Option("--flash", help="The program comes from the board's flash (`bitting flash`); the host sends inputs only."),
    ] = False,
    image: Annotated[
        Path | None, typer.Option("--image", help=f"Of {SIMULATED} with --flash: what `bitting flash` wrote.")
    ] = None,
    constants: ConstantsOption = None,
    silicon: SiliconOption = None,
    json: JsonOption = False,
) -> None:
    """Make a board a device: the engine behind its serial line, its root secret in the bitstream (or, with --puf, nowhere).

    Load it with the board's own tool (`openFPGALoader -b ulx3s FILE`, `iceprog FILE`), then use `bitting run`.

    `bitting board simulated --device KEY` needs no board: it names a serial port with the simulated board at its other end, for
    any host (`bitting run --port`, the host in C), until it is interrupted.

    `bitting board NAME --puf --enrolment` makes what a factory loads for `bitting enroll --puf --port`, and without --enrolment
    what the board is sold with.
    """
    if puf:
        _require_no_key(name, device, flash)
    elif enrolment or constants:
        option = "--enrolment" if enrolment else "--constants"
        raise BittingError(f"{option} is of boards whose oscillators make the root secret; add --puf")
    elif device is None:
        raise BittingError(f"whose board {name} is to be: give the key file with --device, or --puf")
    if (image is not None) != (flash and name == SIMULATED):
        raise BittingError(
            f"--image is what the flash of board {SIMULATED} holds: give it with --flash there, and nowhere else"
        )
    if name == SIMULATED:
        if output or spec or json or seeds != 1:
            raise BittingError(
                f"board {SIMULATED} has the key file's spec, and writes nothing; it takes --device, --silicon, "
                "--flash and --image"
            )
        assert device
        _simulate(device, silicon, image)
        return
    if output is None:
        raise BittingError(f"no file for the bitstream of {name}: give --output FILE")
    with missing_extra(f"board {name}", "fpga"):
        from bitting.fpga import boards

    wanted = boards.find(name)
    family, runs = parse_spec(spec or wanted.spec), range(1, seeds + 1)
    if flash and wanted.target == "ice40-up5k" and family.vault == VaultKind.AES:
        raise BittingError(
            f"the vault aes leaves 213 of 5280 cells on {name}, and the player of --flash takes about 700; take the vault ascon"
        )
    chip = _chip(device, family) if device else None
    with files.private_folder() as folder:
        with console.progress(f"{family.name} on {name}", seeds) as done:
            if chip:
                report = boards.implement(wanted, family, chip.root, runs, folder, done, chip.sealed, flash=flash)
            else:
                design = design_of_boards(constants)
                report = boards.implement(wanted, family, None, runs, None, done, not enrolment, design)
        files.write_bytes(output, Path(report.bitstream).read_bytes(), *[files.PRIVATE] * (not puf))
    facts = {key: value for key, value in report.to_dict().items() if key != "bitstream"}
    if json:
        console.emit_json(facts | ({"puf": design.to_dict(), "sealed": not enrolment} if puf else {}))
        return
    used = {cell: f"{count} of {available}" for cell, (count, available) in report.placed[0].utilisation.items()}
    rows = [*used.items(), ("Fmax", f"{max(run.fmax for run in report.placed):.1f} MHz"), ("bitstream", output)]
    console.table(f"{family.name} ({family.id}) on {name}", ("", ""), rows)
    if enrolment:
        console.out.print(
            "not sealed: with this bitstream a board tells its oscillators to anybody who asks. Load it to enrol, and then the "
            "one that is made without --enrolment"
        )


def _require_no_key(name: str, device: Path | None, flash: bool) -> None:
    """Raises BittingError if options do not go with --puf."""
    if device:
        raise BittingError("--device is a key for the bitstream, and with --puf there is none in it; give one of them")
    if name == SIMULATED:
        raise BittingError(f"board {SIMULATED} takes the key file that `bitting enroll --puf` wrote; give --device, not --puf")
    if flash:
        raise BittingError(
            "--flash plays to a device that boots by itself, and one with a PUF wants its helper data first; leave --puf out"
        )


def _chip(key: Path, family: UnitSpec) -> Device:
    """The device of a key file. Raises BittingError if its secret is not for a bitstream of this family."""
    chip = Device.load(key)
    chip.require_spec(family, "--spec")
    if chip.puf:
        raise BittingError(f"{key} is of a chip that stores no secret: its bitstream is that of all such boards, --puf")
    return chip


def _simulate(key: Path, silicon: Path | None, image: Path | None) -> None:
    """The serial port of a simulated board, until the user has had enough."""
    from bitting.artefact import flash_file
    from bitting.sim.serial_port import SimulatedPort
    from bitting.sim.terminal import terminal

    console.err.print("building the simulation ...", style="dim")
    ends = {signal.SIGINT, signal.SIGTERM}
    chip = Device.load(key)
    flash = flash_file.read(image) if image else None
    with contextlib.closing(SimulatedPort.for_host(chip, increments_of(chip, key, silicon), flash)) as board:
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # of the thread that carries bytes too: the wait below takes them
        with terminal(board) as port:
            console.out.print(port)
            console.err.print("the board is there until Ctrl-C", style="dim")
            signal.sigwait(ends)
