"""The price of exact emulation: what running a locked model exactly costs beside native int8 and fp32 on this processor.

    python scripts/emulation_price.py [--rounds 15] [--threads 1 2] [--only residual] [--out out/emulation_price.json]

Layers (dense, and 3x3 convolutions as in a residual network) and whole networks, on `base` and `soft`, each round once by:

* exact: the emulator's kernel, fold included, checked against torch's products first;
* one byte: the same program with weights cut to one byte, which is what the extra digits of `soft` are measured against;
* int8: onnxruntime, unsigned bytes times signed bytes and requantisation in one operator (QLinearMatMul, QLinearConv), whole
  networks by its static quantisation; for dense layers MatMulInteger too, whose sums are not requantised;
* fp32: eager PyTorch, with ReLU.

Rivals take turns, and ratios are medians over rounds of exact / rival: above 1 the exact run is slower. One thread is measured
in processor time, which others' work disturbs less; more in time that passes, so on an idle machine only. Weights are drawn; no
time depends on them, but for whether they fit a byte. BITTING_KERNEL=avx2 measures another kernel.
"""

import argparse
import json
import logging
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization
from torch import nn

from bitting import __version__
from bitting.cli import console
from bitting.conversion.converter import convert
from bitting.emulator import kernel
from bitting.emulator.emulate import Emulator
from bitting.files import write_text
from bitting.program.layers import Layer, Program, dense
from bitting.training import architectures
from bitting.unit.spec import UnitSpec, parse_spec

#: (samples, inputs, outputs) of dense layers.
DENSE = ((128, 784, 256), (1024, 784, 256), (1024, 1024, 1024))
#: (samples, channels, height and width) of 3x3 convolutions, padded, as many channels out as in.
CONVOLUTIONS = ((128, 16, 32), (128, 32, 16), (128, 64, 8))
#: Whole networks and their pictures.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "MLP 784-256-128-10": (lambda: architectures.multilayer_perceptron((784, 256, 128, 10)), (1024, 784)),
    "LeNet": (architectures.LeNet, (128, 1, 28, 28)),
    "residual network": (architectures.ResidualNetwork, (128, 1, 28, 28)),
}
FAMILIES = ("base", "soft")
#: Of all that /proc/cpuinfo lists, what decides how fast bytes are multiplied.
INSTRUCTIONS = ("avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "amx_int8", "asimd", "asimddp", "i8mm")


@dataclass(frozen=True)
class Case:
    """Something to measure: `exact` and its rivals, each a call that does all the work once."""

    name: str
    runs: dict[str, Callable[[], object]]


def exact(program: Program, x: torch.Tensor) -> Callable[[], object]:
    """The emulator on activations (samples, words) int8, checked against torch's products on the first ones."""
    table = range(program.spec.codes)
    ends = program.layers[-1].emits

    def run(emulator: Emulator, given: torch.Tensor) -> torch.Tensor:
        return emulator(given) if ends else emulator.activations(given)

    emulator = Emulator(program, table)
    chosen = os.environ.get("BITTING_KERNEL")
    os.environ["BITTING_KERNEL"] = "off"
    expected = run(Emulator(program, table), x[:70])
    os.environ.pop("BITTING_KERNEL")
    if chosen:
        os.environ["BITTING_KERNEL"] = chosen
    if not torch.equal(run(emulator, x[:70]), expected):
        raise SystemExit("the kernel is not exact")
    return lambda: run(emulator, x)


def drawn(spec: UnitSpec, shape: tuple[int, ...], one_byte: bool) -> np.ndarray:
    """Codes of a shape, those of weights that fit a byte only if asked so."""
    values = np.array(spec.values)
    codes = np.flatnonzero(np.abs(values) < 128) if one_byte else np.arange(spec.codes)
    return np.random.default_rng(0).choice(codes, shape)


def activations(spec: UnitSpec, shape: tuple[int, ...]) -> torch.Tensor:
    """Drawn activations of a family, int8."""
    return torch.from_numpy(np.random.default_rng(1).integers(spec.act_min, spec.act_max + 1, shape).astype(np.int8))


def session(model: onnx.ModelProto, threads: int) -> onnxruntime.InferenceSession:
    """An ONNX model on so many threads of the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def one_operator(kind: str, weights: np.ndarray, x: np.ndarray, threads: int, **attributes: Any) -> Callable[[], object]:
    """An int8 operator of onnxruntime on bytes `x`: QLinearMatMul, QLinearConv or MatMulInteger."""
    constants: dict[str, Any] = {"w": weights, "zero": np.uint8(128), "zero_w": np.int8(0)}
    inputs = ["x", "w", "zero", "zero_w"]
    if kind != "MatMulInteger":
        constants |= {"one": np.float32(1), "scale": np.float32(4096)}  # of operands, and of the result
        inputs = ["x", "one", "zero", "w", "one", "zero_w", "scale", "zero"]
    result = TensorProto.INT32 if kind == "MatMulInteger" else TensorProto.UINT8
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, ["y"], **attributes)], "layer",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, x.shape)],
        [helper.make_tensor_value_info("y", result, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    run = session(model, threads)
    return lambda: run.run(None, {"x": x})


def dense_case(family: str, shape: tuple[int, int, int], threads: int) -> Case:
    """A dense layer with the fold."""
    samples, inputs, outputs = shape
    spec = parse_spec(f"{family}:scratch_words={1 << (inputs + outputs - 1).bit_length()}")

    def program(one_byte: bool) -> Program:
        codes = drawn(spec, (outputs, inputs), one_byte)
        return Program(spec, (dense(codes, np.arange(outputs), 0, inputs, 2),), 0, inputs)

    x = activations(spec, (samples, inputs))
    x32, w32, b32 = x.float(), torch.randn(outputs, inputs), torch.randn(outputs)
    bytes_x = (x.numpy().astype(np.int16) + 128).astype(np.uint8)
    w8 = np.random.default_rng(2).integers(-127, 128, (inputs, outputs)).astype(np.int8)
    return Case(
        f"dense {samples} x {inputs} x {outputs}",
        {
            "exact": exact(program(False), x),
            "one byte": exact(program(True), x),
            "int8": one_operator("QLinearMatMul", w8, bytes_x, threads),
            "int8, sums": one_operator("MatMulInteger", w8, bytes_x, threads),
            "fp32": lambda: torch.relu(nn.functional.linear(x32, w32, b32)),
        },
    )


def convolution_case(family: str, shape: tuple[int, int, int], threads: int) -> Case:
    """A padded 3x3 convolution with the fold; the exact one is given its padding, as a layer inside a network finds it."""
    samples, channels, size = shape
    padded = size + 2
    words = channels * padded**2
    spec = parse_spec(f"{family}:scratch_words={1 << (2 * words - 1).bit_length()}")
    offsets = (np.arange(channels)[:, None, None] * padded**2 + np.arange(3)[:, None] * padded + np.arange(3)).ravel()

    def program(one_byte: bool) -> Program:
        layer = Layer(
            codes=drawn(spec, (channels, len(offsets)), one_byte), bias=np.arange(channels), offsets=offsets,
            in_base=np.zeros(channels, np.int64), out_base=words + padded + 1 + padded**2 * np.arange(channels),
            positions=(size, size), strides=(padded, 1), out_strides=(padded, 1), shift=2,
        )  # fmt: skip
        return Program(spec, (layer,), 0, words)

    x = activations(spec, (samples, channels, size, size))
    given = nn.functional.pad(x, (1, 1, 1, 1)).flatten(1).contiguous()
    x32, module = x.float(), nn.Conv2d(channels, channels, 3, 1, 1)
    bytes_x = (x.numpy().astype(np.int16) + 128).astype(np.uint8)
    w8 = np.random.default_rng(2).integers(-127, 128, (channels, channels, 3, 3)).astype(np.int8)
    return Case(
        f"3x3, {channels} channels, {size} x {size}, {samples} samples",
        {
            "exact": exact(program(False), given),
            "one byte": exact(program(True), given),
            "int8": one_operator("QLinearConv", w8, bytes_x, threads, pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
            "fp32": lambda: torch.relu(module(x32)),
        },
    )


class _Calibration(quantization.CalibrationDataReader):
    """One batch for onnxruntime's static quantisation."""

    def __init__(self, x: np.ndarray):
        self._batches = iter([{"x": x}])

    def get_next(self) -> Any:
        """The batch, then None."""
        return next(self._batches, None)


def quantised(module: nn.Module, x: torch.Tensor, threads: int) -> Callable[[], object]:
    """A module in onnxruntime's static int8: unsigned activations, signed weights a channel."""
    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        torch.onnx.export(module, (x,), str(plain), input_names=["x"], dynamo=True, verbose=False)
        quantization.quantize_static(
            str(plain), str(small), _Calibration(x.numpy()), per_channel=True,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
        )  # fmt: skip
        run = session(onnx.load(str(small)), threads)
    return lambda: run.run(None, {"x": x.numpy()})


def network_case(family: str, name: str, threads: int) -> Case:
    """A whole network: the layers that conversion to `base` gives, on the family with codes drawn."""
    make, shape = NETWORKS[name]
    base = parse_spec("base:scratch_words=8192")
    torch.manual_seed(0)
    module = make().eval()
    x = torch.randint(0, base.act_max + 1, shape).float()
    converted = convert(module, base, x[:64], input_scale=1.0).to_program()
    spec = parse_spec(f"{family}:scratch_words=8192")

    def program(one_byte: bool) -> Program:
        layers = [one if one.plain else replace(one, codes=drawn(spec, one.codes.shape, one_byte)) for one in converted.layers]
        return replace(converted, spec=spec, layers=tuple(layers))

    integers = x.flatten(1).to(torch.int8)
    return Case(
        f"{name}, {shape[0]} samples",
        {
            "exact": exact(program(False), integers),
            "one byte": exact(program(True), integers),
            "int8": quantised(module, x, threads),
            "fp32": lambda: module(x),
        },
    )


def cases(threads: int, only: str) -> Iterator[tuple[str, Case]]:
    """Every family's cases, made when they are measured, whose names hold `only`."""
    for family in FAMILIES:
        for shape in DENSE:
            if only in "dense":
                yield family, dense_case(family, shape, threads)
        for shape in CONVOLUTIONS:
            if only in "3x3 convolutions":
                yield family, convolution_case(family, shape, threads)
        for name in NETWORKS:
            if only in name:
                yield family, network_case(family, name, threads)


@torch.no_grad()
def measured(case: Case, rounds: int, clock: Callable[[], float]) -> dict[str, dict[str, float]]:
    """Each run's median milliseconds, and the median over rounds of exact / run; in another order every round."""
    times: dict[str, list[float]] = {name: [] for name in case.runs}
    names = list(case.runs)
    for index in range(rounds + 3):
        for name in names[index % len(names) :] + names[: index % len(names)]:
            time.sleep(0.003)  # threads of the last run, which wait for more work, stop
            started = clock()
            case.runs[name]()
            if index >= 3:  # the first ones warm up
                times[name].append(1000 * (clock() - started))
    return {
        name: {
            "ms": statistics.median(of),
            "exact_over_this": statistics.median(a / b for a, b in zip(times["exact"], of, strict=True)),
        }
        for name, of in times.items()
    }


def instruction_sets() -> list[str]:
    """What this processor has of `INSTRUCTIONS`."""
    path = Path("/proc/cpuinfo")
    words = set(path.read_text().split()) if path.exists() else set()
    return [name for name in INSTRUCTIONS if name in words]


def commit() -> str:
    """The commit of the work tree, with a mark if files differ from it."""
    root = Path(__file__).resolve().parents[1]
    try:
        git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"]
        return subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def main() -> None:
    """Measure, show each row as it is done, write all as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", default="", help="dense, 3x3, or part of a network's name; default: all")
    parser.add_argument("--out", type=Path, default=Path("out/emulation_price.json"))
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # of the exporter and the quantiser, about what these networks do not have
    native = kernel.load()
    results: dict[str, Any] = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit(), "bitting": __version__,
        "torch": torch.__version__, "onnxruntime": onnxruntime.__version__, "machine": platform.machine(),
        "processors": os.cpu_count(), "instructions": instruction_sets(), "load": os.getloadavg(),
        "kernel": native.isa if native else None, "rows": [],
    }  # fmt: skip
    print(f"instruction sets: {', '.join(results['instructions'])}; kernel {results['kernel']}; load {results['load'][0]:.1f}")
    print("time of the exact run, as a multiple of the rival's\n")
    print("| | family | threads | exact, ms | one byte | int8 | int8, sums | fp32 |\n|---|---|---|---|---|---|---|---|")
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for family, case in cases(threads, arguments.only):
            found = measured(case, arguments.rounds, time.process_time if threads == 1 else time.perf_counter)
            results["rows"].append({"name": case.name, "family": family, "threads": threads, "runs": found})
            rivals = ("one byte", "int8", "int8, sums", "fp32")
            cells = [f"{found[rival]['exact_over_this']:.2f}" if rival in found else "" for rival in rivals]
            print(f"| {case.name} | {family} | {threads} | {found['exact']['ms']:.2f} | {' | '.join(cells)} |", flush=True)
            write_text(arguments.out, json.dumps(results, indent=1) + "\n")
    console.err.print(f"written: {arguments.out}", markup=False)


if __name__ == "__main__":
    main()
