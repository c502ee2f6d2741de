"""What a verification asks of sealed programs beside bits and cycles: the artefact's own words, and the refusal of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.locking.device import Device
from bitting.locking.sealed_program import SealedProgram
from bitting.program import packets
from bitting.program.layers import Program
from bitting.sim.native import NativeEngine
from bitting.unit.protocol import ErrorCode, Result

#: Batches that are run with an artefact's own words, which report no cycles.
SHIPPED_BATCHES = 2


def refusal(artefact: Artefact, device: Device, x: np.ndarray, library: Path) -> tuple[dict[str, Any] | None, int]:
    """A sealed artefact on a device it is not for must give one FAULT, and nothing else.

    Args:
        artefact: sealed for another device.
        device: the one that it is given.
        x: (samples, sample_words) int8, one batch.
        library: the family's engine.

    Returns:
        What is different, or None, and the clocks it took.
    """
    assert isinstance(artefact.program, SealedProgram)
    commands = artefact.program.commands(artefact.scheme.packets(), x)
    with NativeEngine(library, device.root, device.sealed) as engine:
        run = engine.run(commands, artefact.program.result_words)
    fault = packets.frame(Result.FAULT, run.words[1:2])
    if run.error == ErrorCode.BAD_TAG and np.array_equal(run.words, fault) and int(run.words[1]) & 0xFF == run.error:
        return None, run.cycles
    summary = f"{len(run.words)} result words and error {ErrorCode(run.error).name}, where one FAULT for BAD_TAG was due"
    return {"stage": "refusal", "summary": summary, "batch": 0, "replay": ""}, run.cycles


def own_words(
    artefact: Artefact, device: Device, clear: Program, inputs: np.ndarray, logits: np.ndarray, engine: NativeEngine
) -> dict[str, Any] | None:
    """The words that ship, on the first batches: the first difference, or None.

    Args:
        artefact: sealed for the device.
        device: the right one.
        clear: the program, opened.
        inputs: (batches, L, input_words) int8, of every lane.
        logits: (batches * samples of a batch, outputs) int32, emulated.
        engine: with the device's fuses.
    """
    program = artefact.program
    assert isinstance(program, SealedProgram)
    told = program.reports or not device.sealed
    expected = packets.ExpectedResults.of(clear, clear.tile_cycles(device.table()), program.reports, told=told)
    samples = program.samples
    for index, batch in enumerate(inputs[:SHIPPED_BATCHES]):
        words = expected.words(logits[index * samples : (index + 1) * samples])
        inputs = packets.activations_packet(program.spec, program.input_base, batch)
        engine.reset()
        run = engine.run(np.concatenate([artefact.scheme.packets(), program.head, inputs, program.body]), len(words))
        if not np.array_equal(run.words, words) or run.error:
            return {"stage": "the artefact's own words", "batch": index, "replay": ""} | first_difference(run.words, words)
    return None


def first_difference(came: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
    """Where two lists of result words part."""
    shorter = min(len(came), len(expected))
    differs = np.flatnonzero(came[:shorter] != expected[:shorter])
    at = int(differs[0]) if len(differs) else shorter
    pair = [f"{int(words[at]):#010x}" if at < len(words) else "nothing" for words in (came, expected)]
    return {"summary": f"result word {at} is {pair[0]}, expected {pair[1]}", "result_word": at}
