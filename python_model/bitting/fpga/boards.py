"""The boards that a bitstream is made for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitting.errors import BittingError, ToolError, missing_extra
from bitting.fpga import design, flow, targets
from bitting.unit.spec import UnitSpec
from bitting_rtl.board.top import BoardTop

_TOP = "bitting_board"


@dataclass(frozen=True)
class Board:
    """A board: its FPGA, where amaranth-boards describes it, and the family that is meant for it."""

    name: str
    target: str
    module: str
    platform: str
    spec: str

    def resources(self) -> Any:
        """The platform of amaranth-boards.

        Raises:
            ExtraError: if it is not installed.
        """
        with missing_extra(f"board {self.name}"):
            return getattr(importlib.import_module(self.module), self.platform)()


BOARDS = {
    board.name: board
    for board in (
        Board("icebreaker", "ice40-up5k", "amaranth_boards.icebreaker", "ICEBreakerPlatform", "tiny"),
        Board("ulx3s-25f", "ecp5-25k", "amaranth_boards.ulx3s", "ULX3S_25F_Platform", "base"),
        Board("ulx3s-85f", "ecp5-85k", "amaranth_boards.ulx3s", "ULX3S_85F_Platform", "base"),
    )
}


def find(name: str) -> Board:
    """A board by name.

    Raises:
        BittingError: if there is none of this name.
    """
    if name not in BOARDS:
        raise BittingError(f"unknown board {name!r}; allowed: {', '.join(BOARDS)}")
    return BOARDS[name]


def implement(
    board: Board,
    spec: UnitSpec,
    root: bytes,
    seeds: Sequence[int],
    private: Path,
    progress: Callable[[int], None] = lambda done: None,
    sealed: bool = False,
) -> flow.Report:
    """The bitstream of a board's device, in the folder `private` (`files.private_folder`); it holds the root secret.

    Args:
        board: which board.
        spec: of the unit.
        root: secret of the device.
        seeds: of place and route.
        private: the folder to build in.
        progress: called with the number of finished runs.
        sealed: the fuse of that name is blown (vault `ascon`).

    Raises:
        ToolError: if a tool is missing or fails, or the design does not fit.
    """
    target = targets.find(board.target)
    platform = board.resources()
    plan = platform.prepare(BoardTop(root, sealed), name=_TOP, emit_debug_verilog=False)
    suffix = "lpf" if target.family == "ecp5" else "pcf"
    texts = {
        name: text.decode() if isinstance(text, bytes) else text
        for name, text in plan.files.items()
        if name.endswith((".il", suffix))
    }
    wrapper = flow.Wrapper(texts[f"{_TOP}.il"], _TOP, "read_rtlil", texts[f"{_TOP}.{suffix}"])
    report = flow.implement(target, *design.engine(spec, True, target), wrapper, seeds, progress, private)
    needed = platform.default_clk_frequency / 1e6
    if report.placed and max(run.fmax for run in report.placed) < needed:
        raise ToolError(f"{board.name} runs at {needed:.0f} MHz, place and route reached {report.fmax:.1f}; try more --seeds")
    return report
