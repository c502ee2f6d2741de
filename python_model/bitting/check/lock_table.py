"""The lock table: what each fingerprint x transform gives and costs, measured on one model and one device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.artefact.host_words import HostWords
from bitting.artefact.model import Model
from bitting.attack import wrong_keys
from bitting.locking.device import Device
from bitting.locking.scheme import LockScheme, pairings
from bitting.locking.sealed_program import SealedProgram
from bitting.locking.transform import personalise
from bitting.program import packets
from bitting.program.interface import score_text
from bitting.program.layers import Program
from bitting.sim.native import NativeEngine, engine_library
from bitting.unit.protocol import FRAME_WORDS, STATUS_WORDS
from bitting.unit.spec import VaultKind

Progress = Callable[[int, int], None]

#: A personalisation is timed so often; the median counts.
_REPEATS = 5


@dataclass(frozen=True)
class Row:
    """A lock.

    Attributes:
        fingerprint, transform: which.
        accuracy: of the right device (emulator; equal to that of the unlocked model, for the integers are the same).
        worst: best accuracy among the wrong devices; None if all of them refused.
        wrong_devices: how many were tried: random secrets, and the 128 one-bit neighbours of the right one.
        fingerprint_clocks: of the challenge and the derivation of the key, once a reset (RTL).
        unlock_clocks: of one batch locked, less the same in clear (RTL).
        batch_clocks: of one batch in clear (RTL of the unlocked twin).
        file_bytes: of the artefact, less that of the table alone.
        milliseconds: to personalise, one thread, median.
    """

    fingerprint: str
    transform: str
    accuracy: float
    worst: float | None
    wrong_devices: int
    fingerprint_clocks: int
    unlock_clocks: int
    batch_clocks: int
    file_bytes: int
    milliseconds: float

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class LockTable:
    """All rows, and the clocks of a boot, which are the same for all."""

    rows: list[Row]
    boot_clocks: int
    samples: int
    parameters: int
    level: str
    metric: str = "accuracy"

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, rows as dictionaries, ready for JSON."""
        return asdict(self)


def measure(
    model: Model,
    device: Device,
    activations: np.ndarray,
    labels: np.ndarray,
    random_keys: int = 1000,
    progress: Progress | None = None,
) -> LockTable:
    """Every pairing the family has, and with the vault `aes` the table alone for comparison.

    Args:
        model: unlocked.
        device: the right one, of the model's family.
        activations: (samples, input_words).
        labels: targets of the samples, as those of a data set for the model's task.
        random_keys: wrong devices with a random root secret, for each lock; the one-bit neighbours are tried as well.
        progress: called with (wrong devices done, in all), over all rows.
    """
    spec = model.program.spec
    table = LockScheme(level=device.level)
    locks = [*([table] if spec.vault == VaultKind.AES else []), *pairings(spec, device.level)]
    plain = _file_bytes(model, device, table)
    rows: list[Row] = []
    clear = _clear_clocks(model.program)
    with NativeEngine(engine_library(spec), device.root, device.sealed) as engine:
        boot = engine.run(packets.status_packet(), STATUS_WORDS + FRAME_WORDS).cycles
        for scheme in locks:
            locked = personalise(model.program, device, scheme)
            survey = wrong_keys.survey(
                locked, scheme, device, activations, labels, random_keys=random_keys,
                progress=_of_all(progress, len(rows), len(locks)), interface=model.interface,
            )  # fmt: skip
            first, batch = _clocks(engine, locked, scheme, boot)
            rows.append(
                Row(
                    scheme.fingerprint, scheme.transform, survey.right, survey.best, survey.random_keys + survey.neighbours,
                    first, batch - clear, clear, _file_bytes(model, device, scheme) - plain,
                    statistics.median(_milliseconds(model.program, device, scheme) for _ in range(_REPEATS)),
                )
            )  # fmt: skip
    return LockTable(rows, boot, len(labels), model.program.parameters, device.level, model.interface.metric)


def _of_all(progress: Progress | None, row: int, rows: int) -> Progress | None:
    """Progress within a row as progress over all of them."""
    return None if progress is None else lambda done, total: progress(row * total + done, rows * total)


def _milliseconds(model: Program, device: Device, scheme: LockScheme) -> float:
    started = time.perf_counter()
    personalise(model, device, scheme)
    return 1000 * (time.perf_counter() - started)


def _file_bytes(model: Model, device: Device, scheme: LockScheme) -> int:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "artefact"
        Artefact(personalise(model.program, device, scheme), scheme, model.claims, interface=model.interface).save(path)
        return path.stat().st_size


def _clocks(engine: NativeEngine, locked: Program | SealedProgram, scheme: LockScheme, boot: int) -> tuple[int, int]:
    """Clocks of fingerprint and key, and of a batch."""
    status, answer = packets.status_packet(), STATUS_WORDS + FRAME_WORDS
    # A STATUS packet waits until the engine is idle: it marks the end of what came before.
    engine.reset()
    words = HostWords.of(Artefact(locked, scheme), report=False)
    keyed = engine.run(np.concatenate([words.once, status]), answer).cycles
    return keyed - boot, _second_batch(engine, words)


def _clear_clocks(model: Program) -> int:
    """Clocks of a batch on the unlocked twin, whose table is the identity."""
    with NativeEngine(engine_library(model.spec, table=range(model.spec.codes))) as engine:
        return _second_batch(engine, HostWords.of(Artefact(model), report=False))


def _second_batch(engine: NativeEngine, words: HostWords) -> int:
    """Clocks of a batch of zeros that follows another.

    The first one after a reset also waits until the tile buffer has been swept, for as long as that still takes.
    """
    batch = words.batch(np.zeros((words.program.samples, words.program.sample_words), np.int8))
    engine.run(batch, words.results)
    return engine.run(np.concatenate([words.again, batch]), words.results).cycles


COLUMNS = (
    "fingerprint", "transform", "right device", "worst wrong device", "fingerprint clocks", "unlock clocks", "added bytes",
    "ms",
)  # fmt: skip


def cells(row: Row, metric: str) -> tuple[str, ...]:
    """A row for people."""
    return (
        row.fingerprint, row.transform, score_text(row.accuracy, metric), score_text(row.worst, metric),
        str(row.fingerprint_clocks), f"{row.unlock_clocks} of {row.batch_clocks}", str(row.file_bytes),
        f"{row.milliseconds:.1f}",
    )  # fmt: skip


def markdown(table: LockTable) -> str:
    """The table in Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(cells(row, table.metric)) + " |" for row in table.rows]
    return "\n".join([*lines, "", caption(table)])


def caption(table: LockTable) -> str:
    """What the figures are of."""
    return (
        f"{table.parameters} codes, {table.samples} test samples, {table.rows[0].wrong_devices} wrong devices (random "
        f"secrets and one-bit neighbours) a row; boot takes {table.boot_clocks} clocks; level of claim: {table.level}."
    )
