"""The maximum of two activations, exactly, by two gather layers of constants. Knows specs, programs and numpy.

The unit has no comparison, but its fold is an absolute value around a trough of the wave. With the activations a and b,
d = a - b and bx = `act_bits`:

* the first layer places d around the trough at -2^(W-2). The fold writes m = e - 2^(bx-1), where e = d if d >= 0, else -d - 1;
* the second stays on the rising part of the wave and writes (a + b + e + 1) >> 1, which is a if d >= 0, else b.

Every pair of activations gives sums within the range of the accumulator, so this holds for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bitting.program.constants import constant_layer, power_scale
from bitting.program.layers import Layer
from bitting.program.placement import Pair
from bitting.unit.spec import UnitSpec


@dataclass(frozen=True)
class View:
    """Words that are read or written position by position, channel by channel.

    Attributes:
        base: (channels,) address of each channel's first position.
        strides: (row, column), words.
    """

    base: np.ndarray
    strides: Pair

    def span(self, positions: Pair) -> int:
        """Words from the first one that any position has to the last. `positions`: (rows, columns) of every channel."""
        last = sum((count - 1) * stride for count, stride in zip(positions, self.strides, strict=True))
        return int(self.base.max() - self.base.min()) + last + 1


def maximum(spec: UnitSpec, a: View, b: View | int, out: View, between: int, positions: Pair) -> Iterator[Layer]:
    """The two layers that write max(a, b).

    Args:
        spec: whose fold it is.
        a: what is read.
        b: what is read beside it, with the strides of `a` and at one distance from it; or a constant activation.
        out: where it is written; may be `a`.
        between: address for what stands between the layers of the first channel. The other channels lie from there as those of
            `a` lie from its first.
        positions: (rows, columns) of every channel.
    """
    power = spec.acc_bits - 1 - spec.act_bits
    trough, half_range = -(1 << (spec.acc_bits - 2)), 1 << (spec.act_bits - 1)
    middle = View(a.base - a.base[0] + between, a.strides)
    weight, shift = power_scale(spec, power)
    if isinstance(b, View):
        start = trough >> shift
        yield _gather([(a, weight), (b, -weight)], middle, positions, shift, start)
    else:
        start = (trough - (b << power)) >> shift
        yield _gather([(a, weight)], middle, positions, shift, start)
    weight, shift = power_scale(spec, power - 1)
    constant = half_range + 1 + (0 if isinstance(b, View) else b)
    read = [(a, weight), (b, weight), (middle, weight)] if isinstance(b, View) else [(a, weight), (middle, weight)]
    yield _gather(read, out, positions, shift, (constant << (power - 1)) >> shift)


def _gather(sources: list[tuple[View, int]], out: View, positions: Pair, shift: int, bias: int) -> Layer:
    """Weighted sum of views that have the same strides and lie at fixed distances."""
    lowest = min((view for view, _ in sources), key=lambda view: int(view.base[0]))
    return constant_layer(
        np.array([[weight for _, weight in sources]]),
        np.array([int(view.base[0] - lowest.base[0]) for view, _ in sources]),
        lowest.base, out.base, positions, lowest.strides, out.strides, shift, np.array([bias]),
    )  # fmt: skip
