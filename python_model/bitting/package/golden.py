"""What the testbench of a package sends and must get: golden words for a device whose secret is public.

A package is given away, so it holds nothing that a device's secret is needed for: its testbench plays a device with a root
that everyone knows, in which no chip is ever made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.artefact.host_words import HostWords
from bitting.locking.challenge import Challenge
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.kinds import Fingerprint, default_transform
from bitting.locking.scheme import NONCE_BYTES, LockScheme
from bitting.locking.transform import inverse, personalise, seal_with_zeros
from bitting.program import packets
from bitting.program.layers import Program, multilayer_perceptron
from bitting.program.packets import ExpectedResults
from bitting.unit.protocol import ErrorCode, Result, fuse_words
from bitting.unit.spec import UnitSpec, VaultKind
from bitting_rtl.board.registers import Control, Register, constants
from bitting_rtl.engine.words import LOCK_STATE

#: The root secret of the device that the testbench plays: public. All its bytes differ, so that their order shows.
TEST_ROOT = bytes(range(16))
#: Fixed, so that a package of one version is always the same; what is locked under it is public too.
_NONCE = bytes(range(NONCE_BYTES))
_INPUTS, _HIDDEN, _OUTPUTS = 24, 12, 4


@dataclass(frozen=True, eq=False)
class Session:
    """From one reset to the next.

    Attributes:
        name: a word.
        meaning: a sentence.
        fuses: their words.
        control: what is written to CONTROL instead of sending commands, or 0.
        commands: (n,) uint32.
        answers: (m,) uint32, all that comes.
        error: that stays in STATUS.
    """

    name: str
    meaning: str
    fuses: list[int]
    commands: np.ndarray
    answers: np.ndarray
    error: ErrorCode = ErrorCode.NONE
    control: int = 0


def sessions(spec: UnitSpec) -> list[Session]:
    """Every session of the testbench; the same for the same spec."""
    rng = np.random.default_rng(0)
    shapes = ((_HIDDEN, _INPUTS), (_OUTPUTS, _HIDDEN))
    half = 1 << (spec.acc_bits - 1)
    weights = [rng.integers(0, spec.codes, shape) for shape in shapes]
    biases = [rng.integers(-half, half, count) for count, _ in shapes]
    model = multilayer_perceptron(spec, weights, biases, shifts=[0, 0])
    x = rng.integers(spec.act_min, spec.act_max + 1, (spec.lanes, _INPUTS)).astype(np.int8)
    return [_status(spec), _clear(model, x), *_locked(model, x), _lock_now(spec)]


def boot_clocks(spec: UnitSpec) -> int:
    """In so many clocks after a reset, or fewer, STATUS is answered; the testbench holds the engine to it.

    The scratch memory is cleared, a word a clock, while the keys and the bitting table are derived.
    """
    return spec.scratch_words + 4 * spec.codes + 256


def _device(spec: UnitSpec, sealed: bool) -> Device:
    """The vault `aes` has no fuse `sealed`."""
    return Device(spec, TEST_ROOT, sealed=sealed and spec.vault == VaultKind.ASCON)


def _session(name: str, meaning: str, device: Device, commands: np.ndarray, answers: np.ndarray, **more: Any) -> Session:
    return Session(name, meaning, fuse_words(device.root, device.sealed), commands, answers, **more)


def _written_for(device: Device, model: Program) -> Program:
    """A model, whose codes are value indices, in the codes of a device."""
    return model.map_codes(inverse(device.table()))


def _answers(device: Device, clear: Program, x: np.ndarray, **how: Any) -> np.ndarray:
    """All result words of a program that is written for the device; `how`: as of `ExpectedResults.of`."""
    sums = ChipModel.of(device).run(clear, x)[1].T
    return ExpectedResults.of(clear, clear.tile_cycles(device.table()), **how).words(sums)


def _status(spec: UnitSpec) -> Session:
    device = _device(spec, sealed=True)
    state = ["booted", *(["sealed"] if device.sealed else [])]
    flags = sum(1 << LOCK_STATE[name].offset for name in state)
    answer = packets.frame(Result.STATUS_REPLY, np.array([constants(spec)[Register.SPEC], 0, 0, 0, flags], packets.WORDS))
    return _session("status", "STATUS right after a reset", device, packets.status_packet(), answer)


def _clear(model: Program, x: np.ndarray) -> Session:
    """The vault `ascon` takes a program in clear from an unsealed device, under a lock key of zeros."""
    device = _device(model.spec, sealed=False)
    clear = _written_for(device, model)
    words = [packets.activations_packet(model.spec, clear.input_base, x), packets.program_packets(clear)]
    if model.spec.vault == VaultKind.ASCON:
        program = seal_with_zeros(clear, reports=True)
        words = [program.head, words[0], program.body]
    meaning = "a program in clear, with the cycles of every tile"
    return _session("clear", meaning, device, np.concatenate(words), _answers(device, clear, x))


def _locked(model: Program, x: np.ndarray) -> Iterator[Session]:
    """As an artefact for the device: it answers; and refuses the same with one bit of the first layer changed."""
    device = _device(model.spec, sealed=True)
    scheme = LockScheme.new(model.spec, Fingerprint.CLOCK, default_transform(model.spec.vault), nonce=_NONCE)
    words = HostWords.of(Artefact(personalise(model, device, scheme), scheme), report=False)
    commands = np.concatenate([words.once, words.batch(x)])
    before = 0 if scheme.seals else Challenge.of(model.spec).tiles  # a program of the vault `ascon` counts its own tiles
    clear = _written_for(device, model)
    answers = _answers(device, clear, x, report=False, first_tile=before, told=not device.sealed)
    yield _session("locked", "the same network, locked to the device that is played", device, commands, answers)
    changed = commands.copy()
    changed[len(commands) - len(words.body) + 1] ^= 1
    error = ErrorCode.BAD_TAG if scheme.seals else ErrorCode.BAD_CRC
    meaning = "the same again with one bit changed: refused"
    yield _session("changed", meaning, device, changed, _fault(error, before), error=error)


def _lock_now(spec: UnitSpec) -> Session:
    none, error = np.empty(0, packets.WORDS), ErrorCode.LOCKED
    meaning = "LOCK_NOW in CONTROL: the engine wipes its keys and stops"
    return _session(
        "lock_now", meaning, _device(spec, sealed=True), none, _fault(error, 0), error=error, control=Control.LOCK_NOW
    )


def _fault(error: ErrorCode, tiles: int) -> np.ndarray:
    return packets.frame(Result.FAULT, np.array([error | tiles << 8], packets.WORDS))
