"""Pictures in folders and archives, decoded one by one. What is there is not believed: sizes are looked at before they cost."""

from __future__ import annotations

import gzip
import io
import lzma
import math
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

import numpy as np

from bitting.errors import DatasetError, missing_extra

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz")
PARTS = ("train", "test")
#: What damaged archives raise.
BROKEN = (EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)

#: Pillow would try every kind of picture that it knows, whatever the name says, and starts Ghostscript for EPS.
_FORMATS = ("PNG", "JPEG", "BMP")
#: Bytes of one file: twice what the most pixels take in a BMP. An archive of a few KB may claim a terabyte.
MOST_BYTES = 1 << 27
#: Pixels of one picture: the scratch memory of the largest engine holds 2^16 words, of which an input is a part.
MOST_PIXELS = 1 << 24
#: Words of all pictures of a part, three a pixel: 4 GiB, of which two copies are held. CIFAR-10 trains on 2^27.2.
MOST_WORDS = 1 << 32
#: How compressed archives begin.
_GZIP, _XZ = b"\x1f\x8b", b"\xfd7zXZ\0"

#: (name inside, contents) of each picture.
Files = Iterable[tuple[PurePosixPath, bytes]]


def _is_picture(name: str) -> bool:
    """By its name; not what some systems put beside a file, `._name`."""
    return name.lower().endswith(SUFFIXES) and not PurePosixPath(name).name.startswith("._")


def in_folder(folder: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """(name inside, contents) of each picture of a folder.

    Raises:
        DatasetError: if one is too large.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file() and _is_picture(path.name):
            with path.open("rb") as file:
                yield PurePosixPath(path.relative_to(folder).as_posix()), _contents(folder, str(path), file)


def in_archive(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """(name inside, contents) of each picture of a .zip or .tar. Nothing is unpacked to the disk.

    Raises:
        DatasetError: if it can not be read, or a picture in it is too large.
    """
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                for name in sorted(archive.namelist()):
                    if _is_picture(name):
                        with archive.open(name) as file:
                            yield PurePosixPath(name), _contents(path, name, file)
            return
        with _unpacked(path) as stream, tarfile.open(fileobj=_Bounded(path, stream), mode="r:") as tar:
            for member in tar:
                if member.isfile() and _is_picture(member.name) and (packed := tar.extractfile(member)):
                    yield PurePosixPath(member.name), _contents(path, member.name, packed)
    except (OSError, RuntimeError, *BROKEN) as error:  # RuntimeError: it is encrypted
        raise DatasetError(f"{path} can not be read ({error}); allowed are .zip and .tar, also .tar.gz and .tar.xz") from None


def _contents(source: Path, name: str, file: IO[bytes]) -> bytes:
    """All of a file, if it is not more than a picture has, whatever its header says."""
    data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise DatasetError(f"{source}: {name} has more than {MOST_BYTES} bytes; allowed is less: leave it out, or scale it")
    return data


def _unpacked(path: Path) -> IO[bytes]:
    """The bytes of a tar, by how its file begins."""
    with path.open("rb") as file:
        start = file.read(len(_XZ))
    kinds: dict[bytes, Any] = {_GZIP: gzip.open, _XZ: lzma.open}
    opener = next((opener for magic, opener in kinds.items() if start.startswith(magic)), open)
    stream: IO[bytes] = opener(path, "rb")
    return stream


class _Bounded(io.RawIOBase):
    """A stream for `tarfile`, which reads a long name of a member at once, as long as its header says."""

    def __init__(self, path: Path, stream: IO[bytes]):
        self._path, self._stream = path, stream

    def read(self, size: int = -1) -> bytes:
        """Raises DatasetError for more than a picture has."""
        if not 0 <= size <= MOST_BYTES + 1:
            raise DatasetError(
                f"{self._path} has a name or file of {size} bytes; allowed are {MOST_BYTES}: leave it out of the archive"
            )
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


class Album:
    """Pictures of one size, as they come: those of training, or those of the test."""

    def __init__(self, name: str):
        self._name = name
        self._first: tuple[PurePosixPath, tuple[int, int]] | None = None
        self._words = 0

    def decoded(self, path: PurePosixPath, contents: bytes) -> np.ndarray:
        """Pixels of a picture: (H, W) if it is grey, else (H, W, 3), uint8.

        Raises:
            DatasetError: if it is none, too large, of another size than the first, or one too many.
            ExtraError: without Pillow.
        """
        with missing_extra("pictures"):
            from PIL import Image, UnidentifiedImageError
        place = f"{self._name}: {path}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
                opened = Image.open(io.BytesIO(contents), formats=_FORMATS)
            with opened as picture:
                self._require_size(place, path, picture.size)
                return _pixels(place, picture)
        except UnidentifiedImageError:
            raise DatasetError(f"{place} is no picture; allowed are {', '.join(_FORMATS)}") from None
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DatasetError(f"{place} is no picture ({error})") from None

    def _require_size(self, place: str, path: PurePosixPath, size: tuple[int, int]) -> None:
        """By what its header says, before anything is decoded."""
        if math.prod(size) > MOST_PIXELS:
            raise DatasetError(
                f"{place} has {_by(size)} pixels; allowed are {MOST_PIXELS} in all: scale it to what your engine holds"
            )
        if self._first is None:
            self._first = path, size
        first, wanted = self._first
        if size != wanted:
            raise DatasetError(
                f"{place} has {_by(size)} pixels, {first} {_by(wanted)}; all must be of one size: scale them first"
            )
        self._words += 3 * math.prod(size)
        if self._words > MOST_WORDS:
            raise DatasetError(
                f"{place} is one too many: {self._words} words with those before it, three a pixel; allowed are {MOST_WORDS}: "
                "scale the pictures, or give fewer"
            )


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _pixels(place: str, picture: Any) -> np.ndarray:
    if picture.has_transparency_data and np.asarray(picture.convert("RGBA"))[..., 3].min() < 255:
        raise DatasetError(f"{place} is transparent in parts, which is no colour; lay it on a ground first")
    if picture.mode.startswith("I"):  # 16 bits of grey
        return (np.asarray(picture) >> 8).astype(np.uint8)
    return np.asarray(picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB"), np.uint8)


_T = TypeVar("_T")


def mixed(files: Sequence[_T]) -> list[_T]:
    """Files that come class by class, in another order, always the same: who takes the first few gets some of each class."""
    return [files[place] for place in np.random.default_rng(0).permutation(len(files))]


def in_classes(name: str, pictures: Files) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """(pixels, names of classes) of training and of the test.

    Args:
        name: of the data set, for errors.
        pictures: `train/CLASS/...` and `test/CLASS/...`, perhaps in a folder around them.

    Raises:
        DatasetError: if one lies elsewhere or can not be taken, or a part has none.
    """
    found: dict[str, list[tuple[str, np.ndarray]]] = {part: [] for part in PARTS}
    albums = {part: Album(name) for part in PARTS}
    for path, contents in pictures:
        part, label = (path.parts[-3], path.parts[-2]) if len(path.parts) >= 3 else ("", "")
        if part not in PARTS:
            raise DatasetError(f"{name}: {path} lies in none of train/CLASS and test/CLASS")
        found[part].append((label, albums[part].decoded(path, contents)))
    found = {part: mixed(entries) for part, entries in found.items()}
    for part, entries in found.items():
        if not entries:
            raise DatasetError(f"{name} has no pictures in {part}/CLASS; allowed are {', '.join(SUFFIXES)}")
    colour = any(pixels.ndim == 3 for entries in found.values() for _, pixels in entries)
    train, test = (
        (stack([pixels for _, pixels in entries], colour), np.array([label for label, _ in entries]))
        for entries in found.values()
    )
    return train, test


def stack(pictures: list[np.ndarray], colour: bool) -> np.ndarray:
    """(samples, 1 or 3, H, W) of pictures of one size; grey ones among coloured ones get three equal channels."""
    whole = [
        pixels if pixels.ndim == 3 else np.broadcast_to(pixels[..., None], (*pixels.shape, 3 if colour else 1))
        for pixels in pictures
    ]
    return np.stack([np.moveaxis(pixels, 2, 0) for pixels in whole])
