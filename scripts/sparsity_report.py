"""The sparsity lock judged: accuracy, pruned networks, clocks of the unit, and what the same sparsity saves elsewhere.

    python scripts/sparsity_report.py [--seeds 0 1 2] [--epochs N] [--samples N] [--rtl N] [--json FILE]

An MLP on MNIST in the family `soft`, with the lock and without, each judged on every target of `families.toml`; with the lock
also by a thief who fills gather lists up with zeros first. Clocks are of one batch (as many samples as the unit has lanes), by
the timing law, and with `--rtl` those of the Verilated engine for that many samples, compared to the bit and the cycle.
"Relabelled" is the accuracy of pruned networks whose thief, with labels, has found which class each answer means by now;
"levelled" that of one who brings every answer back to one mean and deviation, without labels.

Times elsewhere are of the products of all layers, a thousand samples, one thread, in processor time; rivals take turns, and
ratios are medians over rounds of this way with the lock's weights / dense with the weights of the network without the lock.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch.nn import functional

import bitting
import emulation_price
import soft_report
from bitting import malloc
from bitting.artefact.artefact import Artefact
from bitting.check.verification import verify
from bitting.data import datasets
from bitting.locking.device import Device
from bitting.locking.scheme import LockScheme
from bitting.locking.transform import lock_program
from bitting.program import latency
from bitting.program.layers import Program
from bitting.targets.families import every_target
from bitting.targets.filling import filled
from bitting.targets.judge import accuracy, judge
from bitting.targets.stolen import Stolen

LOCKED, FILLED, PLAIN = "sparsity", "sparsity, lists filled up", "none"
#: Samples at once elsewhere, and rounds of measuring.
_BATCH, _ROUNDS = 1000, 25
_ROOT = bytes(range(16))


def on_unit(program: Program) -> dict[str, float]:
    """Predicted clocks of a batch, and what they come from."""
    spec = program.spec
    digits = np.concatenate([np.asarray(spec.value_cycles)[layer.codes].ravel() for layer in program.layers])
    of_all = sum(layer.weights.numel() for layer in filled(Stolen.of(program)).layers)
    return {
        "clocks": latency.clocks(program, program.tile_cycles(range(spec.codes))),
        "mac_cycles": int(digits.sum()),
        "gathered": len(digits) / of_all,
        "digits": float(digits.mean()),
    }


def relabelled(answers: torch.Tensor, labels: np.ndarray) -> float:
    """Accuracy if every answer means the class that it is best taken for, no two the same one: a score for `judge`."""
    counts = np.zeros((answers.shape[1],) * 2, np.int64)
    np.add.at(counts, (answers.argmax(1).numpy(), labels), 1)
    return float(counts[linear_sum_assignment(-counts)].sum()) / len(labels)


def levelled(answers: torch.Tensor, labels: np.ndarray) -> float:
    """Accuracy if every answer has one mean and deviation over all samples: a score for `judge`."""
    answers = answers.double()
    return accuracy((answers - answers.mean(0)) / answers.std(0).clamp(min=1e-9), labels)


def repaired(stolen: Stolen, x: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, float]]:
    """Accuracy of each pruned network, relabelled and levelled."""
    targets = [each for each in every_target(stolen.spec.acc_bits) if each.pruning]
    scores = {"relabelled": relabelled, "levelled": levelled}
    return {
        name: {each.target: each.accuracy for each in judge(stolen, x, labels, targets, score=score).results}
        for name, score in scores.items()
    }


def on_rtl(model: bitting.Model, x: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """The engine without a lock (vault `aes`, transform `table`): clocks of a batch, and what differed."""
    spec = model.program.spec.replace(vault="aes")
    device = Device(spec, _ROOT)
    program = lock_program(replace(model.program, spec=spec), device, LockScheme())
    found = verify(Artefact(program, LockScheme(), interface=model.interface), device, x, labels)
    return {
        "samples": found.samples,
        "wrong_logits": found.wrong_logits,
        "wrong_cycles": found.wrong_cycles,
        "clocks": found.cycles / -(-len(x) // spec.lanes),
    }


def times(locked: Stolen, plain: Stolen) -> dict[str, float]:
    """Ratios by way: what the lock's sparsity saves on this processor."""
    dense = filled(locked)
    ways = {
        "fp32 dense": (fp32([layer.weights for layer in dense.layers]), False),
        "int8 dense": (int8([layer.weights for layer in dense.layers]), True),
        "fp32 by lists": (by_lists(locked), False),
        "fp32 sparse rows": (sparse_rows([layer.weights for layer in dense.layers]), False),
    }
    weights = [layer.weights for layer in plain.layers]
    rivals = {False: fp32(weights), True: int8(weights)}
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(_ROUNDS):
        for name, (run, is_int8) in ways.items():
            pair = (run, rivals[is_int8])
            seconds = [seconds_of(each) for each in (pair if number % 2 else pair[::-1])]
            seconds = seconds if number % 2 else seconds[::-1]
            ratios[name].append(seconds[0] / seconds[1])
    return {name: statistics.median(values) for name, values in ratios.items()}


def seconds_of(run: Callable[[], object]) -> float:
    """Processor time of ten calls."""
    started = time.process_time()
    for _ in range(10):
        run()
    return time.process_time() - started


def _inputs(weights: list[torch.Tensor]) -> list[torch.Tensor]:
    """Drawn activations for each layer."""
    return [torch.randint(-32, 32, (_BATCH, matrix.shape[1])).float() for matrix in weights]


def fp32(weights: list[torch.Tensor]) -> Callable[[], object]:
    """PyTorch's products."""
    pairs = [(x, matrix.float().contiguous()) for x, matrix in zip(_inputs(weights), weights, strict=True)]
    return lambda: [functional.linear(x, matrix) for x, matrix in pairs]


def int8(weights: list[torch.Tensor]) -> Callable[[], object]:
    """Onnxruntime's MatMulInteger, with weights scaled to a byte."""
    runs = []
    for x, matrix in zip(_inputs(weights), weights, strict=True):
        scaled = torch.round(127 * matrix / matrix.abs().max()).to(torch.int8).T.contiguous().numpy()
        runs.append(emulation_price.one_operator("MatMulInteger", scaled, (x + 128).to(torch.uint8).numpy(), 1))
    return lambda: [run() for run in runs]


def by_lists(stolen: Stolen) -> Callable[[], object]:
    """PyTorch's products of what each list gathers, by somebody who has written that."""
    x = torch.randint(-32, 32, (_BATCH, stolen.reach)).float()
    parts = [(group.addresses[0], layer.weights[group.channels].float()) for layer in stolen.layers for group in layer.groups]
    return lambda: [functional.linear(x.index_select(1, addresses), matrix) for addresses, matrix in parts]


def sparse_rows(weights: list[torch.Tensor]) -> Callable[[], object]:
    """PyTorch's products of compressed sparse rows."""
    pairs = [(x.T.contiguous(), matrix.float().to_sparse_csr()) for x, matrix in zip(_inputs(weights), weights, strict=True)]
    return lambda: [matrix @ x for x, matrix in pairs]


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """Lines of figures by seed, after the table of accuracies."""
    lines = []
    for each in rows:
        for kind in ("unit", "rtl", "factors", "times", "relabelled", "levelled"):
            if kind in each:
                figures = ", ".join(f"{key} {value:.4g}" for key, value in each[kind].items())
                lines.append(f"seed {each['seed']}, {each['name']}, {kind}: {figures}")
    return lines


def main() -> None:
    """Measure what the command line asks for."""
    malloc.keep_freed()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--samples", type=int, default=2000, help="of the test set, judged on every target")
    parser.add_argument("--rtl", type=int, default=0, help="of the test set, run on the Verilated engine")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = datasets.load("mnist")
    labels = data.test_y[: options.samples]
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        models = {}
        for name in (PLAIN, LOCKED):
            model = models[name] = soft_report.trained(name, seed, options.epochs)
            x = model.interface.activations(data.test_x[: options.samples])
            seen = model.interface.activations(data.train_x[np.random.default_rng(seed).permutation(len(data.train_x))[:512]])
            claims = f"unit {100 * model.claims['accuracy']:.2f}%, twin {100 * model.claims['twin_accuracy']:.2f}%"
            print(f"seed {seed}, {name}: {claims} of {len(data.test_y)}", flush=True)
            stolen = Stolen.of(model.program)
            found = {"seed": seed, "claims": claims, **soft_report.row(name, judge(stolen, x, labels, calibration=seen))}
            rows.append({**found, "unit": on_unit(model.program), **repaired(stolen, x, labels)})
            if options.rtl:
                given = model.interface.activations(data.test_x[: options.rtl])
                rows[-1]["rtl"] = on_rtl(model, given, data.test_y[: options.rtl])
            if name == LOCKED:
                plain, unit = rows[-2], rows[-1]
                unit["factors"] = {key: plain[key]["clocks"] / unit[key]["clocks"] for key in ("unit", "rtl") if key in unit}
                unit["times"] = times(stolen, Stolen.of(models[PLAIN].program))
                dense = filled(stolen)
                found = {"seed": seed, **soft_report.row(FILLED, judge(dense, x, labels, calibration=seen))}
                rows.append({**found, **repaired(dense, x, labels)})
            if options.json:
                options.json.write_text(json.dumps(rows, indent=1) + "\n")
        print("\n".join([*soft_report.table(rows), *summary(rows)]), flush=True)


if __name__ == "__main__":
    main()
