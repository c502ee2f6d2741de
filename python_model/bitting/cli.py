"""The command `bitting`. Each command reads files, calls one part of the library, and prints; nothing is computed here."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from bitting import __version__, console, files
from bitting.errors import BittingError
from bitting.spec import PRESETS, parse_spec

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)
device_app = typer.Typer(no_args_is_help=True, help="Make and look at devices (a spec and a secret root key).")
attack_app = typer.Typer(no_args_is_help=True, help="Attack your own locks.")
app.add_typer(device_app, name="device")
app.add_typer(attack_app, name="attack")

SpecOption = Annotated[str, typer.Option("--spec", help=f"Family: {', '.join(PRESETS)}, or e.g. base:lanes=64.")]
DeviceOption = Annotated[Path, typer.Option("--device", help="Key file of the device.")]
DataOption = Annotated[str, typer.Option("--data", help="digits, mnist or fashion-mnist; default: what the artefact claims.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
SamplesOption = Annotated[str, typer.Option("--samples", help="Test samples FIRST:LAST, or a count; default all.")]
ArtefactArgument = Annotated[Path, typer.Argument(help="Locked artefact, from `bitting lock`.")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Lock neural networks into hardware: train on a MAC unit of its own, lock to a device, simulate, verify, export."""
    if version:
        console.out.print(f"bitting {__version__}")
        raise typer.Exit


@app.command()
def spec(spec: Annotated[str, typer.Argument(help="Family.")] = "base", json: JsonOption = False) -> None:
    """Print the format page of a family: widths, extremes, code table, cycles, sizes."""
    from bitting import formatpage

    family = parse_spec(spec)
    if json:
        console.emit_json(formatpage.facts(family))
    else:
        console.out.print(formatpage.text(family))


@device_app.command("new")
def device_new(path: Annotated[Path, typer.Argument(help="Key file to write (mode 0600).")], spec: SpecOption = "base") -> None:
    """Make a device with a random root secret. An existing key is never overwritten."""
    from bitting.device import Device

    device = Device.new(parse_spec(spec))
    device.save(path)
    console.out.print(f"{path}: new {device.spec.name} device ({device.spec.id}); keep the file secret")


@device_app.command("show")
def device_show(path: Annotated[Path, typer.Argument(help="Key file.")], json: JsonOption = False) -> None:
    """Print what is public about a device: its family. The secret is not shown."""
    from bitting.device import Device

    device = Device.load(path)
    if json:
        console.emit_json({"spec": device.spec.to_dict(), "spec_id": device.spec.id})
    else:
        console.out.print(f"{path}: a {device.spec.name} device ({device.spec.id})")


@app.command()
def train(
    output: Annotated[Path, typer.Option("--output", "-o", help="Model to write (unlocked: keep it secret).")],
    data: Annotated[str, typer.Option("--data", help="digits, mnist or fashion-mnist.")] = "digits",
    spec: SpecOption = "base",
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training set; default: the recipe's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of initial weights and sample order.")] = 0,
    json: JsonOption = False,
) -> None:
    """Train a network on the unit's exact arithmetic, and its unlocked twin beside it.

    Interrupt it and run the same command again: it resumes after the last whole epoch.
    """
    from bitting import datasets
    from bitting import train as training

    family = parse_spec(spec)
    dataset = datasets.load(data)
    config = replace(training.RECIPES[data], seed=seed)
    config = replace(config, epochs=epochs) if epochs else config
    checkpoint = output.with_name(f".{output.name}.checkpoint")
    started = time.perf_counter()
    with console.progress(f"training on {data}", 2 * config.epochs) as done:
        progress = _training_progress(done, config.epochs)
        model = training.train(family, dataset, config, checkpoint, progress)
    model.save(output)
    if json:
        console.emit_json({**model.claims, "seconds": round(time.perf_counter() - started, 1)})
        return
    usage = training.code_usage(model) * family.codes
    rows = [
        ("unit accuracy", console.percent(model.claims["accuracy"])),
        ("twin accuracy (fp32, ReLU)", console.percent(model.claims["twin_accuracy"])),
        ("code usage, least and most (1 = equal)", f"{usage.min():.2f} .. {usage.max():.2f}"),
        ("seed", seed),
        ("seconds", f"{time.perf_counter() - started:.1f}"),
    ]
    console.table(f"{output}: {data} on {family.name} ({family.id})", ("", ""), rows)


def _training_progress(done: Callable[[int], None], epochs: int) -> Callable[[str, int, int, float], None]:
    return lambda name, epoch, _total, _score: done(epoch + epochs * (name == "twin"))


@app.command()
def lock(
    model: Annotated[Path, typer.Argument(help="Model, from `bitting train`.")],
    device: DeviceOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="Artefact to write.")],
    json: JsonOption = False,
) -> None:
    """Personalise a trained model to a device, without training."""
    from bitting.artefact import Artefact
    from bitting.device import Device
    from bitting.lock import lock as lock_program

    unlocked = Artefact.load(model, "model")
    owner = Device.load(device)
    started = time.perf_counter()
    program, description = lock_program(unlocked.program, owner)
    milliseconds = 1000 * (time.perf_counter() - started)
    Artefact("artefact", program, description.to_dict(), unlocked.claims).save(output)
    if json:
        console.emit_json({"milliseconds": milliseconds, "lock": description.to_dict(), "parameters": program.parameters})
        return
    console.out.print(f"{output}: {program.parameters} codes locked ({description.transform}) in {milliseconds:.1f} ms")
    console.out.print(f"level of claim: {description.level}; caution: {description.caution}")


def _selected(samples: str, available: int) -> slice:
    """`FIRST:LAST`, a count, or nothing."""
    first, colon, last = samples.partition(":")
    try:
        begin, end = (int(first or 0), int(last or available)) if colon else (0, int(first or available))
    except ValueError:
        raise BittingError(f"--samples {samples!r} is neither FIRST:LAST nor a count") from None
    if not 0 <= begin < end <= available:
        raise BittingError(f"--samples {samples} is outside 0:{available}")
    return slice(begin, end)


def _test_set(artefact: Any, data: str, samples: str) -> tuple[Any, Any, slice]:
    """Activations and labels of the chosen part of a test set."""
    from bitting import datasets

    name = data or artefact.claims.get("dataset", "")
    dataset = datasets.load(name)
    if dataset.pixels != artefact.program.input_words:
        raise BittingError(
            f"{name} has {dataset.pixels} inputs, the artefact needs {artefact.program.input_words}; choose --data"
        )
    part = _selected(samples, len(dataset.test_labels))
    x = datasets.activations(artefact.program.spec, dataset.test_images[part])
    return x, dataset.test_labels[part], part


def _locked(path: Path, device: Path) -> tuple[Any, Any]:
    from bitting.artefact import Artefact
    from bitting.device import Device

    artefact, owner = Artefact.load(path, "artefact"), Device.load(device)
    owner.require_spec(artefact.program.spec, str(path))
    return artefact, owner


@app.command()
def verify(
    artefact: ArtefactArgument,
    device: DeviceOption,
    wrong_device: Annotated[Path | None, typer.Option(help="Also run the artefact on this device, expecting noise.")] = None,
    data: DataOption = "",
    samples: SamplesOption = "",
    stalls: Annotated[int, typer.Option(min=0, max=255, help="Random back-pressure on both streams, of 256.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the back-pressure.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Simulations at once; 0: one a core.")] = 0,
    json: JsonOption = False,
) -> None:
    """Run a whole test set on emulator and RTL; compare every logit bit and every tile's cycles.

    Exit status 1 if anything differs; the first divergence is then described step by step.
    """
    from bitting import verify as verification
    from bitting.sim.native import Stalls, engine_library

    loaded, owner = _locked(artefact, device)
    x, y, part = _test_set(loaded, data, samples)
    rows, reports = [], {}
    devices = [("right device", device, owner)]
    if wrong_device:
        devices.append(("wrong device", wrong_device, _locked(artefact, wrong_device)[1]))
    for name, path, unit in devices:
        console.err.print(f"building the simulation of {path} ...", style="dim")
        library = engine_library(unit.spec, unit.table())
        command = (
            f"bitting simulate {artefact} --device {path} --samples {part.start}:{part.stop} --seed {seed} --stalls {stalls}"
        )
        with console.progress(f"{name}: emulator = RTL", len(y)) as done:
            report = verification.verify(
                loaded.program, unit.table(), x, y, library=library, stalls=Stalls(seed, stalls, stalls),
                threads=threads or None, progress=done, replay=command,
            )  # fmt: skip
        reports[name] = report
        rows.append(_report_row(name, report))
    if json:
        console.emit_json({name: report.to_dict() for name, report in reports.items()})
    else:
        columns = ("", "samples", "RTL accuracy", "emulator", "wrong logits", "wrong cycles", "tiles", "clocks", "seconds")
        console.table(f"{artefact} on {loaded.program.spec.name} ({loaded.program.spec.id})", columns, rows)
        for name, report in reports.items():
            if report.divergence:
                console.out.print(f"{name} diverges ({report.divergence['stage']}): {report.divergence['summary']}")
                console.out.print(f"batch {report.divergence['batch']}, seed {seed}; replay: {report.divergence['replay']}")
    if not all(report.equal for report in reports.values()):
        raise typer.Exit(console.EXIT_MISMATCH)


def _report_row(name: str, report: Any) -> tuple[object, ...]:
    return (
        name, report.samples, console.percent(report.accuracy), console.percent(report.emulator_accuracy), report.wrong_logits,
        report.wrong_cycles, report.tiles, report.cycles, f"{report.seconds:.1f}",
    )  # fmt: skip


@app.command()
def simulate(
    artefact: ArtefactArgument,
    device: DeviceOption,
    data: DataOption = "",
    samples: SamplesOption = "1",
    simulator: Annotated[str, typer.Option(help="native (fast) or cocotb.")] = "native",
    waves: Annotated[Path | None, typer.Option(help="Write a waveform, .vcd or .fst (native only).")] = None,
    stalls: Annotated[int, typer.Option(min=0, max=255, help="Random back-pressure, of 256 (native only).")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the back-pressure.")] = 0,
    json: JsonOption = False,
) -> None:
    """Run test samples through the simulated RTL of a device and print what it answers."""
    from bitting.sim import session

    loaded, owner = _locked(artefact, device)
    x, y, part = _test_set(loaded, data, samples)
    with console.progress(f"simulating ({simulator})", len(y)) as done:
        outcome = session.simulate(
            loaded.program, owner.table(), x, simulator=simulator, waves=waves, stalls=stalls, seed=seed, progress=done
        )
    answers = outcome.logits.argmax(1)
    if json:
        console.emit_json(
            {
                "logits": outcome.logits.tolist(),
                "labels": y.tolist(),
                "cycles": outcome.cycles,
                "tile_cycles": outcome.tile_cycles,
            }
        )
        return
    shown = [(part.start + i, answers[i], y[i], " ".join(map(str, outcome.logits[i]))) for i in range(min(len(y), 16))]
    console.table(f"{artefact}: {len(y)} samples, {outcome.cycles} clocks", ("sample", "answer", "label", "logits"), shown)
    console.out.print(f"accuracy {console.percent(float((answers == y).mean()))} of {len(y)} samples")
    if waves:
        console.out.print(f"waveform: {waves}")


@app.command()
def verilog(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")],
    spec: SpecOption = "base",
    device: Annotated[
        Path | None, typer.Option("--device", help="Bake this device's bitting table in: the file is then secret.")
    ] = None,
) -> None:
    """Write the engine as Verilog, with a JSON sidecar: ports, packet format, spec id, tool versions."""
    import json

    from bitting.device import Device, family_table
    from bitting_rtl.export import TOP, engine_verilog, sidecar

    family = parse_spec(spec)
    table = family_table(family)
    if device:
        owner = Device.load(device)
        owner.require_spec(family, "--spec")
        table = owner.table()
    mode = 0o600 if device else 0o644
    files.write_text(output / f"{TOP}.v", engine_verilog(family, table), mode)
    description = json.dumps(sidecar(family, keyed=device is not None), indent=2) + "\n"
    files.write_text(output / f"{TOP}.json", description)
    console.out.print(f"{output / TOP}.v and .json: {family.name} ({family.id}), {family.lanes} lanes")


@attack_app.command("keys")
def attack_keys(
    artefact: ArtefactArgument,
    device: DeviceOption,
    random_keys: Annotated[int, typer.Option(min=0, help="Random wrong keys.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the random keys.")] = 0,
    data: DataOption = "",
    json: JsonOption = False,
) -> None:
    """Accuracy of wrong devices: random keys, and the 128 one-bit neighbours of the right one (emulator)."""
    from bitting.attack import wrong_keys

    loaded, owner = _locked(artefact, device)
    x, y, _ = _test_set(loaded, data, "")
    with console.progress("wrong keys", random_keys + 128) as done:
        found = wrong_keys.survey(
            loaded.program, owner, x, y, random_keys=random_keys, seed=seed, progress=lambda count, _total: done(count)
        )
    if json:
        console.emit_json(found.to_dict())
        return
    rows = [
        ("right key", console.percent(found.right)),
        (f"best of {found.random_keys + found.neighbours} wrong keys ({found.best_name})", console.percent(found.best)),
        ("best of the one-bit neighbours", console.percent(found.best_neighbour)),
        ("mean of the wrong keys", console.percent(found.mean)),
    ]
    console.table(f"{artefact}: {found.samples} test samples, level of claim: key", ("", "accuracy"), rows)


@app.command()
def doctor(json: JsonOption = False) -> None:
    """Name each tool found or missing, with the remedy. Exit status 2 if something needed is missing."""
    from bitting import doctor as examination

    checks = examination.examine()
    if json:
        console.emit_json([check.to_dict() for check in checks])
    else:
        rows = [
            (c.name, "ok" if c.good else ("MISSING" if c.needed else "optional"), c.found, "" if c.good else c.remedy)
            for c in checks
        ]
        console.table("bitting doctor", ("", "", "found", "remedy"), rows)
    if any(check.needed and not check.good for check in checks):
        raise typer.Exit(console.EXIT_ERROR)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where models, keys and artefacts go.")] = Path("out/demo"),
    data: Annotated[str, typer.Option("--data", help="digits (embedded), mnist or fashion-mnist.")] = "digits",
    spec: SpecOption = "base",
    seed: Annotated[int, typer.Option(min=0, help="Of the training.")] = 0,
) -> None:
    """The whole idea on real data: train, lock, verify on the RTL, and watch it fail elsewhere."""
    from bitting import demo as demonstration

    demonstration.run(folder, data, parse_spec(spec), seed)


def main() -> None:
    """Entry point: mistakes end in one line and an exit status, never in a traceback."""
    try:
        sys.exit(app(standalone_mode=False) or 0)  # the status of a typer.Exit, or None
    except (typer.Abort, KeyboardInterrupt):
        console.err.print("interrupted; nothing half-written was left")
        sys.exit(console.EXIT_INTERRUPTED)
    except BittingError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'file'}: {error.strerror or error}")
    except Exception as error:
        if os.environ.get("BITTING_DEBUG") or not hasattr(error, "format_message"):
            raise
        _fail(error.format_message())  # a usage error of click


def _fail(message: str) -> None:
    console.err.print(f"bitting: {' '.join(message.split())}", markup=False)
    sys.exit(console.EXIT_ERROR)
