"""Registers that move into block RAMs: a memory answers as before, in the same clocks; whatever differs stays outside."""

import copy
import json
import random

import pytest

from bitting.fpga import gates, output_registers, targets, tools
from bitting.sim import toolchain
from tb.icarus import commands

ECP5 = targets.find("ecp5-25k")
MEMORY = """module memory(input clk, rst, en, write, input [10:0] wa, ra, input [8:0] d, output reg [8:0] q);
  (* no_rw_check *) reg [8:0] words [0:2047];
  reg [8:0] read;
  always @(posedge clk) begin
    if (write) words[wa] <= d;
    if (en) read <= words[ra];
    if (rst) q <= 0; else if (en) q <= read;
  end
endmodule
"""
BENCH = """module bench;
  reg clk = 0;
  reg [33:0] inputs [0:{last}];
  wire [8:0] q;
  integer n;
  reg [33:0] now;
  memory tried(.clk(clk), .rst(now[33]), .en(now[32]), .write(now[31]), .wa(now[30:20]), .ra(now[19:9]), .d(now[8:0]), .q(q));
  initial begin
    $readmemh("inputs.hex", inputs);
    for (n = 0; n <= {last}; n = n + 1) begin
      now = inputs[n];
      #1 clk = 1;
      #1 clk = 0;
      $display("%h", q);
    end
  end
endmodule
"""
CLOCKS = 3000


@pytest.fixture(scope="module")
def netlist(tmp_path_factory):
    """Of `MEMORY`, in Yosys' JSON."""
    folder = tmp_path_factory.mktemp("netlist")
    (folder / "memory.v").write_text(MEMORY)
    synthesis = "synth_ecp5 -nowidelut -noabc9 -noiopad -top memory"
    script = f"read_verilog memory.v; {synthesis}; blackbox =A:whitebox; write_json memory.json"
    tools.run("yosys", ["-q", "-p", script], folder)
    found = json.loads((folder / "memory.json").read_text())
    found["modules"] = {"memory": found["modules"]["memory"]}
    return found


def cells_of(netlist, kind):
    return [cell for cell in netlist["modules"]["memory"]["cells"].values() if cell["type"] == kind]


def answers(netlist, inputs, folder):
    """`q` after each clock."""
    (folder / "memory.json").write_text(json.dumps(netlist))
    tools.run("yosys", ["-q", "-p", "read_json memory.json; write_verilog -noattr memory.v"], folder)
    (folder / "inputs.hex").write_text("\n".join(f"{word:09x}" for word in inputs))
    text = gates.with_models(ECP5, (folder / "memory.v").read_text()) + BENCH.format(last=len(inputs) - 1)
    (folder / "bench.v").write_text(text)
    compiler, runtime = commands()
    toolchain.run([*compiler, "-g2012", "-s", "bench", "-o", "bench", "bench.v"], folder, "iverilog")
    return [int(line, 16) for line in toolchain.run([*runtime, "bench"], folder, "vvp").split()]


def test_a_memory_answers_in_the_same_clocks(netlist, tmp_path):
    """Against a memory in Python: reads that wait, resets with and without an enable, no address read while it is written."""
    folded = copy.deepcopy(netlist)
    assert output_registers.fold(folded) == 1
    (memory,) = cells_of(folded, "DP16KD")
    assert memory["parameters"]["REGMODE_B"] == "OUTREG" and memory["parameters"]["REGMODE_A"] == "NOREG"
    assert len(cells_of(netlist, "TRELLIS_FF")) == 9 and not cells_of(folded, "TRELLIS_FF")
    chance = random.Random(1)
    words, read, q, inputs, expected = [0] * 2048, 0, 0, [], []
    for clock in range(CLOCKS):
        rst, en, write = clock < 2 or chance.random() < 0.05, chance.random() < 0.6, chance.random() < 0.7
        wa, ra, d = chance.randrange(64), chance.randrange(64), chance.randrange(512)
        ra = ra ^ 64 if ra == wa else ra
        inputs.append(rst << 33 | en << 32 | write << 31 | wa << 20 | ra << 9 | d)
        q = 0 if rst else read if en else q
        read = words[ra] if en else read
        if write:
            words[wa] = d
        expected.append(q)
    assert len(set(expected)) > 100
    assert answers(folded, inputs, tmp_path) == expected


def change(pin, value):
    def apply(netlist):
        cells_of(netlist, "TRELLIS_FF")[0]["connections"][pin] = value

    return apply


def parameter(name, value):
    def apply(netlist):
        for cell in cells_of(netlist, "TRELLIS_FF"):
            cell["parameters"][name] = value

    return apply


def read_elsewhere(netlist):
    """An output of the memory is a port too."""
    (bit,) = cells_of(netlist, "TRELLIS_FF")[0]["connections"]["DI"]
    netlist["modules"]["memory"]["ports"]["also"] = {"direction": "output", "bits": [bit]}


def logic_behind(netlist):
    cells_of(netlist, "TRELLIS_FF")[0]["type"] = "LUT4"


def reads_always(netlist):
    """The memory's own enable is another."""
    cells_of(netlist, "DP16KD")[0]["connections"]["CEB"] = ["1"]


def both_ports(netlist):
    cells_of(netlist, "DP16KD")[0]["parameters"]["DATA_WIDTH_B"] = f"{36:032b}"


def resets_itself(netlist):
    cells_of(netlist, "DP16KD")[0]["connections"]["RSTA"] = [4095]


@pytest.mark.parametrize(
    "spoil",
    [
        change("CE", ["1"]), change("LSR", ["0"]), change("CLK", [4095]), parameter("SRMODE", "ASYNC"),
        parameter("REGSET", "SET"), parameter("CEMUX", "INV"), parameter("CLKMUX", "INV"), parameter("LSRMUX", "INV"),
        read_elsewhere, logic_behind, reads_always, both_ports, resets_itself,
    ],
    ids=[
        "one without enable", "one without reset", "another clock", "a reset at once", "a reset to 1", "an inverted enable",
        "a falling edge", "an inverted reset", "read elsewhere", "logic behind", "reads always", "both ports", "resets itself",
    ],
)  # fmt: skip
def test_what_differs_stays_outside(netlist, spoil):
    spoiled = copy.deepcopy(netlist)
    spoil(spoiled)
    before = copy.deepcopy(spoiled)
    assert output_registers.fold(spoiled) == 0 and spoiled == before
