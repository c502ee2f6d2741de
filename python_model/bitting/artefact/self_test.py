"""Questions with the right device's answers, in the artefact: whoever runs it can tell that device from another without a key.

The questions are the same for every artefact of a family with as many input words: drawn from the spec's id, as the challenge
is. So they say nothing of anybody's data, and many artefacts of one model answer no more than one of them. docs/threats.md
says what the answers give away.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bitting.errors import ArtefactError, DeviceError, LockError
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.transform import unlock_program
from bitting.program import bands
from bitting.program.layers import Program
from bitting.unit.spec import UnitSpec

if TYPE_CHECKING:
    from bitting.artefact.artefact import Artefact

#: How many questions a lock puts into an artefact, unless told otherwise, and the most it may be told.
DEFAULT, MOST = 4, 64
_QUESTIONS, _ANSWERS = "self_test.questions", "self_test.answers"
TENSORS = frozenset({_QUESTIONS, _ANSWERS})


@dataclass(frozen=True, eq=False)
class SelfTest:
    """(N, sample_words) int8 questions, whole inputs of a program, and (N, outputs) int32 answers, its accumulators."""

    questions: np.ndarray
    answers: np.ndarray

    @classmethod
    def of(cls, model: Program, count: int = DEFAULT) -> SelfTest | None:
        """Of an unlocked program (codes are value indices); None for no questions.

        Raises:
            LockError: for a count that is not 0..`MOST`.
        """
        if not 0 <= count <= MOST:
            raise LockError(f"a self-test has {count} questions; allowed 0..{MOST}: every one gives an answer away")
        if not count:
            return None
        asked = questions(model.spec, model.sample_words, count)
        return cls(asked, _answers(_family_chip(model.spec), model, asked))

    def batch(self, first: int, samples: int) -> np.ndarray:
        """(samples, sample_words): the questions from number `first` on, and over again until there are so many."""
        asked = self.questions[first : first + samples]
        return asked[np.arange(samples) % len(asked)]

    def wrong(self, answers: np.ndarray, first: int) -> int:
        """How many of (samples, outputs) answers to `batch(first, samples)` differ from the right ones."""
        right = self.answers[first : first + len(answers)]
        return int((answers != right[np.arange(len(answers)) % len(right)]).sum())


def questions(spec: UnitSpec, words: int, count: int) -> np.ndarray:
    """(count, words) int8, drawn evenly from all activations there are: SHAKE-256 of the spec's id, a byte for each."""
    stream = hashlib.shake_256(f"bitting self-test {spec.id} {words}".encode()).digest(count * words)
    drawn = np.frombuffer(stream, np.uint8).astype(np.int64) % (1 << spec.act_bits) + spec.act_min
    return drawn.astype(np.int8).reshape(count, words)


def _family_chip(spec: UnitSpec) -> ChipModel:
    """The chip whose codes are value indices."""
    values = [np.array(spec.decoding(range(spec.codes), plain).values, np.int64) for plain in (False, True)]
    return replace(ChipModel.of(Device.family(spec)), values=(values[0], values[1]))


def _answers(chip: ChipModel, clear: Program, asked: np.ndarray) -> np.ndarray:
    lanes = bands.split(asked, clear.picture, clear.spec.stripes)
    return chip.run(clear, lanes)[1].T[:: clear.bands].astype(np.int32)


def require_device(artefact: Artefact, device: Device, what: str) -> None:
    """Insist that an artefact is for a device, whose key is at hand, without asking the device.

    Args:
        artefact: as loaded.
        device: the one it should be for.
        what: the artefact, for the error's text.

    Raises:
        DeviceError: if it is for another device, or nothing of it says for which it is.
    """
    device.require_spec(artefact.program.spec, what)
    chip = ChipModel.of(device)
    try:
        clear = unlock_program(artefact.program, artefact.scheme, chip)
    except LockError as error:
        raise DeviceError(f"{what} is not for this device: {error}") from None
    test = artefact.self_test
    if test is not None and not np.array_equal(_answers(chip, clear, test.questions), test.answers):
        raise DeviceError(f"{what} is not for this device: it would answer its self-test otherwise")
    if test is None and not artefact.scheme.seals:
        raise DeviceError(
            f"{what} does not say which device it is for: it has no self-test, and nothing of the vault `aes` is "
            "authentic; lock it with --self-test of 1 or more"
        )


def write(test: SelfTest | None) -> dict[str, np.ndarray]:
    """Tensors of a file."""
    if test is None:
        return {}
    return {_QUESTIONS: np.ascontiguousarray(test.questions, np.int8), _ANSWERS: np.ascontiguousarray(test.answers, np.int32)}


def read(path: Path, program_words: int, outputs: int, spec: UnitSpec, tensors: dict[str, np.ndarray]) -> SelfTest | None:
    """The self-test of a file, whose two tensors are both there or not at all.

    Raises:
        ArtefactError: if they are not inputs and outputs of its program.
    """
    if _QUESTIONS not in tensors:
        return None
    asked, answers = tensors[_QUESTIONS], tensors[_ANSWERS]
    count = len(asked) if asked.ndim else 0
    for name, tensor, dtype, width in ((_QUESTIONS, asked, np.int8, program_words), (_ANSWERS, answers, np.int32, outputs)):
        if tensor.dtype != dtype or tensor.shape != (count, width) or not 1 <= count <= MOST:
            raise ArtefactError(
                f"{path}: {name} is {tensor.dtype} of shape {tensor.shape}; allowed is {np.dtype(dtype)} of shape "
                f"(1..{MOST}, {width}), questions and answers alike"
            )
    if asked.min() < spec.act_min or asked.max() > spec.act_max:
        raise ArtefactError(
            f"{path}: {_QUESTIONS} reach from {asked.min()} to {asked.max()}; allowed {spec.act_min}..{spec.act_max}"
        )
    return SelfTest(asked, answers)
