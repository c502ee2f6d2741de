"""The boards that a bitstream is made for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from bitting.errors import BittingError, ToolError, missing_extra
from bitting.fpga import design, flow, rings, targets
from bitting.unit.puf_key import DEFAULT_KEY, DEFAULT_READS, PufDesign
from bitting.unit.puf_spec import PufSpec
from bitting.unit.spec import UnitSpec
from bitting_rtl.board.top import BoardTop, flash_resource
from bitting_rtl.puf.rings import FAMILIES

_TOP = "bitting_board"
#: How far the rings of a chip may be from what nextpnr says of them at its slowest corner; nothing was measured.
_SLOWER, _FASTER = Fraction(1, 2), 4


@dataclass(frozen=True)
class Board:
    """A board: its FPGA, where amaranth-boards describes it, the family that is meant for it, and its crystal.

    The last are pins of its flash: chip select, IO0 to IO3, and the clock if it has one that a design reaches by name.
    """

    name: str
    target: str
    module: str
    platform: str
    spec: str
    clock_mhz: int
    flash_cs: str
    flash_dq: str
    flash_clk: str = ""

    def resources(self) -> Any:
        """The platform of amaranth-boards.

        Raises:
            ExtraError: if it is not installed.
        """
        with missing_extra(f"board {self.name}"):
            platform = getattr(importlib.import_module(self.module), self.platform)()
        family = targets.find(self.target).family
        platform.add_resources([flash_resource(family, self.flash_cs, self.flash_dq, self.flash_clk)])
        return platform


BOARDS = {
    board.name: board
    for board in (
        Board(
            "icebreaker",
            "ice40-up5k",
            "amaranth_boards.icebreaker",
            "ICEBreakerPlatform",
            "tiny",
            12,
            "16",
            "14 17 12 13",
            "15",
        ),
        Board("ulx3s-25f", "ecp5-25k", "amaranth_boards.ulx3s", "ULX3S_25F_Platform", "base", 25, "R2", "W2 V2 Y2 W1"),
        Board("ulx3s-85f", "ecp5-85k", "amaranth_boards.ulx3s", "ULX3S_85F_Platform", "base", 25, "R2", "W2 V2 Y2 W1"),
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


def puf_design() -> PufDesign:
    """The PUF that all boards have, so whoever enrols one need not know which it is. No constants: none was measured."""
    rates = [Fraction(FAMILIES[targets.find(board.target).family].mhz, board.clock_mhz) for board in BOARDS.values()]
    return PufDesign(DEFAULT_KEY, PufSpec.suited(DEFAULT_KEY.pairs, DEFAULT_READS, min(rates) * _SLOWER, max(rates) * _FASTER))


def implement(
    board: Board,
    spec: UnitSpec,
    root: bytes | None,
    seeds: Sequence[int],
    private: Path | None,
    progress: Callable[[int], None] = lambda done: None,
    sealed: bool = False,
    puf: PufDesign | None = None,
    flash: bool = False,
) -> flow.Report:
    """The bitstream of a board's device; with a root secret in it, in the folder `private` (`files.private_folder`).

    Args:
        board: which board.
        spec: of the unit.
        root: secret of the device; None if a PUF makes it.
        seeds: of place and route.
        private: the folder to build in; None for a bitstream without secret, which is kept in the cache.
        progress: called with the number of finished runs.
        sealed: the fuse of that name is blown (vault `ascon`, or a PUF).
        puf: what makes the root secret instead.
        flash: the program comes from the board's flash, and the host sends inputs only.

    Raises:
        ToolError: if a tool is missing or fails, the design does not fit, or ring oscillators were not placed alike.
    """
    target = targets.find(board.target)
    platform = board.resources()
    plan = platform.prepare(
        BoardTop(root, sealed, puf, target.family, spec if flash else None), name=_TOP, emit_debug_verilog=False
    )
    suffix = "lpf" if target.family == "ecp5" else "pcf"
    texts = {
        name: text.decode() if isinstance(text, bytes) else text
        for name, text in plan.files.items()
        if name.endswith((".il", suffix))
    }
    wrapper = flow.Wrapper(texts[f"{_TOP}.il"], _TOP, "read_rtlil", texts[f"{_TOP}.{suffix}"])
    engine = design.engine(spec, True, target, puf)
    report = flow.implement(target, *engine, wrapper, seeds, progress, private, rings=puf is not None)
    if puf and report.placed:
        rings.check(Path(report.bitstream).parent, target.family, puf.key.pairs)
    if report.placed and max(run.fmax for run in report.placed) < board.clock_mhz:
        raise ToolError(
            f"{board.name} runs at {board.clock_mhz} MHz, place and route reached {report.fmax:.1f}; try more --seeds"
        )
    return report
