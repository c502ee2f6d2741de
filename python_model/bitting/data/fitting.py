"""How inputs of a data set become activations: decided on its training part, and shipped with the artefact."""

from __future__ import annotations

import numpy as np

from bitting.data.dataset import Dataset
from bitting.errors import DatasetError
from bitting.program.interface import Interface, of_pictures
from bitting.unit.spec import UnitSpec

#: A feature fills the range of activations from its mean less so many standard deviations to as many above it, or from its
#: smallest to its largest value, whichever is less. What lies beyond is clipped.
_DEVIATIONS = 3.0
#: Beyond it a scale is no float32.
_LARGEST_SCALE = 1e38


def fitted(spec: UnitSpec, data: Dataset) -> Interface:
    """Preprocessing for a data set, and what its outputs are called.

    Pixels keep their zero: 0..255 become 0..act_max. A feature of a table has a range of its own, a channel of a series too.
    The range is split evenly among all activations, the middle at 0.
    """
    if data.pictures:
        return of_pictures(spec, data.shape, data.task, data.names)
    x = data.train_x.reshape(len(data.train_x), data.shape[0], -1).astype(np.float64)  # features or channels in the middle
    axes = (0, 2)
    mean, deviation = x.mean(axis=axes), x.std(axis=axes)
    low = np.maximum(x.min(axis=axes), mean - _DEVIATIONS * deviation)
    high = np.minimum(x.max(axis=axes), mean + _DEVIATIONS * deviation)
    width = high - low
    levels = spec.act_max - spec.act_min + 1
    scale = np.divide(levels, width, out=np.zeros_like(width), where=width > 0)  # what never changes says nothing
    wrong = np.flatnonzero(~(scale < _LARGEST_SCALE))
    if len(wrong):
        span = f"{low[wrong[0]]:g} to {high[wrong[0]]:g}"
        raise DatasetError(f"{data.name}: feature or channel {wrong[0]} goes from {span}, too narrow for float32: scale it")
    repeats = data.words // data.shape[0]
    offset, scale = ((np.repeat(array, repeats)).astype(np.float32) for array in ((low + high) / 2, scale))
    return Interface(data.shape, offset, scale, spec.act_min, spec.act_max, data.task, names=data.names)


def uniform(spec: UnitSpec, data: Dataset) -> Interface:
    """One scale for all inputs and zero at zero, for a network that was trained on the inputs as they are.

    The largest input of the training part just fits; inputs become the nearest activation.
    """
    if data.pictures:
        return of_pictures(spec, data.shape, data.task, data.names)
    largest = float(np.abs(data.train_x).max()) or 1.0
    scale = np.array([(spec.act_max + 0.5) / largest], np.float32)
    return Interface(data.shape, -0.5 / scale, scale, spec.act_min, spec.act_max, data.task, names=data.names)
