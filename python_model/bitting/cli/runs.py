"""Commands that run artefacts: on the RTL, on the emulator, and under attack."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bitting.cli import console
from bitting.cli.careful import App
from bitting.cli.options import (
    ArtefactArgument,
    DataOption,
    DeviceOption,
    JsonOption,
    OwnerOption,
    SamplesOption,
    UnsignedOption,
    has_data,
    load_locked,
    random_inputs,
    test_set,
)
from bitting.errors import BittingError
from bitting.look import answers, drawing
from bitting.program.interface import Interface, score_text

attack_app = App(no_args_is_help=True, help="Attack your own locks.")


def verify(
    artefact: ArtefactArgument,
    device: DeviceOption,
    wrong_device: Annotated[
        Path | None, typer.Option(help="Also run it on this device, expecting noise, or of a sealed one a refusal.")
    ] = None,
    data: DataOption = "",
    samples: SamplesOption = "",
    stalls: Annotated[int, typer.Option(min=0, max=255, help="Random back-pressure on both streams, of 256.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the back-pressure.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Simulations at once; 0: one a core.")] = 0,
    lanes: Annotated[
        int | None,
        typer.Option(help="Run it on an engine with so many lanes, more than the device has, and a few batches on its own."),
    ] = None,
    profile: Annotated[
        bool | None, typer.Option(help="Compile the simulation with a profile; default: if so much is run that it pays.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", help="Draw the RTL's answers beside the targets (confusions, scores, scatter): .svg, .png, .html."
        ),
    ] = None,
    owner: OwnerOption = None,
    allow_unsigned: UnsignedOption = False,
    json: JsonOption = False,
) -> None:
    """Run a whole test set on emulator and RTL; compare every logit bit and every tile's cycles.

    Interrupt it and run the same command again: batches that were equal are not run twice.
    Exit status 1 if anything differs; the first divergence is then described step by step. Every device but its own refuses a
    sealed artefact, which is status 1 for --device, and as it should be for --wrong-device.
    """
    from bitting.check import verification, wider
    from bitting.sim.native import Stalls

    if plot:
        drawing.require(plot, "--plot")
    loaded, chip = load_locked(artefact, device, owner, allow_unsigned)
    if lanes is not None:
        wider.widened_spec(loaded, lanes)  # before anything is built
    y: np.ndarray | None = None
    if has_data(loaded, data):
        x, y, part = test_set(loaded, data, samples)
    elif plot:
        raise BittingError(f"--plot draws answers beside targets, and {artefact} names no data set; give --data")
    else:
        x, part = random_inputs(loaded, samples)
        console.err.print(f"no --data: {len(x)} inputs at random, which say nothing of accuracy")
    reports = {}
    devices = [("right device", device, chip)]
    if wrong_device:
        devices.append(("wrong device", wrong_device, load_locked(artefact, wrong_device, owner, allow_unsigned)[1]))
    console.err.print("building the simulation ...", style="dim")
    for name, path, unit in devices:
        run = f"verify --lanes {lanes}" if lanes else "simulate"
        command = f"bitting {run} {artefact} --device {path} --samples {part.start}:{part.stop} --seed {seed} --stalls {stalls}"
        command += f" --data {data}" * bool(data)
        with console.progress(f"{name}: emulator = RTL", len(x)) as done:
            report = verification.verify(
                loaded, unit, x, y, stalls=Stalls(seed, stalls, stalls), threads=threads or None,
                progress=done, forecast=_say_forecast, replay=command, lanes=lanes, profiled=profile,
            )  # fmt: skip
        reports[name] = report
    if json:
        told = {"metric": loaded.interface.metric}
        console.emit_json({name: report.to_dict() | told for name, report in reports.items()})
    else:
        labels = [device.name] + ([f"{wrong_device.name} (wrong device)"] if wrong_device else [])
        metric = loaded.interface.metric
        rows = [_report_row(label, report, metric) for label, report in zip(labels, reports.values(), strict=True)]
        columns = [column.format(metric=metric) for column in _REPORT_COLUMNS]
        console.table(f"{artefact} on {loaded.program.spec.name} ({loaded.program.spec.id})", columns, rows)
        for name, report in reports.items():
            _say_details(name, report, seed, with_engines=lanes is not None)
    if plot:
        _draw_answers(plot, loaded.interface, reports["right device"], y, artefact.name)
    if reports["right device"].refused:
        console.err.print(
            f"{device} is not the device that {artefact} is sealed for, or the artefact was changed: the RTL refused it"
        )
    wrong = reports.get("wrong device")
    if not reports["right device"].equal or (wrong and not (wrong.equal or wrong.refused)):
        raise typer.Exit(console.EXIT_MISMATCH)


def _draw_answers(path: Path, interface: Interface, report: Any, targets: np.ndarray | None, name: str) -> None:
    """What the device itself answered; nothing if it answered nothing."""
    if targets is None or report.answers is None or not len(report.answers):
        console.err.print(f"the RTL answered nothing: {path} was not drawn")
        return
    answers.draw(path, interface, report.answers, targets[: len(report.answers)], name)
    console.err.print(f"drawn: {path}")


def _say_forecast(forecast: Any) -> None:
    resumed = f", {forecast.of_batches - forecast.batches} are done already" if forecast.batches < forecast.of_batches else ""
    console.err.print(
        f"{forecast.batches} batches, {forecast.clocks / 1e6:.1f} M clocks, about {forecast.seconds:.0f} s{resumed}",
        style="dim",
    )


def _say_details(name: str, report: Any, seed: int, with_engines: bool) -> None:
    for engine in report.engines if with_engines else ():
        whose = "the device's own engine" if engine.own else "a wider engine"
        console.out.print(
            f"{name}: {engine.batches} batches on {whose}, {engine.lanes} lanes, {engine.cycles} clocks, {engine.seconds:.1f} s"
        )
    if report.divergence:
        console.out.print(f"{name} diverges ({report.divergence['stage']}): {report.divergence['summary']}")
        console.out.print(f"batch {report.divergence['batch']}, seed {seed}; replay: {report.divergence['replay']}")


_REPORT_COLUMNS = (
    "device", "samples", "RTL {metric}", "emulator", "wrong logits", "wrong cycles", "tiles", "clocks", "seconds",
)  # fmt: skip


def _report_row(name: str, report: Any, metric: str) -> tuple[object, ...]:
    if report.refused:
        return (name, "refused", *[""] * 5, report.cycles, "")
    return (
        name, report.samples, *_scores(report, metric),
        report.wrong_logits, report.wrong_cycles, report.tiles, report.cycles, f"{report.seconds:.1f}",
    )  # fmt: skip


def _scores(report: Any, metric: str) -> list[str]:
    values = (report.accuracy, report.emulator_accuracy)
    return ["no labels" if math.isnan(value) else score_text(value, metric) for value in values]


def simulate(
    artefact: ArtefactArgument,
    device: DeviceOption,
    data: DataOption = "",
    samples: SamplesOption = "1",
    simulator: Annotated[str, typer.Option(help="native (fast) or cocotb.")] = "native",
    waves: Annotated[
        Path | None,
        typer.Option(help="Write a waveform of chosen signals, .vcd or .fst (native only); as secret as the model."),
    ] = None,
    waves_all: Annotated[
        bool, typer.Option("--waves-all", help="Every signal in it, keys too: large, and as secret as the device.")
    ] = False,
    stalls: Annotated[int, typer.Option(min=0, max=255, help="Random back-pressure, of 256 (native only).")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the back-pressure.")] = 0,
    owner: OwnerOption = None,
    allow_unsigned: UnsignedOption = False,
    json: JsonOption = False,
) -> None:
    """Run test samples through the simulated RTL of a device and print what it answers."""
    from bitting.sim import session

    loaded, chip = load_locked(artefact, device, owner, allow_unsigned)
    x, y, part = test_set(loaded, data, samples)
    with console.progress(f"simulating ({simulator})", len(y)) as done:
        outcome = session.simulate(
            loaded, chip, x, simulator=simulator, waves=waves, every_signal=waves_all, stalls=stalls, seed=seed, progress=done
        )
    interface = loaded.interface
    rating = interface.rating(outcome.logits, y)
    if json:
        console.emit_json(
            {
                "logits": outcome.logits.tolist(),
                "answers": interface.answers(outcome.logits).tolist(),
                "labels": y.tolist(),
                "cycles": outcome.cycles,
                "tile_cycles": outcome.tile_cycles,
            }
        )
        return
    answers, labels = interface.text(outcome.logits), interface.labelled(y)
    shown = [(part.start + i, answers[i], labels[i], " ".join(map(str, outcome.logits[i]))) for i in range(min(len(y), 16))]
    console.table(f"{artefact}: {len(y)} samples, {outcome.cycles} clocks", ("sample", "answer", "label", "logits"), shown)
    console.out.print(f"{interface.metric} {score_text(rating, interface.metric)} of {len(y)} samples")
    if waves:
        console.out.print(f"waveform: {waves}; to look at it: gtkwave {waves} {waves.with_suffix('.gtkw')}")


@attack_app.command("keys")
def attack_keys(
    artefact: ArtefactArgument,
    device: DeviceOption,
    random_keys: Annotated[int, typer.Option(min=0, help="Random wrong keys.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the random keys.")] = 0,
    data: DataOption = "",
    owner: OwnerOption = None,
    allow_unsigned: UnsignedOption = False,
    json: JsonOption = False,
) -> None:
    """Accuracy of wrong devices: random keys, and the 128 one-bit neighbours of the right one (emulator)."""
    from bitting.attack import wrong_keys

    loaded, chip = load_locked(artefact, device, owner, allow_unsigned)
    x, y, _ = test_set(loaded, data, "")
    with console.progress("wrong keys", random_keys + 128) as done:
        survey = wrong_keys.survey(
            loaded.program,
            loaded.scheme,
            chip,
            x,
            y,
            random_keys=random_keys,
            seed=seed,
            progress=done,
            interface=loaded.interface,
        )
    if json:
        console.emit_json(survey.to_dict())
        return
    metric = loaded.interface.metric
    rows = [
        ("right key", score_text(survey.right, metric)),
        ("wrong keys that refused", f"{survey.refused} of {survey.random_keys + survey.neighbours}"),
        ("best of the others" + f" ({survey.best_name})" * bool(survey.best_name), score_text(survey.best, metric)),
        ("best of the one-bit neighbours", score_text(survey.best_neighbour, metric)),
        ("mean of the wrong keys", score_text(survey.mean, metric)),
    ]
    console.table(f"{artefact}: {survey.samples} test samples, level of claim: {loaded.scheme.level}", ("", metric), rows)


@attack_app.command("mutants")
def attack_mutants(
    artefact: ArtefactArgument,
    device: DeviceOption,
    kind: Annotated[str, typer.Option(help="timing (a cycle off) or arithmetic (a bit off).")] = "timing",
    data: DataOption = "",
    samples: Annotated[str, typer.Option("--samples", help="Test samples FIRST:LAST, or a count; default up to 1000.")] = "",
    owner: OwnerOption = None,
    allow_unsigned: UnsignedOption = False,
    json: JsonOption = False,
) -> None:
    """Chips that know the secret but are a cycle, or a bit, off: what they make of an artefact (emulator)."""
    from bitting.attack import mutants
    from bitting.locking.chip import ChipModel

    if kind not in ("timing", "arithmetic"):
        raise BittingError(f"unknown kind of mutants {kind!r}; allowed: timing, arithmetic")
    loaded, chip = load_locked(artefact, device, owner, allow_unsigned)
    x, y, _ = test_set(loaded, data, samples, at_most=1000)
    honest = ChipModel.of(chip)
    chips = list(mutants.timing_mutants(honest) if kind == "timing" else mutants.arithmetic_mutants(honest, chip.table()))
    with console.progress(f"{kind} mutants", len(chips)) as done:
        outcome = mutants.survey(
            loaded.program, loaded.scheme, chip, chips, x, y, progress=done, interface=loaded.interface
        )  # fmt: skip
    if json:
        console.emit_json(outcome.to_dict())
        return
    metric = loaded.interface.metric
    rows = [
        ("honest chip", score_text(outcome.right, metric)),
        ("mutants that refused", f"{outcome.refused} of {outcome.mutants}"),
        ("best of the others" + f" ({outcome.worst_name})" * bool(outcome.worst_name), score_text(outcome.worst, metric)),
        ("mean of the mutants", score_text(outcome.mean, metric)),
        ("mutants that open the model as the honest chip does", outcome.same_key),
    ]
    name = f"{loaded.scheme.fingerprint} x {loaded.scheme.transform}"
    console.table(f"{artefact}: {name}, {len(y)} test samples, level of claim: {loaded.scheme.level}", ("", ""), rows)


@attack_app.command("screen")
def attack_screen(
    artefact: ArtefactArgument,
    device: DeviceOption,
    wrong_keys: Annotated[int, typer.Option(min=1, help="Wrong lock keys.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the wrong keys.")] = 0,
    model: Annotated[
        Path | None, typer.Option(help="Unlocked model: if its histograms were drawn, draw more right samples of them.")
    ] = None,
    owner: OwnerOption = None,
    allow_unsigned: UnsignedOption = False,
    json: JsonOption = False,
) -> None:
    """Can the right key be told from wrong ones by the weights alone? Area under the ROC curve: 0.5 no, 1 always.

    An artefact does not say how its model was trained. With --model, of which only that is read, the histogram statistics of
    the whole model have a thousand right samples instead of one.
    """
    from bitting.artefact.model import Model
    from bitting.attack import screening

    loaded, chip = load_locked(artefact, device, owner, allow_unsigned)
    if not loaded.scheme.keyed:
        raise BittingError(
            f"{artefact} has no lock key to guess (transform {loaded.scheme.transform}); lock it with a fingerprint"
        )
    config = Model.load(model).claims.get("config", {}) if model else {}
    with console.progress("wrong keys", wrong_keys) as done:
        screened = screening.screen(
            loaded.locked_layers(), loaded.scheme, chip, wrong_keys=wrong_keys, seed=seed,
            redrawn=screening.redrawn_of(loaded.locked_layers(), loaded.scheme, config), progress=done,
        )  # fmt: skip
    if json:
        console.emit_json(screened.to_dict())
        return
    columns = (screened.tile, screened.model, screened.right, screened.wrong)
    rows = [
        (name, *(f"{column[name]:.3f}" if name in column else "" for column in columns))
        for name in dict.fromkeys((*screened.tile, *screened.model))
    ]
    title = f"{artefact}: {loaded.scheme.transform}, {screened.wrong_keys} wrong keys, level of claim: {loaded.scheme.level}"
    console.table(title, ("statistic", "AUC, one tile", "AUC, model", "right key", "wrong keys, mean"), rows)
    console.out.print("a guess costs " + ", ".join(f"{count} ({name})" for name, count in screened.guess.items()))
