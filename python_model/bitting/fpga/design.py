"""The designs that are built: the engine of a family, locked or not, with what fits it to the pins."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bitting.fpga import flow
from bitting.fpga.targets import Target
from bitting.spec import UnitSpec
from bitting_rtl.board import pins
from bitting_rtl.export import TOP, engine_verilog


def engine(spec: UnitSpec, locked: bool, target: Target) -> tuple[str, str]:
    """Verilog and module name: the engine with the port for the root secret, or its unlocked twin with a plain table."""
    return engine_verilog(spec, table=None if locked else list(range(spec.codes)), compact=target.compact), TOP


def implement(
    target: Target, spec: UnitSpec, locked: bool, seeds: Sequence[int], progress: Callable[[int], None] = lambda done: None
) -> flow.Report:
    """Synthesise, place and route with each seed, behind `bitting_rtl.board.pins`.

    Raises:
        ToolError: if a tool is missing or fails, or the design does not fit.
    """
    wrapper = flow.Wrapper(pins.pins_verilog(fused=locked), pins.TOP)
    return flow.implement(target, *engine(spec, locked, target), wrapper, seeds, progress)
