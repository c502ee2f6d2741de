"""What the numbers of a program mean to its user: how inputs become activations, and what its sums say."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from bitting.errors import ProgramError
from bitting.unit.spec import UnitSpec


class Task(StrEnum):
    """What a network is asked for."""

    CLASSES = "classification"
    """One class of many; a sum for each, and the largest wins."""
    BINARY = "binary"
    """Yes or no: one sum, yes if its logit is positive."""
    LABELS = "multi-label"
    """Yes or no for each of several labels: a sum for each."""
    REGRESSION = "regression"
    """Numbers: a sum for each, in the target's units after `Interface.values`."""


@dataclass(frozen=True, eq=False)
class Interface:
    """Inputs of a user in, answers in the user's units out. Everything is public: it ships with the artefact.

    An input becomes an activation in float32, in this order and without contraction, so that every host computes the same:

        activation = floor((x - offset) * scale), then at least `low` and at most `high`

    Attributes:
        shape: of one input as the user has it, e.g. (features,) or (channels, H, W): `input_words` numbers, row by row.
        offset, scale: float32, one number for each of the `input_words`, or one for all.
        low, high: smallest and largest activation.
        task: what the sums are asked for.
        output_offset, output_scale: float32, one number for each output, or one for all: a value is sum * scale + offset. For
            all tasks but regression a value is a logit.
        names: of the classes, labels or quantities, in the order of the outputs; empty: they have numbers.
    """

    shape: tuple[int, ...]
    offset: np.ndarray
    scale: np.ndarray
    low: int
    high: int
    task: Task = Task.CLASSES
    output_offset: np.ndarray = field(default_factory=lambda: np.zeros(1, np.float32))
    output_scale: np.ndarray = field(default_factory=lambda: np.ones(1, np.float32))
    names: tuple[str, ...] = ()

    def validate(self, spec: UnitSpec, input_words: int, outputs: int) -> None:
        """Check that it fits a program.

        Raises:
            ProgramError: if it does not, or holds numbers that are none.
        """
        if math.prod(self.shape) != input_words or not all(size > 0 for size in self.shape):
            raise ProgramError(
                f"an input of shape {self.shape} has {math.prod(self.shape)} numbers; the program reads {input_words}"
            )
        if not spec.act_min <= self.low <= self.high <= spec.act_max:
            raise ProgramError(f"activations {self.low}..{self.high} are outside {spec.act_min}..{spec.act_max}")
        inputs = (("offset", self.offset, input_words), ("scale", self.scale, input_words))
        answers = (("output_offset", self.output_offset, outputs), ("output_scale", self.output_scale, outputs))
        for name, array, size in (*inputs, *answers):
            if array.dtype != np.float32 or array.shape not in ((1,), (size,)) or not np.isfinite(array).all():
                raise ProgramError(
                    f"{name} of inputs or outputs is {array.dtype} of shape {array.shape}; allowed is finite float32 of shape "
                    f"(1,) or ({size},)"
                )
        wanted = 1 if self.task == Task.BINARY else outputs
        if wanted != outputs or (self.task == Task.CLASSES and outputs < 2):
            raise ProgramError(f"{outputs} outputs do not fit a {self.task} task")
        if unprintable := [name for name in self.names if not name.isprintable()]:  # a terminal would obey it
            raise ProgramError(f"the name {unprintable[0]!r} of an output can not be printed; allowed are printable characters")
        if self.names and len(self.names) != (2 if self.task == Task.BINARY else outputs):
            raise ProgramError(f"{len(self.names)} names for {outputs} outputs of a {self.task} task")

    def activations(self, inputs: np.ndarray) -> np.ndarray:
        """Inputs of a user as the unit reads them.

        Args:
            inputs: (samples, *shape), or (samples, input_words), of any real type. Sizes of 1 may be left out, and pictures
                of uint8 may have their channels last.

        Returns:
            (samples, input_words) int8.

        Raises:
            ProgramError: if the shape is another one, or a number is not finite.
        """
        array = np.asarray(inputs)
        words = math.prod(self.shape)
        channels_last = (*self.shape[1:], self.shape[0])
        if array.dtype == np.uint8 and len(self.shape) == 3 and array.shape[1:] == channels_last != self.shape:
            array = np.moveaxis(array, 3, 1)
        longer = [size for size in array.shape[1:] if size > 1]
        if array.ndim < 2 or longer not in ([size for size in self.shape if size > 1], [words] if words > 1 else []):
            raise ProgramError(f"inputs have shape {array.shape}; allowed is (samples, {', '.join(map(str, self.shape))})")
        flat = array.reshape(len(array), words)
        if flat.dtype == np.uint8 and self.offset.size == self.scale.size == 1:  # pixels: so many, and so few different ones
            every: np.ndarray = self._floored(np.arange(256, dtype=np.float32))[flat]
            return every
        numbers = flat.astype(np.float32)
        if not np.isfinite(numbers).all():
            sample, word = np.argwhere(~np.isfinite(numbers))[0]
            raise ProgramError(f"input {sample} holds {numbers[sample, word]} at place {word}; allowed are finite numbers")
        return self._floored(numbers)

    def _floored(self, numbers: np.ndarray) -> np.ndarray:
        """float32 to activations. Raises ProgramError where a distance beyond float32 has a scale of 0."""
        with np.errstate(over="ignore", invalid="ignore"):  # infinity is cut off as any large number
            scaled = np.floor((numbers - self.offset) * self.scale)
        if np.isnan(scaled).any():
            raise ProgramError("an input is too far from its offset for float32; scale it first")
        return np.clip(scaled, np.float32(self.low), np.float32(self.high)).astype(np.int8)

    def values(self, sums: np.ndarray) -> np.ndarray:
        """Sums of the unit, (samples, outputs) integers, as float32: logits, or for regression numbers in the user's units."""
        scaled: np.ndarray = np.asarray(sums).astype(np.float32) * self.output_scale + self.output_offset
        return scaled

    def probabilities(self, sums: np.ndarray) -> np.ndarray:
        """(samples, outputs) float32: of the classes (softmax), or of each yes (sigmoid).

        Raises:
            ProgramError: for a regression, which has none.
        """
        values = self.values(sums)
        if self.task == Task.REGRESSION:
            raise ProgramError("a regression has no probabilities; its values are in the target's units")
        if self.task == Task.CLASSES:
            raised = np.exp(values - values.max(axis=1, keepdims=True))
            return np.asarray(raised / raised.sum(axis=1, keepdims=True))
        return np.asarray(1 / (1 + np.exp(-values)))

    def answers(self, sums: np.ndarray) -> np.ndarray:
        """What the sums say: (samples,) class numbers, (samples,) or (samples, labels) 0 or 1, or (samples, outputs) values."""
        if self.task == Task.CLASSES:
            return np.asarray(sums).argmax(axis=1)
        values = self.values(sums)
        if self.task == Task.REGRESSION:
            return values
        said = (values > 0).astype(np.int64)
        return said[:, 0] if self.task == Task.BINARY else said

    def text(self, sums: np.ndarray) -> list[str]:
        """The answers for people, one text for each sample."""
        return self.labelled(self.answers(sums))

    def labelled(self, targets: np.ndarray) -> list[str]:
        """Targets of a data set for people, as `text` has answers."""
        if self.task == Task.REGRESSION:
            return [" ".join(f"{value:.6g}" for value in row) for row in _columns(targets)]
        if self.task == Task.LABELS:
            return [" ".join(self._name(index) for index in np.flatnonzero(row).tolist()) or "none" for row in targets]
        return [self._name(int(target)) for target in targets]

    def _name(self, index: int) -> str:
        return self.names[index] if self.names else str(index)

    def merits(self, sums: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """What these samples add to `score`.

        Returns:
            (1,) right answers (of several labels, the right shares), or for a regression (outputs,) sums of squared errors.
        """
        answers = self.answers(sums)
        if self.task == Task.REGRESSION:
            errors: np.ndarray = np.square(answers.astype(np.float64) - _columns(targets)).sum(axis=0)
            return errors
        right = answers == np.asarray(targets).reshape(answers.shape)
        return np.array([right.mean(axis=1).sum() if self.task == Task.LABELS else right.sum()], np.float64)

    def score(self, merits: np.ndarray, targets: np.ndarray) -> float:
        """Share of right answers; of a regression R squared, the mean of all outputs.

        R squared is 1 less the squared errors over those of the targets' mean; not a number if a target is always the same.
        """
        if self.task != Task.REGRESSION:
            return float(merits[0]) / len(targets)
        columns = _columns(targets)
        spread = np.square(columns - columns.mean(axis=0)).sum(axis=0)
        return float(np.mean(1 - merits / spread)) if spread.all() else float("nan")

    def rating(self, sums: np.ndarray, targets: np.ndarray) -> float:
        """The `score` of all samples at once: sums (samples, outputs), targets as those of a data set of this task."""
        return self.score(self.merits(sums, targets), targets)

    @property
    def plain(self) -> bool:
        """It says nothing that a program does not say by itself: inputs are activations, the largest sum wins."""
        numbers = ((self.offset, 0), (self.scale, 1), (self.output_offset, 0), (self.output_scale, 1))
        same = all((array == value).all() for array, value in numbers)
        return same and len(self.shape) == 1 and self.task == Task.CLASSES and not self.names

    @property
    def metric(self) -> str:
        """What `score` is."""
        return "R2" if self.task == Task.REGRESSION else "accuracy"


def score_text(score: float | None, metric: str) -> str:
    """An accuracy in percent, R squared as it is. None: there was nobody who answered."""
    if score is None:
        return "all refused"
    return f"{score:.4f}" if metric == "R2" else f"{100 * score:.2f}%"


def _columns(targets: np.ndarray) -> np.ndarray:
    """(samples, outputs) float64."""
    array = np.asarray(targets, np.float64)
    return array.reshape(len(array), -1)


#: Stands for that of a program that comes with none, where the program is not known yet.
NO_INTERFACE = Interface((), np.zeros(1, np.float32), np.ones(1, np.float32), 0, 0)


def of_program(spec: UnitSpec, input_words: int) -> Interface:
    """Of a program that comes with none: inputs are activations, the largest sum wins."""
    return Interface((input_words,), np.zeros(1, np.float32), np.ones(1, np.float32), spec.act_min, spec.act_max)


def of_pictures(spec: UnitSpec, shape: tuple[int, ...], task: Task = Task.CLASSES, names: tuple[str, ...] = ()) -> Interface:
    """Pixels 0..255 to activations 0..act_max: floor(pixel 2^(bx-1) / 256)."""
    scale = np.array([1 / (1 << (9 - spec.act_bits))], np.float32)
    return Interface(shape, np.zeros(1, np.float32), scale, 0, spec.act_max, task, names=names)
