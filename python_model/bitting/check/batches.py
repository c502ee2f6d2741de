"""The batches of a verification: what goes in, what must come out, how each runs on the RTL, and which of them are done."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from bitting import files
from bitting.check import divergence, sealed
from bitting.emulator.emulate import Emulator
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.scheme import NONCE_BYTES, LockScheme
from bitting.locking.sealed_program import SealedProgram
from bitting.locking.transform import seal_for
from bitting.program import bands, latency, packets
from bitting.program.interface import Interface
from bitting.program.layers import Program
from bitting.sim.native import NativeEngine, Run, Stalls
from bitting.unit.protocol import ACTIVATIONS_PER_WORD
from bitting.unit.spec import VaultKind

#: Called with the number of samples done so far.
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Batch:
    """Outcome of one batch: the RTL's answers, (samples, outputs) sums, or none if it gave too few; and what was wrong."""

    index: int
    equal: bool
    answers: list[list[int]]
    wrong_logits: int
    wrong_cycles: int
    cycles: int


@dataclass(frozen=True, eq=False)
class Job:
    """What goes in and what must come out.

    Attributes:
        clear: the program as the device's tile buffer sees it.
        challenge: the one before it, if it is locked with a key.
        root: the device's secret.
        sealed: whether its fuse of that name is blown.
        samples: how many; the last batch is filled up with zeros, and those lanes are compared like the others.
        targets: of the samples, as those of a data set; or None.
        interface: what they are compared with.
        inputs: (batches, L, input_words) int8, of every lane.
        head, body: command words before and after the activations, the same for every batch.
        logits: (batches * samples of a batch, outputs) int32, emulated.
        expected: all other result words.
    """

    clear: Program
    challenge: tuple[Program, ...]
    root: bytes = field(repr=False)
    sealed: bool
    samples: int
    targets: np.ndarray | None
    interface: Interface
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
        targets: np.ndarray | None,
        interface: Interface,
    ) -> Job:
        """Of an artefact's program, how it is locked, the device, and the program as that device opens it (`clear`)."""
        batch, table = program.samples, device.table()
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
        count = -(-len(activations) // batch)
        flat = np.zeros((count * batch, program.sample_words), np.int8)
        flat[: len(activations)] = activations
        return cls(
            clear=clear,
            challenge=(scheme.challenge.program,) if scheme.challenge else (),
            root=device.root,
            sealed=device.sealed,
            samples=len(activations),
            targets=None if targets is None else np.asarray(targets),
            interface=interface,
            inputs=bands.split(flat, program.picture, program.spec.stripes).reshape(count, program.spec.lanes, -1),
            head=head,
            body=body,
            logits=Emulator(clear, table)(torch.from_numpy(flat)).numpy(),
            expected=packets.ExpectedResults.of(clear, clear.tile_cycles(table), first_tile=earlier),
        )

    def run(self, engine: NativeEngine, index: int, stalls: Stalls) -> Batch:
        """One batch on the RTL, every result word compared."""
        logits = self._logits(index)
        run, words = self._answers(engine, index, stalls)
        if len(run.words) != len(words):
            return Batch(index, False, [], 0, 0, run.cycles)
        answers = self.expected.logits(run.words)
        equal = np.array_equal(run.words, words) and not run.error
        wrong_cycles = int((run.words != words)[self.expected.cycle_positions].sum())
        return Batch(index, equal, answers.tolist(), int((answers != logits).sum()), wrong_cycles, run.cycles)

    def _logits(self, index: int) -> np.ndarray:
        batch = self.clear.samples
        return self.logits[index * batch : (index + 1) * batch]

    def _answers(self, engine: NativeEngine, index: int, stalls: Stalls) -> tuple[Run, np.ndarray]:
        """What one batch gives after a reset, and the result words that it must give."""
        words = self.expected.words(self._logits(index))
        inputs = packets.activations_packet(self.clear.spec, self.clear.input_base, self.inputs[index])
        engine.reset()
        return engine.run(np.concatenate([self.head, inputs, self.body]), len(words), stalls_of(stalls, index)), words

    def locate(self, engine: NativeEngine, device: Device, scheme: LockScheme, index: int, stalls: Stalls) -> dict[str, Any]:
        """The first difference in a batch that was not equal."""
        table, inputs = device.table(), self.inputs[index]
        if scheme.seals:  # a sealed device answers no questions about what is inside
            run, words = self._answers(engine, index, stalls)
            return {"stage": "results", "batch": index, "seed": stalls.seed} | sealed.first_difference(run.words, words)
        difference = divergence.locate(engine, self.clear, table, inputs, stalls_of(stalls, index), scheme.keyed)
        return difference | {"batch": index, "first_sample": index * self.clear.samples, "seed": stalls.seed}

    def digest(self, stalls: Stalls) -> str:
        """Changes with anything that goes in or must come out; tells nothing of the device but what it shows anyone."""
        state = hashlib.sha256(repr((stalls, self.interface.task, self.targets is None)).encode())
        targets = np.array(()) if self.targets is None else self.targets
        judged = (self.interface.output_offset, self.interface.output_scale, targets)
        for array in (self.head, self.body, self.inputs, self.logits, *judged, self.expected.template):
            state.update(np.ascontiguousarray(array).tobytes())
        return state.hexdigest()


class Journal:
    """The batches of a job that were equal on an engine, one a line, in the cache; gone when the job is done.

    Args:
        job: what is run.
        stalls: of its streams.
        engine: changes with the RTL: what was equal on another engine says nothing of this one.
    """

    def __init__(self, job: Job, stalls: Stalls, engine: str):
        name = hashlib.sha256(f"{job.digest(stalls)} {engine}".encode()).hexdigest()[:32]
        self._path = files.cache_folder() / "verify" / f"{name}.jsonl"
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.done: dict[int, Batch] = {}
        if self._path.exists():
            for line in self._path.read_text().splitlines():
                with contextlib.suppress(ValueError, TypeError):  # a line cut short by the interruption: run it again
                    batch = Batch(**json.loads(line))
                    self.done[batch.index] = batch

    def __enter__(self) -> Journal:
        self._file = self._path.open("a")
        return self

    def add(self, batch: Batch) -> None:
        """Note a batch, if it was equal."""
        if batch.equal and batch.index not in self.done:
            self._file.write(json.dumps(asdict(batch)) + "\n")
            self._file.flush()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        if kind is None:
            self._path.unlink(missing_ok=True)


#: Clocks a word that the vault `ascon` absorbs (a permutation for two), and a word in clear.
_ABSORB_CLOCKS, _CLEAR_CLOCKS = 7, 2


def all_clocks(job: Job, done: int) -> int:
    """Of the batches that are not done, by the timing law."""
    absorbing, clear = (_ABSORB_CLOCKS, _CLEAR_CLOCKS) if job.clear.spec.vault == VaultKind.ASCON else (1, 1)
    clocks = absorbing * len(job.head) + clear * job.inputs[0].size // ACTIVATIONS_PER_WORD + len(job.expected)
    programs = (job.clear, *job.challenge)
    identity = range(job.clear.spec.codes)
    return (len(job.inputs) - done) * (clocks + sum(latency.clocks(item, item.tile_cycles(identity)) for item in programs))


def run_all(job: Job, library: Path, stalls: Stalls, threads: int, progress: Progress | None, journal: Journal) -> list[Batch]:
    """All batches in order, up to the first that differs; each thread has an engine of its own."""
    engines = threading.local()
    opened: list[NativeEngine] = []

    def work(index: int) -> Batch:
        if index in journal.done:
            return journal.done[index]
        if not hasattr(engines, "engine"):
            engines.engine = NativeEngine(library, job.root, job.sealed)
            opened.append(engines.engine)
        return job.run(engines.engine, index, stalls)

    batches = []
    try:
        with ThreadPoolExecutor(threads) as pool:
            for batch in _in_order(pool, work, len(job.inputs), 4 * threads):
                batches.append(batch)
                journal.add(batch)
                if progress:
                    progress(min(job.samples, len(batches) * job.clear.samples))
                if not batch.equal:
                    break
    finally:
        for engine in opened:
            engine.close()
    return batches


def stalls_of(stalls: Stalls, batch: int) -> Stalls:
    """The stalls of one batch: each has a seed of its own."""
    return replace(stalls, seed=stalls.seed + batch)


def _in_order(pool: ThreadPoolExecutor, work: Callable[[int], Batch], count: int, window: int) -> Iterator[Batch]:
    """Results in order, with no more than `window` under way, so that an early end leaves little behind."""
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
