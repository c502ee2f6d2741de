"""Data sets by name: `digits` ships with scikit-learn, the others are published files with a checksum each."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import tarfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitting import files
from bitting.data import pictures
from bitting.data.dataset import Dataset, of_arrays
from bitting.errors import DatasetError

_DIGITS_TEST = 450
_IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
_CIFAR_FILES = ("cifar-10-binary.tar.gz",)
_CIFAR_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
#: A picture of CIFAR-10: its class, then 32 x 32 bytes of red, of green, of blue.
_CIFAR_SIDE = 32
_CIFAR_BYTES = 1 + 3 * _CIFAR_SIDE**2
#: Copies of CIFAR-10 as JPEG, `CLASS/NUMBER.jpg`: smaller, and not the canonical pixels.
_CIFAR_COPIES = ("train.tar.xz", "test.tar.xz")


@dataclass(frozen=True)
class _Source:
    """Where files are published, and the SHA-256 of each."""

    base: str
    checksums: dict[str, str]


_SOURCES = {
    "mnist": _Source(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        dict(
            zip(
                _IDX_FILES,
                (
                    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                ),
                strict=True,
            )
        ),
    ),
    "fashion-mnist": _Source(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        dict(
            zip(
                _IDX_FILES,
                (
                    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                ),
                strict=True,
            )
        ),
    ),
    "cifar-10": _Source(
        "https://www.cs.toronto.edu/~kriz/",
        {_CIFAR_FILES[0]: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
    ),
}
NAMES = ("digits", *_SOURCES)


def load(name: str) -> Dataset:
    """One of `NAMES`; others than `digits` are looked for in `BITTING_DATA`/NAME, then in the cache, and else downloaded to it.

    Raises:
        DatasetError: if a file is malformed, a checksum is wrong, or nothing can be downloaded.
    """
    if name == "digits":
        return _digits()
    return _cifar() if name == "cifar-10" else _idx_set(name)


def local_folder(name: str) -> Path | None:
    """Where all files of a data set already are: under `BITTING_DATA` or in the cache; None if they are not."""
    folders = [files.cache_folder() / "data" / name]
    if given := os.environ.get("BITTING_DATA"):
        folders.insert(0, Path(given) / name)
    for folder in folders:
        if all(_present(folder, file) for file in _SOURCES[name].checksums):
            return folder
        if name == "cifar-10" and all((folder / copy).exists() for copy in _CIFAR_COPIES):
            return folder
    return None


def _digits() -> Dataset:
    """scikit-learn's 8x8 digits: 16 levels stretched to 0..255, split once by a fixed seed."""
    from sklearn.datasets import load_digits  # slow to import

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    pixels = np.minimum(images * 16, 255).astype(np.uint8)[order].reshape(-1, 8, 8)
    train, test = ((pixels[part], labels[order][part]) for part in (slice(_DIGITS_TEST, None), slice(0, _DIGITS_TEST)))
    return of_arrays("digits", train, test)


def _idx_set(name: str) -> Dataset:
    files_read = [(path, _idx(path)) for path in (_locate(name, file) for file in _IDX_FILES)]
    for images_file, labels_file in (files_read[:2], files_read[2:]):
        _require_pair(*images_file, *labels_file)
    train_x, train_y, test_x, test_y = (array for _, array in files_read)
    return of_arrays(name, (train_x, train_y), (test_x, test_y))


def _require_pair(images_path: Path, images: np.ndarray, labels_path: Path, labels: np.ndarray) -> None:
    """Raises DatasetError unless these are images and one label for each."""
    if images.ndim != 3 or images.shape[1] != images.shape[2] or not len(images):
        raise DatasetError(f"{images_path} holds an array of shape {images.shape}; allowed are square images (n, side, side)")
    if labels.ndim != 1:
        raise DatasetError(f"{labels_path} holds an array of shape {labels.shape}; allowed is a label for each image, (n,)")
    if len(images) != len(labels):
        raise DatasetError(
            f"{images_path} holds {len(images)} images and {labels_path} {len(labels)} labels; they must be as many: take both "
            "files of one set"
        )


def _cifar() -> Dataset:
    """The canonical file, or copies of its pictures as JPEG where only these are at hand."""
    given = os.environ.get("BITTING_DATA")
    copies = [Path(given) / "cifar-10" / name for name in _CIFAR_COPIES] if given else []
    if copies and all(path.exists() for path in copies) and not _present(copies[0].parent, _CIFAR_FILES[0]):
        parts = []
        for path in copies:
            album = pictures.Album("cifar-10")
            decoded = pictures.mixed([(inside, album.decoded(inside, data)) for inside, data in pictures.in_archive(path)])
            labels = np.array([_CIFAR_NAMES.index(inside.parent.name) for inside, _ in decoded])
            parts.append((pictures.stack([pixels for _, pixels in decoded], colour=True), labels))
        return of_arrays("cifar-10", parts[0], parts[1], names=_CIFAR_NAMES)
    path = _locate("cifar-10", _CIFAR_FILES[0])
    batches: dict[str, np.ndarray] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.name.endswith(".bin") and (file := archive.extractfile(member)):
                    batches[Path(member.name).stem] = np.frombuffer(file.read(), np.uint8).reshape(-1, _CIFAR_BYTES)
    except (OSError, EOFError, ValueError, tarfile.TarError) as error:
        raise DatasetError(f"{path} is truncated or corrupted ({error})") from None
    wanted = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    if missing := [name for name in wanted if name not in batches]:
        raise DatasetError(f"{path} lacks {missing[0]}.bin; it is not the published file")
    train, test = np.concatenate([batches[name] for name in wanted[:-1]]), batches[wanted[-1]]
    pairs = [(part[:, 1:].reshape(-1, 3, _CIFAR_SIDE, _CIFAR_SIDE), part[:, 0]) for part in (train, test)]
    return of_arrays("cifar-10", pairs[0], pairs[1], names=_CIFAR_NAMES)


def _present(folder: Path, file: str) -> Path | None:
    """A file, packed or not."""
    return next((path for path in (folder / file, folder / file.removesuffix(".gz")) if path.exists()), None)


def _locate(name: str, file: str) -> Path:
    """A file of a data set: given by the user, cached, or downloaded."""
    if given := os.environ.get("BITTING_DATA"):
        if path := _present(Path(given) / name, file):
            return path
        if (Path(given) / name).is_dir():
            raise DatasetError(f"{Path(given) / name} lacks {file}; complete it, or unset BITTING_DATA to download {name}")
    cached = files.cache_folder() / "data" / name / file
    if not cached.exists():
        _download(name, file, cached)
    return cached


def _download(name: str, file: str, target: Path) -> None:
    source = _SOURCES[name]
    others = ", ".join(other for other in NAMES if other != name)
    wanted = ", ".join(source.checksums)
    remedy = f"put {wanted} into a folder {name} and set BITTING_DATA to its parent, or use another data set ({others})"
    try:
        with urllib.request.urlopen(f"{source.base}{file}", timeout=30) as response:
            data = response.read()
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise DatasetError(f"can not download {name} ({reason}); {remedy}") from None
    checksum = hashlib.sha256(data).hexdigest()
    if checksum != source.checksums[file]:
        raise DatasetError(f"{file} has SHA-256 {checksum}, allowed {source.checksums[file]}; {remedy}")
    files.write_bytes(target, data)


def _idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes, gzipped or not.

    Format: 00 00 08 rank, then one big-endian uint32 a dimension, then the bytes.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        if data[:3] != b"\0\0\x08":
            raise DatasetError(f"{path} is no IDX file of bytes; it begins with {data[:4].hex()}")
        rank = data[3]
        shape = struct.unpack_from(f">{rank}I", data, 4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise DatasetError(f"{path} is truncated or corrupted ({error})") from None
