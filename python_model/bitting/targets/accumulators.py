"""What other hardware does to a sum before the wave: accumulators of other widths, wrapping or saturating, and half precision.

Differentiable: wrapping and rounding count as the identity, and a saturated sum has no gradient. Saturation is at the end of a
sum, as where products are added in a wide register and stored in a narrow one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from bitting.errors import BittingError
from bitting.targets.formats import FLOATS


def reduced(sums: torch.Tensor, period: float) -> torch.Tensor:
    """Modulo a period, to the half of it on either side of 0; any shape. The gradient is that of `sums`."""
    return sums - period * (sums.detach() / period + 0.5).floor()


@dataclass(frozen=True)
class Accumulator:
    """How sums are held.

    Attributes:
        kind: "wrapping" or "saturating" at `bits`, or a float format of `bitting.targets.formats.FLOATS` that sums are rounded
            to, in steps of the wave so that none overflows (float hardware adds in fp32 and stores this).
        bits: of the accumulator.
    """

    kind: str
    bits: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("wrapping", "saturating", *FLOATS):
            raise BittingError(
                f"unknown accumulator {self.kind!r}; allowed: wrapping, saturating (with bits), {', '.join(FLOATS)}"
            )
        if self.kind not in FLOATS and not 2 <= self.bits <= 32:
            raise BittingError(f"an accumulator of {self.bits} bits; allowed are 2..32")

    def leaving(self, slope: float) -> Callable[[torch.Tensor], torch.Tensor]:
        """What is done to sums of a layer, of any shape. `slope`: steps of the wave per unit of sum."""
        if self.kind in FLOATS:
            dtype = FLOATS[self.kind]
            return lambda sums: sums + ((sums.detach() * slope).float().to(dtype).to(sums.dtype) / slope - sums.detach())
        half = float(1 << (self.bits - 1))
        if self.kind == "saturating":
            return lambda sums: sums.clamp(-half, half - 1)
        return lambda sums: reduced(sums, 2 * half)
