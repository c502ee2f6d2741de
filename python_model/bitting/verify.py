"""A whole test set through the emulator and through the RTL: every logit bit and every tile's cycle count, equal or named."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitting import divergence, packets
from bitting.emulate import Emulator
from bitting.program import Program
from bitting.sim.native import NativeEngine, Stalls, engine_library

#: Called with the number of samples done so far.
Progress = Callable[[int], None]


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

    @property
    def equal(self) -> bool:
        return self.divergence is None

    def to_dict(self) -> dict[str, Any]:
        return {"equal": self.equal, **asdict(self)}


@dataclass(frozen=True, eq=False)
class _Batch:
    """Outcome of one batch: (L, outputs) logits as the RTL gave them (none if it broke off) and what was wrong."""

    index: int
    equal: bool
    logits: np.ndarray
    wrong_logits: int
    wrong_cycles: int
    cycles: int


def verify(
    program: Program,
    table: Sequence[int],
    activations: np.ndarray,
    labels: np.ndarray,
    *,
    library: Path | None = None,
    stalls: Stalls = Stalls(),
    threads: int | None = None,
    progress: Progress | None = None,
    replay: str = "",
) -> Report:
    """Run a locked program on a device's emulator and RTL and compare everything.

    Args:
        program: codes in the number format of the device.
        table: the device's bitting table.
        activations: (samples, input_words) int8.
        labels: (samples,).
        library: a built engine; by default the device's own, built if need be.
        stalls: random back-pressure on both streams.
        threads: simulations run at once; by default one a core.
        replay: command that repeats the run, for the report of a divergence.

    Raises:
        ToolError: if the simulation can not be built.
    """
    library = library or engine_library(program.spec, table)
    samples, lanes = len(activations), program.spec.lanes
    count = -(-samples // lanes)
    batches_in = np.zeros((count, lanes, program.input_words), np.int8)  # lanes without a sample hold zeros
    batches_in.reshape(count * lanes, -1)[:samples] = activations
    logits = Emulator(program, table)(torch.from_numpy(batches_in.reshape(count * lanes, -1))).numpy()
    expected = packets.ExpectedResults.of(program, program.tile_cycles(table))
    body = packets.program_packets(program)
    engines = threading.local()
    opened: list[NativeEngine] = []

    def run_batch(index: int) -> _Batch:
        if not hasattr(engines, "engine"):
            engines.engine = NativeEngine(library)
            opened.append(engines.engine)
        input_packet = packets.activations_packet(program.spec, program.input_base, batches_in[index])
        commands = np.concatenate([input_packet, body])
        of_batch = logits[index * lanes : (index + 1) * lanes]
        return _run_batch(engines.engine, commands, expected, of_batch, index, stalls)

    started = time.perf_counter()
    batches = []
    try:
        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            for batch in _in_order(pool, run_batch, count):
                batches.append(batch)
                if progress:
                    progress(min(samples, len(batches) * lanes))
                if not batch.equal:
                    break
    finally:
        for engine in opened:
            engine.close()
    seconds = time.perf_counter() - started

    found = None
    if not batches[-1].equal:
        index = batches[-1].index
        with NativeEngine(library) as engine:
            found = divergence.locate(engine, program, table, batches_in[index], stalls_of(stalls, index))
        found |= {"batch": index, "first_sample": index * lanes, "seed": stalls.seed, "replay": replay}
    rtl = np.concatenate([batch.logits for batch in batches])[:samples]
    return Report(
        samples=len(rtl),
        accuracy=float((rtl.argmax(1) == labels[: len(rtl)]).mean()) if len(rtl) else 0.0,
        emulator_accuracy=float((logits[:samples].argmax(1) == labels).mean()),
        wrong_logits=sum(batch.wrong_logits for batch in batches),
        wrong_cycles=sum(batch.wrong_cycles for batch in batches),
        tiles=len(batches) * sum(layer.tiles for layer in program.layers),
        cycles=sum(batch.cycles for batch in batches),
        seconds=seconds,
        macs=len(rtl) * program.macs,
        divergence=found,
    )


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


def _run_batch(
    engine: NativeEngine,
    commands: np.ndarray,
    expected: packets.ExpectedResults,
    logits: np.ndarray,
    index: int,
    stalls: Stalls,
) -> _Batch:
    """One batch on the RTL, every result word compared with (L, outputs) emulated logits and the timing law."""
    engine.reset()
    run = engine.run(commands, len(expected), stalls_of(stalls, index))
    words = expected.words(logits)
    if len(run.words) != len(words):
        return _Batch(index, False, np.empty((0, logits.shape[1]), np.int32), 0, 0, run.cycles)
    found = expected.logits(run.words)
    equal = np.array_equal(run.words, words) and not run.error
    wrong_cycles = int((run.words != words)[expected.cycle_positions].sum())
    return _Batch(index, equal, found, int((found != logits).sum()), wrong_cycles, run.cycles)
