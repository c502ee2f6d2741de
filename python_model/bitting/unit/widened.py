"""An engine with more lanes than the device has, for simulation only: more samples a clock, and all else as on the device."""

from __future__ import annotations

from dataclasses import dataclass

from bitting.errors import SpecError
from bitting.unit.spec import UnitSpec


@dataclass(frozen=True, kw_only=True)
class WidenedSpec(UnitSpec):
    """A spec whose units derive what those of another one derive, which differs from it in its lanes only.

    A device with the vault `ascon` takes the spec id into its keys, so with another id its bitting table would be another one.
    This has the id of `original`. So no file may name it, and no chip be made of it.

    Attributes:
        original: the spec of the device.
    """

    original: UnitSpec

    @property
    def id(self) -> str:  # type: ignore[override]
        """That of the device's own spec."""
        return self.original.id

    @classmethod
    def of(cls, spec: UnitSpec, lanes: int) -> WidenedSpec:
        """Raises SpecError unless `lanes` is more than the spec has, a multiple of 4, and at most 256."""
        if lanes <= spec.lanes:
            raise SpecError(
                f"lanes = {lanes} is not wider than the device's engine, which has {spec.lanes}; allowed: a multiple of 4 "
                "above that, up to 256"
            )
        return cls(**{**spec.parameters(), "lanes": lanes}, name=f"{spec.name} with {lanes} lanes", original=spec)  # type: ignore[arg-type]
