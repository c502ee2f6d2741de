"""The open FPGA flow: netlists that compute what golden computes, bitstreams, and what locks cost."""

import json
from dataclasses import replace

import numpy as np
import pytest

from bitting.artefact.artefact import Artefact
from bitting.check.verification import verify
from bitting.data import datasets
from bitting.errors import BittingError, ToolError
from bitting.fpga import design, flow, gates, overhead, placed, targets, tools
from bitting.locking.device import Device
from bitting.locking.kinds import transforms_of
from bitting.locking.scheme import LockScheme
from bitting.locking.transform import personalise
from bitting.program import packets
from bitting.program.packets import ExpectedResults
from bitting.sim import native
from bitting.training import loop, recipes
from bitting.unit.protocol import ErrorCode, Packet
from bitting.unit.spec import VaultKind, parse_spec
from bitting_rtl.board import pins
from tb.command import bitting, error_of
from tb.families import AES
from tb.programs import golden_run, random_activations, random_program

ICE40 = targets.find("ice40-up5k")
ECP5 = targets.find("ecp5-25k")
TINY = AES["tiny"]
SEALED_TINY = parse_spec("tiny")


#: A netlist is a hundred times slower than the RTL.
IMAGES = 8

#: Fewer lanes than usual, for the time it takes; all else is there.
BASE = parse_spec("base:lanes=4")
AES_BASE = parse_spec("base:vault=aes,lanes=4")
THOROUGH = pytest.mark.thorough


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "netlist"),
    [
        (SEALED_TINY, lambda: gates.verilog(ICE40, *design.engine(SEALED_TINY, True, ICE40))),
        pytest.param(BASE, lambda: gates.verilog(ECP5, *design.engine(BASE, True, ECP5)), marks=THOROUGH),
        (BASE, lambda: placed.verilog(ECP5, BASE, True, seed=1)),
        pytest.param(TINY, lambda: gates.verilog(ICE40, *design.engine(TINY, True, ICE40)), marks=THOROUGH),
        pytest.param(AES_BASE, lambda: gates.verilog(ECP5, *design.engine(AES_BASE, True, ECP5)), marks=THOROUGH),
        pytest.param(AES_BASE, lambda: placed.verilog(ECP5, AES_BASE, True, seed=1), marks=THOROUGH),
    ],
    ids=[
        "iCE40 after synthesis", "ECP5 after synthesis", "ECP5 after place and route", "iCE40 after synthesis, aes",
        "ECP5 after synthesis, aes", "ECP5 after place and route, aes",
    ],
)  # fmt: skip
def test_the_netlist_is_equal_to_golden(spec, netlist):
    """Images through LUTs, flip-flops, block RAMs, multipliers: every bit, every cycle, all that a vault has.

    `scripts/netlists_report.py` runs more of them.
    """
    library = native.library_of(netlist(), design.TOP, brief=True)
    data = datasets.load("digits")
    model = loop.train(spec, data, replace(recipes.recipe(data), epochs=2, seed=0))
    seals = spec.vault == VaultKind.ASCON
    device = Device(spec, bytes(range(1, 17)), sealed=seals)
    x, y = datasets.activations(spec, data.test_x[:IMAGES]), data.test_y[:IMAGES]
    for transform in transforms_of(spec.vault):
        scheme = LockScheme.new(spec, "clock", transform)
        locked = personalise(model.program, device, scheme)
        report = verify(Artefact(locked, scheme), device, x, y, library=library)
        assert report.equal and report.wrong_logits == report.wrong_cycles == 0, transform
        assert report.accuracy == report.emulator_accuracy > 0.5
    wrong = verify(Artefact(locked, scheme), device.with_flipped_bit(3), x, y, library=library)
    assert wrong.refused if seals else wrong.equal and wrong.accuracy < 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("vault", "sealed"), [("aes", False), ("ascon", False), ("ascon", True)])
def test_fuses_words_and_errors_pass_the_pins(vault, sealed):
    """The engine behind its pins, not placed: golden's words with the device's table, the fuse `sealed`, the largest error."""
    spec = TINY.replace(vault=vault)
    inner, _ = design.engine(spec, True, ICE40)
    placed_text = (inner + pins.pins_verilog(fused=True)).replace(design.TOP, "the_engine").replace(pins.TOP, "top")
    library = native.library_of(placed_text + placed.before_pins(True), design.TOP, brief=True)
    device = Device(spec, bytes(range(201, 217)))
    with native.NativeEngine(library, device.root, sealed) as engine:
        ((_, status),) = packets.split(engine.run(packets.status_packet(), 7).words)
        assert status[4] >> 4 & 1 == sealed
        if vault == "aes":
            rng = np.random.default_rng(1)
            program = random_program(spec, rng)
            x = random_activations(spec, rng, spec.lanes, program.input_words)
            commands = [packets.activations_packet(spec, program.input_base, x), packets.program_packets(program)]
            table = device.table()
            expected = ExpectedResults.of(program, program.tile_cycles(table)).words(golden_run(program, table, x))
            engine.reset()
            assert np.array_equal(engine.run(np.concatenate(commands), len(expected)).words, expected)
        elif not sealed:
            forged = np.array([1 << 16 | Packet.PROGRAM, 0, 0, 0, 0, 0], np.uint32)
            assert engine.run(forged, 3).error == ErrorCode.BAD_TAG == max(ErrorCode)


@pytest.mark.slow
@pytest.mark.thorough  # the iCEBreaker's test makes a bitstream of the locked one
def test_an_unlocked_tiny_engine_becomes_a_bitstream_of_the_ice40(tmp_path):
    history = tmp_path / "history.json"
    bits = tmp_path / "tiny.bin"
    arguments = ("synth", "--spec", "tiny", "--lock", "none", "--target", "ice40-up5k", "--seeds", 1, "--history", history)
    facts = json.loads(bitting(*arguments, "-o", bits, "--json").stdout)
    assert bits.stat().st_size > 100_000
    assert facts["luts"] < ICE40.luts and facts["fmax"] > 12 and facts["placed"][0]["critical"]
    bitting(*arguments, "--json")  # from the cache
    assert [entry["kind"] for entry in json.loads(history.read_text())] == ["synth", "synth"]


def test_cells_are_counted_by_what_they_are():
    cells = {"LUT4": 10, "CCU2C": 3, "TRELLIS_FF": 7, "TRELLIS_DPR16X4": 2, "DP16KD": 1, "PDPW16KD": 1, "MULT18X18D": 1}
    found = flow.Area.of("ecp5", cells)
    assert (found.lut, found.carry, found.ff, found.bram, found.dsp, found.luts) == (10, 6, 7, 2, 1, 10 + 6 + 12)
    assert flow.Area.of("ice40", {"SB_DFFE": 2, "SB_DFF": 3, "SB_RAM40_4K": 4}).ff == 5


def test_what_does_not_fit_is_told_in_cells():
    """A memory of 32 block RAMs, of which an iCE40UP5K has 30."""
    assert flow.overfull("Info: \t ICESTORM_LC:  4479/ 5280    84%\nInfo: \t SB_IO:  40/  39   103%") == "40 of 39 SB_IO"
    text = """module large(input clk, input [15:0] d, input [12:0] a, output reg [15:0] q);
  reg [15:0] memory [0:8191];
  always @(posedge clk) begin memory[a] <= d; q <= memory[~a]; end
endmodule"""
    pins = """module pins(input clk, d, output q);
  reg [28:0] r;
  wire [15:0] o;
  assign q = ^o;
  always @(posedge clk) r <= {r, d};
  large inner(.clk(clk), .d(r[15:0]), .a(r[28:16]), .q(o));
endmodule"""
    with pytest.raises(ToolError, match="does not fit on ice40-up5k: it wants 32 of 30 ICESTORM_RAM"):
        flow.place(ICE40, text, "large", flow.Wrapper(pins, "pins"), seed=1)


def test_mistakes_are_named(tmp_path, monkeypatch):
    assert "allowed: ecp5-25k" in error_of("synth", "--target", "spartan")
    assert "allowed: full, none" in error_of("synth", "--lock", "half")
    assert "--seeds 0" in error_of("synth", "--seeds", 0, "-o", tmp_path / "x")
    assert "8,16,32,64" in error_of("overhead", "--lanes", "few")
    with pytest.raises(BittingError, match="unknown target"):
        targets.find("artix")
    with pytest.raises(ToolError, match="bitting\\[fpga\\]"):
        monkeypatch.setitem(tools.WHEELS, "vivado", "none")
        tools.find("vivado")
    with pytest.raises(ToolError, match="simulate it after synthesis"):
        placed.verilog(ICE40, TINY, True, seed=1)
    with pytest.raises(ToolError, match="no simulation model of EXOTIC"):
        gates.with_models(ECP5, "module top(input a);\n  EXOTIC #(.X(1)) cell (.A(a));\nendmodule\n")
    with pytest.raises(ToolError, match=r"yosys failed.*ERROR"):
        flow.synthesise(ECP5, "module broken(input a; endmodule", "broken")


def test_a_plot_is_drawn_from_measured_rows(tmp_path):
    """Every engine and every number of lanes is in the picture; a suffix that is no picture is refused before anything runs."""
    small = flow.Area(lut=900, carry=100, ff=5, lutram=0, bram=1, dsp=4)
    rows = [
        overhead.Overhead(
            lanes=lanes, twin=1, locked=2, table=1, unlocking=1, lane=80, twin_area=small, locked_area=small, twin_fmax=None,
            locked_fmax=None, int8_lanes=lanes // 2, int8_area=small, int8_logic_area=small, fold=30, relu=40,
        )
        for lanes in (8, 24)
    ]  # fmt: skip
    overhead.plot(tmp_path / "cost.svg", rows, "a title of its own")
    drawn = (tmp_path / "cost.svg").read_text()
    assert all(text in drawn for text in ("a title of its own", "all locks", "unlocked twin", "int8, multipliers in LUTs"))
    assert "a plot ends in" in error_of("overhead", "--plot", tmp_path / "cost.pdf")


def test_the_baseline_keeps_up_with_the_family():
    """As many weights a clock, or a few more: lanes come in fours."""
    spec = AES["base"]
    _, _, lanes = design.baseline(spec)
    wanted = spec.lanes / (sum(spec.value_cycles) / spec.codes)
    assert wanted <= lanes < wanted + 4
