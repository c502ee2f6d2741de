"""Everything the locks are judged by, on one model: run it, read docs/locks.md beside it.

    python scripts/lock_report.py MODEL [--vault aes] [--samples N] [--random-keys N] [--lanes L] [--only RTL]
        [-o out/locks.json]

1. chips a cycle or a bit off: all mutants of timing and arithmetic on the emulator;
2. where `aes-clocked` derails;
3. screening: area under the curve of each statistic, per transform (of sealed programs nobody sees a weight: vault `aes` only);
4. every pairing: the test set through the RTL of the right device (every bit and cycle) and of a wrong one.

The file is written after every step, and a second run goes on where the first was interrupted.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bitting.artefact.artefact import Artefact
from bitting.artefact.model import Model
from bitting.attack import mutants, screening
from bitting.check.verification import verify
from bitting.cli import console
from bitting.data import datasets
from bitting.files import write_text
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.kinds import Fingerprint, transforms_of
from bitting.locking.scheme import LockScheme, pairings
from bitting.locking.transform import personalise
from bitting.unit.spec import VaultKind

#: Public, so that every figure can be repeated; a real device's secret is random.
ROOT = bytes.fromhex("8f3a51c7e2640bd99a1725f0c86e3bd4")
NONCE = bytes.fromhex("00112233445566778899aabbccddeeff")


class Report:
    """The model, the device, the data, and what is known so far."""

    def __init__(self, arguments: argparse.Namespace):
        self.model = Model.load(arguments.model)
        self.spec = replace(self.model.program.spec, vault=VaultKind(arguments.vault))
        self.program = replace(self.model.program, spec=self.spec)
        self.lanes, self.only = arguments.lanes, arguments.only
        self.device = Device(self.spec, ROOT)
        data = datasets.load(datasets.claimed(self.model.claims))
        self.x = datasets.activations(self.spec, data.test_x)[: arguments.samples]
        self.y = data.test_y[: arguments.samples]
        self.random_keys = arguments.random_keys
        self.path = arguments.output
        self.results: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.results["model"] = {name: self.model.claims[name] for name in ("dataset", "accuracy", "twin_accuracy")}
        self.results["model"]["config"] = {k: v for k, v in self.model.claims["config"].items() if k != "seed"}

    def locked(self, fingerprint: str, transform: str) -> tuple[Any, LockScheme]:
        """The locked program, the same in every run, and how it is locked."""
        scheme = LockScheme.new(self.spec, fingerprint, transform, nonce=NONCE)
        return personalise(self.program, self.device, scheme), scheme

    def step(self, name: str, work: Callable[[], Any]) -> None:
        """Do it unless it is done, or not wanted."""
        if not name.startswith(self.only):
            return
        if name not in self.results:
            self.results[name] = work()
            write_text(self.path, json.dumps(self.results, indent=1) + "\n")
        console.out.print(f"{name}: {json.dumps(self.results[name])[:400]}", markup=False)

    def verified(self, fingerprint: str, transform: str) -> dict[str, Any]:
        """Right and wrong device on the RTL; the wrong one is a key bit away."""
        locked, scheme = self.locked(fingerprint, transform)
        # More lanes take another fingerprint of sums, so with the vault `aes` another lock key.
        wider = None if scheme.fingerprint == Fingerprint.NUMERIC and not scheme.seals else self.lanes
        result = {"lanes": {"lanes": wider or self.spec.lanes}}
        told = ("equal", "refused", "accuracy", "wrong_logits", "wrong_cycles", "tiles", "cycles")
        for name, chip in (("right", self.device), ("wrong", self.device.with_flipped_bit(77))):
            report = verify(Artefact(locked, scheme), chip, self.x, self.y, lanes=wider)
            result[name] = {field: getattr(report, field) for field in told} | {"seconds": round(report.seconds, 1)}
        return result

    def mutated(self, fingerprint: str, transform: str, kind: str) -> dict[str, Any]:
        """All mutants of a kind against a pairing."""
        locked, scheme = self.locked(fingerprint, transform)
        honest = ChipModel.of(self.device)
        table = self.device.table()
        chips = mutants.timing_mutants(honest) if kind == "timing" else mutants.arithmetic_mutants(honest, table)
        return mutants.survey(locked, scheme, self.device, list(chips), self.x, self.y).to_dict()

    def derailed(self) -> list[tuple[int, int | None]]:
        """(tile that takes a cycle more, first tile that then opens wrong, or None) for some tiles at both ends."""
        locked, scheme = self.locked("numeric", "aes-clocked")
        tiles = sum(layer.tiles for layer in locked.layers)
        return mutants.derailments(locked, scheme, self.device, [0, 1, 10, 100, tiles - 4, tiles - 3, tiles - 2, tiles - 1])

    def screened(self, transform: str) -> dict[str, Any]:
        """`screening.Screening` as a dictionary; its areas under the curve are 0.5 for a good lock, 1 for a bad one."""
        locked, scheme = self.locked("clock", transform)
        redrawn = screening.redrawn_of(locked, scheme, self.model.claims["config"])
        return screening.screen(locked, scheme, self.device, wrong_keys=self.random_keys, redrawn=redrawn).to_dict()

    def run(self) -> None:
        """All steps that are not done yet."""
        aes = self.spec.vault == VaultKind.AES
        transforms = transforms_of(self.spec.vault)
        timed = [("clock", transform) for transform in transforms] + [("numeric", transforms[-1])]
        for fingerprint, transform in timed:
            self.step(f"timing mutants, {fingerprint} x {transform}", partial(self.mutated, fingerprint, transform, "timing"))
        for transform in transforms:
            name = f"arithmetic mutants, numeric x {transform}"
            self.step(name, partial(self.mutated, "numeric", transform, "arithmetic"))
        if aes:
            self.step("aes-clocked derails: (extra cycle in tile, first wrong tile)", self.derailed)
        for transform in transforms if aes else ():
            self.step(f"screening, {transform}", partial(self.screened, transform))
        for scheme in pairings(self.spec):
            pair = scheme.fingerprint, scheme.transform
            self.step(f"RTL, {pair[0]} x {pair[1]}", partial(self.verified, *pair))


def main() -> None:
    """Run the report, without gradients: nothing is trained here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="from `bitting train`")
    parser.add_argument("--vault", choices=[kind.value for kind in VaultKind], default="ascon", help="whose locks")
    parser.add_argument("--lanes", type=int, help="run the pairings on an engine with so many, where the lock allows it")
    parser.add_argument("--only", default="", help="steps whose name begins so, e.g. RTL")
    parser.add_argument("--samples", type=int, help="test samples; default all")
    parser.add_argument("--random-keys", type=int, default=1000, help="wrong keys for screening")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/locks.json"))
    with torch.no_grad():
        Report(parser.parse_args()).run()


if __name__ == "__main__":
    main()
