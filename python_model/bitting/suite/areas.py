"""Areas of engines as they were synthesised: the hardware's part of what a lock costs.

A synthesis takes minutes, so it is no job of the suite: `scripts/areas_report.py` has made a file of families that is part of
the package. A family that is not in it has no area here, and a report says "not measured".
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitting.unit.spec import UnitSpec

FILE = Path(__file__).with_name("areas.json")
#: The first field of the file.
FORMAT = "bitting areas 1"


@dataclass(frozen=True)
class Area:
    """An engine after synthesis, with its vault and without: LUT4s, flip-flops, bits of block RAM, multipliers.

    `device`: what it was synthesised for, at which commit.
    """

    lut4: int
    lut4_twin: int
    ff: int
    ff_twin: int
    ram_bits: int
    ram_bits_twin: int
    dsp: int
    dsp_twin: int
    device: str


def area_of(spec: UnitSpec) -> Area | None:
    """Of the engine of a family, which its vault is part of; None if it is not in the file."""
    read = _file()
    device = f"{read['made']['target']}, synthesised at {read['made']['commit']}"
    names = [name for name in Area.__dataclass_fields__ if name != "device"]
    found = (one for one in read["engines"] if one["spec_id"] == spec.id)
    return next((Area(**{name: one[name] for name in names}, device=device) for one in found), None)


@functools.cache
def _file() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text())
    assert found["format"] == FORMAT
    return found
