"""Commands about the PUF: what ring oscillators that were measured are worth as a key."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bitting.cli import console, puf_boards
from bitting.cli.careful import App
from bitting.cli.options import JsonOption
from bitting.errors import BittingError, missing_extra
from bitting.look import drawing
from bitting.unit.bch import BLOCK_M, BchCode
from bitting.unit.puf_key import DEFAULT_KEY, DEFAULT_READS, PufKey

if TYPE_CHECKING:
    from bitting.puf.measurements import Measurements

puf_app = App(no_args_is_help=True, help="Ring oscillators as a key that no one stores.")

#: Pictures: name, and what draws it, in `bitting.look.puf_charts`.
_PICTURES = ("distances", "aliasing", "left_out", "failures")

_MeasurementsOption = Annotated[
    Path | None,
    typer.Option(
        "--measurements",
        help="FILE.npz with frequency_hz (boards, oscillators, reads), of 6, 510 and 3 at least, and board (boards,).",
    ),
]
_BoardsOption = Annotated[int, typer.Option("--boards", min=0, help="Simulate so many boards instead; 0: do not.")]
_ColumnsOption = Annotated[
    int | None,
    typer.Option("--columns", min=1, help="Oscillators in a row of --measurements or --boards; else as many as recorded."),
]
_SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of the splits, and of simulated boards.")]


puf_app.command("measure")(puf_boards.measure)
puf_app.command("constants")(puf_boards.constants)


@puf_app.callback()
def _root() -> None:
    """Ring oscillators as a key that no one stores."""


@puf_app.command()
def report(
    measurements: _MeasurementsOption = None,
    boards: _BoardsOption = 0,
    columns: _ColumnsOption = None,
    seed: _SeedOption = 0,
    plots: Annotated[Path | None, typer.Option("--plots", help="Folder for pictures (SVG).")] = None,
    key: Annotated[
        str, typer.Option("--key", help="READS:PAIRS:KEPT:T, a key to judge beside those that are chosen, e.g. 64:288:230:6.")
    ] = "",
    json: JsonOption = False,
) -> None:
    """Uniqueness, entropy, errors and key failure of ring oscillators, judged on boards that chose nothing.

    Without --measurements and --boards: the recorded boards in BITTING_DATA. Of a real device this is the owner's business:
    measurements of a board are its key.
    """
    if plots:
        drawing.require_folder(plots, "--plots")
        drawing.require(plots / f"{_PICTURES[0]}.svg", "--plots")
    _require_one(measurements, boards, columns)
    asked = _key(key) if key else (DEFAULT_READS, DEFAULT_KEY)
    with missing_extra("puf report"):
        import scipy  # noqa: F401

        from bitting.puf import report as reports
    measured = _measured(measurements, boards, columns, seed)
    with console.progress("judging") as done:
        found = reports.make(measured, seed, done, asked)
    if plots:
        from bitting.look import puf_charts

        for name in _PICTURES:
            getattr(puf_charts, name)(plots / f"{name}.svg", found)
    if json:
        console.emit_json(found.to_dict())
    else:
        from bitting.cli import puf_tables

        puf_tables.show(_name(measurements, boards), found)


@puf_app.command()
def reconstruct(
    measurements: _MeasurementsOption = None,
    boards: _BoardsOption = 0,
    columns: _ColumnsOption = None,
    seed: _SeedOption = 0,
    left_out: Annotated[
        float, typer.Option("--left-out", min=0.0, max=0.9, help="Share of each board's pairs that its mask leaves out.")
    ] = 0.2,
    corrects: Annotated[int, typer.Option("--corrects", min=1, help="Errors that the code corrects, in 255 bits.")] = 5,
    json: JsonOption = False,
) -> None:
    """Enrol every board from its first reads, boot it from all others, and try every board's helper data on all other boards.

    The extractor as devices have it, with all pairs of a board. Boards as in the report.
    """
    from bitting.puf import reconstruction
    from bitting.unit.spec import PRESETS

    _require_one(measurements, boards, columns)
    measured = _measured(measurements, boards, columns, seed)
    sizes = reconstruction.key(measured, left_out, corrects)
    kinds = [kind for kind in reconstruction.KINDS if sum(kind) <= measured.reads]
    with console.progress("booting") as done:
        found, strangers = reconstruction.make(measured, PRESETS["base"], sizes, kinds, seed, done)
    if json:
        parts = {"boots": [asdict(one) for one in found], "strangers": asdict(strangers)}
        console.emit_json({"pairs": sizes.pairs, "kept": sizes.bits, "corrects": corrects, **parts})
        return
    console.table(
        f"{_name(measurements, boards)}: {measured.boards} boards, {sizes.bits} of {sizes.pairs} pairs kept, {sizes.blocks} x "
        f"BCH({sizes.code.n}, {sizes.code.k}, {sizes.code.t})",
        ("enrolment averages", "boot averages", "boots", "failed", "boards that failed", "most wrong bits"),
        [(one.enrolled, one.reads, one.boots, one.failed, one.boards_failed, one.most_wrong) for one in found],
    )
    console.out.print(
        f"helper data of other boards: {strangers.tries} tries, {strangers.opened} opened, at least {strangers.nearest} wrong "
        "bits."
    )


def _key(text: str) -> tuple[int, PufKey]:
    """Reads of a boot and a key in one block, from `READS:PAIRS:KEPT:T`."""
    try:
        reads, pairs, kept, corrects = (int(part) for part in text.split(":"))
    except ValueError:
        raise BittingError(f"--key {text}; allowed are four numbers, READS:PAIRS:KEPT:T, e.g. 64:288:230:6") from None
    return reads, PufKey(BchCode(BLOCK_M, corrects), kept=kept, pairs=pairs)


def _require_one(measurements: Path | None, boards: int, columns: int | None) -> None:
    if measurements and boards:
        raise BittingError("--measurements and --boards are both given; name a file, or have boards simulated")
    if columns is not None and not (measurements or boards):
        raise BittingError(
            f"--columns {columns} without --measurements or --boards: the recorded boards have columns of their own; leave it "
            "out, or name a file, or have boards simulated"
        )


def _name(measurements: Path | None, boards: int) -> str:
    return str(measurements or (f"{boards} simulated boards" if boards else "recorded boards"))


def _measured(path: Path | None, boards: int, columns: int | None, seed: int) -> Measurements:
    from bitting.puf import measurements, population

    columns = measurements.COLUMNS if columns is None else columns
    if path:
        return measurements.load(path, columns)
    if boards:
        return population.Population().boards(boards, seed, columns=columns)
    return measurements.recorded()
