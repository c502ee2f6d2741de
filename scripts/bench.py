"""Ratios measured side by side in one process, medians of paired runs, appended to a JSON history.

    python scripts/bench.py [--history out/bench.json]

Emulated forward and training step against the fp32 twin (same shapes, fused Adam), the native harness against cocotb,
simulated multiply-accumulates a second by number of lanes, time to personalise a million codes.
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitting import __version__, console, packets
from bitting.device import Device
from bitting.emulate import Emulator
from bitting.files import write_text
from bitting.lock import FINGERPRINTS, TRANSFORMS, Lock, lock
from bitting.nn import TwinMLP, UnitMLP
from bitting.program import Program, dense, multilayer_perceptron
from bitting.sim import cocotb_runner
from bitting.sim.native import NativeEngine, engine_library
from bitting.spec import PRESETS, UnitSpec, parse_spec
from bitting_rtl.export import TOP, engine_verilog

SIZES = (784, 256, 128, 10)
PAIRS = 31


def paired(first: Callable[[], object], second: Callable[[], object], pairs: int = PAIRS) -> dict[str, float]:
    """Median seconds of each, taken in turn, and the median of the ratios second / first."""
    times: list[tuple[float, float]] = []
    for index in range(pairs + 3):
        pair = []
        for function in (first, second):
            started = time.perf_counter()
            function()
            pair.append(time.perf_counter() - started)
        if index >= 3:  # the first ones warm up
            times.append((pair[0], pair[1]))
    return {
        "first_ms": 1000 * statistics.median(a for a, _ in times),
        "second_ms": 1000 * statistics.median(b for _, b in times),
        "ratio": statistics.median(b / a for a, b in times),
    }


def forward(spec: UnitSpec, batch: int) -> dict[str, float]:
    """Twin first, emulator second: ratio below 1 is an emulator faster than fp32."""
    network, reference = UnitMLP(spec, SIZES), TwinMLP(SIZES, 1 / 32).eval()
    x = torch.randint(0, spec.act_max + 1, (batch, SIZES[0])).float()
    network.calibrate(x, (0.6, 2.0))
    emulator = Emulator(network.to_program(), range(spec.codes))
    with torch.no_grad():
        return paired(lambda: reference(x), lambda: emulator(x))


def training_step(spec: UnitSpec, batch: int) -> dict[str, float]:
    """Twin first, unit second."""
    x = torch.randint(0, spec.act_max + 1, (batch, SIZES[0])).float()
    y = torch.randint(0, SIZES[-1], (batch,))
    network, reference = UnitMLP(spec, SIZES), TwinMLP(SIZES, 1 / 32)
    network.calibrate(x, (0.6, 2.0))

    def step_of(module: UnitMLP | TwinMLP, rate: float) -> Callable[[], None]:
        optimiser = torch.optim.Adam(module.parameters(), lr=rate, fused=True)

        def step() -> None:
            optimiser.zero_grad(set_to_none=True)
            module.loss(x, y, 0.1).backward()
            optimiser.step()

        return step

    return paired(step_of(reference, 0.002), step_of(network, 0.02))


def random_mlp(spec: UnitSpec, sizes: tuple[int, ...]) -> Program:
    rng = np.random.default_rng(0)
    weights = [rng.integers(0, spec.codes, (o, i)) for i, o in zip(sizes, sizes[1:], strict=False)]
    return multilayer_perceptron(spec, weights, [np.zeros(len(w)) for w in weights], [0] * len(weights))


def commands_of(program: Program) -> np.ndarray:
    x = np.zeros((1, program.input_words), np.int8)
    return np.concatenate([packets.activations_packet(program.spec, 0, x), packets.program_packets(program)])


def native_rate(spec: UnitSpec, sizes: tuple[int, ...]) -> dict[str, float]:
    """Clocks and multiply-accumulates a second of one native simulation."""
    program = random_mlp(spec, sizes)
    commands, expected = commands_of(program), packets.result_words(program)
    rates = []
    with NativeEngine(engine_library(spec)) as engine:
        for _ in range(7):
            engine.reset()
            started = time.perf_counter()
            cycles = engine.run(commands, expected).cycles
            rates.append((time.perf_counter() - started, cycles))
    seconds, cycles = sorted(rates)[len(rates) // 2]
    return {"clocks_per_second": cycles / seconds, "macs_per_second": program.macs * spec.lanes / seconds}


def cocotb_rate(spec: UnitSpec, sizes: tuple[int, ...]) -> float:
    """Clocks a second of cocotb on the same engine, start-up left out: the difference of a long and a short run."""
    folder = cocotb_runner.build(engine_verilog(spec), TOP)
    points = []
    for repeats in (1, 3):
        program = random_mlp(spec, sizes)
        commands = np.tile(commands_of(program), repeats)
        started = time.perf_counter()
        run = cocotb_runner.run_commands(folder, TOP, commands, repeats * packets.result_words(program))
        points.append((time.perf_counter() - started, run.cycles))
    (short, few), (long, many) = points
    return (many - few) / (long - short)


def personalisation() -> dict[str, float]:
    """Milliseconds to lock a program of a million codes, for each pairing; one thread, median."""
    spec = parse_spec("base:scratch_words=8192")
    rng = np.random.default_rng(0)
    layers = (
        dense(rng.integers(0, spec.codes, (1000, 1024)), np.zeros(1000), 0, 1024, 0),
        dense(rng.integers(0, spec.codes, (10, 1000)), np.zeros(10), 1024, 0, 0, linear=True),
    )
    model, device = Program(spec, layers, 0, 1024), Device(spec, bytes(range(16)))
    found = {}
    for fingerprint, transform in itertools.product(FINGERPRINTS, TRANSFORMS):
        how = Lock.new(spec, fingerprint, transform)
        times = []
        for _ in range(7):
            started = time.perf_counter()
            lock(model, device, how)
            times.append(1000 * (time.perf_counter() - started))
        found[f"{fingerprint} x {transform}"] = statistics.median(times)
    return found


def measure() -> dict[str, Any]:
    spec = PRESETS["base"]
    found: dict[str, Any] = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "bitting": __version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processors": os.cpu_count(),
        "machine": platform.machine(),
    }
    for batch in (64, 128, 1024):
        found[f"forward_{batch}"] = forward(spec, batch)
        found[f"training_step_{batch}"] = training_step(spec, batch)
    found["personalisation_ms"] = personalisation()
    sizes = (64, 128, 10)
    found["native_16_lanes"] = native_rate(spec, SIZES)
    found["native_64_lanes"] = native_rate(parse_spec("base:lanes=64"), SIZES)
    found["cocotb_clocks_per_second"] = cocotb_rate(spec, sizes)
    found["native_over_cocotb"] = native_rate(spec, sizes)["clocks_per_second"] / found["cocotb_clocks_per_second"]
    return found


def show(found: dict[str, Any]) -> None:
    rows = []
    for batch in (64, 128, 1024):
        ahead, step = found[f"forward_{batch}"], found[f"training_step_{batch}"]
        rows.append((f"emulated forward, batch {batch}", f"{1 / ahead['ratio']:.2f}x", "speed of the fp32 twin (goal 0.8x)"))
        rows.append((f"training step, batch {batch}", f"{step['ratio']:.2f}x", "time of the fp32 twin's (goal 1.5x)"))
    for lanes in (16, 64):
        rate = found[f"native_{lanes}_lanes"]
        rows.append((f"native harness, {lanes} lanes", f"{rate['clocks_per_second'] / 1e6:.2f}M", "clocks/s, one thread"))
        rows.append((f"simulated, {lanes} lanes", f"{rate['macs_per_second'] / 1e6:.1f}M", "MAC/s, one thread"))
    slowest = max(found["personalisation_ms"].items(), key=lambda item: item[1])
    rows.append(("personalising 1.03 M codes", f"{slowest[1]:.0f} ms", f"{slowest[0]}, the slowest pairing (goal 1000 ms)"))
    rows.append(("native harness over cocotb", f"{found['native_over_cocotb']:.0f}x", "clocks/s (goal 10x)"))
    console.table(f"{found['when']}, {found['threads']} threads", ("", "median", ""), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--history", type=Path, default=Path("out/bench.json"))
    arguments = parser.parse_args()
    history = json.loads(arguments.history.read_text()) if arguments.history.exists() else []
    found = measure()
    write_text(arguments.history, json.dumps([*history, found], indent=1) + "\n")
    show(found)


if __name__ == "__main__":
    main()
