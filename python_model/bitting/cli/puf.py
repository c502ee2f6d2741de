"""Commands about the PUF: what ring oscillators that were measured are worth as a key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bitting.cli import console
from bitting.cli.options import JsonOption
from bitting.errors import BittingError, missing_extra
from bitting.look import drawing
from bitting.unit.bch import BLOCK_BITS

if TYPE_CHECKING:
    from bitting.puf.measurements import Measurements
    from bitting.puf.report import Report

puf_app = typer.Typer(no_args_is_help=True, help="Ring oscillators as a key that no one stores.")

#: Pictures: name, and what draws it, in `bitting.look.puf_charts`.
_PICTURES = ("distances", "aliasing", "failures")
#: Below so many, what is found is loose.
_FEW_BOARDS = 30


@puf_app.callback()
def _root() -> None:
    """Ring oscillators as a key that no one stores."""


@puf_app.command()
def report(
    measurements: Annotated[
        Path | None,
        typer.Option(
            "--measurements",
            help="FILE.npz with frequency_hz (boards, oscillators, reads), of 6, 510 and 3 at least, and board (boards,).",
        ),
    ] = None,
    boards: Annotated[int, typer.Option("--boards", min=0, help="Simulate so many boards instead; 0: do not.")] = 0,
    columns: Annotated[
        int | None,
        typer.Option("--columns", min=1, help="Oscillators in a row of --measurements or --boards; else as many as recorded."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the splits, and of simulated boards.")] = 0,
    plots: Annotated[Path | None, typer.Option("--plots", help="Folder for pictures (SVG).")] = None,
    json: JsonOption = False,
) -> None:
    """Uniqueness, entropy, errors and key failure of ring oscillators, judged on boards that chose nothing.

    Without --measurements and --boards: the recorded boards in BITTING_DATA. Of a real device this is the owner's business:
    measurements of a board are its key.
    """
    if measurements and boards:
        raise BittingError("--measurements and --boards are both given; name a file, or have boards simulated")
    if columns is not None and not (measurements or boards):
        raise BittingError(
            f"--columns {columns} without --measurements or --boards: the recorded boards have columns of their own; leave it "
            "out, or name a file, or have boards simulated"
        )
    if plots:
        drawing.require(plots / f"{_PICTURES[0]}.svg", "--plots")
    with missing_extra("puf report"):
        import scipy  # noqa: F401

        from bitting.puf import report as reports
    measured = _measured(measurements, boards, columns, seed)
    with console.progress("judging") as done:
        found = reports.make(measured, seed, done)
    if plots:
        from bitting.look import puf_charts

        for name in _PICTURES:
            getattr(puf_charts, name)(plots / f"{name}.svg", found)
    if json:
        console.emit_json(found.to_dict())
    else:
        _show(str(measurements or (f"{boards} simulated boards" if boards else "recorded boards")), found)


def _measured(path: Path | None, boards: int, columns: int | None, seed: int) -> Measurements:
    from bitting.puf import measurements, population

    columns = measurements.COLUMNS if columns is None else columns
    if path:
        return measurements.load(path, columns)
    if boards:
        return population.Population().boards(boards, seed, columns=columns)
    return measurements.recorded()


def _show(what: str, found: Report) -> None:
    console.table(
        f"{what}: {found.boards} boards, {found.oscillators} oscillators, {found.reads} reads; "
        f"{found.splits} splits, {found.judged} boards judged in each. Bits of min-entropy a response bit",
        ("pairing", "plug-in", "corrected", "over splits", "bound", "others tell", "likely", "conservative", "errors, 1 read"),
        [
            (
                one.name,
                f"{one.entropy.plug_in:.3f}",
                f"{one.entropy.corrected:.3f}",
                f"{one.deviation:.3f}",
                f"{one.entropy.bound:.3f}",
                f"{max(attack.accuracy for attack in one.attacks if attack.others_only):.4f}",
                f"{one.worth.likely:.3f}",
                f"{one.worth.conservative:.3f}",
                console.percent(one.error_rate),
            )
            for one in found.candidates
        ],
    )
    _show_default(found)
    _show_errors(found)
    _show_choice(found)


def _show_default(found: Report) -> None:
    spread = found.spread
    console.table(
        f"{found.default.name}: how responses lie",
        ("", "found", "fair coins"),
        [
            ("uniqueness: distance of boards", f"{spread.uniqueness:.4f}, sd {spread.uniqueness_deviation:.4f}", "0.5"),
            ("degrees of freedom (Daugman)", f"{spread.degrees_of_freedom:.0f}", f"{found.rates[0].bits}"),
            ("uniformity: ones in a board", f"{spread.uniformity:.4f}, sd {spread.uniformity_deviation:.4f}", "0.5"),
            (
                "aliasing: sd over bits of the share of ones",
                f"{spread.aliasing_deviation:.4f}, largest distance from 1/2 {spread.aliasing_worst:.2f}",
                f"{spread.aliasing_by_chance:.4f}",
            ),
            ("squared correlation of two bits, times boards - 1", f"{spread.correlation:.3f}", "1"),
            ("pairs of bits beyond the 1% bound", f"{100 * spread.correlated:.2f}%", "1%"),
            ("min-entropy, plug-in", f"{found.default.entropy.plug_in:.3f}", f"{found.coins.plug_in:.3f}"),
            ("corrected", f"{found.default.entropy.corrected:.3f}", f"{found.coins.corrected:.3f}"),
            ("bound", f"{found.default.entropy.bound:.3f}", f"{found.coins.bound:.3f}"),
            (
                "SP 800-90B most common value of each bit",
                f"{found.default.entropy.most_common_value_bound:.3f}",
                f"{found.coins.most_common_value_bound:.3f}",
            ),
            *(
                (f"SP 800-90B {name}: by boards; by positions", f"{a:.3f}; {b:.3f}", f"{found.coins_standard[name]:.3f}")
                for name, (a, b) in found.standard.items()
            ),
        ],
    )
    rows = [(one.name, one.knows, f"{one.accuracy:.4f}", f"{one.bound:.4f}") for one in found.default.attacks]
    few = found.few_constants
    rows.append((f"{few.name}; constants of half as many boards", few.knows, f"{few.accuracy:.4f}", f"{few.bound:.4f}"))
    console.table(
        f"{found.default.name}: what an attacker with {found.boards - found.judged} boards of his own predicts",
        ("attack", "knows of the board", "right", "99.5% bound"),
        rows,
    )


def _show_errors(found: Report) -> None:
    from bitting.puf.report import TAIL_ERRORS

    rows = []
    for one in found.rates:
        worst = int(one.counted.argmax())
        low, high = one.bounds(worst)
        expected, seen = one.tail(TAIL_ERRORS)
        rows.append(
            (
                one.reads,
                f"{100 * one.counted.mean():.3f}%",
                f"{100 * one.modelled.mean():.3f}%",
                f"{100 * one.counted[worst]:.2f}% ({100 * low:.2f} to {100 * high:.2f})",
                f"{100 * one.modelled[one.worst]:.2f}%",
                int(one.errors.max()),
                f"{100 * one.deepest.max():.1f}%",
                f"{100 * expected:.2f}%, {100 * seen:.2f}%",
            )
        )
    console.table(
        f"{found.default.name}: wrong bits of boots, against the first {found.reference} reads",
        (
            "reads", "counted", "modelled", "worst board counted (99%)", "worst modelled", f"most of {BLOCK_BITS}",
            "smallest margins with all errors", f"boots over {TAIL_ERRORS}: model, seen",
        ),
        rows,
    )  # fmt: skip


def _show_choice(found: Report) -> None:
    from bitting.puf import choice

    rows = [
        (
            one.reads, f"({one.code.k}, {one.code.t})", one.blocks, choice.BLOCK_OSCILLATORS * one.blocks,
            f"{one.failure:.1e}", f"{one.failure_bound:.1e}", f"{one.left:.0f}",
        )
        for one in found.choices
    ]  # fmt: skip
    need = f"at most {choice.MOST_FAILURES:g} failures at {choice.MARGIN} x the worst board, {choice.KEY_BITS} bits left"
    console.table(
        f"what meets the requirement: {need}",
        ("reads", f"BCH({BLOCK_BITS}, k, t)", "blocks", "oscillators", "key failure", "if bits err alike", "bits left"),
        rows,
    )
    best = found.best
    if found.boards < _FEW_BOARDS:
        console.err.print(f"{found.boards} boards are few: entropy and the worst board's errors are uncertain by as much again")
    if best is None:
        console.out.print(f"no code meets this: {need}. Average more reads in a boot, or calibrate on more boards.")
        return
    table = []
    for code, failures in found.failures(best.reads):
        if choice.shown(code, best):
            cells = [f"{unequal:.1e} ({equal:.1e})" for unequal, equal in failures]
            cells += [""] * (len(choice.FACTORS) - len(cells))
            left = choice.left(code, found.default.worth.conservative)
            table.append((f"({code.k}, {code.t})", *cells, f"{left:.0f}"))
    console.table(
        f"failure of one block, {best.reads} reads, at multiples of the worst board's error rate (if bits err alike)",
        (f"BCH({BLOCK_BITS}, k, t)", *(f"x{factor}" for factor in choice.FACTORS), "bits left"),
        table,
    )
    one = found.one_block(best)
    console.out.print(
        f"chosen: {best.reads} reads, BCH({best.code.n}, {best.code.k}, {best.code.t}), {best.blocks} blocks: "
        f"{best.left:.0f} bits left. One block leaves {one['conservative']:.0f} (likely {one['likely']:.0f})"
        f"{': no key by itself' if best.blocks > 1 else ''}."
    )
