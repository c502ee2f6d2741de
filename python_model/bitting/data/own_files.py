"""Data sets of the user's own: arrays, pictures in folders or archives, tables, and Python functions."""

from __future__ import annotations

import contextlib
import csv
import io
import lzma
import math
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bitting.data import own_code
from bitting.data.dataset import Dataset, of_arrays
from bitting.errors import DatasetError, missing_extra
from bitting.program.interface import Task

_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_PARTS = ("train", "test")
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz")
#: What damaged archives raise.
_BROKEN = (EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
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
    return name.lower().endswith((".npz", ".csv", *_ARCHIVES)) or ":" in name or "/" in name or Path(name).is_dir()


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
        return _of_pictures(path.name, _in_folder(path), task)
    if name.lower().endswith(".npz"):
        return _of_npz(path, task)
    if file.lower().endswith(".csv"):
        return _of_table(path, task, column)
    if name.lower().endswith(_ARCHIVES):
        return _of_pictures(path.name, in_archive(path), task)
    raise DatasetError(f"{name}: a file of an unknown kind; allowed: {KINDS}")


def _split_column(name: str) -> tuple[str, str]:
    """`FILE.csv:COLUMN` as a file and a column; without one, nothing for it."""
    at = name.lower().find(".csv:")
    return (name[: at + 4], name[at + 5 :]) if at >= 0 else (name, "")


def _of_npz(path: Path, task: Task | None) -> Dataset:
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise DatasetError(f"{path} holds one array; allowed is what numpy.savez writes: {', '.join(_ARRAYS)}")
        with archive:
            missing = [name for name in _ARRAYS if name not in archive.files]
            if missing:
                raise DatasetError(f"{path} lacks {', '.join(missing)}; found {', '.join(archive.files) or 'nothing'}")
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, *_BROKEN) as error:
        raise DatasetError(f"{path} can not be read ({error}); allowed is what numpy.savez writes, without objects") from None
    return _of_mapping(path.name, arrays, task)


def _of_mapping(name: str, arrays: Mapping[str, Any], task: Task | None) -> Dataset:
    names = [str(label) for label in np.asarray(arrays.get("names", ())).reshape(-1)]
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


def _is_picture(name: str) -> bool:
    """By its name; not what some systems put beside a file, `._name`."""
    return name.lower().endswith(_PICTURES) and not PurePosixPath(name).name.startswith("._")


def _in_folder(folder: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and _is_picture(path.name):
            yield PurePosixPath(path.relative_to(folder).as_posix()), path.read_bytes()


def in_archive(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """(name inside, contents) of each picture of a .zip or .tar. Nothing is unpacked to the disk.

    Raises:
        DatasetError: if it can not be read.
    """
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                for name in sorted(archive.namelist()):
                    if _is_picture(name):
                        yield PurePosixPath(name), archive.read(name)
            return
        with tarfile.open(path) as tar:
            for member in tar:
                if member.isfile() and _is_picture(member.name) and (file := tar.extractfile(member)):
                    yield PurePosixPath(member.name), file.read()
    except (OSError, RuntimeError, *_BROKEN) as error:  # RuntimeError: it is encrypted
        raise DatasetError(f"{path} can not be read ({error}); allowed are .zip and .tar, also .tar.gz and .tar.xz") from None


def _of_pictures(name: str, pictures: Iterable[tuple[PurePosixPath, bytes]], task: Task | None) -> Dataset:
    """`train/CLASS/...` and `test/CLASS/...`, perhaps in a folder around them."""
    found: dict[str, list[tuple[str, PurePosixPath, np.ndarray]]] = {part: [] for part in _PARTS}
    for path, contents in pictures:
        part, label = (path.parts[-3], path.parts[-2]) if len(path.parts) >= 3 else ("", "")
        if part not in _PARTS:
            raise DatasetError(f"{name}: {path} lies in none of train/CLASS and test/CLASS")
        found[part].append((label, path, decoded(name, path, contents)))
    for part, entries in found.items():
        if not entries:
            raise DatasetError(f"{name} has no pictures in {part}/CLASS; allowed are {', '.join(_PICTURES)}")
    colour = any(pixels.ndim == 3 for entries in found.values() for *_, pixels in entries)
    arrays = []
    for part in _PARTS:
        stacked = stack(name, [(path, pixels) for _, path, pixels in found[part]], colour)
        arrays.append((stacked, np.array([label for label, *_ in found[part]])))
    return of_arrays(name, arrays[0], arrays[1], task)


def decoded(name: str, path: PurePosixPath, contents: bytes) -> np.ndarray:
    """Pixels of a picture: (H, W) if it is grey, else (H, W, 3), uint8.

    Raises:
        DatasetError: if it is none.
        ExtraError: without Pillow.
    """
    with missing_extra("pictures"):
        from PIL import Image, UnidentifiedImageError
    try:
        with Image.open(io.BytesIO(contents)) as picture:
            if picture.has_transparency_data and np.asarray(picture.convert("RGBA"))[..., 3].min() < 255:
                raise DatasetError(f"{name}: {path} is transparent in parts, which is no colour; lay it on a ground first")
            if picture.mode.startswith("I"):  # 16 bits of grey
                return (np.asarray(picture) >> 8).astype(np.uint8)
            return np.asarray(picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB"), np.uint8)
    except UnidentifiedImageError:
        raise DatasetError(f"{name}: {path} is no picture") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{name}: {path} is no picture ({error})") from None


def stack(name: str, pictures: list[tuple[PurePosixPath, np.ndarray]], colour: bool) -> np.ndarray:
    """(samples, 1 or 3, H, W) of pictures of one size; grey ones among coloured ones get three equal channels.

    Raises:
        DatasetError: if one has another size.
    """
    size = pictures[0][1].shape[:2]
    planes = []
    for path, pixels in pictures:
        if pixels.shape[:2] != size:
            found, first = (f"{width} x {height}" for height, width in (pixels.shape[:2], size))
            raise DatasetError(
                f"{name}: {path} has {found} pixels, {pictures[0][0]} {first}; all must be of one size: scale them first"
            )
        whole = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3 if colour else 1, axis=2)
        planes.append(np.moveaxis(whole, 2, 0))
    return np.stack(planes)
