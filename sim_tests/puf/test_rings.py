"""The rings themselves, as LUTs with delays under Icarus: they run, pair by pair, and the counters count what ran.

The delays are invented, and of one kind: this shows the logic, not the frequencies of any chip.
"""

import random

import pytest

from bitting.sim import toolchain
from bitting.unit.puf_spec import PufSpec
from bitting_rtl.lib.verilog import to_verilog
from bitting_rtl.puf.counting import RecordedCounting
from bitting_rtl.puf.ring_counting import RingCounting
from bitting_rtl.puf.rings import FAMILIES, RingFamily, Rings
from tb import icarus

#: More pairs than a row has, so that rows and columns differ.
PUF = PufSpec(pairs=18, window=512, settle=64, fastest=4)
PERIOD = 10_000  # ps, of the system clock
WATCHED = (0, 1, 15, 16, 17)

_LUT = """
module {cell} #(parameter [15:0] {table} = 0, parameter DELAY = 0) (input {inputs}, output {output});
  // An input that is not known yet is of no account where both of its values give the same.
  wire [7:0] a = {i3} ? {table}[15:8] : {table}[7:0];
  wire [3:0] b = {i2} ? a[7:4] : a[3:0];
  wire [1:0] c = {i1} ? b[3:2] : b[1:0];
  wire value = {i0} ? c[1] : c[0];
  assign #(DELAY) {output} = value;
  integer edges = 0;
  always @({output}) edges = edges + 1;
endmodule
"""


def lut_model(family: RingFamily) -> str:
    pins = {f"i{index}": pin for index, pin in enumerate(family.inputs)}
    names = {"cell": family.cell, "table": family.table, "output": family.output, "inputs": ", ".join(family.inputs)}
    return _LUT.format(**names, **pins)


def path(pair: int, which: str, stage: int) -> str:
    return f"dut.rings.ring{pair}_{which}_lut{stage}"


def bench(delays: dict[str, int], pairs: list[int], stop: int | None) -> str:
    """Counts each pair in turn and prints: clocks, counts, and how often the last stage of each watched ring changed.

    Twice: when the counts are there, and a while later. `stop`: wiped after so many clocks of each count.
    """
    edges = [f"{path(pair, which, 0)}.edges" for pair in WATCHED for which in ("first", "second")]
    show = '$display("' + " ".join(["%0d"] * (3 + len(edges))) + f'", clocks, first, second, {", ".join(edges)});'
    wiped = f"if (clocks == {stop}) wipe = 1; else wipe = 0;" if stop else ""
    over = f"clocks == {stop + 4}" if stop else "done"
    runs = "\n".join(
        f"    pair = {pair}; start = 1; clocks = 0; @(negedge clk); start = 0; clocks = 1;\n"
        f"    while (!({over}) && clocks < 5000) begin {wiped} @(negedge clk); clocks = clocks + 1; end\n"
        f"    {show} repeat ({PUF.settle}) @(negedge clk); {show}"
        for pair in pairs
    )
    defparams = "\n".join(f"  defparam {name}.DELAY = {delay};" for name, delay in delays.items())
    return f"""`timescale 1ps / 1ps
module bench;
  reg clk = 0, rst = 1, start = 0, wipe = 0;
  reg [{(PUF.pairs - 1).bit_length() - 1}:0] pair = 0;
  wire done;
  wire [{PUF.count_bits - 1}:0] first, second;
  integer clocks;
  dut dut(.clk(clk), .rst(rst), .start(start), .wipe(wipe), .pair(pair), .done(done), .first(first), .second(second));
{defparams}
  always #{PERIOD // 2} clk = ~clk;
  initial begin
    repeat (3) @(negedge clk);
    rst = 0;
    repeat (3) @(negedge clk);
{runs}
    $finish;
  end
endmodule
"""


def simulate(folder, family: str, delays: dict[str, int], pairs: list[int], stop: int | None = None) -> list[list[int]]:
    text = to_verilog(RingCounting(PUF, family), "dut").replace("module \\dut ", "module dut")
    (folder / "dut.v").write_text("`timescale 1ps / 1ps\n" + lut_model(FAMILIES[family]) + text)
    (folder / "bench.v").write_text(bench(delays, pairs, stop))
    compiler, runtime = icarus.commands()
    toolchain.run([*compiler, "-g2005", "-s", "bench", "-o", "bench", "bench.v", "dut.v"], folder, "iverilog")
    printed = toolchain.run([*runtime, "bench"], folder, "vvp")
    return [[int(word) for word in line.split()] for line in printed.splitlines() if line[:1].isdigit()]


def drawn_delays(family: str, seed: int) -> dict[str, int]:
    """Of each LUT in ps: rings from a third of the clock's frequency to more than twice it."""
    rng = random.Random(seed)
    stages = len(FAMILIES[family].loop)
    return {
        path(pair, which, stage): rng.randint(2_200, 14_000) // stages + rng.randint(0, 40)
        for pair in range(PUF.pairs)
        for which in ("first", "second")
        for stage in range(stages)
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_counts_are_the_periods_in_the_window_and_only_one_pair_runs(family, tmp_path):
    delays = drawn_delays(family, seed=1)
    stages = range(len(FAMILIES[family].loop))
    order = [*WATCHED, *reversed(WATCHED)]
    lines = simulate(tmp_path, family, delays, order)
    before = [0] * 2 * len(WATCHED)
    for pair, (clocks, first, second, *edges), later in zip(order, lines[::2], lines[1::2], strict=True):
        assert clocks == PUF.count_clocks, "no count of edges changes when the counts are there"
        for which, count in (("first", first), ("second", second)):
            period = 2 * sum(delays[path(pair, which, stage)] for stage in stages)
            periods = PUF.window * PERIOD / period
            assert abs(count - periods) < 1, f"{count} of {periods:.2f} periods"
        assert edges == later[3:], "something still moves when the counts are read"
        ran = {WATCHED[index // 2] for index, (now, then) in enumerate(zip(edges, before, strict=True)) if now - then > 2}
        assert ran == {pair}
        before = edges


@pytest.mark.parametrize("stop", [1, 100, 300, 640, 700])
def test_a_wipe_stops_the_rings_and_clears_the_counts(stop, tmp_path):
    delays = drawn_delays("ecp5", seed=2)
    for clocks, first, second, *_ in simulate(tmp_path, "ecp5", delays, [0, 17], stop):
        assert clocks == stop + 4 and first == second == 0
    lines = simulate(tmp_path, "ecp5", delays, [0, 17], stop)
    assert all(now[3:] == later[3:] for now, later in zip(lines[::2], lines[1::2], strict=True))


def test_recorded_counting_takes_the_place_of_rings():
    """The same ports, and those that fill its memory."""
    rings, recorded = (component.signature for component in (RingCounting(PUF, "ecp5"), RecordedCounting(PUF)))
    assert rings.ports.items() <= recorded.ports.items()
    assert all(name.startswith("load") for name in recorded.ports.keys() - rings.ports.keys())


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_rings_are_described_once_and_alike(family):
    """An odd number of stages; each stage's wires begin at its LUT and end at the input that the next one inverts."""
    stages = len(family.loop)
    assert stages % 2 and stages == len(family.wires) == len(set(family.bel)) - 1 == len(family.bel) - 1 < 8
    assert len({wire for wires in family.wires for wire in wires}) == sum(map(len, family.wires)), "two stages share a wire"
    assert family.out_wires[0] == family.wires[-1][0] and not set(family.out_wires[2:]) & set(family.wires[-1])
    assert 2 * family.most_pairs >= 512
    tiles = [family.tile(pair, second) for pair in range(family.most_pairs) for second in range(2)]
    assert len(set(tiles)) == len(tiles)


def test_what_there_is_no_place_for_is_refused():
    with pytest.raises(ValueError, match="allowed: ecp5, ice40"):
        Rings(PUF, "spartan3e")
    with pytest.raises(ValueError, match="on ice40 there are places for 330"):
        Rings(PufSpec(pairs=331), "ice40")
