"""Board tops on their pins, as they are placed, beside a flash model that we did not write: that of cocotbext-qspi."""

from pathlib import Path

import cocotbext.qspi
import numpy as np
import pytest

import bitting
from bitting.artefact import flash_file
from bitting.artefact.host_words import HostWords
from bitting.fpga import boards, targets, tools
from bitting.program import packets
from bitting.sim import toolchain
from bitting.sim.serial_link import SerialLink
from bitting.unit.serial_protocol import BAUD, ESCAPE, RESET, STUFFED
from bitting_rtl.board.top import BoardTop
from bitting_rtl.engine.export import engine_verilog
from bitting_rtl.lib.build_options import COMPACT
from board.test_flash import ROOT, TINY, inputs, locked
from tb.icarus import commands

PINS = Path(__file__).parents[1] / "tb" / "board_pins.v"


def write_top(board: boards.Board, folder: Path) -> None:
    """What `bitting board --flash` gives to synthesis, with the vendor's pads as instances; and the engine."""
    top = BoardTop(ROOT, True, None, targets.find(board.target).family, TINY)
    plan = board.resources().prepare(top, name="bitting_board", emit_debug_verilog=False)
    text = plan.files["bitting_board.il"]
    (folder / "top.il").write_text(text if isinstance(text, str) else text.decode())
    (folder / "engine.v").write_text(engine_verilog(TINY, options=COMPACT))
    # As assignments: a process that waits for a change of its inputs never begins if they never change.
    for read in (
        "read_rtlil top.il; proc; write_verilog -noattr top.v",
        "read_verilog engine.v; proc; write_verilog -noattr unit.v",
    ):
        tools.run("yosys", ["-q", "-p", read], folder)


class Recorded:
    """A line on which all has been said."""

    def __init__(self, said: bytes):
        self._said = said

    def write(self, data: bytes, /) -> int:
        return len(data)

    def read(self, size: int = 1, /) -> bytes:
        given, self._said = self._said, b""
        return given

    @property
    def in_waiting(self) -> int:
        return len(self._said)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["icebreaker", "ulx3s-25f"])
def test_a_board_answers_from_a_flash_of_others_on_its_own_pins(name, tmp_path):
    """The line at the board's own speed, the flash in power-down, quad reads with the data sheet's four clocks of nothing."""
    board, (artefact, model), x = boards.find(name), locked("sealed-clocked"), inputs(4)
    write_top(board, tmp_path)
    host, image = HostWords.of(artefact, report=False).from_flash(), flash_file.contents(artefact)
    sent = host.batch(x).tobytes().replace(bytes((ESCAPE,)), bytes((ESCAPE, STUFFED)))
    for kind, raw in (("image", image), ("sent", bytes((ESCAPE, RESET)) + sent)):
        (tmp_path / f"{kind}.hex").write_text("\n".join(f"{byte:02x}" for byte in raw))
    compiler, runtime = commands()
    sizes = {"DIVISOR": round(board.clock_mhz * 1_000_000 / BAUD), "BYTES": len(sent) + 2}
    defined = ["-DECP5"] * ("ecp5" in board.target) + [f"-DIMAGE_BYTES={len(image)}"]
    given = [*defined, *(f"-Pboard_pins.{key}={value}" for key, value in sizes.items())]
    sources = [str(PINS), "top.v", "unit.v", str(cocotbext.qspi.verilog_dir() / "qspi_flash.v")]
    toolchain.run([*compiler, "-g2012", "-s", "board_pins", *given, "-o", "bench", *sources], tmp_path, "iverilog")
    toolchain.run([*runtime, "bench"], tmp_path, "vvp")
    came = bytes(int(line, 16) for line in (tmp_path / "came.hex").read_text().split())
    link = SerialLink(Recorded(came))
    words = link.run(host.batch(x)[:0], host.results)
    answers = [tile.accumulators for tile in packets.parse_results(words)]
    assert np.array_equal(np.array(answers).T, bitting.Emulator(model.program, range(16))(x).numpy())
