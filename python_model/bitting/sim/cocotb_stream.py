"""Driver and monitor of the engine's two streams, for cocotb test benches.

Assumption: the device's `ready` and `valid` come from registers, so both sides may act on falling edges: what is set and seen
there holds at the next rising edge, in any simulator, without races.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from bitting.unit.protocol import fuse_words

PERIOD_NS = 10


class CommandDriver:
    """Sends words to `cmd`, holding back with probability `stall` a clock. Valid, once up, stays until the word is taken."""

    def __init__(self, dut: Any, stall: float = 0.0, seed: int = 0):
        self._dut = dut
        self._stall = stall
        self._random = random.Random(seed)
        dut.cmd_valid.value = 0
        dut.cmd_data.value = 0

    async def send(self, words: Iterable[int]) -> None:
        """Returns after the last word was taken."""
        dut = self._dut
        for word in words:
            while self._random.random() < self._stall:
                await FallingEdge(dut.clk)
            dut.cmd_data.value = int(word)
            dut.cmd_valid.value = 1
            taken = False
            while not taken:
                taken = bool(dut.cmd_ready.value)
                await FallingEdge(dut.clk)
            dut.cmd_valid.value = 0


class ResultMonitor:
    """Collects words of `result` as (data, last); each clock holds back with probability `stall`."""

    def __init__(self, dut: Any, stall: float = 0.0, seed: int = 0):
        self._dut = dut
        self._stall = stall
        self._random = random.Random(seed)
        self.words: list[int] = []
        self.lasts: list[bool] = []
        dut.result_ready.value = 0
        self._task: Any = cocotb.start_soon(self._run())

    def stop(self) -> None:
        """Collect no more: `result_ready` stays low from now on."""
        self._task.cancel()
        self._dut.result_ready.value = 0

    async def _run(self) -> None:
        dut = self._dut
        while True:
            await FallingEdge(dut.clk)
            ready = self._random.random() >= self._stall
            dut.result_ready.value = int(ready)
            if ready and dut.result_valid.value:
                self.words.append(int(dut.result_data.value))
                self.lasts.append(bool(dut.result_last.value))

    async def wait_for(self, count: int, quiet_limit: int = 20_000) -> None:
        """Wait until `count` words came in all.

        Raises:
            TimeoutError: if `quiet_limit` clocks pass without a word.
        """
        quiet, seen = 0, len(self.words)
        while len(self.words) < count:
            await FallingEdge(self._dut.clk)
            quiet = 0 if len(self.words) > seen else quiet + 1
            seen = len(self.words)
            if quiet > quiet_limit:
                raise TimeoutError(f"{seen} of {count} result words came, then nothing for {quiet_limit} clocks")


class Fuses:
    """The fuses of a chip: gives the word that is wanted."""

    def __init__(self, dut: Any, root: bytes, sealed: bool = False):
        self._dut = dut
        self.burn(root, sealed)
        self._task: Any = cocotb.start_soon(self._run())

    def burn(self, root: bytes, sealed: bool = False) -> None:
        """Other fuses, which count after the next reset."""
        self._words = fuse_words(root, sealed)
        self._show()

    def _show(self) -> None:
        address = int(self._dut.fuse_address.value)
        self._dut.fuse_data.value = self._words[address] if address < len(self._words) else 0

    async def _run(self) -> None:
        while True:
            await self._dut.fuse_address.value_change
            await FallingEdge(self._dut.clk)  # a word is wanted for two clocks at least
            self._show()


async def start(dut: Any, root: bytes = bytes(16), sealed: bool = False) -> Fuses:
    """Burn the fuses, run the clock and reset the engine; returns at a falling edge, ready for words."""
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    fuses = Fuses(dut, root, sealed)
    dut.lock_now.value = 0
    dut.cmd_valid.value = 0
    dut.result_ready.value = 0
    await reset(dut)
    return fuses


async def reset(dut: Any) -> None:
    """Two clocks of reset."""
    dut.rst.value = 1
    for _ in range(2):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    await FallingEdge(dut.clk)
