"""Given networks on a board: converted, locked, verified on the RTL, and asked by the host in C in the user's units.

    python scripts/boards_report.py [--sets wine digits] [--samples N] [--asked N]
    python scripts/boards_report.py --sets cifar-10 --weights FOLDER --samples 32 --asked 2

The networks are those of scripts/conversion_report.py, with their ReLUs kept. The board is simulated: its top, with the serial
line played bit by bit. Exit status 1 if a bit or a cycle is wrong, or if another device runs what was locked.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

import bitting
import conversion_report
from bitting.artefact import packet_file
from bitting.sim.serial_port import SimulatedPort
from bitting.sim.terminal import terminal


def compiled_host(folder: Path) -> Path:
    """The example host in C, from the sources that `bitting packets --c-host` writes."""
    sources = packet_file.c_host()
    for name, text in sources.items():
        (folder / name).write_text(text)
    command = ["gcc", "-std=c99", "-O2", *(name for name in sources if name.endswith(".c")), "-o", "ask"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "ask"


def asked(host: Path, device: bitting.Device, words: bytes, x: np.ndarray) -> np.ndarray:
    """What the host in C prints for these inputs, in the user's units, one row a sample.

    Raises:
        subprocess.CalledProcessError: if the host gives up; it has said why.
    """
    packets, inputs = host.parent / "words.bin", host.parent / "inputs.bin"
    packets.write_bytes(words)
    inputs.write_bytes(x.astype("<f4").tobytes())
    with closing(SimulatedPort(device)) as board, terminal(board) as port:
        done = subprocess.run([host, port, packets, inputs, "floats"], check=True, stdout=subprocess.PIPE)
    return np.array([line.split() for line in done.stdout.splitlines()], np.float32)


def measure(name: str, weights: Path, samples: int, questions: int, host: Path) -> bool:
    """Print a line about one network, and whether all was right."""
    task, network = conversion_report.float_network(name, 0, torch.device("cpu"), weights)
    calibration = task.train_x[: conversion_report.CALIBRATION]
    converted = bitting.convert(network, task.spec, calibration, activation="relu")
    model = bitting.export(converted, calibration)
    device = bitting.Device.new(model.program.spec)
    artefact = bitting.lock(model, device)
    x, y = task.test_x[:samples].flatten(1).numpy(), task.test_y[:samples].numpy()
    activations = model.interface.activations(x)
    report = bitting.verify(artefact, device, activations, y)
    refused = bitting.verify(artefact, device.with_flipped_bit(0), activations[:16], y[:16]).refused
    answers = asked(host, device, packet_file.contents(artefact), x[:questions])
    equal = np.array_equal(answers, model(x[:questions]).reshape(len(answers), -1))
    print(
        f"{name}: {report.samples} samples on the RTL, {report.wrong_logits} wrong bits, {report.wrong_cycles} wrong cycles; "
        f"another device: {'refused' if refused else 'RUNS IT'}; {len(answers)} answers through the board by the host in C: "
        f"{'equal to the bit' if equal else 'DIFFERENT'}, the first {' '.join(f'{value:.4g}' for value in answers[0])}",
        flush=True,
    )
    return equal and bool(refused) and not report.wrong_logits and not report.wrong_cycles


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sets = conversion_report.SETS
    parser.add_argument("--sets", nargs="+", choices=sets, default=[name for name in sets if name != "cifar-10"])
    parser.add_argument("--samples", type=int, default=160, help="of the test set, verified on the RTL")
    parser.add_argument("--asked", type=int, default=40, help="of them, asked through the board")
    parser.add_argument("--weights", type=Path, default=Path("out/conversion"), help="folder of the float networks")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        host = compiled_host(Path(folder))
        right = [measure(name, options.weights, options.samples, options.asked, host) for name in options.sets]
    sys.exit(0 if all(right) else 1)


if __name__ == "__main__":
    main()
