"""Layer programs as tensors and header fields of a safetensors file, and the checks of what is read back.

`docs/format.md` is this format for people.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bitting.errors import ArtefactError
from bitting.program.bands import Shape
from bitting.program.layers import Layer, Program
from bitting.unit.spec import UnitSpec

_TENSORS = {"codes": np.uint8, "bias": np.int32, "offsets": np.int32, "in_base": np.int32, "out_base": np.int32}
_PAIRS = ("positions", "strides", "out_strides")
_FLAGS = ("emits", "plain", "constant")
_FIELDS = {*_PAIRS, *_FLAGS, "shift", "parts"}
#: Of a layer, if lanes share samples and it reads across them, or emits from all of them; left out where they say nothing.
_BANDS: dict[str, Any] = {"band": (0, 0), "edge": 0, "every_lane": False}
#: Header field of a program whose lanes share samples.
PICTURE = "picture"


def write(prefix: str, program: Program) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors (each named `{prefix}layer{i}.{name}`) and header fields of a program."""
    tensors: dict[str, np.ndarray] = {}
    layers = []
    for index, layer in enumerate(program.layers):
        for name, dtype in _TENSORS.items():
            tensors[f"{prefix}layer{index}.{name}"] = np.ascontiguousarray(getattr(layer, name), dtype)
        said = {name for name, nothing in _BANDS.items() if getattr(layer, name) != nothing}
        layers.append({name: getattr(layer, name) for name in sorted(_FIELDS | said)})
    fields = {"layers": layers, "input_base": program.input_base, "input_words": program.input_words}
    return tensors, fields | picture_field(program.picture)


def picture_field(picture: Shape | None) -> dict[str, Any]:
    """The header field of a picture that lanes share; none if they do not."""
    return {} if picture is None else {PICTURE: list(picture)}


def picture_of(fields: dict[str, Any]) -> Shape | None:
    """Inverse of `picture_field`. Raises TypeError or ValueError if it is malformed."""
    if PICTURE not in fields:
        return None
    channels, rows, columns = fields[PICTURE]
    return int(channels), int(rows), int(columns)


def tensor_names(prefix: str, fields: dict[str, Any]) -> set[str]:
    """The tensors that a program with these header fields has."""
    return {f"{prefix}layer{i}.{name}" for i in range(len(fields["layers"])) for name in _TENSORS}


def read(path: Path, prefix: str, spec: UnitSpec, fields: dict[str, Any], tensors: dict[str, np.ndarray]) -> Program:
    """The program of a file whose tensors are known to be there.

    Raises:
        ArtefactError: if a layer's fields or tensors are not what a layer holds.
        ProgramError: if the spec can not hold the program.
        KeyError, TypeError, ValueError: if a header field is malformed.
    """
    layers = tuple(_layer(path, f"{prefix}layer{i}", layer, tensors) for i, layer in enumerate(fields["layers"]))
    program = Program(spec, layers, int(fields["input_base"]), int(fields["input_words"]), picture_of(fields))
    program.validate()
    return program


def _layer(path: Path, prefix: str, fields: dict[str, Any], tensors: dict[str, np.ndarray]) -> Layer:
    if set(fields) - set(_BANDS) != _FIELDS:
        raise ArtefactError(f"{path}: {prefix} has fields {sorted(fields)}; allowed {sorted(_FIELDS)}")
    arrays = {}
    for name, dtype in _TENSORS.items():
        array = tensors[f"{prefix}.{name}"]
        if array.dtype != dtype or array.ndim != (2 if name == "codes" else 1) or array.size == 0:
            raise ArtefactError(f"{path}: {prefix}.{name} is {array.dtype} of shape {array.shape}; not what a layer holds")
        arrays[name] = array
    pairs = {}
    for name in _PAIRS:
        row, column = fields[name]
        pairs[name] = (int(row), int(column))
    flags = {name: bool(fields[name]) for name in _FLAGS}
    start, words = fields.get("band", _BANDS["band"])
    keywords: dict[str, Any] = {
        **arrays, **pairs, **flags, "band": (int(start), int(words)), "edge": int(fields.get("edge", 0)),
        "every_lane": bool(fields.get("every_lane", False)),
    }  # fmt: skip
    return Layer(**keywords, shift=int(fields["shift"]), parts=int(fields["parts"]))
