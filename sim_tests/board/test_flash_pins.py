"""Board tops on their pins, as they are placed, beside a flash model that we did not write: that of cocotbext-qspi."""

import ctypes
import re
from pathlib import Path

import cocotbext.qspi
import numpy as np
import pytest

import bitting
from bitting.artefact import flash_file
from bitting.fpga import boards, targets, tools
from bitting.sim import build, session
from bitting.sim.serial_link import SerialLink
from bitting.sim.serial_port import SimulatedPort, board_harness
from bitting.unit.serial_protocol import BAUD
from bitting_rtl.board.top import BoardTop
from bitting_rtl.engine.export import engine_verilog
from bitting_rtl.lib.build_options import COMPACT
from board.test_flash import ROOT, TINY, inputs, locked

PINS = Path(__file__).parents[1] / "tb" / "board_pins.v"


def top_verilog(board: boards.Board, folder: Path) -> str:
    """What `bitting board --flash` gives to synthesis, with the vendor's pads as instances."""
    family = targets.find(board.target).family
    top = BoardTop(ROOT, True, None, family, TINY)
    plan = board.resources().prepare(top, name="bitting_board", emit_debug_verilog=False)
    text = plan.files["bitting_board.il"]
    (folder / "top.il").write_text(text if isinstance(text, str) else text.decode())
    tools.run("yosys", ["-q", "-p", "read_rtlil top.il; proc; write_verilog -noattr top.v"], folder)
    return (folder / "top.v").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["icebreaker", "ulx3s-25f"])
def test_a_board_answers_from_a_flash_of_others_on_its_own_pins(name, tmp_path):
    """The line at the board's own speed, the flash in power-down, quad reads with the data sheet's four clocks of nothing."""
    board, (artefact, model) = boards.find(name), locked("sealed-clocked")
    (tmp_path / "image.hex").write_text("\n".join(f"{byte:02x}" for byte in flash_file.contents(artefact)))
    defines = f'`define IMAGE "{tmp_path / "image.hex"}"\n' + "`define ECP5\n" * ("ecp5" in board.target)
    # What takes time in it is to program and to erase, which no reader does; Verilator wants no delays.
    model_of_flash = re.sub(r"#\(\w+_NS\)", "", (cocotbext.qspi.verilog_dir() / "qspi_flash.v").read_text())
    parts = [engine_verilog(TINY, options=COMPACT), top_verilog(board, tmp_path), model_of_flash, defines, PINS.read_text()]
    library = build.shared_library("\n".join(parts), "board_pins", board_harness(), private=tmp_path)
    port = SimulatedPort.of_library(ctypes.CDLL(str(library)), round(board.clock_mhz * 1_000_000 / BAUD))
    link = SerialLink(port)
    session.require_family(artefact, link)
    outcome = session.on_board(artefact, inputs(6), link, flash=True)
    port.close()
    assert np.array_equal(outcome.logits, bitting.Emulator(model.program, range(16))(inputs(6)).numpy())
