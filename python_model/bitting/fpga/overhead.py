"""What a lock costs: the engine beside its unlocked twin, by lanes, and which part of it costs what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bitting.fpga import design, flow
from bitting.fpga.flow import Area, Report
from bitting.fpga.targets import Target
from bitting.spec import UnitSpec

#: Modules that only unlock: AES, keys, the place of each code.
_UNLOCKING = ("engine.vault", "engine.unlocker", "engine.tile_buffer.half")
#: Modules there is one of for each lane.
_LANE = ("engine.lane", "engine.fold")


@dataclass(frozen=True)
class Overhead:
    """A lock against the twin, in LUT4s (logic, adders, distributed memory), modules optimised apart.

    Attributes:
        twin, locked: all of it.
        table: what the keyed table and the fingerprint cost beside the vault: table memory, cycle counts, packets.
        unlocking: vault with AES and keys, unlocker, shuffle.
        lane: one MAC lane with its fold, in both alike.
        twin_area, locked_area: flattened and optimised together, as they are placed.
        twin_fmax, locked_fmax: MHz, median of the seeds; None if nothing was placed.
    """

    lanes: int
    twin: int
    locked: int
    table: int
    unlocking: int
    lane: int
    twin_area: Area
    locked_area: Area
    twin_fmax: float | None
    locked_fmax: float | None


def measure(target: Target, spec: UnitSpec, seeds: Sequence[int]) -> Overhead:
    """Synthesise a family locked and unlocked; place both if there are seeds.

    Raises:
        ToolError: see `flow.place`.
    """
    twin, locked = (_luts(target, design.engine(spec, value, target)) for value in (False, True))
    unlocking = [sum(count for name, count in found.items() if name.startswith(_UNLOCKING)) for found in (twin, locked)]
    totals = [sum(found.values()) for found in (twin, locked)]
    placed: list[Report | None] = [None, None]
    if seeds:
        placed = [design.implement(target, spec, locked=value, seeds=seeds) for value in (False, True)]
    areas = [flow.area(target, *design.engine(spec, value, target)) for value in (False, True)]
    return Overhead(
        lanes=spec.lanes,
        twin=totals[0],
        locked=totals[1],
        table=totals[1] - unlocking[1] - (totals[0] - unlocking[0]),
        unlocking=unlocking[1] - unlocking[0],
        lane=sum(count for name, count in twin.items() if name.startswith(_LANE)) // spec.lanes,
        twin_area=areas[0],
        locked_area=areas[1],
        twin_fmax=placed[0].fmax if placed[0] else None,
        locked_fmax=placed[1].fmax if placed[1] else None,
    )


def _luts(target: Target, source: tuple[str, str]) -> dict[str, int]:
    """LUTs of each module instance's own, by its path below the top."""
    return {name.partition(".")[2]: area.luts for name, area in flow.by_module(target, *source).items()}
