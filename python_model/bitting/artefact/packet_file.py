"""The file of a small host: all that a device is told and asked, as words of 32 bits, for who reads no safetensors.

docs/format.md is this format for people; `bitting/host` holds a host in C that reads it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.artefact.host_words import HostWords
from bitting.program.interface import Interface, Task
from bitting.program.packets import WORDS, crc32, packed

#: The first four bytes, and the number of the format; the next one is that of a file for lanes that share samples.
MAGIC = b"BTPK"
VERSION = 1
#: Added to the least and the most activation, so that they are not negative.
_UNSIGNED = 128
#: Words of the header; with lanes that share samples it has four more.
HEADER_WORDS = 16
#: Sources of the host in C.
C_HOST = Path(__file__).parents[1] / "host"


def c_host() -> dict[str, str]:
    """Name and text of each source of the host in C, which reads packet files."""
    return {path.name: path.read_text() for path in sorted(C_HOST.iterdir()) if path.suffix in (".c", ".h")}


def contents(artefact: Artefact, flash: bool = False) -> bytes:
    """The packet file of an artefact. It is not signed: check the artefact's signature before.

    With `flash` it is for a board that plays the program from its flash: what a host sends but inputs is left out.
    """
    words, test = HostWords.of(artefact, report=False), artefact.self_test
    words = words.from_flash() if flash else words
    program, picture = words.program, words.program.picture
    asked = np.empty((0, program.sample_words), np.int8) if test is None else test.questions
    answers = np.empty((0, words.outputs), np.int32) if test is None else test.answers
    known = [packed(row, 4) for row in asked] + [answers.reshape(-1).view(WORDS)]
    said = _interface(artefact.interface)
    sections = (np.concatenate([words.helper, words.once]), words.again, words.head, words.body, *known, said)
    shared = [] if picture is None else [words.spec.stripes, *picture]
    header = [
        int.from_bytes(MAGIC, "little"),
        VERSION + (picture is not None),
        HEADER_WORDS + len(shared) + sum(map(len, sections)) + 1,
        words.spec.id_word,
        words.spec.lanes,
        words.spec.act_bits,
        program.input_base,
        program.sample_words,
        words.outputs,
        words.results,
        *map(len, sections[:4]),
        len(asked),
        len(said),
    ]
    assert len(header) == HEADER_WORDS
    header += shared
    whole = np.concatenate([np.array(header, WORDS), *sections])
    return np.append(whole, np.array([crc32(whole)], WORDS)).tobytes()


def _interface(interface: Interface) -> np.ndarray:
    """What a host with floating point needs; nothing for an interface that says nothing."""
    if interface.plain:
        return np.empty(0, WORDS)
    arrays = [getattr(interface, name) for name in ("offset", "scale", "output_offset", "output_scale")]
    inputs, outputs = (np.broadcast_arrays(*arrays[at : at + 2]) for at in (0, 2))
    numbers = [interface.low + _UNSIGNED, interface.high + _UNSIGNED, list(Task).index(interface.task)]
    head = np.array([*numbers, inputs[0].size, outputs[0].size], WORDS)
    return np.concatenate([head, *(np.ascontiguousarray(array, "<f4").view(WORDS) for array in (*inputs, *outputs))])
