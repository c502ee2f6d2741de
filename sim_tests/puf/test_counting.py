"""Counts and responses: RTL in three simulators = pure integers, in the same clocks whatever was counted."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from amaranth.sim import Simulator

from bitting.errors import SpecError
from bitting.puf import counting, measurements
from bitting.sim import toolchain
from bitting.unit.puf_spec import FRACTION_BITS, READ_NOISE, PufSpec, window_for
from bitting_rtl.lib.verilog import to_verilog
from bitting_rtl.puf.counting import RecordedCounting
from bitting_rtl.puf.measurement import Response
from tb import icarus, oscillators
from tb.vector import Steps, VectorModel

#: Reads of a pair in one bit; frequencies from a quarter of the clock's.
SMALL = PufSpec(pairs=9, window=100, reads=4, settle=32, fastest=5)


def near(puf, board, rng):
    """Constants about the sums they are compared with: above, below, and equal, where the bit is 0."""
    return [counting.total(puf, reads) + int(rng.integers(-1, 2)) for reads in board]


@pytest.mark.parametrize(
    "puf", [SMALL, replace(SMALL, reads=1, pairs=2), PufSpec(pairs=17, window=16, reads=2, settle=8, fastest=64)]
)
def test_responses_are_those_of_the_integers_in_constant_clocks(puf):
    rng = np.random.default_rng(puf.pairs)
    board = oscillators.drawn(puf, rng)
    constants = near(puf, board, rng)
    model = oscillators.model(puf, constants)
    for _ in range(4):
        inputs = oscillators.rows(puf, board, puf.clocks + 50)
        bits, last, clocks = oscillators.bits_of(model.run(**inputs), inputs["bits__ready"], puf.pairs * puf.reads)
        assert bits == counting.response(puf, board, constants)
        assert last == [0] * (puf.pairs - 1) + [1]
        assert clocks == [puf.bit_clocks * (pair + 1) for pair in range(puf.pairs)] and clocks[-1] == puf.clocks
        board = oscillators.drawn(puf, rng)


def test_without_constants_a_bit_is_the_sign():
    rng = np.random.default_rng(5)
    board = oscillators.drawn(SMALL, rng)
    inputs = oscillators.rows(SMALL, board, SMALL.clocks + 1)
    bits, _, _ = oscillators.bits_of(oscillators.model(SMALL).run(**inputs), inputs["bits__ready"], SMALL.pairs * SMALL.reads)
    assert bits == counting.response(SMALL, board) == [int(counting.total(SMALL, reads) > 0) for reads in board]


def test_a_bit_waits_until_it_is_taken():
    rng = np.random.default_rng(6)
    board = oscillators.drawn(SMALL, rng)
    inputs = oscillators.rows(SMALL, board, SMALL.clocks + 2000)
    inputs["bits__ready"] = (rng.random(len(inputs["load"])) < 0.02).astype(np.int64)
    given = oscillators.model(SMALL).run(**inputs)
    bits, last, clocks = oscillators.bits_of(given, inputs["bits__ready"], SMALL.pairs * SMALL.reads)
    assert bits == counting.response(SMALL, board) and last[-1] == 1
    waited = int((given["bits__valid"] & ~inputs["bits__ready"] & 1).sum())
    assert waited > 50 and clocks[-1] == SMALL.clocks + waited


def test_counts_are_those_of_the_integers_and_wipe_clears_them():
    model = VectorModel(RecordedCounting(SMALL), clocked=True)
    board = oscillators.drawn(SMALL, np.random.default_rng(7))
    with Steps(model) as steps:
        for address, first, second in zip(*oscillators.loading(SMALL, board).values(), strict=True):
            steps.step(load=1, load_address=address, load_first=first, load_second=second)
        for pair, reads in enumerate(board):
            for read, increments in enumerate(reads):
                steps.step(load=0, pair=pair, read=read, start=1)
                for clock in range(1, SMALL.count_clocks + 1):
                    steps.step(start=0)
                    assert steps["done"] == (clock == SMALL.count_clocks)
                assert (steps["first"], steps["second"]) == tuple(counting.count(SMALL, advance) for advance in increments)
        steps.step(wipe=1)
        steps.step(wipe=0)
        steps.step()
        assert steps["first"] == steps["second"] == 0


def test_a_measurement_that_was_stopped_leaves_nothing_behind():
    """Stopped in any clock, the next one gives the same bits in the same clocks as a first one."""
    rng = np.random.default_rng(8)
    board = oscillators.drawn(SMALL, rng)
    model, expected = oscillators.model(SMALL), counting.response(SMALL, board)
    for stop in [1, 2, SMALL.count_clocks, SMALL.bit_clocks, *rng.integers(1, SMALL.clocks, 8).tolist()]:
        inputs = oscillators.rows(SMALL, board, SMALL.clocks + stop + 3)
        begin = SMALL.pairs * SMALL.reads
        inputs["forget"][begin + stop] = 1
        inputs["measure"][begin + stop + 1] = 1
        given = model.run(**inputs)
        assert given["busy"][begin + stop] and not given["busy"][begin + stop + 1]
        again = {name: values[begin + stop + 1 :] for name, values in given.items()}
        bits, _, clocks = oscillators.bits_of(again, inputs["bits__ready"][begin + stop + 1 :], 0)
        assert bits == expected and clocks[-1] == SMALL.clocks


def test_the_same_in_amaranths_simulator():
    puf = replace(SMALL, pairs=3)
    board = oscillators.drawn(puf, np.random.default_rng(9))
    top = Response(puf, None)
    found = []

    async def bench(ctx):
        for address, first, second in zip(*oscillators.loading(puf, board).values(), strict=True):
            for port, value in (("load", 1), ("load_address", address), ("load_first", first), ("load_second", second)):
                ctx.set(getattr(top, port), int(value))
            await ctx.tick()
        ctx.set(top.load, 0)
        ctx.set(top.bits.ready, 1)
        ctx.set(top.measure, 1)
        for clock in range(puf.clocks + 5):
            if ctx.get(top.bits.valid):
                found.append((clock, ctx.get(top.bits.payload.bit), ctx.get(top.bits.payload.last)))
            await ctx.tick()
            ctx.set(top.measure, 0)

    simulator = Simulator(top)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    expected = counting.response(puf, board)
    assert found == [(puf.bit_clocks * (pair + 1), bit, int(pair == puf.pairs - 1)) for pair, bit in enumerate(expected)]


def test_the_same_under_icarus(tmp_path):
    puf = replace(SMALL, pairs=3)
    board = oscillators.drawn(puf, np.random.default_rng(10))
    loads = "\n".join(
        f"    load = 1; load_address = {address}; load_first = {first}; load_second = {second}; @(negedge clk);"
        for address, first, second in zip(*oscillators.loading(puf, board).values(), strict=True)
    )
    width = FRACTION_BITS + puf.fastest.bit_length()
    bench = f"""`timescale 1ns / 1ps
module bench;
  reg clk = 0, rst = 1, load = 0, measure = 0;
  reg [{(puf.pairs * puf.reads - 1).bit_length() - 1}:0] load_address = 0;
  reg [{width - 1}:0] load_first = 0, load_second = 0;
  wire busy, valid;
  wire [1:0] bits;
  integer clocks = 0;
  response dut(.clk(clk), .rst(rst), .load(load), .load_address(load_address), .load_first(load_first),
    .load_second(load_second), .measure(measure), .forget(1'b0), .busy(busy),
    .bits__valid(valid), .bits__ready(1'b1), .bits__payload(bits));
  always #5 clk = ~clk;
  initial begin
    repeat (3) @(negedge clk);
    rst = 0;
{loads}
    load = 0; measure = 1;
    repeat ({puf.clocks + 5}) begin
      if (valid) $display("%0d %0d %0d", clocks, bits[0], bits[1]);
      @(negedge clk);
      measure = 0;
      clocks = clocks + 1;
    end
    $finish;
  end
endmodule
"""
    (tmp_path / "bench.v").write_text(bench)
    (tmp_path / "dut.v").write_text(to_verilog(Response(puf, None), "response"))
    compiler, runtime = icarus.commands()
    toolchain.run([*compiler, "-g2005", "-s", "bench", "-o", "bench", "bench.v", "dut.v"], tmp_path, "iverilog")
    lines = [line.split() for line in toolchain.run([*runtime, "bench"], tmp_path, "vvp").splitlines() if line[:1].isdigit()]
    expected = counting.response(puf, board)
    assert [[int(word) for word in line] for line in lines] == [
        [puf.bit_clocks * (pair + 1), bit, int(pair == puf.pairs - 1)] for pair, bit in enumerate(expected)
    ]


def test_recorded_boards_answer_as_their_frequencies_say():
    """Real frequencies, 255 pairs of neighbours: RTL = integers; and the sign of the difference, where a count can show it."""
    clock_hz, puf = 50_000_000, PufSpec(window=1 << 11, reads=2, settle=16, fastest=8)
    hz = measurements.recorded().frequency_hz
    model = oscillators.model(puf)
    for board in (0, 77, 149):
        increments = oscillators.of_frequencies(puf, hz[board], clock_hz)
        inputs = oscillators.rows(puf, increments, puf.clocks + 1)
        bits, _, clocks = oscillators.bits_of(model.run(**inputs), inputs["bits__ready"], puf.pairs * puf.reads)
        assert bits == counting.response(puf, increments) and clocks[-1] == puf.clocks
        pairs = hz[board, : 2 * puf.pairs, : puf.reads].astype(np.int64).reshape(puf.pairs, 2, puf.reads).sum(2)
        difference = pairs[:, 0] - pairs[:, 1]
        # Each of the reads may lose a count of a difference, of clock / window Hz.
        clear = np.abs(difference) > puf.reads * clock_hz / puf.window
        assert clear.sum() > 0.8 * puf.pairs, "the boards differ by less than a window this short shows"
        assert (np.array(bits)[clear] == (difference > 0)[clear]).all()


def test_a_window_makes_the_fraction_of_a_count_small():
    """What `window_for` promises, on drawn phases: whole counts add less than a share of the read noise."""
    share = Fraction(1, 8)
    for lowest in (Fraction(1, 2), Fraction(3), Fraction(10)):
        window = window_for(lowest, share)
        rng = np.random.default_rng(window)
        periods = float(lowest) * window * (1 + 0.01 * rng.standard_normal(100_000))
        fraction = np.std(np.floor(periods) - periods)
        noise = float(READ_NOISE * lowest) * window
        assert fraction < 1.01 * float(share) * noise
        assert fraction > 0.49 * float(share) * noise, "half of it would do"


def test_the_default_window_suits_the_oscillators_that_its_docstring_names():
    found = [window_for(Fraction(lowest, 100)) for lowest in (46, 47, 93, 94)]
    assert found == [2 * PufSpec().window, PufSpec().window, PufSpec().window, PufSpec().window // 2]


def test_default_widths_hold_the_largest_counts():
    puf = PufSpec()
    fastest = puf.fastest << FRACTION_BITS
    assert counting.count(puf, fastest) < puf.highest_count < 1 << puf.count_bits
    assert puf.reads * puf.highest_count < 1 << (puf.sum_bits - 1)
    assert puf.slowest == Fraction(10, 64)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pairs": 1}, "from 2 to 4096"),
        ({"window": 10}, "from 16 to"),
        ({"reads": 3}, "powers of two"),
        ({"reads": 1.5}, "an integer from 1 to 256"),
        ({"window": 1 << 20, "reads": 256, "fastest": 64}, "sums take 36 bits"),
        ({"settle": 1}, "from 4 to"),
        ({"fastest": 0}, "from 1 to 64"),
        ({"settle": 4, "fastest": 2}, "suit oscillators from 2.5 times the clock on"),
    ],
)
def test_a_spec_out_of_range_is_refused(wrong, message):
    with pytest.raises(SpecError, match=message):
        PufSpec(**wrong)


def test_what_does_not_fit_is_refused():
    puf = SMALL
    limit = puf.reads * puf.highest_count
    with pytest.raises(SpecError, match="8 constants for 9 pairs"):
        Response(puf, None, [1] * 8)
    with pytest.raises(SpecError, match=f"constant of pair 2 is {limit + 1}; allowed is an integer from -{limit} to {limit}"):
        puf.check_constants([0, 0, limit + 1, *[0] * 6])
    for hertz, said in ((1_234_567, "too slow .* settle"), (251_234_567, "too fast .* fastest")):
        with pytest.raises(SpecError, match=said) as caught:
            counting.increment(puf, hertz, 50_000_000)
        assert not any(digits in str(caught.value) for digits in ("1.23", "1234", "251", "0.0247", "5.02")), "it is secret"
    with pytest.raises(SpecError, match="3 reads of a pair; this PUF takes 4"):
        counting.total(puf, [(1, 1)] * 3)
    with pytest.raises(SpecError, match="1 pairs of oscillators"):
        counting.response(puf, [[(1, 1)] * 4])


def test_constants_are_differences_in_counts():
    assert counting.constant(SMALL, -250_000, 50_000_000) == -2
    assert counting.constant(PufSpec(), 50_000_000, 50_000_000) == PufSpec().window
