"""Sealed programs in a safetensors file: their words, and the numbers a host needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bitting.errors import ArtefactError
from bitting.locking.sealed_program import SealedProgram
from bitting.program.packets import WORDS
from bitting.unit.spec import UnitSpec

_WORDS = "sealed.words"
TENSORS = {_WORDS}
_FIELDS = ("input_base", "input_words", "outputs", "tiles", "macs", "parameters", "reports")


def write(program: SealedProgram) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and header fields."""
    return {_WORDS: np.ascontiguousarray(program.words, WORDS)}, {"sealed": {name: getattr(program, name) for name in _FIELDS}}


def read(path: Path, spec: UnitSpec, header: dict[str, Any], tensors: dict[str, np.ndarray]) -> SealedProgram:
    """The program of a file whose tensors are known to be there.

    Raises:
        ArtefactError: if a field or the words are not what they should be.
        LockError: if the words do not end with a packet.
        KeyError, TypeError, ValueError: if a header field is malformed.
    """
    fields, words = dict(header["sealed"]), tensors[_WORDS]
    if set(fields) != set(_FIELDS):
        raise ArtefactError(f"{path}: the sealed program has fields {sorted(fields)}; allowed {sorted(_FIELDS)}")
    if words.dtype != WORDS or words.ndim != 1:
        raise ArtefactError(f"{path}: {_WORDS} is {words.dtype} of shape {words.shape}; allowed is uint32 of one dimension")
    numbers = {name: int(fields[name]) for name in _FIELDS if name != "reports"}
    largest = {"input_base": spec.scratch_words - 1, "input_words": spec.scratch_words}
    for name, value in numbers.items():
        if not 0 <= value <= largest.get(name, 1 << 62):
            raise ArtefactError(f"{path}: {name} = {value} is out of range")
    program = SealedProgram(spec, words, **numbers, reports=bool(fields["reports"]))
    for _ in program.packets():
        pass
    return program
