"""A data set: inputs and what is asked of them, in two parts, known to be sound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitting.errors import DatasetError
from bitting.program.interface import Task

#: So many classes are never too many; beyond, each should have so many samples.
_MANY_CLASSES, _SAMPLES_A_CLASS = 20, 4


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs and targets of training and test. Pictures are uint8 pixels 0..255 of shape (channels, H, W), all else is float32.

    Attributes:
        name: for people; that of a data set that `datasets.load` knows, or of a file.
        train_x, test_x: (samples, words) uint8 or float32.
        train_y, test_y: (samples,) int64 classes, or 0 and 1; (samples, labels) int64 of 0 and 1; (samples, outputs) float32.
        shape: of one input, with as many numbers as `words`: (features,), (channels, length) or (channels, H, W).
        task: what is asked.
        names: of the classes, labels or quantities; empty: they have numbers.
    """

    name: str
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    shape: tuple[int, ...]
    task: Task = Task.CLASSES
    names: tuple[str, ...] = ()

    @property
    def words(self) -> int:
        """Numbers of one input."""
        return math.prod(self.shape)

    @property
    def outputs(self) -> int:
        """Sums that a network for it must give: one for each class (one for yes or no), label or quantity."""
        if self.task == Task.CLASSES:
            return len(self.names) or int(max(self.train_y.max(), self.test_y.max())) + 1
        return 1 if self.task == Task.BINARY else int(self.train_y.shape[1])

    @property
    def pictures(self) -> bool:
        """The inputs are pixels."""
        return self.train_x.dtype == np.uint8

    def floats(self, inputs: np.ndarray) -> np.ndarray:
        """Inputs as a network with real weights likes them, float32: pixels from 0 to 1, all else standardised by training."""
        if self.pictures:
            return inputs.astype(np.float32) / 255
        deviation = self.train_x.std(axis=0)
        standardised: np.ndarray = (inputs - self.train_x.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
        return standardised.astype(np.float32)


def of_arrays(
    name: str,
    train: tuple[Any, Any],
    test: tuple[Any, Any],
    task: Task | None = None,
    names: Sequence[str] = (),
) -> Dataset:
    """A data set from arrays as users have them.

    Args:
        name: for people, and for errors.
        train: inputs and targets. Inputs: (samples, features); (samples, channels, length); uint8 pictures (samples, H, W),
            (samples, channels, H, W) or (samples, H, W, channels). Targets: see `Dataset`; classes may be names, too.
        test: the same, for the test.
        task: by default what the targets look like: integers or names are classes, floating point numbers a regression, two
            dimensions of 0 and 1 several labels.
        names: of the classes, labels or quantities.

    Raises:
        DatasetError: if they are of other shapes, hold what is no number, or ask for nothing.
    """
    (train_x, shape), (test_x, test_shape) = _inputs(f"{name}: x_train", train[0]), _inputs(f"{name}: x_test", test[0])
    if shape != test_shape:
        raise DatasetError(f"{name}: inputs have shape {shape} for training and {test_shape} for test; they must be alike")
    if train_x.dtype != test_x.dtype:
        train_x, test_x = train_x.astype(np.float32), test_x.astype(np.float32)
    targets = [_as_array(f"{name}: targets", part) for part in (train[1], test[1])]
    for part, x, y in (("train", train_x, targets[0]), ("test", test_x, targets[1])):
        if len(x) != len(y) or not len(x):
            raise DatasetError(f"{name}: {len(x)} inputs and {len(y)} targets of {part}; allowed are at least one, and as many")
    chosen = task or _inferred(name, targets[0])
    if task is None and chosen == Task.CLASSES:
        _require_repeats(name, targets[0])
    train_y, test_y, known = _TARGETS[chosen](name, targets[0], targets[1], tuple(names))
    if unprintable := [label for label in known if not label.isprintable()]:
        raise DatasetError(f"{name}: the name {unprintable[0]!r} can not be printed; allowed are printable characters")
    return Dataset(name, train_x, train_y, test_x, test_y, shape, chosen, known)


def _as_array(name: str, values: Any) -> np.ndarray:
    """What numpy makes of it; names in an array of objects, as pandas has them, are texts. Raises DatasetError for no array."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DatasetError(f"{name}: no array of numbers ({str(error).strip().splitlines()[0]})") from None
    if array.dtype == object and all(isinstance(value, str) for value in array.reshape(-1).tolist()):
        array = array.astype(str)
    return array


def _inputs(name: str, values: Any) -> tuple[np.ndarray, tuple[int, ...]]:
    """(samples, words) and the shape of one input."""
    array = _as_array(name, values)
    if array.dtype == bool:
        array = array.astype(np.float32)
    if array.dtype.kind not in "iuf":
        raise DatasetError(f"{name} is of type {array.dtype}; allowed are numbers")
    if not 2 <= array.ndim <= 4 or 0 in array.shape:
        raise DatasetError(
            f"{name} has shape {array.shape}; allowed are (samples, features), (samples, channels, length) and pictures "
            "(samples, H, W), (samples, channels, H, W) or (samples, H, W, channels), with at least one of each"
        )
    if array.ndim == 3 and array.dtype == np.uint8:
        array = array[:, None]
    if array.dtype == np.uint8 and array.ndim == 4 and array.shape[1] not in (1, 3) and array.shape[3] in (1, 3, 4):
        array = np.moveaxis(array, 3, 1)
    shape = tuple(int(size) for size in array.shape[1:])
    flat = array.reshape(len(array), -1)
    if array.dtype == np.uint8 and len(shape) == 3:
        return np.ascontiguousarray(flat), shape
    with np.errstate(over="ignore"):  # what float32 can not hold is infinite, and is named
        return finite(name, flat.astype(np.float32)), shape


def finite(name: str, array: np.ndarray) -> np.ndarray:
    """The array. Raises DatasetError if something in it is no finite number."""
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        place = ", ".join(map(str, bad[0]))
        raise DatasetError(
            f"{name} holds {array[tuple(bad[0])]} at [{place}]; allowed are finite numbers: leave out what is missing"
        )
    return array


def _inferred(name: str, targets: np.ndarray) -> Task:
    if targets.ndim == 2 and targets.shape[1] > 1 and np.isin(targets, (0, 1)).all():
        return Task.LABELS
    if targets.dtype.kind == "f":
        return Task.REGRESSION
    if targets.ndim == 2 and targets.shape[1] > 1:
        raise DatasetError(
            f"{name}: targets of shape {targets.shape} are neither 0 and 1 (several labels) nor floating point numbers (a "
            "regression)"
        )
    return Task.CLASSES


def _require_repeats(name: str, targets: np.ndarray) -> None:
    """Raises DatasetError for targets that are hardly ever the same twice: numbers, or names of single samples."""
    different = len(np.unique(targets))
    if different > max(_MANY_CLASSES, len(targets) // _SAMPLES_A_CLASS):
        raise DatasetError(
            f"{name}: {different} different targets in {len(targets)} samples; if they are numbers to be learnt, give --task "
            "regression; if they are classes, --task classification"
        )


_Targets = tuple[np.ndarray, np.ndarray, tuple[str, ...]]


def _classes(name: str, train: np.ndarray, test: np.ndarray, names: tuple[str, ...]) -> _Targets:
    parts = [_one_column(name, part) for part in (train, test)]
    if parts[0].dtype.kind in "US":
        parts = [part.astype(str) for part in parts]
        known = tuple(sorted(set(parts[0].tolist())))
        _require_classes(name, len(known))
        strange = sorted(set(parts[1].tolist()) - set(known))
        if strange:
            raise DatasetError(f"{name}: the test has a class {strange[0]!r} that training lacks; allowed: {', '.join(known)}")
        place = {label: index for index, label in enumerate(known)}
        first, second = (np.array([place[label] for label in part.tolist()], np.int64) for part in parts)
        return first, second, known
    for part in parts:
        if part.dtype.kind not in "iub" and not (part.dtype.kind == "f" and (part == np.floor(part)).all()):
            raise DatasetError(f"{name}: class labels are of type {part.dtype}; allowed are integers from 0 on, or names")
    first, second = (part.astype(np.int64) for part in parts)
    count, present = len(names) or int(first.max()) + 1, len(np.unique(first))
    if not names and count > 2 * present + _MANY_CLASSES:
        raise DatasetError(
            f"{name}: labels up to {count - 1} for {present} classes; number the classes from 0 on, or name them"
        )
    for part in (first, second):
        wrong = part[(part < 0) | (part >= count)]
        if len(wrong):
            raise DatasetError(f"{name}: label {wrong[0]} is out of range; allowed are 0..{count - 1}, as in training")
    _require_classes(name, len(np.unique(first)))
    return first, second, names


def _one_column(name: str, targets: np.ndarray) -> np.ndarray:
    """(samples,) of targets that may have a dimension of one. Raises DatasetError for others."""
    if targets.ndim == 2 and targets.shape[1] == 1:
        return targets[:, 0]
    if targets.ndim != 1:
        raise DatasetError(f"{name}: classes are one label for each sample, (samples,); found targets of shape {targets.shape}")
    return targets


def _require_classes(name: str, count: int) -> None:
    if count < 2:
        raise DatasetError(f"{name}: the targets of training are all of one class; there must be at least two")


def _binary(name: str, train: np.ndarray, test: np.ndarray, names: tuple[str, ...]) -> _Targets:
    first, second, known = _classes(name, train, test, names)
    if max(first.max(), second.max()) > 1:
        raise DatasetError(f"{name}: a binary task has the classes 0 and 1; found {int(first.max()) + 1} classes")
    return first, second, known


def _labels(name: str, train: np.ndarray, test: np.ndarray, names: tuple[str, ...]) -> _Targets:
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1]:
        raise DatasetError(
            f"{name}: several labels have targets of shape (samples, labels); found {train.shape} and {test.shape}"
        )
    if not (np.isin(train, (0, 1)).all() and np.isin(test, (0, 1)).all()):
        raise DatasetError(f"{name}: several labels have targets of 0 and 1; found others")
    _require_names(name, train.shape[1], names)
    return train.astype(np.int64), test.astype(np.int64), names


def _regression(name: str, train: np.ndarray, test: np.ndarray, names: tuple[str, ...]) -> _Targets:
    columns = []
    for part, array in (("y_train", train), ("y_test", test)):
        if array.dtype.kind not in "iuf" or array.ndim not in (1, 2):
            raise DatasetError(
                f"{name}: a regression has targets (samples,) or (samples, outputs) of numbers; {part} is {array.dtype}"
            )
        columns.append(finite(f"{name}: {part}", array.reshape(len(array), -1).astype(np.float32)))
    first, second = columns
    if first.shape[1] != second.shape[1]:
        raise DatasetError(f"{name}: {first.shape[1]} quantities in training, {second.shape[1]} in the test")
    if (first.std(axis=0) == 0).any():
        raise DatasetError(f"{name}: a target of training is always the same; there is nothing to learn")
    _require_names(name, first.shape[1], names)
    return first, second, names


def _require_names(name: str, outputs: int, names: tuple[str, ...]) -> None:
    if names and len(names) != outputs:
        raise DatasetError(f"{name}: {len(names)} names for {outputs} outputs")


_TARGETS = {Task.CLASSES: _classes, Task.BINARY: _binary, Task.LABELS: _labels, Task.REGRESSION: _regression}
