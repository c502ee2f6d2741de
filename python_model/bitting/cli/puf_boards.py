"""Commands that measure boards with a PUF: sums of a chip, constants of a population."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bitting.cli import console
from bitting.cli.options import SpecOption
from bitting.errors import missing_extra
from bitting.unit.spec import parse_spec

if TYPE_CHECKING:
    from bitting.unit.puf_key import PufDesign

ConstantsOption = Annotated[
    Path | None,
    typer.Option(
        "--constants", help="Constants of the pairs, from `bitting puf constants`; else there are none (docs/puf.md)."
    ),
]


def design_of_boards(constants: Path | None) -> PufDesign:
    """The PUF of all boards, with constants if there are any.

    Raises:
        BittingError: if their file is none.
    """
    with missing_extra("a board with a PUF", "fpga"):
        from bitting.fpga import boards
    from bitting.puf import constants as constant_files

    design = boards.puf_design()
    return replace(design, constants=constant_files.load(constants, design)) if constants else design


def measure(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write (mode 0600): who has it has the chip's key.")],
    port: Annotated[str, typer.Option("--port", help="Serial port of a board of `bitting board --puf --enrolment`.")],
    spec: SpecOption = "base",
    measurements: Annotated[int, typer.Option(min=1, help="How often all pairs are measured.")] = 8,
) -> None:
    """Measure the oscillators of a board that is not sealed, for `bitting puf constants`. Better not sell that board."""
    from bitting.cli.hosts import opened
    from bitting.puf import constants
    from bitting.sim import puf_chip
    from bitting.sim.serial_link import SerialLink

    with opened(port, measures=True) as line, console.progress(f"on {port}") as done:
        sums = puf_chip.measured(parse_spec(spec), design_of_boards(None), SerialLink(line), measurements, done)
    constants.save_sums(output, sums)
    console.out.print(f"{output}: {len(sums)} measurements of {sums.shape[1]} pairs; keep it secret")


def constants(
    chips: Annotated[list[Path], typer.Argument(help="Files of `bitting puf measure`, one a chip.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write; it is public.")],
) -> None:
    """What the pairs of a design differ by in the mean: for `bitting board --puf --constants` and `bitting enroll`.

    Take a hundred chips: what the constants are wrong by makes keys easier to guess (docs/puf.md).
    """
    from bitting.puf import constants as constant_files

    found = constant_files.from_sums([constant_files.load_sums(path) for path in chips])
    constant_files.save(output, found, len(chips))
    console.out.print(f"{output}: {len(found)} constants of {len(chips)} chips")
