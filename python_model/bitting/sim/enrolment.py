"""Enrolment: what a factory does with a fresh chip, through its ports only. Here the chip is a simulated one.

The factory burns a root secret, boots the chip, and then sees for itself that the chip is what the owner will lock models
to: its family, the weight and the cycles of every code, its fingerprints, and a known answer for every lock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from bitting.emulator.emulate import Emulator
from bitting.errors import DeviceError, SimulationError
from bitting.locking.challenge import Challenge
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.scheme import LockScheme, pairings
from bitting.locking.sealed_program import SealedProgram
from bitting.locking.transform import lock_program, seal_model, seal_with_zeros, unlock_program
from bitting.program import packets
from bitting.program.layers import Program, dense
from bitting.sim.native import Run
from bitting.unit import timing
from bitting.unit.protocol import FRAME_WORDS, STATUS_WORDS
from bitting.unit.spec import UnitSpec, VaultKind

#: Nonces of the known answers: fixed, for nothing of value is locked under them.
_TEST_NONCE = bytes(range(16))


@dataclass(frozen=True)
class Enrolment:
    """What a factory saw.

    Attributes:
        boot_clocks: from reset to the answer to a STATUS packet.
        challenge_cycles: of the public challenge's tiles.
        known_answers: locks whose self-test the chip passed.
    """

    boot_clocks: int
    challenge_cycles: list[int]
    known_answers: list[str]

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


class Chip(Protocol):
    """What is used of `NativeEngine` here; `bitting.sim.puf_chip.PufChip` has it too."""

    def burn(self, root: bytes, sealed: bool) -> None:
        """Burn other fuses, and reset."""

    def reset(self) -> None:
        """Reset."""

    def run(self, commands: np.ndarray, expected: int, /) -> Run:
        """Words to the chip."""


def enrol(device: Device, engine: Chip, progress: Callable[[int, int], None] | None = None) -> Enrolment:
    """Examine a chip with the device's secret in its fuses; if the device is sealed, blow that fuse after what needs it whole.

    Raises:
        DeviceError: if it differs from the family in anything; the message says in what.
    """
    spec = device.spec
    # A device that is to be sealed is measured before: then it does not run in clear any more, and has another table.
    bare = replace(device, sealed=False)
    try:
        boot = _status(engine, spec)
        _measure_codes(engine, bare)
        cycles = _measure_challenge(engine, bare)
        if device.sealed:
            engine.burn(device.root, sealed=True)
        passed = []
        # A lock key seals once: sealed answers have a nonce of their own every time.
        schemes = pairings(spec, device.level, None if spec.vault == VaultKind.ASCON else _TEST_NONCE)
        for scheme in schemes:
            known_answer(engine, device, scheme)
            passed.append(f"{scheme.fingerprint} x {scheme.transform}")
            if progress:
                progress(len(passed), len(schemes))
    except SimulationError as error:
        raise DeviceError(f"the chip was not enrolled: {error}") from None
    return Enrolment(boot, cycles, passed)


def _refuse(what: str, measured: object, wanted: object) -> DeviceError:
    return DeviceError(f"the chip was not enrolled: {what} is {measured}, its family and secret say {wanted}")


def _status(engine: Chip, spec: UnitSpec) -> int:
    engine.reset()
    run = engine.run(packets.status_packet(), STATUS_WORDS + FRAME_WORDS)
    ((_, payload),) = packets.split(run.words)
    wanted = spec.id_word
    if int(payload[0]) != wanted:
        raise _refuse("the spec id", f"{int(payload[0]):#010x}", f"{wanted:#010x}")
    return run.cycles


def _measure_codes(engine: Chip, device: Device) -> None:
    """An emitting tile of each code with activation 1 shows its weight, and its cycles."""
    spec = device.spec
    codes = np.arange(spec.codes)[:, None]
    layer = dense(codes, np.zeros(spec.codes), 0, 0, 0, emits=True, every_lane=spec.stripes > 1)
    tiles = _run_clear(engine, Program(spec, (layer,), 0, 1), np.ones((spec.lanes, 1), np.int8))
    meaning = spec.decoding(device.table())
    for code, tile in enumerate(tiles):
        assert tile.accumulators is not None
        if set(tile.accumulators.tolist()) != {meaning.values[code]}:
            raise _refuse(f"the weight of code {code}", tile.accumulators.tolist(), meaning.values[code])
        if tile.cycles != meaning.cycles[code] + timing.TILE_OVERHEAD:
            raise _refuse(f"the time of code {code}", tile.cycles, meaning.cycles[code] + timing.TILE_OVERHEAD)


def _measure_challenge(engine: Chip, device: Device) -> list[int]:
    challenge = Challenge.of(device.spec)
    tiles = _run_clear(engine, challenge.program, challenge.activations)
    cycles, accumulators = ChipModel.of(device).run(challenge.program, challenge.activations)
    measured = [tile.cycles for tile in tiles]
    if measured != cycles.tolist():
        raise _refuse("the clock fingerprint", measured, cycles.tolist())
    emitted = np.array([tile.accumulators for tile in tiles if tile.accumulators is not None])
    if not np.array_equal(emitted, accumulators):
        raise DeviceError("the chip was not enrolled: its accumulators on the challenge are not those of its family and secret")
    return measured


def _run_clear(engine: Chip, program: Program, activations: np.ndarray) -> list[packets.TileResult]:
    engine.reset()
    first = packets.activations_packet(program.spec, program.input_base, activations)
    words = [first, packets.program_packets(program)]
    if program.spec.vault == VaultKind.ASCON:
        sealed = seal_with_zeros(program, reports=True)
        words = [sealed.head, first, sealed.body]
    run = engine.run(np.concatenate(words), packets.result_words(program))
    return packets.parse_results(run.words)


def known_answer(engine: Chip, device: Device, scheme: LockScheme) -> None:
    """A small random network, locked; every word of the answer."""
    spec = device.spec
    rng = np.random.default_rng(0)
    inputs, hidden = 24, 12
    layers = (
        dense(rng.integers(0, spec.codes, (hidden, inputs)), np.zeros(hidden), 0, inputs, 0),
        dense(rng.integers(0, spec.codes, (4, hidden)), np.zeros(4), inputs, 0, 0, True, spec.stripes > 1),
    )
    model = Program(spec, layers, 0, inputs)
    locked = seal_model(model, device, scheme, reports=True) if scheme.seals else lock_program(model, device, scheme)
    x = rng.integers(spec.act_min, spec.act_max + 1, (spec.lanes, inputs)).astype(np.int8)
    clear = unlock_program(locked, scheme, ChipModel.of(device))
    logits = Emulator(clear, device.table())(torch.from_numpy(x)).numpy()
    tiles = 0 if scheme.seals else Challenge.of(spec).tiles
    expected = packets.ExpectedResults.of(clear, clear.tile_cycles(device.table()), first_tile=tiles).words(logits)
    if isinstance(locked, SealedProgram):
        commands = locked.commands(scheme.packets(), x)
    else:
        inputs_packet = packets.activations_packet(spec, 0, x)
        commands = np.concatenate([scheme.packets(), inputs_packet, packets.program_packets(locked)])
    engine.reset()
    run = engine.run(commands, len(expected))
    if not np.array_equal(run.words, expected):
        raise DeviceError(f"the chip was not enrolled: it fails the self-test of {scheme.fingerprint} x {scheme.transform}")
