"""Ratios measured side by side in one process, medians of paired runs, appended to a JSON history.

    python scripts/bench.py [--history out/bench.json] [--record]

Emulated inference and training steps against plain fp32 (fused Adam), one and two threads, beside three lines of eager PyTorch
and, where they are installed (extra `bench`), Brevitas' quantisation-aware training and APyTypes' exact product; the native
harness against cocotb, simulated multiply-accumulates a second by number of lanes, the locked engine against its unlocked
twin, a verification of 10 000 images, time to personalise a million codes.

With --record the run also becomes a file of its own in docs/history, to be committed; the work tree must be that of a commit.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bitting import __version__
from bitting.artefact.artefact import Artefact
from bitting.check import verification
from bitting.cli import console
from bitting.conversion.converter import convert
from bitting.emulator import emulate, kernel
from bitting.emulator.emulate import Emulator
from bitting.files import write_text
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.scheme import LockScheme, pairings
from bitting.locking.transform import personalise, seal_for, seal_model
from bitting.network.graph import UnitNetwork
from bitting.program import packets
from bitting.program.layers import Program, dense, multilayer_perceptron
from bitting.sim import cocotb_runner
from bitting.sim.native import NativeEngine, engine_library
from bitting.training import architectures
from bitting.unit.spec import PRESETS, UnitSpec, VaultKind, parse_spec
from bitting_rtl.engine.export import TOP, engine_verilog

SIZES = (784, 256, 128, 10)
#: (samples, inputs, outputs) of single layers.
SHAPES = ((128, 784, 256), (1024, 1024, 1024), (4096, 576, 128))
CNN = "base:scratch_words=8192"
PAIRS = 31
#: Where recorded runs lie, one file each.
RECORDS = Path(__file__).resolve().parents[1] / "docs" / "history"


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


def forward(name: str, spec: UnitSpec, plain: nn.Module, x: torch.Tensor) -> dict[str, float]:
    """Plain fp32 first, emulator second: ratio below 1 is an emulator faster than fp32. `x`: integer activations."""
    network = convert(plain, spec, x[:64], input_scale=1.0)
    program = network.to_program()
    emulator = Emulator(program, range(spec.codes))
    integers = x.flatten(1).to(torch.int8)
    plain.eval()
    network.eval()
    with torch.no_grad():
        trained = emulate.wrap(network.accumulators(x[:256]), spec.acc_bits).to(torch.int32)
        if not torch.equal(emulator(integers[:256]), trained):
            raise SystemExit(f"{name}: the emulator and the network differ")
        return paired(lambda: plain(x), lambda: emulator(integers))


def rival(spec: UnitSpec, weights: torch.Tensor, bias: torch.Tensor, shift: int, x: torch.Tensor) -> torch.Tensor:
    """Three lines of eager PyTorch: an fp32 product, reduced, folded."""
    return emulate.fold(spec, emulate.wrap(nn.functional.linear(x, weights, bias), spec.acc_bits), shift)


def one_layer(spec: UnitSpec, shape: tuple[int, int, int]) -> dict[str, Any]:
    """A dense layer with the fold: fp32 with ReLU against the kernel and the rival; all three checked against each other."""
    samples, inputs, outputs = shape
    rng = np.random.default_rng(0)
    codes, bias = rng.integers(0, spec.codes, (outputs, inputs)), rng.integers(-1000, 1000, outputs)
    spec = spec.replace(scratch_words=1 << (inputs + outputs - 1).bit_length())
    program = Program(spec, (dense(codes, bias, 0, inputs, 2),), 0, inputs)
    weights = torch.from_numpy(np.array(spec.values)[codes]).float()
    biases = torch.from_numpy(bias).float()
    x = torch.from_numpy(rng.integers(spec.act_min, spec.act_max + 1, (samples, inputs)).astype(np.int8))
    x32 = x.float()
    emulator = Emulator(program, range(spec.codes))
    expected = emulate.fold(
        spec, torch.from_numpy(x.numpy().astype(np.int64) @ weights.numpy().T.astype(np.int64) + bias).double(), 2
    )
    if not (
        torch.equal(emulator.activations(x).double(), expected)
        and torch.equal(rival(spec, weights, biases, 2, x32).double(), expected)
    ):
        raise SystemExit(f"{shape}: not exact")

    def fp32() -> torch.Tensor:
        return torch.relu(nn.functional.linear(x32, weights, biases))

    with torch.no_grad():
        return {
            "emulator": paired(fp32, lambda: emulator.activations(x)),
            "rival": paired(fp32, lambda: rival(spec, weights, biases, 2, x32)),
            "macs": samples * inputs * outputs,
        }


def training_step(spec: UnitSpec, plain: nn.Module, x: torch.Tensor, classes: int) -> dict[str, float]:
    """One step of the fp32 twin first, of the unit second; fused Adam both."""
    y = nn.functional.one_hot(torch.randint(0, classes, (len(x),)), classes).float()
    network = convert(plain, spec, x[:64], input_scale=1.0, fresh=True)

    def step_of(module: nn.Module, scale: float, rate: float) -> Callable[[], None]:
        optimiser = torch.optim.Adam(module.parameters(), lr=rate, fused=True)
        loss = module.loss if isinstance(module, UnitNetwork) else lambda a, b: nn.functional.cross_entropy(module(a), b)
        module.train()
        inputs = x * scale

        def step() -> None:
            optimiser.zero_grad(set_to_none=True)
            loss(inputs, y).backward()
            optimiser.step()

        return step

    return paired(step_of(plain, 1 / 32, 0.002), step_of(network, 1.0, 0.02))


def random_mlp(spec: UnitSpec, sizes: tuple[int, ...]) -> Program:
    """Dense layers of the same random codes in every run, biases and shifts 0. `sizes`: inputs, then each layer's outputs."""
    rng = np.random.default_rng(0)
    weights = [rng.integers(0, spec.codes, (o, i)) for i, o in zip(sizes, sizes[1:], strict=False)]
    return multilayer_perceptron(spec, weights, [np.zeros(len(w)) for w in weights], [0] * len(weights))


def commands_of(program: Program) -> np.ndarray:
    """Command words of one batch, in clear, whose activations are all 0."""
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


def locked_over_twin(spec: UnitSpec, sizes: tuple[int, ...]) -> dict[str, float]:
    """Clocks a second of the locked engine and of its unlocked twin, in turn, both with a profile; by processor time."""
    clear, device = random_mlp(spec, sizes), Device(spec, bytes(range(16)), sealed=True)
    scheme = LockScheme.new(spec, "clock", "sealed-clocked")
    program = seal_for(clear, ChipModel.of(device), scheme, reports=True)
    x = np.zeros((1, clear.input_words), np.int8)
    runs = ((program.commands(scheme.packets(), x), program.result_words), (commands_of(clear), packets.result_words(clear)))
    libraries = engine_library(spec, profiled=True), engine_library(spec, profiled=True, table=device.table())
    rates: list[list[float]] = []
    with NativeEngine(libraries[0], device.root, device.sealed) as locked, NativeEngine(libraries[1]) as twin:
        for _ in range(PAIRS):
            pair = []
            for engine, (commands, expected) in zip((locked, twin), runs, strict=True):
                engine.reset()
                started = time.thread_time()
                run = engine.run(commands, expected)
                pair.append(run.cycles / (time.thread_time() - started))
                if len(run.words) != expected or run.error:
                    raise SystemExit(f"an engine gave {len(run.words)} of {expected} words, error {run.error}")
            rates.append(pair)
    return {
        "locked_clocks_per_second": statistics.median(locked for locked, _ in rates),
        "twin_clocks_per_second": statistics.median(twin for _, twin in rates),
        "ratio": statistics.median(locked / twin for locked, twin in rates),
    }


def verification_seconds(spec: UnitSpec, lanes: int | None) -> dict[str, float]:
    """Seconds to verify 10 000 images of MNIST's size through a random network of the size of its MLP, sealed; all cores."""
    device = Device(spec, bytes(range(16)), sealed=True)
    scheme = LockScheme.new(spec, "clock", "sealed-clocked", nonce=bytes(16))
    artefact = Artefact(seal_model(random_mlp(spec, SIZES), device, scheme), scheme)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, spec.act_max + 1, (10_000, SIZES[0])).astype(np.int8), rng.integers(0, SIZES[-1], 10_000)
    # A short one first: builds are not counted. The long one's build has a profile, whatever it would choose by itself.
    verification.verify(artefact, device, x[:1], y[:1], lanes=lanes, profiled=True)
    before, started = os.times(), time.perf_counter()
    report = verification.verify(artefact, device, x, y, lanes=lanes, profiled=True)
    after, seconds = os.times(), time.perf_counter() - started
    if not report.equal:
        raise SystemExit(f"the RTL differs from the emulator: {report.divergence}")
    return {
        "seconds": seconds,
        "simulation_seconds": sum(engine.seconds for engine in report.engines),
        "processor_seconds": after.user - before.user,
        "clocks": report.cycles,
    }


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
    """Milliseconds to lock a program of a million codes, for each pairing of both vaults; one thread, median."""
    return {name: median for vault in VaultKind for name, median in _personalisation(vault).items()}


def _personalisation(vault: VaultKind) -> dict[str, float]:
    spec = parse_spec(f"base:scratch_words=8192,vault={vault}")
    rng = np.random.default_rng(0)
    layers = (
        dense(rng.integers(0, spec.codes, (1000, 1024)), np.zeros(1000), 0, 1024, 0),
        dense(rng.integers(0, spec.codes, (10, 1000)), np.zeros(10), 1024, 0, 0, emits=True),
    )
    model, device = Program(spec, layers, 0, 1024), Device(spec, bytes(range(16)))
    medians = {}
    for scheme in pairings(spec):
        times = []
        for _ in range(7):
            started = time.perf_counter()
            personalise(model, device, scheme)
            times.append(1000 * (time.perf_counter() - started))
        medians[f"{scheme.fingerprint} x {scheme.transform}"] = statistics.median(times)
    return medians


def brevitas_step(shape: tuple[int, int, int]) -> dict[str, float] | None:
    """A training step of one 6-bit layer and a head with Brevitas, against fp32; None without the package."""
    try:
        from brevitas import nn as qnn
    except ImportError:
        return None
    samples, inputs, outputs = shape
    quantised = nn.Sequential(
        qnn.QuantIdentity(bit_width=6), qnn.QuantLinear(inputs, outputs, bias=True, weight_bit_width=6),
        qnn.QuantReLU(bit_width=6), qnn.QuantLinear(outputs, 10, bias=True, weight_bit_width=6),
    )  # fmt: skip
    x, y = torch.rand(samples, inputs), torch.randint(0, 10, (samples,))

    def step_of(module: nn.Module) -> Callable[[], None]:
        optimiser = torch.optim.Adam(module.parameters(), lr=0.002, fused=True)

        def step() -> None:
            optimiser.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(module(x), y).backward()
            optimiser.step()

        return step

    return paired(step_of(architectures.multilayer_perceptron((inputs, outputs, 10))), step_of(quantised), pairs=7)


def apytypes_product(shape: tuple[int, int, int]) -> dict[str, float] | None:
    """APyTypes' exact fixed-point product, checked, against fp32; None without the package."""
    try:
        import apytypes
    except ImportError:
        return None
    samples, inputs, outputs = shape
    rng = np.random.default_rng(0)
    x, w = rng.integers(-32, 32, (samples, inputs)), rng.integers(-96, 97, (inputs, outputs))
    fixed_x, fixed_w = (apytypes.APyFixedArray.from_float(a, int_bits=8, frac_bits=0) for a in (x, w))
    product = fixed_x @ fixed_w
    if not isinstance(product, apytypes.APyFixedArray) or not np.array_equal(product.to_numpy(), x @ w):
        raise SystemExit("APyTypes disagrees")
    x32, w32 = torch.from_numpy(x).float(), torch.from_numpy(w).float()
    return paired(lambda: x32 @ w32, lambda: fixed_x @ fixed_w, pairs=7)


def speeds(threads: int) -> dict[str, Any]:
    """Everything that torch's number of threads changes."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    spec = PRESETS["base"]
    measured: dict[str, Any] = {}
    for shape in SHAPES:
        samples, inputs, outputs = shape
        x = torch.randint(0, spec.act_max + 1, (samples, inputs)).float()
        measured[f"layer {shape}"] = one_layer(spec, shape)
        pair = architectures.multilayer_perceptron((inputs, outputs, 10))
        measured[f"training {shape}"] = {
            "unit": training_step(spec, pair, x, 10),
            "brevitas": brevitas_step(shape),
        }
        measured[f"apytypes {shape}"] = apytypes_product(shape) if threads == 1 else None
    cnn = parse_spec(CNN)
    for name, plain in (("lenet", architectures.LeNet()), ("residual", architectures.ResidualNetwork())):
        images = torch.randint(0, spec.act_max + 1, (128, 1, 28, 28)).float()
        measured[f"{name}, 128 images"] = {"emulator": forward(name, cnn, plain, images)}
        measured[f"training {name}, 128 images"] = {"unit": training_step(cnn, plain, images, 10)}
    mlp = architectures.multilayer_perceptron(SIZES)
    x = torch.randint(0, spec.act_max + 1, (128, SIZES[0])).float()
    measured["mlp, 128 images"] = {"emulator": forward("mlp", spec, mlp, x)}
    measured["training mlp, 128 images"] = {"unit": training_step(spec, mlp, x, 10)}
    return measured


def processor() -> str:
    """The name of the processor, as the system gives it."""
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or "unknown"


def commit() -> str:
    """The commit that the work tree is of.

    Raises:
        SystemExit: if tracked files differ from it: nobody could measure the same again.
    """
    root = RECORDS.parents[1]
    try:
        changed, name = (
            subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True).stdout.strip()
            for arguments in (("status", "--porcelain", "--untracked-files=no"), ("rev-parse", "HEAD"))
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"--record wants the commit, and git does not tell it ({error})") from None
    if changed:
        raise SystemExit(f"--record wants a commit that others can measure again; commit or stash first:\n{changed}")
    return name


def record(results: dict[str, Any], of: str) -> Path:
    """Write a run as a file of its own, named by its time; gives its path."""
    path = RECORDS / f"bench-{datetime.fromisoformat(results['when']):%Y-%m-%dT%H%M%SZ}.json"
    write_text(path, json.dumps({"commit": of, **results}, indent=1) + "\n")
    return path


def measure() -> dict[str, Any]:
    """All figures of a run, as the history keeps them."""
    spec = parse_spec("base:vault=aes")  # clear programs, each packet with a CRC
    native = kernel.load()
    results: dict[str, Any] = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "bitting": __version__,
        "torch": torch.__version__,
        "kernel": native.isa if native else None,
        "processors": os.cpu_count(),
        "machine": platform.machine(),
        "processor": processor(),
        "load": os.getloadavg(),  # before the run, over 1, 5 and 15 minutes
        "threads": {threads: speeds(threads) for threads in (1, 2)},
    }
    results["personalisation_ms"] = personalisation()
    sizes = (64, 128, 10)
    results["native_16_lanes"] = native_rate(spec, SIZES)
    results["native_64_lanes"] = native_rate(parse_spec("base:lanes=64,vault=aes"), SIZES)
    sealed = PRESETS["base"]
    results["locked_over_twin"] = locked_over_twin(sealed, SIZES)
    results["verification"] = {str(lanes or sealed.lanes): verification_seconds(sealed, lanes) for lanes in (None, 64, 128)}
    results["cocotb_clocks_per_second"] = cocotb_rate(spec, sizes)
    results["native_over_cocotb"] = native_rate(spec, sizes)["clocks_per_second"] / results["cocotb_clocks_per_second"]
    return results


def show(results: dict[str, Any]) -> None:
    """A table of one run, each figure beside what it is to reach."""
    rows = []
    for threads, measured in results["threads"].items():
        for what, of_what in measured.items():
            for who, result in (of_what or {}).items():
                if not isinstance(result, dict):
                    continue
                if what.startswith("training"):
                    rows.append((f"{what}, {who}", threads, f"{result['ratio']:.2f}x", "time of the fp32 step (bound 1.3x)"))
                else:
                    rows.append((f"{what}, {who}", threads, f"{1 / result['ratio']:.2f}x", "speed of fp32 (bound 1.0x)"))
        for what, result in measured.items():
            if what.startswith("apytypes") and result:
                rows.append((what, threads, f"{result['ratio']:.1f}x", "time of the fp32 product"))
    for lanes in (16, 64):
        rate = results[f"native_{lanes}_lanes"]
        rows.append((f"native harness, {lanes} lanes", 1, f"{rate['clocks_per_second'] / 1e6:.2f}M", "clocks/s, one thread"))
        rows.append((f"simulated, {lanes} lanes", 1, f"{rate['macs_per_second'] / 1e6:.1f}M", "MAC/s, one thread"))
    rates = results["locked_over_twin"]
    for name in ("locked", "twin"):
        rows.append((f"sealed-clocked, {name}, profile", 1, f"{rates[f'{name}_clocks_per_second'] / 1e6:.2f}M", "clocks/s"))
    rows.append(("locked over unlocked twin", 1, f"{rates['ratio']:.2f}x", "clocks/s, processor time (goal 0.85x)"))
    for lanes, took in results["verification"].items():
        what = f"{took['processor_seconds']:.0f} s of a processor (bound 60 s on two cores, goal 20 s)"
        rows.append((f"verify 10 000 images, {lanes} lanes", "all", f"{took['seconds']:.1f} s", what))
    slowest = max(results["personalisation_ms"].items(), key=lambda item: item[1])
    rows.append(("personalising 1.03 M codes", 1, f"{slowest[1]:.0f} ms", f"{slowest[0]}, the slowest pairing (goal 1000 ms)"))
    rows.append(("native harness over cocotb", 1, f"{results['native_over_cocotb']:.0f}x", "clocks/s (goal 10x)"))
    load = "/".join(f"{value:.1f}" for value in results["load"])
    title = f"{results['when']}, {results['processor']}, load {load} before, kernel {results['kernel']}"
    console.table(title, ("", "threads", "median", ""), rows)


def main() -> None:
    """Measure, append to the history, show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--history", type=Path, default=Path("out/bench.json"))
    parser.add_argument("--record", action="store_true", help="also write the run to docs/history")
    arguments = parser.parse_args()
    measured_commit = commit() if arguments.record else ""
    history = json.loads(arguments.history.read_text()) if arguments.history.exists() else []
    results = measure()
    write_text(arguments.history, json.dumps([*history, results], indent=1) + "\n")
    if arguments.record:
        console.err.print(f"recorded: {record(results, measured_commit)}", markup=False)
    show(results)


if __name__ == "__main__":
    main()
