"""A whole test set through the emulator and through the RTL: every logit bit and every tile's cycle count, equal or named."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from bitting import files
from bitting.artefact.artefact import Artefact
from bitting.check import divergence, sealed, wider
from bitting.emulator.emulate import Emulator
from bitting.errors import AuthenticityError, ProgramError
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.scheme import NONCE_BYTES, LockScheme
from bitting.locking.sealed_program import SealedProgram
from bitting.locking.transform import seal_for, unlock_program
from bitting.program import packets
from bitting.program.layers import Program, dense
from bitting.sim.native import NativeEngine, Stalls, engine_library
from bitting.sim.training_run import can_train
from bitting.unit import timing
from bitting.unit.protocol import (
    ACTIVATIONS_PER_WORD,
    FRAME_WORDS,
    LAYER_FIXED_WORDS,
    TILE_DONE_FIXED_WORDS,
    TILE_FIXED_WORDS,
)
from bitting.unit.spec import UnitSpec
from bitting.unit.widened import WidenedSpec

#: Codes run on trial to see how fast the simulation is here.
_TRIAL_CODES = 1 << 16

#: Nanoseconds that a simulated clock takes, and a lane of it, on the machine where this was measured.
_CLOCK_NS, _LANE_NS = 250, 6

#: A profile is worth its build (half a minute) if a simulation takes this many seconds of a processor: it saves 7% to 20%.
_PROFILE_SECONDS = 300

#: Batches that the device's own engine runs too where a wider one runs the rest.
OWN_BATCHES = 4

#: Called with the number of samples done so far.
Progress = Callable[[int], None]


@dataclass(frozen=True)
class EngineRun:
    """What one simulated engine ran.

    Attributes:
        spec: name of its spec.
        lanes: samples of a batch.
        own: it is the device's own engine, not a wider one.
        batches: how many it ran.
        cycles: clocks of all of them.
        seconds: wall time.
    """

    spec: str
    lanes: int
    own: bool
    batches: int
    cycles: int
    seconds: float = field(compare=False)


@dataclass(frozen=True)
class Report:
    """What a verification saw.

    Attributes:
        samples: test samples run through both.
        accuracy: of the RTL's logits.
        emulator_accuracy: of the emulator's.
        wrong_logits: logits that differ in any bit.
        wrong_cycles: tiles whose cycle count differs from the timing law.
        tiles: tiles run.
        cycles: clocks of the simulated engine.
        seconds: wall time of the RTL runs, without the build.
        divergence: the first difference, or None.
        refused: the program is sealed for another device, and the RTL did nothing with it but to say so. Then nothing else was
            measured.
        engines: what ran: the device's own engine, or a wider one for all samples and then its own for the first few batches.
            `samples`, `tiles`, `cycles`, `seconds` and the accuracies are of the first of them; what is wrong is of both.
    """

    samples: int
    accuracy: float
    emulator_accuracy: float
    wrong_logits: int
    wrong_cycles: int
    tiles: int
    cycles: int
    seconds: float
    macs: int
    divergence: dict[str, Any] | None
    refused: bool = False
    engines: tuple[EngineRun, ...] = ()

    @property
    def equal(self) -> bool:
        """Every logit had the right bits, and every tile the right number of cycles."""
        return self.divergence is None and not self.refused

    def to_dict(self) -> dict[str, Any]:
        """The fields by name and `equal`, ready for JSON."""
        return {"equal": self.equal, **asdict(self)}


@dataclass(frozen=True)
class _Batch:
    """Outcome of one batch: how many samples were answered rightly, and what was wrong."""

    index: int
    equal: bool
    right: int
    wrong_logits: int
    wrong_cycles: int
    cycles: int


@dataclass(frozen=True)
class Forecast:
    """What a verification will take: batches still to run of all, clocks of those, and seconds by a short trial."""

    batches: int
    of_batches: int
    clocks: int
    seconds: float


def verify(
    artefact: Artefact,
    device: Device,
    activations: np.ndarray,
    labels: np.ndarray,
    *,
    library: Path | None = None,
    stalls: Stalls = Stalls(),
    threads: int | None = None,
    progress: Progress | None = None,
    forecast: Callable[[Forecast], None] | None = None,
    replay: str = "",
    lanes: int | None = None,
    profiled: bool | None = None,
) -> Report:
    """Run a locked program on a device's emulator and RTL and compare everything.

    An interrupted run is resumed when the same one is asked for again: batches that were equal are noted in the cache.

    Args:
        artefact: a program and how it is locked.
        device: right or wrong; both sides are to make the same of it.
        activations: (samples, input_words) int8.
        labels: (samples,).
        library: a built engine of the device's own; by default the family's, built if need be.
        stalls: random back-pressure on both streams.
        threads: simulations run at once; by default one a core.
        progress: called with the number of samples done.
        forecast: called once before the first batch.
        replay: command that repeats the run, for the report of a divergence.
        lanes: run all samples on an engine with so many lanes, more than the device has (`bitting.check.wider` says what it is
            given), and the first batches on the device's own too. All must be equal. Every device but its own refuses a sealed
            program on its own engine, as without `lanes`.
        profiled: whether to compile the simulation with a profile; by default if so much is to be run that it pays.

    Raises:
        LockError, SpecError: if no engine with so many lanes can run the artefact.
        ToolError: if the simulation can not be built.
        ProgramError: if the activations are not what the program reads, or the labels are not as many.

    Example:
        >>> import bitting, numpy
        >>> from bitting.program.layers import multilayer_perceptron
        >>> spec = bitting.parse_spec("tiny")
        >>> weights = numpy.arange(24).reshape(2, 12) % spec.codes
        >>> model = bitting.Model(multilayer_perceptron(spec, [weights], [numpy.zeros(2)], [0]))
        >>> device = bitting.Device.new(spec)
        >>> x = numpy.arange(48).reshape(4, 12) % 8
        >>> report = bitting.verify(bitting.lock(model, device), device, x, numpy.zeros(4))
        >>> report.samples, report.wrong_logits, report.wrong_cycles
        (4, 0, 0)
    """
    program, scheme = artefact.program, artefact.scheme
    if len(labels) != len(activations) or not len(activations):
        raise ProgramError(f"{len(activations)} samples with {len(labels)} labels; there must be at least one, and as many")
    threads = threads or os.cpu_count() or 1
    if lanes is not None:
        wider.widened_spec(artefact, lanes)
    try:
        clear = unlock_program(program, scheme, ChipModel.of(device))
    except AuthenticityError:
        library = library or engine_library(program.spec)
        difference, clocks = sealed.refusal(artefact, device, activations[: program.spec.lanes], library)
        return Report(0, 0.0, 0.0, 0, 0, 0, clocks, 0.0, 0, difference, refused=difference is None)
    run = partial(_verify, stalls=stalls, threads=threads, replay=replay)
    if lanes is None:
        return run(artefact, device, clear, activations, labels, library, progress, forecast, profiled)
    wide, first = wider.widen(artefact, device, clear, lanes), OWN_BATCHES * program.spec.lanes
    report = run(*wide, activations, labels, None, progress, forecast, profiled)
    return _with_own(report, run(artefact, device, clear, activations[:first], labels[:first], library))


def _verify(
    artefact: Artefact,
    device: Device,
    clear: Program,
    activations: np.ndarray,
    labels: np.ndarray,
    library: Path | None,
    progress: Progress | None = None,
    forecast: Callable[[Forecast], None] | None = None,
    profiled: bool | None = None,
    *,
    stalls: Stalls,
    threads: int,
    replay: str,
) -> Report:
    """What one engine, the device's or a wider one, makes of a program that the device can open; `clear`: opened."""
    program, scheme = artefact.program, artefact.scheme
    job = _Job.of(program, scheme, device, clear, activations, labels)
    with _Journal(job, stalls) as journal:
        library = library or _library(job, len(journal.done), profiled)
        if forecast:
            forecast(_forecast(job, library, threads, len(journal.done)))
        started = time.perf_counter()
        batches = _run_all(job, library, stalls, threads, progress, journal)
        seconds = time.perf_counter() - started
    difference = None
    with NativeEngine(library, device.root, device.sealed) as engine:
        if not (last := batches[-1]).equal:
            difference = job.locate(engine, device, scheme, last.index, stalls) | {"replay": replay}
        elif isinstance(program, SealedProgram):
            difference = sealed.own_words(artefact, device, job.clear, job.inputs, job.logits, engine)
    samples = min(job.samples, len(batches) * program.spec.lanes)
    return Report(
        samples=samples,
        accuracy=sum(batch.right for batch in batches) / samples,
        emulator_accuracy=float((job.logits[: job.samples].argmax(1) == labels).mean()),
        wrong_logits=sum(batch.wrong_logits for batch in batches),
        wrong_cycles=sum(batch.wrong_cycles for batch in batches),
        tiles=len(batches) * sum(layer.tiles for layer in job.clear.layers),
        cycles=sum(batch.cycles for batch in batches),
        seconds=seconds,
        macs=samples * job.clear.macs,
        divergence=difference,
        engines=(_engine_run(program.spec, batches, seconds),),
    )


def _engine_run(spec: UnitSpec, batches: list[_Batch], seconds: float) -> EngineRun:
    own = not isinstance(spec, WidenedSpec)
    return EngineRun(spec.name, spec.lanes, own, len(batches), sum(batch.cycles for batch in batches), seconds)


def _with_own(report: Report, own: Report) -> Report:
    """A report of a wider engine, and what the device's own engine made of the first batches."""
    return replace(
        report,
        wrong_logits=report.wrong_logits + own.wrong_logits,
        wrong_cycles=report.wrong_cycles + own.wrong_cycles,
        divergence=own.divergence or report.divergence,
        refused=own.refused,
        engines=(*report.engines, *own.engines),
    )


def _library(job: _Job, done: int, profiled: bool | None) -> Path:
    """The family's engine, with a profile if that is wanted, or pays."""
    spec = job.clear.spec
    if profiled is None:
        seconds = _all_clocks(job, done) * (_CLOCK_NS + _LANE_NS * spec.lanes) / 1e9
        profiled = seconds >= _PROFILE_SECONDS and can_train(spec)
    return engine_library(spec, profiled=profiled)


@dataclass(frozen=True, eq=False)
class _Job:
    """What goes in and what must come out.

    Attributes:
        clear: the program as the device's tile buffer sees it.
        challenge: the one before it, if it is locked with a key.
        root: the device's secret.
        sealed: whether its fuse of that name is blown.
        samples: how many; the last batch is filled up with zeros, and those lanes are compared like the others.
        labels: (samples,).
        inputs: (batches, L, input_words) int8.
        head, body: command words before and after the activations, the same for every batch.
        logits: (batches * L, outputs) int32, emulated.
        expected: all other result words.
    """

    clear: Program
    challenge: tuple[Program, ...]
    root: bytes = field(repr=False)
    sealed: bool
    samples: int
    labels: np.ndarray
    inputs: np.ndarray
    head: np.ndarray
    body: np.ndarray
    logits: np.ndarray
    expected: packets.ExpectedResults

    @classmethod
    def of(
        cls,
        program: Program | SealedProgram,
        scheme: LockScheme,
        device: Device,
        clear: Program,
        activations: np.ndarray,
        labels: np.ndarray,
    ) -> _Job:
        lanes, table = program.spec.lanes, device.table()
        chip = ChipModel.of(device)
        earlier = scheme.challenge.tiles if scheme.challenge else 0
        if isinstance(program, SealedProgram):
            # Sealed anew, so that the device reports cycles. It never leaves this machine; the same words every time let a run
            # resume.
            nonce = hashlib.sha256(program.words.tobytes()).digest()[:NONCE_BYTES]
            scheme = LockScheme.new(program.spec, scheme.fingerprint, scheme.transform, scheme.level, nonce)
            program = seal_for(clear, chip, scheme, reports=True)
            head, body, earlier = np.concatenate([scheme.packets(), program.head]), program.body, 0
        else:
            head, body = scheme.packets(), packets.program_packets(program)
        count = -(-len(activations) // lanes)
        flat = np.zeros((count * lanes, program.input_words), np.int8)
        flat[: len(activations)] = activations
        return cls(
            clear=clear,
            challenge=(scheme.challenge.program,) if scheme.challenge else (),
            root=device.root,
            sealed=device.sealed,
            samples=len(activations),
            labels=np.asarray(labels),
            inputs=flat.reshape(count, lanes, -1),
            head=head,
            body=body,
            logits=Emulator(clear, table)(torch.from_numpy(flat)).numpy(),
            expected=packets.ExpectedResults.of(clear, clear.tile_cycles(table), first_tile=earlier),
        )

    def run(self, engine: NativeEngine, index: int, stalls: Stalls) -> _Batch:
        """One batch on the RTL, every result word compared."""
        lanes = self.clear.spec.lanes
        logits = self.logits[index * lanes : (index + 1) * lanes]
        words = self.expected.words(logits)
        inputs = packets.activations_packet(self.clear.spec, self.clear.input_base, self.inputs[index])
        engine.reset()
        run = engine.run(np.concatenate([self.head, inputs, self.body]), len(words), stalls_of(stalls, index))
        if len(run.words) != len(words):
            return _Batch(index, False, 0, 0, 0, run.cycles)
        answers = self.expected.logits(run.words)
        equal = np.array_equal(run.words, words) and not run.error
        wrong_cycles = int((run.words != words)[self.expected.cycle_positions].sum())
        labels = self.labels[index * lanes : (index + 1) * lanes]
        right = int((answers[: len(labels)].argmax(1) == labels).sum())
        return _Batch(index, equal, right, int((answers != logits).sum()), wrong_cycles, run.cycles)

    def locate(self, engine: NativeEngine, device: Device, scheme: LockScheme, index: int, stalls: Stalls) -> dict[str, Any]:
        """The first difference in a batch that was not equal."""
        table, inputs = device.table(), self.inputs[index]
        if scheme.seals:  # a sealed device answers no questions about what is inside
            lanes = self.clear.spec.lanes
            words = self.expected.words(self.logits[index * lanes : (index + 1) * lanes])
            packet = packets.activations_packet(self.clear.spec, self.clear.input_base, inputs)
            engine.reset()
            run = engine.run(np.concatenate([self.head, packet, self.body]), len(words), stalls_of(stalls, index))
            return {"stage": "results", "batch": index, "seed": stalls.seed} | sealed.first_difference(run.words, words)
        difference = divergence.locate(engine, self.clear, table, inputs, stalls_of(stalls, index), scheme.keyed)
        return difference | {"batch": index, "first_sample": index * self.clear.spec.lanes, "seed": stalls.seed}

    def digest(self, stalls: Stalls) -> str:
        """Changes with anything that goes in or must come out; tells nothing of the device but what it shows anyone."""
        state = hashlib.sha256(repr(stalls).encode())
        for array in (self.head, self.body, self.inputs, self.logits, self.labels, self.expected.template):
            state.update(np.ascontiguousarray(array).tobytes())
        return state.hexdigest()


class _Journal:
    """The batches of a job that were equal, one a line, in the cache; gone when the job is done."""

    def __init__(self, job: _Job, stalls: Stalls):
        self._path = files.cache_folder() / "verify" / f"{job.digest(stalls)[:32]}.jsonl"
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.done: dict[int, _Batch] = {}
        if self._path.exists():
            for line in self._path.read_text().splitlines():
                with contextlib.suppress(ValueError, TypeError):  # a line cut short by the interruption: run it again
                    batch = _Batch(**json.loads(line))
                    self.done[batch.index] = batch

    def __enter__(self) -> _Journal:
        self._file = self._path.open("a")
        return self

    def add(self, batch: _Batch) -> None:
        if batch.equal and batch.index not in self.done:
            self._file.write(json.dumps(asdict(batch)) + "\n")
            self._file.flush()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        if kind is None:
            self._path.unlink(missing_ok=True)


def _clocks(program: Program) -> int:
    """A tile runs while the next one is loaded, a code a clock; without results, which leave after it."""
    total = 0
    for layer, cycles in zip(program.layers, program.tile_cycles(range(program.spec.codes)), strict=True):
        load = layer.tile_codes + TILE_FIXED_WORDS + FRAME_WORDS
        total += LAYER_FIXED_WORDS + layer.tile_codes + load + sum(max(load, count + timing.TILE_GAP) for count in cycles)
    return total


def _all_clocks(job: _Job, done: int) -> int:
    """Of the batches that are not done, by the timing law."""
    clocks = len(job.head) + job.inputs[0].size // ACTIVATIONS_PER_WORD + len(job.expected)
    return (len(job.inputs) - done) * (clocks + sum(map(_clocks, (job.clear, *job.challenge))))


def _forecast(job: _Job, library: Path, threads: int, done: int) -> Forecast:
    """Clocks by the timing law; seconds by a trial of dense tiles on this machine, one thread, without locks."""
    spec = job.clear.spec
    width = min(256, spec.tile_codes, spec.scratch_words // 2)
    tiles = -(-_TRIAL_CODES // width)
    trial = dense(np.resize(np.arange(spec.codes), (tiles, width)), np.zeros(tiles), 0, 0, 0, emits=True)
    commands = packets.program_packets(Program(spec, (trial,), 0, width), report=False)
    with NativeEngine(library) as engine:
        started = time.perf_counter()
        run = engine.run(commands, tiles * (spec.lanes + TILE_DONE_FIXED_WORDS + FRAME_WORDS))
        rate = run.cycles / (time.perf_counter() - started)
    total = _all_clocks(job, done)
    return Forecast(len(job.inputs) - done, len(job.inputs), total, total / (rate * min(threads, os.cpu_count() or 1)))


def _run_all(
    job: _Job, library: Path, stalls: Stalls, threads: int, progress: Progress | None, journal: _Journal
) -> list[_Batch]:
    """All batches in order, up to the first that differs; each thread has an engine of its own."""
    engines = threading.local()
    opened: list[NativeEngine] = []

    def work(index: int) -> _Batch:
        if index in journal.done:
            return journal.done[index]
        if not hasattr(engines, "engine"):
            engines.engine = NativeEngine(library, job.root, job.sealed)
            opened.append(engines.engine)
        return job.run(engines.engine, index, stalls)

    batches = []
    try:
        with ThreadPoolExecutor(threads) as pool:
            for batch in _in_order(pool, work, len(job.inputs)):
                batches.append(batch)
                journal.add(batch)
                if progress:
                    progress(min(job.samples, len(batches) * job.clear.spec.lanes))
                if not batch.equal:
                    break
    finally:
        for engine in opened:
            engine.close()
    return batches


def stalls_of(stalls: Stalls, batch: int) -> Stalls:
    """The stalls of one batch: each has a seed of its own."""
    return replace(stalls, seed=stalls.seed + batch)


def _in_order(pool: ThreadPoolExecutor, work: Callable[[int], _Batch], count: int) -> Iterator[_Batch]:
    """Results in order, with a few batches a thread under way, so that an early end leaves little behind."""
    window = 4 * (os.cpu_count() or 1)
    futures = [pool.submit(work, index) for index in range(min(window, count))]
    try:
        for index in range(count):
            batch = futures[index].result()
            if index + window < count:
                futures.append(pool.submit(work, index + window))
            yield batch
    finally:
        for future in futures:
            future.cancel()
