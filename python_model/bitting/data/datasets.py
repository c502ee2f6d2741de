"""Data sets as integer activations. `digits` ships with scikit-learn; MNIST and Fashion-MNIST are canonical IDX files."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitting import files
from bitting.errors import DatasetError
from bitting.unit.spec import UnitSpec

NAMES = ("digits", "mnist", "fashion-mnist")
_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
#: Where the canonical files are published, and the SHA-256 of each .gz in the order of _FILES.
_SOURCES = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
}
_DIGITS_TEST = 450


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pixels as uint8 0..255 and labels. Shapes (samples, pixels) and (samples,)."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    @property
    def pixels(self) -> int:
        """Of one image."""
        return int(self.train_images.shape[1])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(1, side, side): all images are square and grey."""
        side = math.isqrt(self.pixels)
        return (1, side, side)

    @property
    def classes(self) -> int:
        """One more than the largest label of the training set."""
        return int(self.train_labels.max()) + 1


def activations(spec: UnitSpec, images: np.ndarray) -> np.ndarray:
    """Pixels 0..255 to activations 0..act_max: floor(pixel 2^(bx-1) / 256), int8."""
    return (images >> (9 - spec.act_bits)).astype(np.int8)


def load(name: str) -> Dataset:
    """A data set by name.

    MNIST and Fashion-MNIST are looked for in `BITTING_DATA`/NAME, then in the cache, and are else downloaded to the cache.

    Raises:
        DatasetError: if the name is unknown, a file is malformed, a checksum is wrong, or nothing can be downloaded.
    """
    if name == "digits":
        return _digits()
    if not name:
        raise DatasetError(
            f"the file names no data set; give --data (allowed: {', '.join(NAMES)}), or run inputs of your own from Python: "
            "bitting.verify, as in examples/own_model.py"
        )
    if name not in NAMES:
        raise DatasetError(f"unknown data set {name!r}; allowed: {', '.join(NAMES)}")
    files_read = [(path, _idx(path)) for path in (_locate(name, index) for index in range(len(_FILES)))]
    for images_file, labels_file in (files_read[:2], files_read[2:]):
        _require_pair(*images_file, *labels_file)
    train_images, train_labels, test_images, test_labels = (array for _, array in files_read)
    return Dataset(
        name,
        train_images.reshape(len(train_images), -1),
        train_labels.astype(np.int64),
        test_images.reshape(len(test_images), -1),
        test_labels.astype(np.int64),
    )


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


def _digits() -> Dataset:
    """scikit-learn's 8x8 digits: 16 levels stretched to 0..255, split once by a fixed seed."""
    from sklearn.datasets import load_digits  # slow to import

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    pixels = np.minimum(images * 16, 255).astype(np.uint8)[order]
    labels = labels.astype(np.int64)[order]
    return Dataset("digits", pixels[_DIGITS_TEST:], labels[_DIGITS_TEST:], pixels[:_DIGITS_TEST], labels[:_DIGITS_TEST])


def local_folder(name: str) -> Path | None:
    """Where all files of a data set already are: under `BITTING_DATA` or in the cache; None if they are not."""
    folders = [files.cache_folder() / "data" / name]
    if given := os.environ.get("BITTING_DATA"):
        folders.insert(0, Path(given) / name)
    for folder in folders:
        if all(_present(folder, stem) for stem in _FILES):
            return folder
    return None


def _present(folder: Path, stem: str) -> Path | None:
    return next((path for path in (folder / f"{stem}.gz", folder / stem) if path.exists()), None)


def _locate(name: str, index: int) -> Path:
    """A file of a data set: given by the user, cached, or downloaded."""
    stem = _FILES[index]
    if given := os.environ.get("BITTING_DATA"):
        if path := _present(Path(given) / name, stem):
            return path
        if (Path(given) / name).is_dir():
            raise DatasetError(f"{Path(given) / name} lacks {stem}.gz; complete it, or unset BITTING_DATA to download {name}")
    cached = files.cache_folder() / "data" / name / f"{stem}.gz"
    if not cached.exists():
        _download(name, index, cached)
    return cached


def _download(name: str, index: int, target: Path) -> None:
    base, checksums = _SOURCES[name]
    others = ", ".join(other for other in NAMES if other != name)
    remedy = (
        f"put the four IDX files into a folder {name} and set BITTING_DATA to its parent, or use another data set ({others})"
    )
    try:
        with urllib.request.urlopen(f"{base}{_FILES[index]}.gz", timeout=30) as response:
            data = response.read()
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise DatasetError(f"can not download {name} ({reason}); {remedy}") from None
    checksum = hashlib.sha256(data).hexdigest()
    if checksum != checksums[index]:
        raise DatasetError(f"{_FILES[index]}.gz has SHA-256 {checksum}, allowed {checksums[index]}; {remedy}")
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
