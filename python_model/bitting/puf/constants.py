"""Constants of a PUF from chips that were measured, and their files.

A chip's sums (`bitting.sim.puf_chip.measured`) are as secret as its key. The mean over many chips is public: it says what pairs
differ by in the layout, the same on every device. The chips that it comes from are better not sold, for their own keys are
easier to guess by it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bitting import files
from bitting.errors import MeasurementError
from bitting.unit.puf_key import PufDesign

_FORMAT = "bitting puf constants 1"
#: More than this is no file of either kind.
_MAX_BYTES = 1 << 24


def save_sums(path: Path, sums: np.ndarray) -> None:
    """Write (measurements, pairs) integer sums of one chip, mode 0600, whole or not at all."""
    with files.replacing(path, files.PRIVATE) as temporary, temporary.open("wb") as file:
        np.save(file, sums.astype(np.int64), allow_pickle=False)


def load_sums(path: Path) -> np.ndarray:
    """The (measurements, pairs) sums of one chip.

    Raises:
        MeasurementError: if there is no such file, it is too large, or holds something else.
    """
    _require_file(path, "sums of a chip, from `bitting puf measure`")
    try:
        sums = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:  # MemoryError: it claims a size beyond all bounds
        raise MeasurementError(f"{path} holds no sums of a chip ({error}); take what `bitting puf measure` wrote") from None
    if not isinstance(sums, np.ndarray) or sums.dtype != np.int64 or sums.ndim != 2 or not sums.size:
        raise MeasurementError(f"{path} holds no sums of a chip; take what `bitting puf measure` wrote")
    return sums


def from_sums(chips: Sequence[np.ndarray]) -> tuple[int, ...]:
    """Of each pair the mean over chips of the mean of its sums, rounded to the nearest: what hardware compares sums with.

    Args:
        chips: (measurements, pairs) sums of each of two chips or more.

    Raises:
        MeasurementError: for fewer chips, other numbers of pairs, or the same chip twice.
    """
    if len(chips) < 2:
        raise MeasurementError(
            f"constants of {len(chips)} chip would be its key; allowed are two or more, wanted are a hundred"
        )
    pairs = {sums.shape[1] for sums in chips}
    if len(pairs) > 1:
        raise MeasurementError(f"chips of {sorted(pairs)} pairs of oscillators; constants are of chips of one design")
    if len({sums.tobytes() for sums in chips}) < len(chips):
        raise MeasurementError("a chip is there twice; it would count twice, so leave one of the files out")
    return tuple(round(float(value)) for value in np.mean([sums.mean(0) for sums in chips], 0))


def save(path: Path, constants: Sequence[int], chips: int) -> None:
    """Write constants and how many chips they are of; public."""
    files.write_text(path, json.dumps({"format": _FORMAT, "chips": chips, "constants": list(constants)}) + "\n")


def load(path: Path, design: PufDesign) -> tuple[int, ...]:
    """Constants for a design.

    Raises:
        MeasurementError: if there is no such file, or it is malformed.
        SpecError: if there are not as many as pairs, or one does not fit (`PufDesign`).
    """
    _require_file(path, "constants, from `bitting puf constants`")
    try:
        fields = json.loads(path.read_text())
    except (ValueError, RecursionError):
        fields = None
    constants = fields.get("constants") if isinstance(fields, dict) and fields.get("format") == _FORMAT else None
    if not isinstance(constants, list) or any(type(value) is not int for value in constants):
        raise MeasurementError(f"{path} holds no constants of a PUF; take what `bitting puf constants` wrote")
    return design.measured.check_constants(constants)


def _require_file(path: Path, what: str) -> None:
    if not path.is_file():
        raise MeasurementError(f"{path} is no file; wanted are {what}")
    if path.stat().st_size > _MAX_BYTES:
        raise MeasurementError(f"{path} has {path.stat().st_size} bytes, allowed are {_MAX_BYTES}; wanted are {what}")
