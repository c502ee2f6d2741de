"""What a lock costs: the engine beside its unlocked twin, by lanes, and which part of it costs what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bitting.fpga import design, flow, targets
from bitting.fpga.flow import Area, Report
from bitting.fpga.targets import Target
from bitting.look import drawing
from bitting.unit.spec import UnitSpec
from bitting_rtl.engine.baseline import Relu
from bitting_rtl.engine.export import to_verilog
from bitting_rtl.engine.fold import Fold

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
        int8_lanes: lanes of a conventional int8 engine of the same throughput (`design.baseline`).
        int8_area, int8_logic_area: of that engine, with the device's multipliers and without.
        fold, relu: LUT4s of one fold, and of one ReLU with saturation of the same widths.
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
    int8_lanes: int
    int8_area: Area
    int8_logic_area: Area
    fold: int
    relu: int


def measure(target: Target, spec: UnitSpec, seeds: Sequence[int]) -> Overhead:
    """Synthesise a family locked and unlocked; place both if there are seeds.

    Raises:
        ToolError: see `flow.place`.
    """
    twin, locked = (_luts(target, design.engine(spec, value, target)) for value in (False, True))
    unlocking = [sum(count for name, count in counts.items() if name.startswith(_UNLOCKING)) for counts in (twin, locked)]
    totals = [sum(counts.values()) for counts in (twin, locked)]
    placed: list[Report | None] = [None, None]
    if seeds:
        placed = [design.implement(target, spec, locked=value, seeds=seeds) for value in (False, True)]
    areas = [flow.area(target, *design.engine(spec, value, target)) for value in (False, True)]
    *int8, int8_lanes = design.baseline(spec)
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
        int8_lanes=int8_lanes,
        int8_area=flow.area(target, *int8),
        int8_logic_area=flow.area(targets.without_dsp(target), *int8),
        fold=flow.area(target, to_verilog(Fold(spec, target.build), "fold"), "fold").luts,
        relu=flow.area(target, to_verilog(Relu(spec), "relu"), "relu").luts,
    )


def _luts(target: Target, source: tuple[str, str]) -> dict[str, int]:
    """LUTs of each module instance's own, by its path below the top."""
    return {name.partition(".")[2]: area.luts for name, area in flow.by_module(target, *source).items()}


def plot(path: Path, rows: Sequence[Overhead], title: str) -> None:
    """LUT4s against lanes: locked, twin, and int8 engines of the same throughput."""
    import altair

    lines = {
        "all locks": [row.locked_area.luts for row in rows],
        "unlocked twin": [row.twin_area.luts for row in rows],
        "int8, multipliers of the device": [row.int8_area.luts for row in rows],
        "int8, multipliers in LUTs": [row.int8_logic_area.luts for row in rows],
    }
    values = [
        {"lanes": row.lanes, "LUT4": count, "engine": name}
        for name, counts in lines.items()
        for row, count in zip(rows, counts, strict=True)
    ]
    chart = (
        altair.Chart(drawing.rows(values), title=title, width=480, height=300)
        .mark_line(point=True)
        .encode(
            x=altair.X("lanes:Q", title="lanes (int8: of the same throughput)"),
            y=altair.Y("LUT4:Q", title="LUT4, flattened"),
            color=altair.Color("engine:N", sort=list(lines), title=None),
        )
    )
    drawing.write(path, chart)
