"""Frequencies of ring oscillators, read many times on many boards: a file of them, and the recorded set.

The file is an .npz with two arrays: `frequency_hz` (boards, oscillators, reads) and `board` (boards,), the boards' numbers.
Oscillator i lies at column i mod 16 and row i div 16. Reads are in the order in which they were taken, which matters: what
follows closely upon one another differs less (docs/puf.md).
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitting import files
from bitting.errors import MeasurementError

#: Of the recorded boards: 32 rows of 16 oscillators.
COLUMNS = 16
#: In BITTING_DATA: 150 boards with a Spartan-3E, 512 oscillators, 100 reads at one temperature and one voltage.
RECORDED = Path("ro-puf") / "spartan3e_150_boards.npz"
#: Frequencies that a ring oscillator may have, in Hz. One ring of a hundred inverters is above the lower, one inverter of a new
#: process below the upper; numbers in MHz or kHz are below it, and so are counts of a short window.
SLOWEST_HZ, FASTEST_HZ = 1e6, 1e11
#: Bytes of an array in a file: 1 GiB, thirty times what was recorded. A file of 1 MB can unpack to that.
MOST_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class Measurements:
    """Reads of all oscillators of some boards.

    Attributes:
        frequency_hz: (boards, oscillators, reads), from `SLOWEST_HZ` to `FASTEST_HZ`; integers as they were counted, or floats.
        board: (boards,) integers, the numbers of the boards, each once: a board that is there twice would be judged by itself.
        columns: oscillators in a row.

    Raises:
        MeasurementError: for another shape or type, or a number that is no frequency.
    """

    frequency_hz: np.ndarray
    board: np.ndarray
    columns: int = COLUMNS

    def __post_init__(self) -> None:
        shape, kind = self.frequency_hz.shape, self.frequency_hz.dtype.kind
        if len(shape) != 3 or min(shape) < 1 or kind not in "iuf":
            raise MeasurementError(
                f"frequency_hz is of shape {shape} and type {self.frequency_hz.dtype}; "
                "allowed is (boards, oscillators, reads) of integers or floats, at least one of each"
            )
        if self.board.shape != shape[:1] or self.board.dtype.kind not in "iu":
            raise MeasurementError(
                f"board is of shape {self.board.shape} and type {self.board.dtype}; allowed is an integer for each of the "
                f"{shape[0]} boards of frequency_hz, which is of shape {shape}: (boards, oscillators, reads)"
            )
        numbers, counts = np.unique(self.board, return_counts=True)
        if len(twice := numbers[counts > 1]):
            raise MeasurementError(
                f"boards {', '.join(map(str, twice[:5]))} are there more than once; put all reads of a board into one row, "
                "and give different boards different numbers"
            )
        if self.columns < 1 or shape[1] % self.columns:
            raise MeasurementError(
                f"{shape[1]} oscillators are not whole rows of {self.columns}; give a number of columns (--columns) that "
                f"divides {shape[1]}"
            )
        # One board at a time: a mask of all would be another copy.
        for row, number in zip(self.frequency_hz, self.board, strict=True):
            wrong = ~(np.isfinite(row) & (row > 0))
            if wrong.any():
                oscillator, read = np.argwhere(wrong)[0]
                raise MeasurementError(
                    f"frequency_hz holds {row[oscillator, read]} at board {number}, oscillator {oscillator}, read {read} "
                    f"({int(wrong.sum())} such numbers of that board); allowed are positive finite numbers: measure that "
                    "oscillator again, or leave that board out"
                )

            outside = (row < SLOWEST_HZ) | (row > FASTEST_HZ)
            if outside.any():
                oscillator, read = np.argwhere(outside)[0]
                raise MeasurementError(
                    f"frequency_hz holds {row[oscillator, read]:.6g} at board {number}, oscillator {oscillator}, read {read} "
                    f"({int(outside.sum())} such numbers of that board); allowed are {SLOWEST_HZ:g} to {FASTEST_HZ:g} "
                    "Hz, as ring oscillators have: give hertz, not MHz, kHz or counts; multiply by what a divider divides by"
                )

    @property
    def boards(self) -> int:
        """How many."""
        return int(self.frequency_hz.shape[0])

    @property
    def oscillators(self) -> int:
        """Of each board."""
        return int(self.frequency_hz.shape[1])

    @property
    def reads(self) -> int:
        """Of each oscillator."""
        return int(self.frequency_hz.shape[2])

    @property
    def rows(self) -> int:
        """Of oscillators."""
        return self.oscillators // self.columns

    def averages(self, reads: int, first: int = 0) -> Iterator[np.ndarray]:
        """What a device measures that averages `reads` successive reads: (boards, oscillators) in Hz, again and again.

        Args:
            reads: in each average, from 1; no read is in two.
            first: read to begin with.
        """
        for begin in range(first, self.reads - reads + 1, reads):
            yield self.frequency_hz[:, :, begin : begin + reads].mean(2)

    def mean(self) -> np.ndarray:
        """Over all reads: (boards, oscillators), in Hz."""
        return np.asarray(self.frequency_hz.mean(2))

    def of(self, boards: Sequence[int] | np.ndarray) -> Measurements:
        """Some of the boards, by their places (from 0)."""
        return Measurements(self.frequency_hz[boards], self.board[boards], self.columns)

    def save(self, path: Path) -> None:
        """Write an .npz of mode 0600, whole or not at all: whoever has measured a board has its key.

        Raises:
            BittingError: if it can not be written.
        """
        with files.replacing(path, files.PRIVATE) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, frequency_hz=self.frequency_hz, board=self.board)


def load(path: Path, columns: int = COLUMNS) -> Measurements:
    """Measurements from an .npz. Nothing in it is ever unpickled.

    Raises:
        MeasurementError: if it is no .npz, lacks an array, or holds what is no measurement.
    """
    if not path.exists():
        raise MeasurementError(f"{path} does not exist; give an .npz with frequency_hz and board")
    try:
        if not zipfile.is_zipfile(path):  # numpy would advise to unpickle it
            raise ValueError("it is no zip file")
        _require_sizes(path)
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("one array without a name")
        with archive:
            missing = [name for name in ("frequency_hz", "board") if name not in archive.files]
            if missing:
                raise MeasurementError(
                    f"{path} holds {', '.join(archive.files) or 'nothing'} and lacks {', '.join(missing)}; "
                    "wanted are frequency_hz (boards, oscillators, reads) and board (boards,)"
                )
            arrays = archive["frequency_hz"], archive["board"]
            if not all(isinstance(array, np.ndarray) for array in arrays):  # what is no array comes as its bytes
                raise ValueError("what is in it is no array")
    except (ValueError, EOFError, OSError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise MeasurementError(
            f"{path} can not be read as an .npz of plain numbers ({error}); wanted are the arrays frequency_hz (boards, "
            "oscillators, reads) and board (boards,), as numpy.savez writes them"
        ) from None
    try:
        return Measurements(*arrays, columns)
    except MeasurementError as error:
        raise MeasurementError(f"{path}: {error}") from None


def _require_sizes(path: Path) -> None:
    """Raises MeasurementError for contents that unpack to more than anyone measures: no more than it says is ever unpacked."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.file_size > MOST_BYTES:
                raise MeasurementError(
                    f"{path}: {member.filename} unpacks to {member.file_size} bytes; allowed are {MOST_BYTES}: give fewer "
                    "boards or reads, or integers of 32 bits"
                )


def recorded() -> Measurements:
    """The 150 boards in BITTING_DATA.

    Raises:
        MeasurementError: without BITTING_DATA, or if they are not there.
    """
    folder = os.environ.get("BITTING_DATA")
    if not folder or not (Path(folder) / RECORDED).exists():
        where = f"{Path(folder) / RECORDED} is not there" if folder else "BITTING_DATA is not set"
        raise MeasurementError(
            f"the recorded boards are looked for in BITTING_DATA/{RECORDED}, and {where}; set BITTING_DATA to the folder that "
            "holds them, name a file with --measurements, or simulate boards with --boards"
        )
    return load(Path(folder) / RECORDED)
