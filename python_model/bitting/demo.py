"""The main job on real data, from nothing to the final table. What `make demo` runs."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch

from bitting import console, datasets, train, verify
from bitting.artefact import Artefact
from bitting.attack import free_table, wrong_keys
from bitting.console import percent
from bitting.device import Device
from bitting.lock import lock
from bitting.sim.native import engine_library
from bitting.spec import UnitSpec

#: Labelled samples the demonstrated attacker holds.
STOLEN_SAMPLES = 200


def run(folder: Path, data: str, spec: UnitSpec, seed: int) -> None:
    """Train, lock, verify on the RTL of the right and of a wrong device, survey wrong keys, break the table, show all of it."""
    say = console.out.print
    dataset = datasets.load(data)
    say(f"[bold]1. Train[/] a network on the arithmetic of [bold]{spec.name}[/] ({spec.id}), and its fp32 twin, on {data}")
    config = replace(train.RECIPES[data], seed=seed)
    with console.progress("training", 2 * config.epochs) as done:
        model = train.train(
            spec, dataset, config, folder / ".checkpoint",
            lambda name, epoch, total, _score: done(epoch + total * (name == "twin")),
        )  # fmt: skip
    model.save(folder / "model.safetensors")

    say("[bold]2. Lock[/] it to device A; device B is A with one bit of its root key flipped")
    device = _device(folder / "A.key", spec)
    neighbour = device.with_flipped_bit(0)
    started = time.perf_counter()
    program, description = lock(model.program, device)
    milliseconds = 1000 * (time.perf_counter() - started)
    Artefact("artefact", program, description.to_dict(), model.claims).save(folder / "artefact.safetensors")

    say("[bold]3. Verify[/]: the whole test set through emulator and Verilated RTL of A, then of B")
    x, labels = datasets.activations(spec, dataset.test_images), dataset.test_labels
    reports = {}
    for name, unit in (("A", device), ("B", neighbour)):
        with console.err.status(f"building the simulation of device {name} (cached afterwards)"):
            library = engine_library(spec, unit.table())
        with console.progress(f"device {name}", len(labels)) as done:
            reports[name] = verify.verify(program, unit.table(), x, labels, library=library, progress=done)

    say("[bold]4. Attack[/]: 1000 random keys and all 128 one-bit neighbours; then gradient descent on the bitting table")
    with console.progress("wrong keys", 1128) as done:
        survey = wrong_keys.survey(program, device, x, labels, progress=lambda count, _total: done(count))
    with console.progress("learning the table", 6) as done:
        broken = break_table(program, dataset, STOLEN_SAMPLES, lambda count, _total: done(count))

    right, wrong = reports["A"], reports["B"]
    rows = [
        ("unlocked twin (fp32, ReLU)", percent(model.claims["twin_accuracy"]), "same shape, samples, epochs"),
        ("device A, emulator", percent(right.emulator_accuracy), f"locked in {milliseconds:.1f} ms, no training"),
        ("device A, RTL", percent(right.accuracy), _evidence(right)),
        ("device B (one key bit away), RTL", percent(wrong.accuracy), _evidence(wrong)),
        (f"best of {survey.random_keys + survey.neighbours} wrong keys", percent(survey.best), survey.best_name),
        (f"thief with {STOLEN_SAMPLES} labelled samples", percent(broken), "gradient descent on the table: no lock by itself"),
    ]
    console.table(f"{data}, {right.samples} test samples, level of claim: {description.level}", ("", "accuracy", ""), rows)
    say(
        "The bitting table makes behaviour device-specific; alone it is [bold]not a lock[/], as the last line shows. "
        "The keyed transforms (shuffle, AES) are the locks."
    )
    say(f"files: {folder}/model.safetensors (secret), A.key (secret), artefact.safetensors (ships)")
    if not (right.equal and wrong.equal):
        raise SystemExit(console.EXIT_MISMATCH)


def break_table(program, dataset, count, progress=None) -> float:  # type: ignore[no-untyped-def]
    """Test accuracy of a thief who learns the table from `count` labelled training samples."""
    stolen = datasets.activations(program.spec, dataset.train_images[:count])
    values = free_table.recover(program, stolen, dataset.train_labels[:count], progress=progress)
    x = torch.from_numpy(datasets.activations(program.spec, dataset.test_images)).float()
    with torch.no_grad():
        return train.accuracy(free_table.logits(program, values, x), torch.from_numpy(dataset.test_labels))


def _device(path: Path, spec: UnitSpec) -> Device:
    """The demonstration's device: the key file if it is there and fits, else a new one."""
    if path.exists():
        device = Device.load(path)
        device.require_spec(spec, "the demonstration")
        return device
    device = Device.new(spec)
    device.save(path)
    return device


def _evidence(report: verify.Report) -> str:
    rate = report.cycles / report.seconds / 1e6
    return (
        f"{report.wrong_logits} wrong logits, {report.wrong_cycles} wrong cycle counts "
        f"({report.tiles} tiles, {report.cycles} clocks, {report.seconds:.1f} s, {rate:.1f} M clocks/s)"
    )
