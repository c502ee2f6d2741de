"""In-simulator tests of the engine: protocol, reset, stalls, back-to-back tiles, exact latency. Run by test_cocotb.py."""

from __future__ import annotations

import os
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from bitting.locking.device import Device
from bitting.program import packets
from bitting.program.layers import Program, dense
from bitting.program.packets import ExpectedResults
from bitting.sim.cocotb_stream import CommandDriver, ResultMonitor, reset, start
from bitting.unit import protocol, timing
from bitting.unit.protocol import ErrorCode, Result
from bitting.unit.spec import parse_spec
from tb.programs import golden_cycles, golden_run, random_activations, random_program

SPEC = parse_spec(os.environ["BITTING_SPEC"])
ROOT = bytes(range(1, 17))
TABLE = Device(SPEC, ROOT).table()

#: Register slice, CRC, its comparison, parser, request, sender, register slice: one clock each.
STATUS_LATENCY = 7


def job(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Command words of a random program and batch, and the result words golden arithmetic expects."""
    rng = np.random.default_rng(seed)
    program = random_program(SPEC, rng)
    x = random_activations(SPEC, rng, SPEC.lanes, program.input_words)
    commands = np.concatenate([packets.activations_packet(SPEC, program.input_base, x), packets.program_packets(program)])
    expected = ExpectedResults.of(program, program.tile_cycles(TABLE))
    assert [c for layer in program.tile_cycles(TABLE) for c in layer] == golden_cycles(program, TABLE)
    return commands, expected.words(golden_run(program, TABLE, x))


async def booted(dut: Any) -> int:
    """Wait until the engine has booted; gives the clocks."""
    clocks = 0
    while int(dut.busy.value):
        assert int(dut.result_valid.value) == 0 and int(dut.error.value) == 0
        await FallingEdge(dut.clk)
        clocks += 1
    return clocks


async def run_job(dut: Any, seed: int, command_stall: float, result_stall: float) -> None:
    commands, expected = job(seed)
    monitor = ResultMonitor(dut, result_stall, seed)
    await CommandDriver(dut, command_stall, seed).send(commands.tolist())
    await monitor.wait_for(len(expected))
    monitor.stop()
    assert monitor.words == expected.tolist(), f"seed {seed}"
    packet_ends = np.cumsum([len(payload) + protocol.FRAME_WORDS for _, payload in packets.split(expected)]) - 1
    assert np.flatnonzero(monitor.lasts).tolist() == packet_ends.tolist(), "TLAST ends packets and nothing else"


@cocotb.test()
async def random_programs_under_every_kind_of_stall(dut: Any) -> None:
    """Equal to golden without stalls, with stalls on one side, on both, and with hardly any progress."""
    await start(dut, ROOT)
    for seed, (command, result) in enumerate([(0, 0), (0.5, 0), (0, 0.5), (0.5, 0.5), (0.9, 0.9), (0, 0.95)]):
        await reset(dut)
        await run_job(dut, seed, command, result)


@cocotb.test()
async def nothing_moves_before_and_during_reset(dut: Any) -> None:
    """Out of reset the engine boots, then is silent, idle and without error; in reset it takes no word."""
    fuses = await start(dut, ROOT)
    clocks = await booted(dut)
    for _ in range(20):
        assert (int(dut.result_valid.value), int(dut.busy.value), int(dut.error.value)) == (0, 0, 0)
        await FallingEdge(dut.clk)
    for root in (bytes(16), bytes(range(7, 23))):
        await reset(dut)
        fuses.burn(root)
        await reset(dut)
        assert await booted(dut) == clocks, "a boot takes the same time whatever the secret"
    fuses.burn(ROOT)
    dut.rst.value = 1
    await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    assert int(dut.cmd_ready.value) == 0
    await reset(dut)
    await run_job(dut, 3, 0, 0)


@cocotb.test()
async def reset_in_mid_tile_and_mid_result_leaves_no_trace(dut: Any) -> None:
    """Reset at many moments of a job; the job then runs as on a fresh engine."""
    await start(dut, ROOT)
    commands, _ = job(5)
    for clocks in range(10, 400, 37):
        await reset(dut)
        monitor = ResultMonitor(dut)
        sender = cocotb.start_soon(CommandDriver(dut).send(commands.tolist()))
        for _ in range(clocks):
            await FallingEdge(dut.clk)
        sender.cancel()
        monitor.stop()
        dut.cmd_valid.value = 0
        await reset(dut)
        assert int(dut.error.value) == 0
    await reset(dut)
    await run_job(dut, 5, 0, 0)


@cocotb.test()
async def latency_of_a_status_request_is_exact(dut: Any) -> None:
    """The header of the answer is seen STATUS_LATENCY clocks after the last word of a STATUS packet was taken."""
    await start(dut, ROOT)
    await booted(dut)
    monitor = ResultMonitor(dut)
    await FallingEdge(dut.clk)
    await CommandDriver(dut).send(packets.status_packet().tolist())
    clocks = 0
    while not monitor.words:
        await FallingEdge(dut.clk)
        clocks += 1
    assert clocks == STATUS_LATENCY, clocks
    await monitor.wait_for(protocol.STATUS_WORDS + protocol.FRAME_WORDS)


@cocotb.test()
async def a_tile_takes_exactly_its_law_and_back_to_back_tiles_lose_nothing(dut: Any) -> None:
    """Clocks from one report to the next are the law, the documented gap, and the words of the report."""
    await start(dut, ROOT)
    rng = np.random.default_rng(3)
    count = 48
    codes = rng.integers(0, SPEC.codes, (6, count))
    layer = dense(codes, np.zeros(6), 0, count, 0)
    program = Program(SPEC, (layer,), 0, count)
    x = random_activations(SPEC, rng, SPEC.lanes, count)
    words = [packets.activations_packet(SPEC, 0, x), packets.layer_packet(layer, report=True), *packets.tile_packets(layer)]
    monitor = ResultMonitor(dut)
    arrivals: list[int] = []
    clock = 0
    sender = cocotb.start_soon(CommandDriver(dut).send(np.concatenate(words).tolist()))
    packet_words = protocol.TILE_DONE_FIXED_WORDS + protocol.FRAME_WORDS
    while len(monitor.words) < 6 * packet_words:
        await FallingEdge(dut.clk)
        clock += 1
        if len(monitor.words) // packet_words > len(arrivals):
            arrivals.append(clock)
    await sender
    law = program.tile_cycles(TABLE)[0]
    results = packets.parse_results(np.array(monitor.words, np.uint32))
    assert [tile.cycles for tile in results] == law
    assert [tile.index for tile in results] == list(range(6))
    fixed = {arrivals[i + 1] - arrivals[i] - law[i + 1] for i in range(2, 5)}
    assert fixed == {timing.TILE_GAP + packet_words}, fixed
    assert all(cycles >= count + timing.TILE_OVERHEAD for cycles in law)


@cocotb.test()
async def the_first_error_is_told_once_and_then_there_is_silence(dut: Any) -> None:
    """A corrupted tile under back-pressure: one FAULT packet, `error` sticks, all further words are swallowed."""
    await start(dut, ROOT)
    commands, _ = job(9)
    broken = commands.copy()
    broken[-3] ^= 0x10
    monitor = ResultMonitor(dut, 0.5, 1)
    driver = CommandDriver(dut, 0.3, 1)
    await driver.send(broken.tolist())
    await driver.send(commands.tolist())
    for _ in range(500):
        await FallingEdge(dut.clk)
    assert int(dut.error.value) == ErrorCode.BAD_CRC
    kinds = [kind for kind, _ in packets.split(np.array(monitor.words, np.uint32))]
    assert kinds.count(Result.FAULT) == 1 and kinds[-1] == Result.FAULT
    monitor.stop()
    await reset(dut)
    await run_job(dut, 9, 0.2, 0.2)


@cocotb.test()
async def valid_and_data_hold_until_taken(dut: Any) -> None:
    """AXI4-Stream: once valid is up, valid, data and last stay until ready."""
    await start(dut, ROOT)
    commands, _ = job(2)
    cocotb.start_soon(CommandDriver(dut).send(commands.tolist()))
    rng = np.random.default_rng(4)
    held: tuple[int, int] | None = None
    for _ in range(1500):
        now = (int(dut.result_data.value), int(dut.result_last.value)) if dut.result_valid.value else None
        if held is not None:
            assert now == held
        ready = bool(rng.random() < 0.3)
        dut.result_ready.value = int(ready)
        held = now if not ready else None
        await FallingEdge(dut.clk)


@cocotb.test()
async def the_tamper_pin_stops_everything_at_once(dut: Any) -> None:
    """`lock_now` in mid-job: one FAULT packet with LOCKED, then silence; after reset the job runs."""
    await start(dut, ROOT)
    commands, _ = job(6)
    monitor = ResultMonitor(dut)
    sender = cocotb.start_soon(CommandDriver(dut).send(commands.tolist()))
    for _ in range(400):
        await FallingEdge(dut.clk)
    dut.lock_now.value = 1
    await FallingEdge(dut.clk)
    dut.lock_now.value = 0
    await sender
    for _ in range(200):
        await FallingEdge(dut.clk)
    assert int(dut.error.value) == ErrorCode.LOCKED
    kinds = [kind for kind, _ in packets.split(np.array(monitor.words, np.uint32))]
    assert kinds.count(Result.FAULT) == 1 and kinds[-1] == Result.FAULT
    monitor.stop()
    await reset(dut)
    await run_job(dut, 6, 0, 0)
