"""Number formats as quantisers of tensors: what comes out are the numbers the hardware has, as floats of the type that went in.

Differentiable by a straight-through estimator: rounding counts as the identity, and what is clipped has no gradient. Knows no
networks. Integers: Nagel et al. 2021 (arXiv 2106.08295), section 2; the rules of onnxruntime and torchao are the same, and
tests compare with them. Floats: the types of torch do the rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from bitting.errors import BittingError

#: How the range of an integer format is found.
SCALES = ("max", "percentile", "mse")
#: Of the magnitudes, so much is within the range of "percentile".
PERCENTILE = 0.999
#: Shares of the largest magnitude that "mse" tries as a range.
_SHARES = torch.linspace(0.2, 1.0, 33, dtype=torch.float64)
#: Elements that a range of activations is found on.
_ELEMENTS = 100_000

#: Rounds of k-means for a palette.
_LLOYD = 30

#: Float formats by name.
FLOATS = {
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp8-e4m3": torch.float8_e4m3fn,
    "fp8-e5m2": torch.float8_e5m2,
}


class Quantiser(Protocol):
    """A format whose scales have been found: takes tensors to the numbers it has."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape and type, with a gradient."""
        ...


class _Calibrated:
    """What all formats share: scales, or whatever else, are found from the data itself."""

    def grid(self, x: torch.Tensor) -> Quantiser:
        """The quantiser for some data."""
        raise NotImplementedError

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """`x` in this format, with its own quantiser; straight through."""
        return self.grid(x)(x)


@dataclass(frozen=True, eq=False)
class Grid:
    """The numbers (q - zero) scale for the integers q in low..high.

    Attributes:
        scale: float, (1,) or (rows, 1).
        zero: integers of the same shape: the code of 0, which every grid holds exactly.
        low, high: smallest and largest code.
    """

    scale: torch.Tensor
    zero: torch.Tensor
    low: int
    high: int

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        """Nearest codes, halves to even, as floats."""
        return (torch.round(x.detach() / self.scale) + self.zero).clamp(self.low, self.high)

    def values(self, codes: torch.Tensor) -> torch.Tensor:
        """What codes stand for."""
        return (codes - self.zero) * self.scale

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The nearest numbers of the grid, straight through."""
        inside = x.clamp(self.values(torch.as_tensor(self.low)), self.values(torch.as_tensor(self.high)))
        return inside + (self.values(self.codes(x)) - inside).detach()


@dataclass(frozen=True)
class IntegerFormat(_Calibrated):
    """Signed integers with a scale, and a zero point if it is affine.

    Attributes:
        bits: 2..16.
        symmetric: the code of 0 is 0, and as many codes are used on both sides (the least is left out).
        per_channel: every row has a scale of its own; else one for all.
        scale: "max": the range is that of the data; "percentile": of all but the largest `1 - PERCENTILE`; "mse": the range of
            least mean square error, powers of two among the steps that are tried, for a thief knows that weights are integers.

    Raises:
        BittingError: if there is no such format.
    """

    bits: int
    symmetric: bool = True
    per_channel: bool = False
    scale: str = "max"

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 16:
            raise BittingError(f"an integer format has {self.bits} bits; allowed are 2..16")
        if self.scale not in SCALES:
            raise BittingError(f"unknown rule for scales {self.scale!r}; allowed: {', '.join(SCALES)}")

    @property
    def low(self) -> int:
        """Least code."""
        return -(1 << (self.bits - 1)) + int(self.symmetric)

    @property
    def high(self) -> int:
        """Largest code."""
        return (1 << (self.bits - 1)) - 1

    def grid(self, x: torch.Tensor) -> Grid:
        """The grid for some data.

        Args:
            x: (rows, K) of a weight matrix if it is per channel; else of any shape.
        """
        data = x.detach()
        rows = data.flatten(1) if self.per_channel else data.reshape(1, -1)
        if not self.per_channel and rows.shape[1] > _ELEMENTS and self.scale != "max":
            rows = rows[:, :: rows.shape[1] // _ELEMENTS + 1]
        rows = rows.double()
        least, most = rows.amin(1, True).clamp(max=0), rows.amax(1, True).clamp(min=0)
        if self.scale == "percentile":
            least, most = _percentiles(rows)
        grid = self._between(least, most)
        if self.scale == "mse":
            grid = self._of_least_error(rows, least, most)
        shape = (-1, 1) if self.per_channel else (1,)
        return Grid(grid.scale.to(data.dtype).reshape(shape), grid.zero.to(data.dtype).reshape(shape), self.low, self.high)

    def _between(self, least: torch.Tensor, most: torch.Tensor) -> Grid:
        """(rows, 1) ranges, which hold 0, to a grid."""
        if self.symmetric:
            scale = torch.maximum(-least, most) / self.high
            zero = torch.zeros_like(scale)
        else:
            scale = (most - least) / (self.high - self.low)
            zero = torch.round(self.low - least / _positive(scale)).clamp(self.low, self.high)
        return Grid(_positive(scale), zero, self.low, self.high)

    def _of_least_error(self, rows: torch.Tensor, least: torch.Tensor, most: torch.Tensor) -> Grid:
        candidates = [self._between(least * share, most * share) for share in _SHARES]
        widest = candidates[-1]
        power = torch.exp2(torch.ceil(torch.log2(widest.scale)))
        candidates += [Grid(power * factor, widest.zero, self.low, self.high) for factor in (0.5, 1.0)]
        best, error = widest, torch.full_like(least, torch.inf)
        for grid in candidates:
            found = (grid.values(grid.codes(rows)) - rows).square().mean(1, keepdim=True)
            better = found < error
            error = torch.where(better, found, error)
            best = Grid(
                torch.where(better, grid.scale, best.scale), torch.where(better, grid.zero, best.zero), self.low, self.high
            )
        return best


@dataclass(frozen=True, eq=False)
class _Cast:
    """Casting to a float format and back, after division by a scale."""

    dtype: torch.dtype
    scale: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        most = torch.finfo(self.dtype).max
        inside = (x / self.scale).clamp(-most, most)  # hardware saturates; torch's cast to e5m2 would give infinity
        cast = inside.detach().float().to(self.dtype).to(x.dtype)
        return (inside + (cast - inside.detach())) * self.scale


@dataclass(frozen=True)
class FloatFormat(_Calibrated):
    """A floating point type of torch, behind a scale.

    Attributes:
        name: one of `FLOATS`.
        scale: "max": the largest magnitude becomes the largest finite number, as fp8 is used; "power": a power of two brings it
            into [1, 2), which changes no rounding where nothing under- or overflows; "one": none.
        per_channel: every row has a scale of its own.

    Raises:
        BittingError: if there is no such format.
    """

    name: str
    scale: str = "power"
    per_channel: bool = False

    def __post_init__(self) -> None:
        if self.name not in FLOATS:
            raise BittingError(f"unknown float format {self.name!r}; allowed: {', '.join(FLOATS)}")
        if self.scale not in ("max", "power", "one"):
            raise BittingError(f"unknown scale of a float format {self.scale!r}; allowed: max, power, one")

    def grid(self, x: torch.Tensor) -> Quantiser:
        """The quantiser for some data: (rows, K) if it is per channel, else of any shape."""
        dtype = FLOATS[self.name]
        rows = x.detach().flatten(1) if self.per_channel else x.detach().reshape(1, -1)
        most = _positive(rows.abs().amax(1, True))
        if self.scale == "max":
            scale = most / torch.finfo(dtype).max
        else:
            scale = torch.exp2(torch.floor(torch.log2(most))) if self.scale == "power" else torch.ones_like(most)
        return _Cast(dtype, scale.reshape((-1, 1) if self.per_channel else (1,)))


@dataclass(frozen=True, eq=False)
class _Groups:
    """A format for every run of so many columns of each row. The last run of a row is filled up with zeros."""

    form: IntegerFormat
    size: int

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows, count = x.shape
        runs = torch.nn.functional.pad(x, (0, -count % self.size)).reshape(-1, self.size)
        return self.form(runs).reshape(rows, -1)[:, :count]


@dataclass(frozen=True)
class GroupedFormat(_Calibrated):
    """Integers with a scale for each run of columns of a row, as runtimes for language models have them.

    Attributes:
        integers: of each run; its scale is per channel.
        size: columns of a run.

    Raises:
        BittingError: if there is no such format.
    """

    integers: IntegerFormat
    size: int

    def __post_init__(self) -> None:
        if self.size < 2 or not self.integers.per_channel:
            raise BittingError(f"groups of {self.size}; allowed are 2 columns or more, of an integer format per channel")

    def grid(self, x: torch.Tensor) -> Quantiser:
        """The quantiser for some data, (rows, K); scales are found when it is called."""
        return _Groups(self.integers, self.size)


@dataclass(frozen=True, eq=False)
class _Palette:
    """The nearest of some numbers, ascending."""

    numbers: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        middles = (self.numbers[1:] + self.numbers[:-1]) / 2
        nearest = self.numbers[torch.bucketize(x.detach().double(), middles)].to(x.dtype)
        return nearest + (x - x.detach())


@dataclass(frozen=True)
class PaletteFormat(_Calibrated):
    """Any 2^bits numbers for all weights of a layer, by k-means from quantiles (Lloyd 1982), as Core ML's palettes.

    Attributes:
        bits: 1..8.

    Raises:
        BittingError: if there is no such format.
    """

    bits: int

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8:
            raise BittingError(f"a palette of {self.bits} bits; allowed are 1..8")

    def grid(self, x: torch.Tensor) -> Quantiser:
        """The palette for some data of any shape."""
        values, counts = x.detach().double().flatten().unique(return_counts=True)
        size = 1 << self.bits
        if len(values) <= size:
            return _Palette(values)
        numbers = torch.quantile(values, torch.linspace(0, 1, size, dtype=values.dtype))
        for _ in range(_LLOYD):
            nearest = torch.bucketize(values, (numbers[1:] + numbers[:-1]) / 2)
            weight = torch.zeros(size, dtype=values.dtype).index_add_(0, nearest, counts.double())
            sums = torch.zeros(size, dtype=values.dtype).index_add_(0, nearest, counts * values)
            numbers = torch.where(weight > 0, sums / weight.clamp(min=1), numbers).sort().values
        return _Palette(numbers)


@dataclass(frozen=True, eq=False)
class _Twice:
    """The nearest number of one quantiser, and that of another for what it leaves over."""

    first: Quantiser
    second: Quantiser

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        exact = x.detach()
        rough = self.first(exact)
        return x + (rough + self.second(exact - rough) - exact)


@dataclass(frozen=True)
class TwiceFormat(_Calibrated):
    """Every number as the sum of two integers, the second with a scale of what the first left over (residual quantisation).

    Hardware of these integers runs two products and adds them.

    Attributes:
        integers: of both.
    """

    integers: IntegerFormat

    def grid(self, x: torch.Tensor) -> Quantiser:
        """The quantiser for some data, as `IntegerFormat.grid` has it."""
        first = self.integers.grid(x)
        return _Twice(first, self.integers.grid(x.detach() - first(x.detach())))


Format = IntegerFormat | FloatFormat | GroupedFormat | PaletteFormat | TwiceFormat


def _positive(scale: torch.Tensor) -> torch.Tensor:
    """Scales of data that is 0 throughout are 1."""
    return torch.where(scale > 0, scale, torch.ones_like(scale))


def _percentiles(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    tail = (1 - PERCENTILE) / 2
    ends = torch.quantile(rows, torch.tensor([tail, 1 - tail], dtype=rows.dtype), dim=1)
    least, most = ends[0, :, None].clamp(max=0), ends[1, :, None].clamp(min=0)
    return least, most
