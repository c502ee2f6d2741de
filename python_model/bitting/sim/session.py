"""Samples through an engine, simulated or on a board: logits, clocks, and a waveform if wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from bitting import files
from bitting.artefact.artefact import Artefact
from bitting.artefact.host_words import HostWords
from bitting.errors import BittingError, DeviceError, FaultError, SimulationError
from bitting.locking.device import Device
from bitting.program import packets
from bitting.sim.native import NativeEngine, Run, Stalls, engine_library
from bitting.sim.waves import save_file
from bitting.unit.protocol import FRAME_WORDS, PUF_REPLY_WORDS, STATUS_WORDS, ErrorCode, Result

SIMULATORS = ("native", "cocotb")
#: How often a board may try to make its root secret. At three times the worst board's error rate fewer than one attempt in a
#: million fails (docs/puf.md), so a few tell a wrong chip. `bitting_host.c` tries as often.
BOOT_ATTEMPTS = 3
_REPLY_WORDS = PUF_REPLY_WORDS + FRAME_WORDS


@dataclass(frozen=True, eq=False)
class Outcome:
    """(samples, outputs) int32 logits, clocks in all, and the cycles of each tile of the last batch."""

    logits: np.ndarray
    cycles: int
    tile_cycles: list[int]


def simulate(
    artefact: Artefact,
    device: Device,
    activations: np.ndarray,
    *,
    simulator: str = "native",
    waves: Path | None = None,
    every_signal: bool = False,
    stalls: int = 0,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Outcome:
    """Run samples, a batch at a time.

    Args:
        artefact: a program and how it is locked.
        device: right or wrong; a wrong one gives wrong logits and no error, or, if the artefact is sealed, an error.
        activations: (samples, sample_words) int8.
        simulator: "native" or "cocotb".
        waves: path of a .vcd or .fst to write (native), as secret as the model, for it shows weights; a GTKWave save file goes
            beside it.
        every_signal: the waveform holds all there is, the vault's keys too: it is as secret as the device, and large.
        stalls: back-pressure probability of 256, on both streams (native).
        seed: of the stalls.
        progress: called with the number of samples done.

    Raises:
        BittingError: for an unknown simulator or waveform format.
        SimulationError: if the engine stops or reports a fault.
    """
    if simulator not in SIMULATORS:
        raise BittingError(f"unknown simulator {simulator!r}; allowed: {', '.join(SIMULATORS)}")
    if simulator == "cocotb" and (waves or stalls):
        raise BittingError("--waves and --stalls need the native simulator")
    kind = waves.suffix.lstrip(".") if waves else None
    if every_signal and not waves:
        raise BittingError("--waves-all says what is in a waveform; name its file with --waves FILE.vcd")
    if waves and kind not in ("vcd", "fst"):
        raise BittingError(f"{waves}: a waveform ends in .vcd or .fst")
    if simulator == "cocotb":
        return _batches(artefact, activations, _cocotb(device), progress)
    library = engine_library(artefact.program.spec, kind, every_signal=every_signal)
    with NativeEngine(library, device.root, device.sealed) as engine:
        if waves:
            from bitting_rtl.engine.export import TOP, engine_verilog

            with files.replacing(waves, files.PRIVATE) as temporary:
                engine.trace(temporary)
                outcome = _batches(artefact, activations, _native(engine, Stalls(seed, stalls, stalls)), progress)
                engine.close()
            save = save_file(engine_verilog(artefact.program.spec), TOP, artefact.program.spec.vault)
            files.write_text(waves.with_suffix(".gtkw"), save, files.PRIVATE)
            return outcome
        return _batches(artefact, activations, _native(engine, Stalls(seed, stalls, stalls)), progress)


def _native(engine: NativeEngine, stalls: Stalls) -> Callable[[int, np.ndarray, int], Run]:
    def run(index: int, commands: np.ndarray, expected: int) -> Run:
        engine.reset()
        return engine.run(commands, expected, replace(stalls, seed=stalls.seed + index))

    return run


def _cocotb(device: Device) -> Callable[[int, np.ndarray, int], Run]:
    from bitting.sim import cocotb_runner
    from bitting_rtl.engine.export import TOP, engine_verilog

    folder = cocotb_runner.build(engine_verilog(device.spec), TOP)
    fuses = device.root, device.sealed
    return lambda _index, commands, expected: cocotb_runner.run_commands(folder, TOP, commands, expected, *fuses)


def on_board(
    artefact: Artefact,
    activations: np.ndarray,
    link: Link,
    progress: Callable[[int], None] | None = None,
    flash: bool = False,
    booted: bool = False,
) -> Outcome:
    """Run samples on a board, a batch at a time; its clocks are not counted.

    With `flash` the board has the program, and tells cycles only of tiles that answer. If it has `booted`, it goes on with the
    program that it answered with before.

    Raises:
        BittingError: if the board does not answer.
        SimulationError: if its engine stops or reports a fault.
    """

    def run(index: int, commands: np.ndarray, expected: int) -> Run:
        if index == 0 and not (flash and booted):  # to boot takes a board with a PUF longer than all else
            boot(artefact, link)
        words = link.run(commands, expected)
        return Run(words, 0, ErrorCode.NONE, len(commands))

    return _batches(artefact, activations, run, progress, resets=False, flash=flash)


class Link(Protocol):
    """What is used of `SerialLink` here; a simulated engine has it too (`bitting.sim.puf_chip`)."""

    def reset(self) -> None:
        """Reset the engine."""

    def run(self, commands: np.ndarray, expected: int, /) -> np.ndarray:
        """Send words, receive up to `expected` words."""


def boot(artefact: Artefact, link: Link) -> None:
    """Reset a board; if silicon makes its root secret, give it the helper data, a few times if need be.

    Raises:
        BittingError: if the board does not answer.
        DeviceError: if it can not make its root secret.
        FaultError, SimulationError: if it answers something else; a board without a PUF reports BAD_TYPE.
    """
    link.reset()
    if not artefact.helper:
        return
    helper = packets.helper_packet(artefact.helper)
    for _ in range(BOOT_ATTEMPTS):
        if packets.PufReply.of(link.run(helper, _REPLY_WORDS)).rooted:
            return
    raise DeviceError(
        f"the board could not make its root secret in {BOOT_ATTEMPTS} attempts: the helper data are of another chip, or were "
        "changed, or the chip measures too differently from its enrolment; take the artefact that was locked to this chip"
    )


def require_family(artefact: Artefact, link: Link) -> None:
    """Insist that a board holds an engine of an artefact's family, with a PUF if it has helper data; nothing else is asked.

    Raises:
        BittingError: if the board does not answer.
        DeviceError: if its engine is another one.
        SimulationError: if what it answers is no status; FaultError if it is an error, of its flash say.
    """
    spec = artefact.program.spec
    link.reset()
    # With a PUF, an engine that has not booted answers with fewer words.
    words = link.run(packets.status_packet(), _REPLY_WORDS if artefact.helper else STATUS_WORDS + FRAME_WORDS)
    kind = int(words[0]) & 0xFF if len(words) else None
    if kind == Result.FAULT:
        packets.parse_results(words)
    if kind not in (Result.STATUS_REPLY, Result.PUF_REPLY):
        raise SimulationError("the board does not answer STATUS as an engine does; is its bitstream one of this version?")
    if kind == Result.PUF_REPLY and not artefact.helper:
        raise DeviceError("the board's engine has a PUF, and the artefact has no helper data; take one locked to this board")
    if kind == Result.STATUS_REPLY and artefact.helper:
        raise DeviceError("the board's engine has no PUF, and the artefact has helper data; take the board it is locked to")
    answers = list(packets.split(words))
    if not len(answers[0][1]):
        raise SimulationError("the board's answer to STATUS is empty; is its bitstream one of this version?")
    came, wanted = int(answers[0][1][0]), spec.id_word
    if came != wanted:
        raise DeviceError(
            f"the board's engine is of the family whose id ends in {came:08x}, the artefact is for {spec.name!r} ({spec.id}); "
            "choose another board, or lock the model for this family"
        )


def self_test(artefact: Artefact, link: Link, flash: bool = False) -> str:
    """Ask a board the artefact's questions, in every lane; `flash` as in `on_board`.

    Returns:
        What tells that it is not the device that the artefact is for; nothing if all answers are right.

    Raises:
        BittingError, SimulationError: as `on_board`.
    """
    test, samples = artefact.self_test, artefact.program.samples
    assert test is not None
    asked = partial(on_board, artefact, link=link, flash=flash)
    wrong = 0
    for first in range(0, len(test.questions), samples):
        try:
            wrong += test.wrong(asked(test.batch(first, samples), booted=first > 0).logits, first)
        except FaultError as fault:
            if fault.code != ErrorCode.BAD_TAG:
                raise
            return f"it refused the program ({ErrorCode.BAD_TAG.name})"
    return f"{wrong} answers to the self-test are wrong" if wrong else ""


def _results(words: np.ndarray, flash: bool) -> list[packets.TileResult]:
    """As `parse_results`; an engine to which nobody plays has inputs and no program."""
    try:
        return packets.parse_results(words)
    except FaultError as fault:
        if flash and fault.code == ErrorCode.BAD_ORDER:
            raise FaultError(f"{fault}; was this board's bitstream built with --flash?", fault.code) from None
        raise


def _batches(
    artefact: Artefact,
    activations: np.ndarray,
    run: Callable[[int, np.ndarray, int], Run],
    progress: Callable[[int], None] | None,
    resets: bool = True,
    flash: bool = False,
) -> Outcome:
    """Batch after batch; `resets`: `run` resets the engine before each, so each begins with the challenge."""
    words = HostWords.of(artefact, report=False).from_flash() if flash else HostWords.of(artefact, report=True)
    samples, expected = artefact.program.samples, words.results
    logits, cycles, tile_cycles = [], 0, []
    for index, first in enumerate(range(0, len(activations), samples)):
        batch = activations[first : first + samples]
        begin = words.once if resets or index == 0 else words.again
        batch_run = run(index, np.concatenate([begin, words.batch(batch)]), expected)
        tiles = _results(batch_run.words, flash)
        if len(batch_run.words) != expected:
            raise SimulationError(
                f"the engine stopped after {len(batch_run.words)} of {expected} result words, "
                f"error {ErrorCode(batch_run.error).name}"
            )
        tile_cycles = [tile.cycles for tile in tiles]
        logits.append(np.array([t.accumulators for t in tiles if t.accumulators is not None]).T[: len(batch)])
        cycles += batch_run.cycles
        if progress:
            progress(first + len(batch))
    return Outcome(np.concatenate(logits), cycles, tile_cycles)
