"""The command `bitting`. Each command reads files, calls one part of the library, and prints; nothing is computed here."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from bitting import __version__, malloc
from bitting.cli import (
    attacks,
    boards,
    console,
    conversions,
    fpga,
    hosts,
    inspect,
    locks,
    models,
    packages,
    puf,
    report,
    runs,
    suite,
)
from bitting.cli.careful import App
from bitting.errors import BittingError, missing_extra

app = App(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)
for _command in (
    models.spec, models.train, inspect.inspect, locks.lock, locks.sign, locks.enroll, runs.verify, runs.simulate,
    models.verilog, packages.package, models.doctor, models.demo, fpga.synth, fpga.overhead, boards.board, hosts.run,
    hosts.packets, hosts.flash, report.report,
):  # fmt: skip
    app.command()(_command)
app.command("lock-table")(locks.lock_table)
app.add_typer(locks.device_app, name="device")
app.add_typer(locks.owner_app, name="owner")
runs.attack_app.command("port")(attacks.port)
runs.attack_app.command("file")(attacks.file)
runs.attack_app.command("questions")(attacks.questions)
runs.attack_app.command("conversions")(conversions.conversions)
runs.attack_app.command("suite")(suite.suite)
runs.attack_app.command("matrix")(suite.matrix)
app.add_typer(runs.attack_app, name="attack")
app.add_typer(puf.puf_app, name="puf")


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Lock neural networks into hardware: train on a MAC unit of its own, lock to a device, simulate, verify, export."""
    if version:
        console.out.print(f"bitting {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: mistakes end in one line and an exit status, never in a traceback."""
    if "OMP_WAIT_POLICY" not in os.environ:
        # Read when torch is loaded. By default threads spin for milliseconds: on processors that have other work too, the demo
        # then took more than ten minutes instead of half of one.
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    malloc.keep_freed()
    try:
        with missing_extra("this command"):
            status = app(standalone_mode=False) or 0  # the status of a typer.Exit, or None
        if status == console.EXIT_INTERRUPTED:  # typer's answer to Ctrl-C
            raise KeyboardInterrupt
        sys.exit(status)
    except (typer.Abort, KeyboardInterrupt):
        _end_interrupted()
    except BittingError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'file'}: {error.strerror or error}")
    except Exception as error:
        if _is_interrupt(error):
            _end_interrupted()
        if os.environ.get("BITTING_DEBUG") or not hasattr(error, "format_message"):
            raise
        _fail(error.format_message())  # a usage error of click


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind it: code in C that calls Python may turn it into an error of its own."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or KeyboardInterrupt.__name__ in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _end_interrupted() -> NoReturn:
    console.err.print("interrupted; nothing half-written was left, and the same command goes on where it can")
    sys.exit(console.EXIT_INTERRUPTED)


def _fail(message: str) -> None:
    console.err.print(f"bitting: {' '.join(message.split())}")
    sys.exit(console.EXIT_ERROR)
