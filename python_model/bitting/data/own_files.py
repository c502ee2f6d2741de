"""Data sets of the user's own: arrays, pictures in folders or archives, tables, and Python functions."""

from __future__ import annotations

import contextlib
import csv
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bitting.data import own_code, pictures
from bitting.data.dataset import Dataset, of_arrays
from bitting.errors import DatasetError
from bitting.program.interface import Task

_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_NAMES = "names"
#: Bytes of one array of a file, as its header says: 16 GiB, a hundred times CIFAR-10. A file of 1 KB may claim 64 TiB.
MOST_BYTES = 1 << 34
#: How a file with one array begins, as numpy.save writes it.
_ONE_ARRAY = b"\x93NUMPY"
#: How numpy writes where the shape of an array is said, by the version of that.
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
#: What stands for a target that is missing.
_MISSING = ("", "nan", "na", "n/a", "null", "none", "?")
#: What float32 holds.
_LARGEST = float(np.finfo(np.float32).max)
#: A table has no test of its own: every so many rows are set apart, the same ones each time.
_TEST_SHARE = 5

#: How people may name data of their own.
KINDS = "FILE.npz, FILE.csv, FILE.csv:COLUMN, a folder or archive of pictures, module:function"


def is_own(name: str) -> bool:
    """Whether a name is that of a file or a function, and not of a data set that is known by name."""
    return name.lower().endswith((".npz", ".csv", *pictures.ARCHIVES)) or ":" in name or "/" in name or Path(name).is_dir()


def load(name: str, task: Task | None = None) -> Dataset:
    """A data set from a file, a folder or a function.

    Args:
        name: see `KINDS`. Of a table the last column is to be learnt, or the one that is named.
        task: see `of_arrays`.

    Raises:
        DatasetError: if it can not be read, or is no data set.
    """
    file, column = _split_column(name)
    path = Path(file)
    if not path.exists() and not column and ":" in name:
        return _of_function(name, task)
    if not path.exists():
        raise DatasetError(f"{file} does not exist; allowed: {KINDS}")
    if path.is_dir():
        return of_arrays(path.name, *pictures.in_classes(path.name, pictures.in_folder(path)), task)
    if name.lower().endswith(".npz"):
        return _of_npz(path, task)
    if file.lower().endswith(".csv"):
        return _of_table(path, task, column)
    if name.lower().endswith(pictures.ARCHIVES):
        return of_arrays(path.name, *pictures.in_classes(path.name, pictures.in_archive(path)), task)
    raise DatasetError(f"{name}: a file of an unknown kind; allowed: {KINDS}")


def _split_column(name: str) -> tuple[str, str]:
    """`FILE.csv:COLUMN` as a file and a column; without one, nothing for it."""
    at = name.lower().find(".csv:")
    return (name[: at + 4], name[at + 5 :]) if at >= 0 else (name, "")


def _of_npz(path: Path, task: Task | None) -> Dataset:
    try:
        with path.open("rb") as file:
            if file.read(len(_ONE_ARRAY)) == _ONE_ARRAY:
                raise DatasetError(f"{path} holds one array; allowed is what numpy.savez writes: {', '.join(_ARRAYS)}")
        with zipfile.ZipFile(path) as archive:
            there = [name.removesuffix(".npy") for name in archive.namelist()]
            if missing := [name for name in _ARRAYS if name not in there]:
                raise DatasetError(f"{path} lacks {', '.join(missing)}; found {', '.join(there) or 'nothing'}")
            wanted = [name for name in (*_ARRAYS, _NAMES) if name in there]
            for name in wanted:
                _require_contents(path, archive, name)
        with np.load(path, allow_pickle=False) as arrays:
            return _of_mapping(path.name, {name: arrays[name] for name in wanted}, task)
    except (OSError, ValueError, RuntimeError, *pictures.BROKEN) as error:
        raise DatasetError(f"{path} can not be read ({error}); allowed is what numpy.savez writes, without objects") from None
    except MemoryError:
        raise DatasetError(f"{path} does not fit into the memory of this machine; give fewer samples") from None


def _require_contents(path: Path, archive: zipfile.ZipFile, name: str) -> None:
    """Raises DatasetError or ValueError for an array that its file can not hold, before numpy asks for the memory."""
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"{name} is of version {version} of numpy's format")
        shape, _, kind = _HEADERS[version](file)
        held = member.file_size - file.tell()
    claimed = math.prod(shape) * kind.itemsize
    if kind.hasobject:
        return  # numpy refuses it
    if claimed > min(held, MOST_BYTES):
        raise DatasetError(
            f"{path}: {name} has shape {shape} of {kind}, which is {claimed} bytes; allowed are {MOST_BYTES}, and here "
            f"{held}: what the file holds"
        )


def _of_mapping(name: str, arrays: Mapping[str, Any], task: Task | None) -> Dataset:
    names = [str(label) for label in np.asarray(arrays.get(_NAMES, ())).reshape(-1)]
    return of_arrays(name, (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"]), task, names)


def _of_function(name: str, task: Task | None) -> Dataset:
    """What `module:function` gives, see `own_code.call`."""
    given = own_code.call("--data", name, KINDS, DatasetError)
    if isinstance(given, Dataset):
        parts = ((given.train_x, given.train_y), (given.test_x, given.test_y))
        shaped = [(np.asarray(x).reshape(-1, *given.shape) if np.size(x) % given.words == 0 else x, y) for x, y in parts]
        return of_arrays(given.name, shaped[0], shaped[1], task or given.task, given.names)
    if isinstance(given, Mapping) and all(array in given for array in _ARRAYS):
        return _of_mapping(name, given, task)
    if isinstance(given, tuple | list) and len(given) == len(_ARRAYS):
        return _of_mapping(name, dict(zip(_ARRAYS, given, strict=True)), task)
    raise DatasetError(
        f"--data {name}: it gave {type(given).__name__}; allowed are ({', '.join(_ARRAYS)}), a dict of these, or a Dataset"
    )


def _of_table(path: Path, task: Task | None, target: str) -> Dataset:
    """Rows of numbers, below a row of names; the target may be names too."""
    try:
        reader = csv.reader(path.read_text(encoding="utf-8-sig").splitlines())
        numbered = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} can not be read ({error}); allowed is a table in UTF-8, commas between columns") from None
    if numbered and len(numbered[0][1]) == 1 and ";" in numbered[0][1][0]:
        raise DatasetError(f"{path} has semicolons between its columns; allowed are commas, and points in numbers")
    if len(numbered) <= _TEST_SHARE or len(numbered[0][1]) < 2:
        found = f"{len(numbered)} rows of {len(numbered[0][1]) if numbered else 0} columns"
        raise DatasetError(f"{path} has {found}; allowed are a row of names, at least {_TEST_SHARE} others, and two columns")
    header = [cell.strip() for cell in numbered[0][1]]
    column = _target_column(path, header, target)
    body = numbered[1:]
    x = np.empty((len(body), len(header) - 1), np.float32)
    for index, (line, row) in enumerate(body):
        if len(row) != len(header):
            raise DatasetError(f"{path}, line {line}: {len(row)} cells, the first row has {len(header)}")
        features = [(name, cell) for place, (name, cell) in enumerate(zip(header, row, strict=True)) if place != column]
        x[index] = [_number(path, line, name, cell) for name, cell in features]
    y = _column([(line, row[column].strip()) for line, row in body], path, header[column])
    order = np.random.default_rng(0).permutation(len(body))
    test, train = np.split(order, [max(1, len(body) // _TEST_SHARE)])
    numbers = task == Task.REGRESSION or (task is None and y.dtype.kind == "f")
    return of_arrays(path.name, (x[train], y[train]), (x[test], y[test]), task, (header[column],) if numbers else ())


def _target_column(path: Path, header: list[str], target: str) -> int:
    if 2 * sum(_is_number(cell) for cell in header) > len(header):
        raise DatasetError(f"{path}: the first row holds numbers; it must name the columns")
    if not target:
        return len(header) - 1
    if target not in header:
        raise DatasetError(f"{path} has no column {target!r}; allowed: {', '.join(header)}")
    return header.index(target)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(path: Path, line: int, name: str, cell: str) -> float:
    """Said here, with its place in the file: later the rows are shuffled, and the columns have no names."""
    if not _is_number(cell):
        raise DatasetError(
            f"{path}, line {line}, column {name}: {cell!r} is no number; allowed are numbers, only the target may be names"
        )
    if not math.isfinite(float(cell)) or abs(float(cell)) > _LARGEST:
        raise DatasetError(
            f"{path}, line {line}, column {name}: {cell.strip()}; allowed are finite numbers up to {_LARGEST:.2g}: leave out "
            "what is missing"
        )
    return float(cell)


def _column(cells: list[tuple[int, str]], path: Path, name: str) -> np.ndarray:
    """The target, (line, cell) of each row: integers, floating point numbers, or names."""
    for line, cell in cells:
        if cell.lower() in _MISSING:
            raise DatasetError(
                f"{path}, line {line}, column {name}: {cell or 'nothing there'}; leave out rows without a target"
            )
    texts = [cell for _, cell in cells]
    with contextlib.suppress(ValueError):
        return np.array([int(cell) for cell in texts])
    if all(map(_is_number, texts)):
        return np.array([_number(path, line, name, cell) for line, cell in cells])
    return np.array(texts)
