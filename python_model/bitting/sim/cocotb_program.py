"""In-simulator side of `bitting simulate --simulator cocotb`: command words from a file, result words to a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.utils import get_sim_time

from bitting.sim.cocotb_stream import PERIOD_NS, CommandDriver, ResultMonitor, start


@cocotb.test()
async def run_commands(dut: Any) -> None:
    """Burn the root secret in the file BITTING_ROOT and, if BITTING_SEALED is 1, the fuse `sealed`; feed BITTING_COMMANDS.

    Then wait for BITTING_EXPECTED words, and write words and clocks to BITTING_RESULTS.
    """
    commands = np.load(Path(os.environ["BITTING_COMMANDS"]))
    await start(dut, Path(os.environ["BITTING_ROOT"]).read_bytes(), os.environ["BITTING_SEALED"] == "1")
    began = get_sim_time("ns")
    monitor = ResultMonitor(dut)
    await CommandDriver(dut).send(commands.tolist())
    await monitor.wait_for(int(os.environ["BITTING_EXPECTED"]))
    cycles = round((get_sim_time("ns") - began) / PERIOD_NS)
    np.savez(Path(os.environ["BITTING_RESULTS"]), words=np.array(monitor.words, np.uint32), cycles=cycles)
