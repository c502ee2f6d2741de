"""What other hardware does to a sum before the wave: accumulators of other widths, wrapping or saturating, and half precision.

Differentiable: wrapping and rounding count as the identity, and a saturated sum has no gradient. Saturation is at the end of a
sum, as where products are added in a wide register and stored in a narrow one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from bitting.errors import BittingError
from bitting.targets.formats import FLOATS, FloatFormat

#: What a float format is behind: steps of the wave, the largest sum that calibration showed, or a period of the wave.
STORED = ("steps", "scaled", "modulo")


def reduced(sums: torch.Tensor, period: float) -> torch.Tensor:
    """Modulo a period, to the half of it on either side of 0; any shape. The gradient is that of `sums`."""
    return sums - period * (sums.detach() / period + 0.5).floor()


@dataclass(frozen=True)
class Accumulator:
    """How sums are held.

    Attributes:
        kind: "wrapping" or "saturating" at `bits`, or a float format of `bitting.targets.formats.FLOATS` that sums are rounded
            to (float hardware adds in fp32 and stores this).
        bits: of the accumulator.
        stored: how sums are brought into the range of a float format. "steps": in steps of the wave, where those beyond 65504
            are infinite in fp16; "scaled": by a power of two next to the layer's largest sum on calibration inputs, so that
            none overflows; "modulo": a period of the wave at most, from sums that fp32 held exactly.
    """

    kind: str
    bits: int = 0
    stored: str = "steps"

    def __post_init__(self) -> None:
        if self.kind not in ("wrapping", "saturating", *FLOATS):
            raise BittingError(
                f"unknown accumulator {self.kind!r}; allowed: wrapping, saturating (with bits), {', '.join(FLOATS)}"
            )
        if self.kind not in FLOATS and not 2 <= self.bits <= 32:
            raise BittingError(f"an accumulator of {self.bits} bits; allowed are 2..32")
        if self.stored not in STORED or (self.stored != "steps" and self.kind not in FLOATS):
            raise BittingError(
                f"a {self.kind} accumulator stored as {self.stored!r}; allowed of float formats: {', '.join(STORED)}"
            )

    def leaving(self, slope: float, period: float, seen: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """What is done to sums of a layer, of any shape.

        Args:
            slope: steps of the wave per unit of sum.
            period: of the wave, in units of sum.
            seen: the layer's sums on calibration inputs, of any shape.
        """
        if self.kind in FLOATS:
            dtype = FLOATS[self.kind]
            if self.stored == "scaled":
                return FloatFormat(self.kind, "power").grid(seen)
            if self.stored == "modulo":
                cast = FloatFormat(self.kind, "one").grid(seen)
                return lambda sums: cast(reduced(sums, period) * slope) / slope
            return lambda sums: sums + ((sums.detach() * slope).float().to(dtype).to(sums.dtype) / slope - sums.detach())
        half = float(1 << (self.bits - 1))
        if self.kind == "saturating":
            return lambda sums: sums.clamp(-half, half - 1)
        return lambda sums: reduced(sums, 2 * half)
