"""A whole test set through the emulator and through the RTL: every logit bit and every tile's cycle count, equal or named."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.check import sealed, wider
from bitting.check.batches import Batch, Job, Journal, Progress, all_clocks, run_all
from bitting.errors import AuthenticityError, ProgramError
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.sealed_program import SealedProgram
from bitting.locking.transform import unlock_program
from bitting.program import packets
from bitting.program.layers import Program, dense
from bitting.sim.native import NativeEngine, Stalls, engine_digest, engine_library
from bitting.sim.training_run import can_train
from bitting.unit.protocol import (
    FRAME_WORDS,
    TILE_DONE_FIXED_WORDS,
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


@dataclass(frozen=True)
class EngineRun:
    """What one simulated engine ran.

    Attributes:
        spec: name of its spec.
        lanes: how many it has.
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
        accuracy: of the RTL's answers, as `Interface.score` (of a regression R squared); not a number if there were no labels.
        emulator_accuracy: of the emulator's.
        wrong_logits: logits that differ in any bit.
        wrong_cycles: tiles whose cycle count differs from the timing law.
        tiles: tiles run.
        cycles: clocks of the simulated engine.
        seconds: wall time of the RTL runs, without the build.
        macs: weights times activations, of all lanes that samples had.
        divergence: the first difference, or None.
        refused: the program is sealed for another device, and the RTL did nothing with it but to say so. Then nothing else was
            measured.
        engines: what ran: the device's own engine, or a wider one for all samples and then its own for the first few batches.
            `samples`, `tiles`, `cycles`, `seconds`, `answers` and the accuracies are of the first of them; what is wrong is of
            both.
        answers: (samples, outputs) int32, the RTL's sums; fewer samples if a batch did not answer. Not in `to_dict`.
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
    answers: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def equal(self) -> bool:
        """Every logit had the right bits, and every tile the right number of cycles."""
        return self.divergence is None and not self.refused

    def to_dict(self) -> dict[str, Any]:
        """The fields by name and `equal`, ready for JSON; accuracies that are not numbers are None.

        `score` and `emulator_score` are the same numbers under names that are right for every task; the older names stay.
        """
        told = asdict(replace(self, answers=None))
        del told["answers"]
        for name in ("accuracy", "emulator_accuracy"):
            if math.isnan(told[name]):
                told[name] = None
            told[name.replace("accuracy", "score")] = told[name]
        return {"equal": self.equal, **told}


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
    labels: np.ndarray | None = None,
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
        activations: (samples, sample_words) int8.
        labels: targets of the samples, as those of a data set for the artefact's task; without, nothing is said of accuracy.
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
    if (labels is not None and len(labels) != len(activations)) or not len(activations):
        count = "no" if labels is None else len(labels)
        raise ProgramError(f"{len(activations)} samples with {count} labels; there must be at least one, and as many")
    threads = threads or os.cpu_count() or 1
    if lanes is not None:
        wider.widened_spec(artefact, lanes)
    try:
        clear = unlock_program(program, scheme, ChipModel.of(device))
    except AuthenticityError:
        library = library or engine_library(program.spec)
        difference, clocks = sealed.refusal(artefact, device, activations[: program.samples], library)
        return Report(0, 0.0, 0.0, 0, 0, 0, clocks, 0.0, 0, difference, refused=difference is None)
    run = partial(_verify, stalls=stalls, threads=threads, replay=replay)
    if lanes is None:
        return run(artefact, device, clear, activations, labels, library, progress, forecast, profiled)
    wide, first = wider.widen(artefact, device, clear, lanes), OWN_BATCHES * program.samples
    report = run(*wide, activations, labels, None, progress, forecast, profiled)
    few = None if labels is None else labels[:first]
    return _with_own(report, run(artefact, device, clear, activations[:first], few, library))


def _verify(
    artefact: Artefact,
    device: Device,
    clear: Program,
    activations: np.ndarray,
    labels: np.ndarray | None,
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
    interface = artefact.interface
    job = Job.of(program, scheme, device, clear, activations, labels, interface)
    with Journal(job, stalls, str(library) if library else engine_digest(job.clear.spec)) as journal:
        library = library or _library(job, len(journal.done), profiled)
        if forecast:
            forecast(_forecast(job, library, threads, len(journal.done)))
        started = time.perf_counter()
        batches = run_all(job, library, stalls, threads, progress, journal)
        seconds = time.perf_counter() - started
    difference = None
    with NativeEngine(library, device.root, device.sealed) as engine:
        if not (last := batches[-1]).equal:
            difference = job.locate(engine, device, scheme, last.index, stalls) | {"replay": replay}
        elif isinstance(program, SealedProgram):
            difference = sealed.own_words(artefact, device, job.clear, job.inputs, job.logits, engine)
    samples = min(job.samples, len(batches) * program.samples)
    given = [np.array(batch.answers, np.int32) for batch in batches if batch.answers]  # the last one may have none
    answers = np.concatenate(given)[:samples] if given else np.empty((0, program.outputs), np.int32)
    scores = [math.nan, math.nan]
    if job.targets is not None:
        merits = interface.merits(answers, job.targets[: len(answers)])  # no answer is no right one
        of_rtl = interface.score(merits, job.targets[:samples]) if given else math.nan
        scores = [of_rtl, interface.rating(job.logits[: job.samples], job.targets)]
    return Report(
        samples=samples,
        accuracy=scores[0],
        emulator_accuracy=scores[1],
        wrong_logits=sum(batch.wrong_logits for batch in batches),
        wrong_cycles=sum(batch.wrong_cycles for batch in batches),
        tiles=len(batches) * sum(layer.tiles for layer in job.clear.layers),
        cycles=sum(batch.cycles for batch in batches),
        seconds=seconds,
        macs=samples * program.bands * job.clear.macs,
        divergence=difference,
        engines=(_engine_run(program.spec, batches, seconds),),
        answers=answers,
    )


def _engine_run(spec: UnitSpec, batches: list[Batch], seconds: float) -> EngineRun:
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


def _library(job: Job, done: int, profiled: bool | None) -> Path:
    """The family's engine, with a profile if that is wanted, or pays."""
    spec = job.clear.spec
    if profiled is None:
        seconds = all_clocks(job, done) * (_CLOCK_NS + _LANE_NS * spec.lanes) / 1e9
        profiled = seconds >= _PROFILE_SECONDS and can_train(spec)
    return engine_library(spec, profiled=profiled)


def _forecast(job: Job, library: Path, threads: int, done: int) -> Forecast:
    """Clocks by the timing law; seconds by a trial of dense tiles on this machine, one thread, without locks."""
    spec = job.clear.spec
    width = min(256, spec.tile_codes, spec.scratch_words // 2)
    tiles = -(-_TRIAL_CODES // width)
    codes = np.resize(np.arange(spec.codes), (tiles, width))
    trial = dense(codes, np.zeros(tiles), 0, 0, 0, emits=True, every_lane=spec.stripes > 1)
    commands = packets.program_packets(Program(spec, (trial,), 0, width), report=False)
    with NativeEngine(library) as engine:
        started = time.perf_counter()
        run = engine.run(commands, tiles * (spec.lanes + TILE_DONE_FIXED_WORDS + FRAME_WORDS))
        rate = run.cycles / (time.perf_counter() - started)
    total = all_clocks(job, done)
    return Forecast(len(job.inputs) - done, len(job.inputs), total, total / (rate * min(threads, os.cpu_count() or 1)))
