"""Sealed programs in a safetensors file: their words, and the numbers a host needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bitting.artefact import program_format
from bitting.errors import ArtefactError
from bitting.locking.sealed_program import PROGRAM_WORDS, SealedProgram
from bitting.program import bands
from bitting.program.packets import WORDS
from bitting.unit.protocol import Packet
from bitting.unit.spec import UnitSpec

_WORDS = "sealed.words"
TENSORS = frozenset({_WORDS})
_FIELDS = ("input_base", "input_words", "outputs", "tiles", "reports")


def write(program: SealedProgram) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and header fields."""
    fields = {name: getattr(program, name) for name in _FIELDS} | program_format.picture_field(program.picture)
    return {_WORDS: np.ascontiguousarray(program.words, WORDS)}, {"sealed": fields}


def read(path: Path, spec: UnitSpec, header: dict[str, Any], tensors: dict[str, np.ndarray]) -> SealedProgram:
    """The program of a file whose tensors are known to be there.

    Raises:
        ArtefactError: if a field or the words are not what they should be.
        LockError: if the words do not end with a packet.
        ProgramError: if the input can not be shared between lanes.
        KeyError, TypeError, ValueError: if a header field is malformed.
    """
    fields, words = dict(header["sealed"]), tensors[_WORDS]
    picture = program_format.picture_of(fields)
    fields.pop(program_format.PICTURE, None)
    if set(fields) != set(_FIELDS):
        raise ArtefactError(f"{path}: the sealed program has fields {sorted(fields)}; allowed {sorted(_FIELDS)}")
    if words.dtype != WORDS or words.ndim != 1:
        raise ArtefactError(f"{path}: {_WORDS} is {words.dtype} of shape {words.shape}; allowed is uint32 of one dimension")
    if not isinstance(fields["reports"], bool):
        raise ArtefactError(f"{path}: reports = {fields['reports']!r}; allowed is true or false")
    numbers = {name: fields[name] for name in _FIELDS if name != "reports"}
    largest = {
        "input_base": spec.scratch_words - 1,
        "input_words": spec.scratch_words - int(fields["input_base"]),
        "outputs": int(fields["tiles"]),
    }
    for name, value in numbers.items():
        if type(value) is not int or not 1 - (name == "input_base") <= value <= largest.get(name, 1 << 62):
            raise ArtefactError(f"{path}: {name} = {value!r} is out of range")
    bands.validate(spec, picture, fields["input_words"])
    program = SealedProgram(spec, words, **numbers, reports=fields["reports"], picture=picture)
    kinds = [int(packet[0]) & 0xFF for packet in program.packets()]
    tiles = kinds.count(Packet.TILE)
    if kinds[:2] != [Packet.PROGRAM, Packet.LAYER] or len(words) <= PROGRAM_WORDS or int(words[0]) >> 16 != 1:
        raise ArtefactError(f"{path}: the sealed words do not begin with a program and a layer")
    if tiles != program.tiles:
        raise ArtefactError(f"{path}: the sealed words have {tiles} tiles, the header says {program.tiles}")
    return program
