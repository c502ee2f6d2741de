"""The main job on real data, from nothing to the final table. What `make demo` runs."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bitting.artefact import signature
from bitting.artefact.artefact import Artefact, lock
from bitting.artefact.claims import SPLIT
from bitting.artefact.model import Model
from bitting.attack import baselines, free_table, mutants, wrong_keys
from bitting.check import verification
from bitting.cli import console, demo_suite
from bitting.cli.console import percent
from bitting.cli.suite import require_controls
from bitting.data import datasets
from bitting.data.dataset import Dataset
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.scheme import LockScheme
from bitting.locking.sealed_program import SealedProgram
from bitting.locking.transform import lock_program
from bitting.program.layers import Program
from bitting.sim.native import engine_library
from bitting.targets.families import every_target
from bitting.targets.judge import CALIBRATION_SAMPLES, Judged, judge
from bitting.targets.repair import merged
from bitting.targets.stolen import Stolen
from bitting.targets.target import Target
from bitting.training import loop, recipes
from bitting.training.recipes import TrainConfig
from bitting.unit.spec import UnitSpec

#: Labelled samples the demonstrated attacker holds.
STOLEN_SAMPLES = 200


def run(folder: Path, data: str, spec: UnitSpec, seed: int | None, only: list[str]) -> None:
    """Train, lock, verify on the RTL of the right and of a wrong device, tamper, attack, lock softly, and show all of it.

    Args:
        folder: for all files.
        data: name of the data set.
        spec: family of the device.
        seed: of the training; None: drawn.
        only: names of the suite's attacks; none: all.
    """
    say = partial(console.out.print, markup=True)
    dataset = datasets.load(data)
    say(f"[bold]1. Train[/] a network on the arithmetic of [bold]{spec.name}[/] ({spec.id}), and its fp32 twin, on {data}")
    config = replace(recipes.RECIPES[data], seed=seed)
    with console.progress("training", config.epochs_in_all) as done:
        model = loop.train(
            spec, dataset, config, folder / ".checkpoint",
            loop.counted(done, config),
        )  # fmt: skip
    model.save(folder / "model.safetensors")

    say("[bold]2. Lock[/] it to device A; device B is A with one bit of its root key flipped")
    device = _device(folder / "A.key", spec)
    started = time.perf_counter()
    artefact = lock(model, device, allow_reproducible=seed is not None)
    milliseconds = 1000 * (time.perf_counter() - started)
    artefact.save(folder / "artefact.safetensors", _owner(folder / "owner.key"))
    scheme = artefact.scheme

    say("[bold]3. Verify[/]: the whole test set through emulator and Verilated RTL of A, and the same file given to B")
    x, labels = datasets.activations(spec, dataset.test_x), dataset.test_y
    cases = {"device A": (artefact, device), "device B (one key bit away)": (artefact, device.with_flipped_bit(0))}
    if tampered := _tampered(artefact):
        cases["device A, one bit of the file changed"] = (tampered, device)
    reports = {}
    with console.err.status("building the simulation (cached afterwards)"):
        library = engine_library(spec)
    for name, (file, unit) in cases.items():
        with console.progress(name, len(labels)) as done:
            reports[name] = verification.verify(file, unit, x, labels, library=library, progress=done)

    say("[bold]4. Attack[/]: wrong keys; chips with the right secret but a cycle off; gradient descent on the bitting table")
    right = reports["device A"]
    rows = [
        ("unlocked twin (fp32, ReLU)", percent(model.claims["twin_accuracy"]), "same shape, samples, epochs"),
        ("device A, emulator", percent(right.emulator_accuracy), f"locked in {milliseconds:.1f} ms, no training"),
        *((f"{name}, RTL", *_outcome(report)) for name, report in reports.items()),
        *_attacks(model, artefact, device, dataset),
    ]
    say("[bold]5. Soft lock[/]: a network of the family soft without any key, and what conversion to int8 leaves of it")
    rows += _soft_lock(dataset, config, folder / "soft.safetensors")
    say("[bold]6. Suite[/]: every attack there is on the artefact, each beside a weak lock that it must break first")
    judged = demo_suite.judge(folder, data, only)
    rows += judged.rows
    title = f"{data}, {right.samples} test samples, {scheme.fingerprint} x {scheme.transform}, level of claim: {scheme.level}"
    console.table(title, ("", "accuracy", ""), rows)
    say(
        "The bitting table makes behaviour device-specific; alone it is [bold]not a lock[/], as the thief of it alone shows. "
        f"The lock is the keyed transform. What it does not withstand: {scheme.caution}."
    )
    console.out.print(
        f"files: {folder}/model.safetensors, soft.safetensors, A.key, owner.key (secret); "
        "artefact.safetensors (ships), owner.key.pub"
    )
    console.out.print(f"report: {judged.report}")
    if not all(report.divergence is None for report in reports.values()) or right.refused:
        raise SystemExit(console.EXIT_MISMATCH)
    require_controls(judged.results)


def _tampered(artefact: Artefact) -> Artefact | None:
    """The artefact with one bit of its sealed words flipped; None for one that is not sealed: nothing would notice."""
    if not isinstance(artefact.program, SealedProgram):
        return None
    words = artefact.program.words.copy()
    words[len(words) // 2] ^= 1
    return replace(artefact, program=replace(artefact.program, words=words))


def _attacks(model: Model, artefact: Artefact, device: Device, dataset: Dataset) -> list[tuple[str, str, str]]:
    """Rows of the final table: what attackers reach."""
    program, scheme = artefact.program, artefact.scheme
    x, labels = datasets.activations(device.spec, dataset.test_x), dataset.test_y
    with console.progress("wrong keys") as done:
        survey = wrong_keys.survey(program, scheme, device, x, labels, progress=done)
    slow = list(mutants.timing_mutants(ChipModel.of(device)))
    with console.progress("chips a cycle off", len(slow)) as done:
        mutated = mutants.survey(program, scheme, device, slow, x, labels, done)
    with console.progress("learning the table alone") as done:
        broken = free_table.break_table(lock_program(model.program, device, LockScheme()), dataset, STOLEN_SAMPLES, done)
    rows = [
        (f"best of {survey.random_keys + survey.neighbours} wrong keys", percent(survey.best), survey.best_name),
        (f"best of {mutated.mutants} chips a cycle off", percent(mutated.worst), "A's secret, a clock more or less somewhere"),
    ]
    if isinstance(program, Program):
        with console.progress("learning the table of the lock") as done:
            held = free_table.break_table(program, dataset, STOLEN_SAMPLES, done)
        rows += [
            (f"thief with {STOLEN_SAMPLES} labels, this lock", percent(held.learnt), "gradient descent on the table, its codes")
        ]
    scratch = baselines.from_scratch(dataset, STOLEN_SAMPLES)
    return [
        *rows,
        (f"{STOLEN_SAMPLES} labels and no stolen file", percent(scratch), "logistic regression"),
        (
            f"thief with {STOLEN_SAMPLES} labels, table alone",
            percent(broken.learnt),
            "gradient descent, had the table been the only lock",
        ),
    ]


def _soft_lock(dataset: Dataset, config: TrainConfig, path: Path) -> list[tuple[str, str, str]]:
    """Rows of the final table: a network that no key protects, converted by tools, and by who knows how it was made.

    `path`: where it is saved.
    """
    with console.progress("training with a soft lock", config.epochs_in_all) as done:
        model = loop.train("soft", dataset, recipes.soft(config, SPLIT), progress=loop.counted(done, config))
    model.save(path)
    x, stolen = model.interface.activations(dataset.test_x), Stolen.of(model.program)
    plain = [each for each in every_target(stolen.spec.acc_bits) if each.family == "int8"]
    careful = [each for each in every_target(stolen.spec.acc_bits) if each.family == "gptq"]
    seen = model.interface.activations(dataset.train_x[:CALIBRATION_SAMPLES])

    def best(network: Stolen, chosen: list[Target]) -> Judged:
        return max(judge(network, x, dataset.test_y, chosen, seen).results, key=lambda each: each.accuracy)

    found, gptq, known = best(stolen, plain), best(stolen, careful), best(merged(stolen), plain)
    return [
        ("soft lock, no key: on its unit", percent(model.claims["accuracy"]), "hidden channels twice; level of claim: family"),
        (f"best of {len(plain)} roundings to int8", percent(found.accuracy), f"each weight to the nearest: {found.target}"),
        ("rounded by GPTQ", percent(gptq.accuracy), f"{len(seen)} unlabelled samples: {gptq.target}"),
        ("the first after merging", percent(known.accuracy), "by a thief who knows how it is made"),
    ]


def _owner(path: Path) -> Ed25519PrivateKey:
    """The demonstration's owner: the key file if it is there, else a new one."""
    if not path.exists():
        signature.new_owner(path)
    return signature.load_private(path)


def _device(path: Path, spec: UnitSpec) -> Device:
    """The demonstration's device: the key file if it is there and fits, else a new one."""
    if path.exists():
        device = Device.load(path)
        device.require_spec(spec, "the demonstration")
        return device
    device = Device.new(spec)
    device.save(path)
    return device


def _outcome(report: verification.Report) -> tuple[str, str]:
    """Accuracy and evidence; for a refusal how it looked from outside."""
    if report.refused:
        return "refused", f"a FAULT after {report.cycles} clocks, and nothing else left the device"
    rate = report.cycles / report.seconds / 1e6
    return percent(report.accuracy), (
        f"{report.wrong_logits} wrong logits, {report.wrong_cycles} wrong cycle counts "
        f"({report.tiles} tiles, {report.cycles} clocks, {report.seconds:.1f} s, {rate:.1f} M clocks/s)"
    )
