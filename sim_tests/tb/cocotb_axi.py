"""In-simulator tests of the AXI wrapper, with cocotbext-axi as the master on all buses. Run by test_axi.py."""

from __future__ import annotations

import itertools
import logging
import os
import random
from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Event, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp, AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

from bitting.locking.device import Device
from bitting.program import packets
from bitting.program.packets import ExpectedResults
from bitting.unit.protocol import ErrorCode, fuse_words
from bitting.unit.spec import parse_spec
from bitting_rtl.board.registers import REGISTERS, Control, Register, constants
from tb.programs import golden_run, random_activations, random_program

SPEC = parse_spec(os.environ["BITTING_SPEC"])
ROOT = bytes(range(1, 17))
TABLE = Device(SPEC, ROOT).table()


def pauses(seed: int, probability: float) -> Iterator[bool]:
    generator = random.Random(seed)
    return (generator.random() < probability for _ in itertools.count())


async def fuses(dut: Any) -> None:
    """A memory that gives its word a clock late."""
    words = [*fuse_words(ROOT), 0, 0, 0]
    while True:
        await RisingEdge(dut.aclk)
        dut.fuse_data.value = words[int(dut.fuse_address.value)]


class Bench:
    """The wrapper out of reset, and a master on each bus."""

    def __init__(self, dut: Any):
        logging.getLogger("cocotb").setLevel(logging.WARNING)
        self.dut = dut
        reset = {"reset": dut.aresetn, "reset_active_level": False}
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.aclk, **reset)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.aclk, **reset)
        self.lite = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.aclk, **reset)

    @classmethod
    async def start(cls, dut: Any) -> Bench:
        Clock(dut.aclk, 10, unit="ns").start()
        dut.fuse_data.value = 0
        cocotb.start_soon(fuses(dut))
        dut.lock_now.value = 0
        dut.aresetn.value = 0
        bench = cls(dut)
        await ClockCycles(dut.aclk, 4)
        dut.aresetn.value = 1
        await RisingEdge(dut.aclk)
        return bench

    def stall(self, seed: int, probability: float) -> None:
        """Random pauses on every channel."""
        channels = (
            self.source, self.sink, self.lite.write_if.aw_channel, self.lite.write_if.w_channel, self.lite.write_if.b_channel,
            self.lite.read_if.ar_channel, self.lite.read_if.r_channel,
        )  # fmt: skip
        for number, channel in enumerate(channels):
            channel.set_pause_generator(pauses(seed + number, probability))

    async def send(self, words: np.ndarray) -> None:
        await self.source.send(AxiStreamFrame(words.astype("<u4").tobytes()))

    async def packets(self, words: int) -> list[np.ndarray]:
        """Result packets, a frame each, until that many words came."""
        found: list[np.ndarray] = []
        while sum(map(len, found)) < words:
            frame = await self.sink.recv()
            found.append(np.frombuffer(bytes(frame.tdata), "<u4"))
        return found

    async def read(self, register: Register) -> int:
        return int(await self.lite.read_dword(register))


def job(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    program = random_program(SPEC, rng)
    x = random_activations(SPEC, rng, SPEC.lanes, program.input_words)
    commands = np.concatenate([packets.activations_packet(SPEC, program.input_base, x), packets.program_packets(program)])
    return commands, ExpectedResults.of(program, program.tile_cycles(TABLE)).words(golden_run(program, TABLE, x))


@cocotb.test()
async def programs_under_random_back_pressure(dut: Any) -> None:
    """Golden's words, a packet a frame, while status is read all the time; the counters count."""
    bench = await Bench.start(dut)
    for seed, probability in ((1, 0.0), (2, 0.3), (3, 0.7)):
        await bench.lite.write_dword(Register.CONTROL, Control.RESET)
        bench.stall(seed, probability)
        commands, expected = job(seed)
        await bench.send(commands)
        done = Event()
        watching = cocotb.start_soon(watch(bench, done))
        found = await bench.packets(len(expected))
        done.set()
        await watching  # a request that is under way would get the answer of the next
        assert np.array_equal(np.concatenate(found), expected), seed
        assert [len(frame) for frame in found] == [len(payload) + 2 for _, payload in packets.split(expected)]
    shown = await every_register(bench)
    assert (shown[Register.COMMANDS], shown[Register.RESULTS], shown[Register.STATUS]) == (len(commands), len(expected), 0)
    assert shown[Register.CLOCKS] > sum(len(frame) for frame in found)


async def every_register(bench: Bench) -> dict[Register, int]:
    """What each register of the map reads. What the map calls constant is, and bits that it does not name are 0."""
    shown = {}
    for register, info in REGISTERS.items():
        answer = await bench.lite.read(register, 4)
        assert answer.resp == AxiResp.OKAY, register.name
        shown[register] = int.from_bytes(answer.data, "little")
        named = sum(((1 << field.width) - 1) << field.low for field in info.fields)
        assert not shown[register] & ~named and not (info.pulses and shown[register]), register.name
    assert {register: shown[register] for register in constants(SPEC)} == constants(SPEC)
    return shown


async def watch(bench: Bench, done: Event) -> None:
    while not done.is_set():
        assert (await bench.read(Register.STATUS)) >> 4 == ErrorCode.NONE


@cocotb.test()
async def a_reset_ends_the_packet_it_cuts_and_the_engine_starts_afresh(dut: Any) -> None:
    bench = await Bench.start(dut)
    commands, expected = job(5)
    for held in (3, 9, 20):
        bench.sink.clear_pause_generator()
        bench.sink.pause = False
        await bench.send(commands)
        while not int(dut.m_axis_tvalid.value):
            await RisingEdge(dut.aclk)
        await ClockCycles(dut.aclk, held)
        bench.sink.pause = True
        await bench.lite.write_dword(Register.CONTROL, Control.RESET)
        await ClockCycles(dut.aclk, 10)
        bench.sink.pause = False
        await bench.source.wait()  # what the old job still had to send is swallowed as garbage, and answered by a fault
        await bench.lite.write_dword(Register.CONTROL, Control.RESET)
        await ClockCycles(dut.aclk, 50)
        assert bench.sink.idle(), "no packet is left open"
        while not bench.sink.empty():
            bench.sink.recv_nowait()
        await bench.send(commands)
        assert np.array_equal(np.concatenate(await bench.packets(len(expected))), expected)


@cocotb.test()
async def mistakes_answer_slverr_and_change_nothing(dut: Any) -> None:
    bench = await Bench.start(dut)
    for register, info in REGISTERS.items():
        written = await bench.lite.write(register, b"\0\0\0\0" if info.pulses else b"\xff\xff\xff\xff")
        assert written.resp == (AxiResp.OKAY if info.pulses else AxiResp.SLVERR), register.name
    assert (await bench.lite.read(max(Register) + 4, 4)).resp == AxiResp.SLVERR
    assert (await bench.lite.write(0x3C, b"\x01\x00\x00\x00")).resp == AxiResp.SLVERR
    assert (await bench.lite.write(Register.CONTROL + 1, b"\xff")).resp == AxiResp.OKAY, "no byte of its own is written"
    commands, expected = job(6)
    await bench.send(commands)
    assert np.array_equal(np.concatenate(await bench.packets(len(expected))), expected)


@cocotb.test()
async def lock_now_shows_in_the_status_until_a_reset(dut: Any) -> None:
    bench = await Bench.start(dut)
    await bench.lite.write_dword(Register.CONTROL, Control.LOCK_NOW)
    await ClockCycles(dut.aclk, 20)
    assert (await bench.read(Register.STATUS)) >> 4 == ErrorCode.LOCKED
    await bench.packets(3)  # the FAULT packet
    await bench.lite.write_dword(Register.CONTROL, Control.RESET)
    commands, expected = job(7)
    await bench.send(commands)
    assert np.array_equal(np.concatenate(await bench.packets(len(expected))), expected)
    assert (await bench.read(Register.STATUS)) >> 4 == ErrorCode.NONE
