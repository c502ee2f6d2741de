"""The netlist after place and route on an ECP5, for a simulator: nextpnr's cells as Verilog, behind the ports of the engine.

nextpnr writes cells as the device has them: constants as settings of a pin, pins that are 1 where nothing drives them,
flip-flops with two data inputs. Here they become what `bitting.fpga.cells` has models of.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bitting import files
from bitting.errors import ToolError
from bitting.fpga import cells, design, gates, tools
from bitting.fpga.targets import Target
from bitting.unit.protocol import FUSE_WORDS, WORD_BITS, ErrorCode
from bitting.unit.spec import UnitSpec

#: nextpnr's name of what it has placed.
_PLACED = "top"


def verilog(target: Target, spec: UnitSpec, locked: bool, seed: int) -> str:
    """Verilog with the ports of `bitting_engine`: what `sim.native.library_of` takes.

    Inside, words go byte by byte through `bitting_rtl.board.pins`, as they were placed; tiles take the cycles they take.

    Raises:
        ToolError: for a family other than the ECP5, or if a tool fails.
    """
    if target.family != "ecp5":
        raise ToolError(
            f"there are no models of {target.name} after place and route; simulate it after synthesis, or for ecp5-25k"
        )
    routed = json.loads((design.routed(target, spec, locked, seed) / "routed.json").read_text())
    placed_cells = routed["modules"][_PLACED]["cells"]
    for name in [name for name, cell in placed_cells.items() if cell["parameters"].get("MODE") == "RAMW_BLOCK"]:
        del placed_cells[name]  # a place that a memory's write side takes from two LUTs
    for cell in placed_cells.values():
        _plain(cell)
    text = json.dumps(routed)

    def make(work: Path, finished: Path) -> None:
        (work / "routed.json").write_text(text)
        command = f"read_json routed.json; write_verilog -noattr {finished.name}/routed.v"
        tools.run("yosys", ["-q", "-l", "yosys.log", "-p", command], work)

    folder = files.built("routed", [text, tools.find("yosys")[1]], make)
    return gates.with_models(target, (folder / "routed.v").read_text()) + before_pins(locked)


def _plain(cell: dict[str, Any]) -> None:
    """Constants as connections, one data input, pads of one direction."""
    connections, parameters = cell["connections"], cell["parameters"]
    if cell["type"] == "TRELLIS_IO":
        cell["type"] = f"TRELLIS_IO_{parameters['DIR']}"
        parameters.clear()
    if cell["type"] == "TRELLIS_FF" and parameters.pop("SD", "1").strip() == "0":  # not from the LUT beside it
        connections["DI"] = connections.pop("M")
        cell["port_directions"]["DI"] = cell["port_directions"].pop("M")
    for port in cells.INPUTS.get(cell["type"], ()):
        setting = parameters.pop(f"{port}MUX", port).strip()  # "0", "1", "INV", or the port itself
        if not connections.get(port):
            connections[port] = ["0" if setting in ("0", "INV") else "1"]
            cell["port_directions"][port] = "input"
        elif setting != port:
            raise ToolError(f"pin {port} of a {cell['type']} is {setting}: no model")


def before_pins(locked: bool) -> str:
    """The engine's module in front of the pins' module: the fuses bit by bit before its reset ends, words as bytes."""
    reads, bits = 2 * FUSE_WORDS, FUSE_WORDS * WORD_BITS  # clocks to read the fuses, two a word, then to shift them in
    ports, pin, fuses = "", "", ""
    if locked:
        ports = f"output [2:0] fuse_address, input [{WORD_BITS - 1}:0] fuse_data, "
        pin = f".fuse_bit(fuses[{bits - 1}]), "
        fuses = f"""reg [{bits - 1}:0] fuses;
  wire reading = started < {reads};
  assign fuse_address = reading ? started[3:1] : 0;
  always @(posedge clk)
    if (!reading) fuses <= fuses << 1;
    else if (started[0]) fuses <= {{fuse_data, fuses[{bits - 1}:{WORD_BITS}]}};"""
    return f"""
module {design.TOP}(input clk, rst, {ports}input lock_now,
  input [{WORD_BITS - 1}:0] cmd_data, input cmd_valid, output cmd_ready,
  output reg [{WORD_BITS - 1}:0] result_data, output reg result_last, output result_valid, input result_ready,
  output [{max(ErrorCode).bit_length() - 1}:0] error, output busy);
  reg [7:0] started = 0;  // clocks since reset; the pins' reset ends with them
  wire running = started == {reads + bits};
  always @(posedge clk) started <= rst ? 0 : running ? started : started + 1;
  {fuses}
  reg [1:0] sent = 0;  // bytes of the command word
  reg [2:0] have = 0;  // bytes of the result word
  wire taken, given, last, working;
  wire [7:0] result;
  assign cmd_ready = running && taken && sent == 3;
  assign result_valid = have == 4;
  assign busy = working || sent != 0 || have != 0 || !running;
  always @(posedge clk) begin
    if (running && cmd_valid && taken) sent <= sent + 1;
    if (given && have != 4) begin
      result_data <= {{result, result_data[{WORD_BITS - 1}:8]}};
      result_last <= last;
      have <= have + 1;
    end else if (result_ready && have == 4) have <= 0;
    if (rst) {{sent, have}} <= 0;
  end
  {_PLACED} placed(.clk(clk), .rst(!running), {pin}.lock_now(lock_now),
    .cmd(cmd_data[8 * sent +: 8]), .cmd_valid(running && cmd_valid), .cmd_ready(taken),
    .result(result), .result_last(last), .result_valid(given), .result_ready(have != 4), .error(error), .busy(working));
endmodule
"""
