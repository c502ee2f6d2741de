"""The designs that are built: the engine of a family, locked or not, with what fits it to the pins."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from bitting.fpga import flow, rings
from bitting.fpga.targets import Target
from bitting.unit.puf_key import PufDesign
from bitting.unit.spec import PRESETS, UnitSpec
from bitting_rtl.board import pins
from bitting_rtl.engine.baseline import baseline_verilog
from bitting_rtl.engine.export import TOP, engine_verilog, puf_verilog


def engine(spec: UnitSpec, locked: bool, target: Target, puf: PufDesign | None = None) -> tuple[str, str]:
    """Verilog and module name: the engine with ports for the fuses, or with a PUF; or its unlocked twin with a plain table."""
    if puf:
        return puf_verilog(spec, puf, target.family, target.build), TOP
    return engine_verilog(spec, table=None if locked else list(range(spec.codes)), options=target.build), TOP


def baseline(spec: UnitSpec) -> tuple[str, str, int]:
    """Verilog, module name and lanes of a conventional int8 engine of (at least) a family's throughput and its memories.

    It takes a clock a weight, the family as many as the weight has digits: with all codes equally frequent, their mean.
    """
    lanes = 4 * math.ceil(spec.lanes / statistics.mean(spec.value_cycles) / 4)
    conventional = dataclasses.replace(
        PRESETS["wide"], name="int8", acc_bits=24, max_shift=15, lanes=lanes, tile_codes=spec.tile_codes,
        scratch_words=spec.scratch_words,
    )  # fmt: skip
    return baseline_verilog(conventional), TOP, lanes


def implement(
    target: Target,
    spec: UnitSpec,
    locked: bool,
    seeds: Sequence[int],
    progress: Callable[[int], None] = lambda done: None,
    puf: PufDesign | None = None,
) -> flow.Report:
    """Synthesise, place and route with each seed, behind `bitting_rtl.board.pins`.

    Args:
        target: device, and options of the tools.
        spec: of the unit.
        locked: or its unlocked twin.
        seeds: of place and route; without any the engine is only synthesised.
        progress: called with the number of finished runs.
        puf: what makes the root secret of a locked engine, in the place of fuses.

    Raises:
        ToolError: if a tool is missing or fails, the design does not fit, or ring oscillators were not placed alike.
    """
    wrapper = _behind_pins(locked, puf, target.family)
    report = flow.implement(target, *engine(spec, locked, target, puf), wrapper, seeds, progress, rings=puf is not None)
    if puf and report.placed:
        rings.check(Path(report.bitstream).parent, target.family, puf.key.pairs)
    return report


def routed(target: Target, spec: UnitSpec, locked: bool, seed: int) -> Path:
    """Folder with `routed.json`: the cells of the same after place and route.

    Raises:
        ToolError: as `implement`.
    """
    return flow.place(target, *engine(spec, locked, target), _behind_pins(locked), seed, netlist=True)[1]


def place(target: Target, spec: UnitSpec, seed: int, puf: PufDesign | None = None) -> tuple[flow.Placed, Path]:
    """A locked engine with one seed, as `implement` places it: the run, and the folder of `flow.place`.

    Raises:
        ToolError: as `flow.place`.
    """
    ringed, wrapper = puf is not None, _behind_pins(True, puf, target.family)
    return flow.place(target, *engine(spec, True, target, puf), wrapper, seed, netlist=ringed, rings=ringed)


def _behind_pins(locked: bool, puf: PufDesign | None = None, family: str | None = None) -> flow.Wrapper:
    return flow.Wrapper(pins.pins_verilog(locked and not puf, puf, family), pins.TOP)
