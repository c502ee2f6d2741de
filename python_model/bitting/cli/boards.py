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
from bitting.cli.options import SIMULATED, DeviceOption, JsonOption, SiliconOption
from bitting.errors import BittingError, missing_extra
from bitting.locking.device import Device
from bitting.unit.spec import parse_spec


def board(
    name: Annotated[str, typer.Argument(help=f"icebreaker, ulx3s-25f, ulx3s-85f or {SIMULATED}.")],
    device: DeviceOption,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Bitstream to write, as secret as the device's key.")
    ] = None,
    spec: Annotated[str, typer.Option("--spec", help="Family; default: what is meant for the board.")] = "",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of place and route; the fastest is taken.")] = 1,
    silicon: SiliconOption = None,
    json: JsonOption = False,
) -> None:
    """Make a board a device: the engine behind the board's serial line, its root secret in the bitstream.

    Load it with the board's own tool (`openFPGALoader -b ulx3s FILE`, `iceprog FILE`), then use `bitting run`.

    `bitting board simulated --device KEY` needs no board: it names a serial port with the simulated board at its other end, for
    any host (`bitting run --port`, the host in C), until it is interrupted.
    """
    if name == SIMULATED:
        if output or spec or json or seeds != 1:
            raise BittingError(f"board {SIMULATED} takes --device only: it has that of the key file's spec, and writes nothing")
        _simulate(device, silicon)
        return
    if output is None:
        raise BittingError(f"no file for the bitstream of {name}: give --output FILE")
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


def _simulate(key: Path, silicon: Path | None) -> None:
    """The serial port of a simulated board, until the user has had enough."""
    from bitting.sim.serial_port import SimulatedPort
    from bitting.sim.terminal import terminal

    console.err.print("building the simulation ...", style="dim")
    ends = {signal.SIGINT, signal.SIGTERM}
    chip = Device.load(key)
    with contextlib.closing(SimulatedPort(chip, increments_of(chip, key, silicon))) as board:
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # of the thread that carries bytes too: the wait below takes them
        with terminal(board) as port:
            console.out.print(port)
            console.err.print("the board is there until Ctrl-C", style="dim")
            signal.sigwait(ends)
