"""Bands of a picture: how a sample's input lies in the p lanes that share it. Knows specs; arrays may be numpy's or torch's.

A sample of C channels, H rows and W columns comes as every sample does: row after row, channel after channel. Lane j of its p
lanes has rows j H/p to (j + 1) H/p - 1 of every channel, with rows outermost: an address that runs past the end of a band is
then one of the row below, in the next lane.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from bitting.errors import ProgramError
from bitting.unit.spec import UnitSpec

#: (channels, rows, columns).
Shape = tuple[int, int, int]


class SharedLanes:
    """What follows for a program from whether lanes share its samples; a base of dataclasses with these fields."""

    spec: UnitSpec
    input_words: int
    picture: Shape | None

    @property
    def bands(self) -> int:
        """Lanes that share a sample."""
        return self.spec.stripes if self.picture else 1

    @property
    def samples(self) -> int:
        """Samples of a batch."""
        return self.spec.lanes // self.bands

    @property
    def sample_words(self) -> int:
        """Activations of a sample's input."""
        return self.input_words * self.bands


def validate(spec: UnitSpec, picture: Shape | None, words: int) -> None:
    """Check that a sample's input can be split.

    Args:
        spec: of the unit.
        picture: of the input, or None if lanes share no sample.
        words: input words of a lane.

    Raises:
        ProgramError: naming what does not come out even.
    """
    if picture is None:
        return
    channels, rows, columns = picture
    if spec.stripes == 1:
        raise ProgramError(f"spec {spec.name!r} has stripes = 1: no input of shape {picture} is shared between lanes")
    if min(picture) < 1 or rows % spec.stripes:
        raise ProgramError(
            f"an input of {rows} rows can not be split into stripes = {spec.stripes} equal bands; allowed: {fitting(rows)}"
        )
    if channels * rows * columns != words * spec.stripes:
        raise ProgramError(f"an input of shape {picture} in {spec.stripes} lanes has not {words} words in each")


def fitting(rows: int) -> str:
    """Which powers of two divide a number of rows, in words."""
    return ", ".join(str(1 << k) for k in range((rows & -rows).bit_length()))


@functools.lru_cache(maxsize=16)
def order(picture: Shape) -> np.ndarray:
    """(C * H * W,) which activation of a sample comes where, rows outermost: band after band."""
    channels, rows, columns = picture
    return np.arange(channels * rows * columns).reshape(channels, rows, columns).transpose(1, 0, 2).reshape(-1)


def split(samples: Any, picture: Shape | None, stripes: int) -> Any:
    """(samples, words) inputs as those of lanes, (samples * stripes, words / stripes); the same if `picture` is None."""
    if picture is None:
        return samples
    return samples[:, order(picture)].reshape(len(samples) * stripes, -1)
