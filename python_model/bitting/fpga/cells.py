"""Simulation models of the ECP5 cells that Yosys knows only from outside, above all the block RAM and the multiplier.

Written from Lattice's guides (FPGA-TN-02204 on memories, FPGA-TN-02205 on sysDSP) and Yosys' mapping onto the cells, for the
modes that this project's netlists use; any other stops the simulation.
"""

from __future__ import annotations

from collections.abc import Iterable

_ROWS = 64  # of initial values
_WORD = 18  # bits of a port; a byte is half of it
_ADDRESS = 14


#: Inputs of cells that are 1 where nothing drives them.
INPUTS = {
    "TRELLIS_COMB": ["A", "B", "C", "D"],
    "DP16KD": [
        *(f"{name}{port}{bit}" for port in "AB" for name, bits in (("DI", 18), ("AD", 14), ("CS", 3)) for bit in range(bits)),
        *(f"{name}{port}" for port in "AB" for name in ("CE", "OCE", "CLK", "WE", "RST")),
    ],
    "MULT18X18D": [
        *(f"{name}{bit}" for name in "ABC" for bit in range(18)),
        *("SIGNEDA", "SIGNEDB", "SOURCEA", "SOURCEB"),
    ],
}


def models() -> dict[str, str]:
    """Verilog of each cell, by its name."""
    return {"DP16KD": _block_ram(), "MULT18X18D": _multiplier(), **_AFTER_PLACING}


#: What nextpnr makes of LUTs, carry cells, distributed memory and the multiplexer behind two LUTs (but no wider one); wires
#: that Yosys' models forget.
_AFTER_PLACING = {
    "TRELLIS_COMB": """module TRELLIS_COMB #(
  parameter MODE = "LOGIC",
  parameter INITVAL = 16'h0,
  parameter CCU2_INJECT1 = "NO",
  parameter WREMUX = "WRE",
  parameter WCKMUX = "WCK"
) (input A, input B, input C, input D, input M, input F1, input FCI, input WD, input WAD0, input WAD1, input WAD2, input WAD3,
  input WRE, input WCK, output F, output OFX, output FCO);
  wire value = INITVAL[{D, C, B, A}];
  assign OFX = M ? F1 : F;  // the multiplexer behind a slice's two LUTs
  generate
    if (MODE == "CCU2") begin
      assign F = value ^ (CCU2_INJECT1 == "NO" && FCI);
      assign FCO = value ? FCI : CCU2_INJECT1 == "NO" && INITVAL[{2'b00, B, A}];
    end else if (MODE == "DPRAM") begin
      reg [15:0] memory = INITVAL;
      assign F = memory[{A, C, B, D}];
      always @(posedge WCK) if (WRE) memory[{WAD3, WAD2, WAD1, WAD0}] <= WD;
      initial if (WREMUX != "WRE" || WCKMUX != "WCK") $fatal(1, "TRELLIS_COMB with a changed WRE or WCK has no model");
    end else assign F = value;
  endgenerate
endmodule
""",
    "TRELLIS_RAMW": """module TRELLIS_RAMW(input A0, input B0, input C0, input D0, input A1, input B1, input C1, input D1,
  output WADO0, output WADO1, output WADO2, output WADO3, output WDO0, output WDO1, output WDO2, output WDO3);
  assign {WADO3, WADO2, WADO1, WADO0} = {A0, C0, B0, D0};
  assign {WDO3, WDO2, WDO1, WDO0} = {B1, D1, A1, C1};
endmodule
""",
    "TRELLIS_IO_INPUT": """module TRELLIS_IO_INPUT(input B, output O);
  assign O = B;
endmodule
""",
    "TRELLIS_IO_OUTPUT": """module TRELLIS_IO_OUTPUT(input I, output B);
  assign B = I;
endmodule
""",
    "DCCA": """module DCCA(input CLKI, output CLKO);
  assign CLKO = CLKI;
endmodule
""",
}


def _block_ram() -> str:
    """2048 bytes of 9 bits, without output registers.

    Ports are of one or two bytes, or four to write through A or to read through B, or of a part of the lower 8 bits of a byte.
    Port A reads and writes (it then gives what was there before, or keeps what it gave); port B reads. Rows of initial values
    hold 16 words of 20 bits, of which 18 count.
    """
    parameters = {
        **_for_ports({"DATA_WIDTH": "18", "REGMODE": '"NOREG"', "CSDECODE": '"0b000"', "WRITEMODE": '"NORMAL"'}),
        **{"RESETMODE": '"SYNC"', "ASYNC_RESET_RELEASE": '"SYNC"', "GSR": '"ENABLED"', "WID": "0", "INIT_DATA": '"STATIC"'},
        **{f"CLK{port}MUX": f'"CLK{port}"' for port in "AB"},
        **{f"INITVAL_{row:02X}": "320'b0" for row in range(_ROWS)},
    }
    initial = "".join(
        f"    for (k = 0; k < 32; k = k + 1) bytes[32 * {row} + k] = INITVAL_{row:02X}[20 * (k / 2) + 9 * (k % 2) +: 9];\n"
        for row in range(_ROWS)
    )
    body = f"""
  localparam NA = DATA_WIDTH_A < 9 ? 1 : DATA_WIDTH_A / 9, NB = DATA_WIDTH_B < 9 ? 1 : DATA_WIDTH_B / 9;  // bytes
  localparam MA = (1 << DATA_WIDTH_A) - 1, MB = (1 << DATA_WIDTH_B) - 1;  // a part of a byte
  reg [8:0] bytes [0:2047];
  reg [35:0] qa = 0, qb = 0;
  wire [13:0] ada = {_vector("ADA", _ADDRESS)}, adb = {_vector("ADB", _ADDRESS)};
  wire [2:0] low_a = DATA_WIDTH_A < 9 ? ada[2:0] & ~(DATA_WIDTH_A - 1) : 0;
  wire [2:0] low_b = DATA_WIDTH_B < 9 ? adb[2:0] & ~(DATA_WIDTH_B - 1) : 0;
  wire [10:0] first_a = ada[13:3] & ~(NA - 1), first_b = adb[13:3] & ~(NB - 1);
  wire [35:0] written = {{{_vector("DIB", _WORD)}, {_vector("DIA", _WORD)}}};
  assign {_vector("DOA", _WORD)} = NB == 4 ? qb[17:0] : qa[17:0];
  assign {_vector("DOB", _WORD)} = NB == 4 ? qb[35:18] : qb[17:0];
  integer k;
  initial begin
{initial}    if ((9 * NA != DATA_WIDTH_A && 8 % DATA_WIDTH_A != 0) || (9 * NB != DATA_WIDTH_B && 8 % DATA_WIDTH_B != 0)
        || REGMODE_A != "NOREG" || REGMODE_B != "NOREG"
        || CLKAMUX != "CLKA" || CLKBMUX != "CLKB")
      $fatal(1, "DP16KD of %0d and %0d bits, %s, %s has no model", DATA_WIDTH_A, DATA_WIDTH_B, REGMODE_A, REGMODE_B);
  end
  always @(posedge CLKA) if (CEA && {{CSA2, CSA1, CSA0}} == 0) begin
    if (RSTA) $fatal(1, "a reset of DP16KD has no model");
    if (DATA_WIDTH_A < 9) begin
      if (WEA) bytes[first_a] <= (bytes[first_a] & ~(MA << low_a)) | ((written[8:0] & MA) << low_a);
      if (!WEA || WRITEMODE_A == "READBEFOREWRITE") qa <= (bytes[first_a] >> low_a) & MA;
    end else for (k = 0; k < NA; k = k + 1) begin
      if (WEA && (NA == 1 || ada[k])) bytes[first_a + k] <= written[9 * k +: 9];
      if (!WEA || WRITEMODE_A == "READBEFOREWRITE") qa[9 * k +: 9] <= bytes[first_a + k];
    end
  end
  always @(posedge CLKB) if (CEB && {{CSB2, CSB1, CSB0}} == 0) begin
    if (RSTB || WEB) $fatal(1, "a reset of DP16KD, and writing through port B, have no model");
    if (DATA_WIDTH_B < 9) qb <= (bytes[first_b] >> low_b) & MB;
    else for (k = 0; k < NB; k = k + 1) qb[9 * k +: 9] <= bytes[first_b + k];
  end
"""
    return _module("DP16KD", parameters, INPUTS["DP16KD"], [*_bits("DOA", _WORD), *_bits("DOB", _WORD)], body)


def _multiplier() -> str:
    """18 x 18 bits, without registers."""
    stages = ("INPUTA", "INPUTB", "INPUTC", "PIPELINE", "OUTPUT")
    used = " || ".join(f'REG_{stage}_CLK != "NONE"' for stage in stages)
    body = f"""
  initial if ({used}) $fatal(1, "MULT18X18D with registers has no model");
  wire signed [18:0] a = {{SIGNEDA & A17, {_vector("A", 18)}}}, b = {{SIGNEDB & B17, {_vector("B", 18)}}};
  wire signed [37:0] product = a * b;
  assign {_vector("P", 36)} = product[35:0];
"""
    return _module("MULT18X18D", {f"REG_{stage}_CLK": '"NONE"' for stage in stages}, INPUTS["MULT18X18D"], _bits("P", 36), body)


def _for_ports(values: dict[str, str]) -> dict[str, str]:
    return {f"{name}_{port}": value for name, value in values.items() for port in "AB"}


def _bits(name: str, count: int) -> list[str]:
    return [f"{name}{index}" for index in range(count)]


def _vector(name: str, count: int) -> str:
    """Single wires as one value, number 0 lowest."""
    return "{" + ", ".join(reversed(_bits(name, count))) + "}"


def _module(name: str, parameters: dict[str, str], inputs: Iterable[str], outputs: Iterable[str], body: str) -> str:
    ports = ",\n  ".join([*(f"input {port}" for port in inputs), *(f"output {port}" for port in outputs)])
    head = ",\n  ".join(f"parameter {key} = {value}" for key, value in parameters.items())
    return f"module {name} #(\n  {head}\n) (\n  {ports}\n);{body}endmodule\n"
