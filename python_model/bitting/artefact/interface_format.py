"""Interfaces in the files of models and artefacts: four tensors and a header field, which a program without one lacks.

`docs/format.md` is this format for people.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bitting.program.interface import NO_INTERFACE, Interface, Task
from bitting.unit.spec import UnitSpec

_FIELD = "interface"
_ARRAYS = ("offset", "scale", "output_offset", "output_scale")
_TENSORS = {f"{_FIELD}.{name}" for name in _ARRAYS}
_NUMBERS = {"shape", "low", "high", "task", "names"}


def added(
    interface: Interface, tensors: dict[str, np.ndarray], fields: dict[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and header fields of a program, and those of its interface, if that says anything."""
    if interface.plain:
        return tensors, fields
    arrays = {f"{_FIELD}.{name}": np.ascontiguousarray(getattr(interface, name), np.float32) for name in _ARRAYS}
    said = {"shape": interface.shape, "low": interface.low, "high": interface.high}
    said |= {"task": interface.task.value, "names": interface.names}
    return tensors | arrays, fields | {_FIELD: said}


def names(header: dict[str, Any]) -> set[str]:
    """The tensors that a file with this header has for its interface."""
    return _TENSORS if _FIELD in header else set()


def read(header: dict[str, Any], tensors: dict[str, np.ndarray], spec: UnitSpec, input_words: int, outputs: int) -> Interface:
    """The interface of a file whose tensors are known to be there; `NO_INTERFACE` if it has none.

    Raises:
        ProgramError: if it does not fit the program.
        KeyError, TypeError, ValueError: if a header field is malformed.
    """
    if _FIELD not in header:
        return NO_INTERFACE
    said = dict(header[_FIELD])
    if set(said) != _NUMBERS:
        raise ValueError(f"the interface has fields {sorted(said)}; allowed {sorted(_NUMBERS)}")
    if not all(type(value) is int for value in (*said["shape"], said["low"], said["high"])):
        raise TypeError("the interface's shape, low and high are to be integers")
    if not all(isinstance(name, str) for name in said["names"]):
        raise TypeError("the interface's names are to be texts")
    interface = Interface(
        tuple(said["shape"]), tensors[f"{_FIELD}.offset"], tensors[f"{_FIELD}.scale"], said["low"], said["high"],
        Task(said["task"]), tensors[f"{_FIELD}.output_offset"], tensors[f"{_FIELD}.output_scale"], tuple(said["names"]),
    )  # fmt: skip
    interface.validate(spec, input_words, outputs)
    return interface
