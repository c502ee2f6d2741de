"""Whole netlists against golden: images through placed LUTs, flip-flops, block RAMs and multipliers, every bit and every cycle.

    python scripts/netlists_report.py [--images 100] [--lanes 16] [-o out/netlists.json]

`tiny` on the iCE40 after synthesis, and `base` on the ECP5 after synthesis and after place and route; with either vault,
under all its transforms. The tests run a few images on four lanes, for a netlist is a hundred times slower than
the RTL.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bitting.artefact.artefact import Artefact
from bitting.check.verification import verify
from bitting.cli import console
from bitting.data import datasets
from bitting.files import write_text
from bitting.fpga import design, gates, placed, targets
from bitting.fpga.targets import Target
from bitting.locking.device import Device
from bitting.locking.kinds import transforms_of
from bitting.locking.scheme import LockScheme
from bitting.locking.transform import personalise
from bitting.sim import native
from bitting.training import loop, recipes
from bitting.unit.spec import UnitSpec, VaultKind, parse_spec


def verified(spec: UnitSpec, netlist: str, images: int) -> dict[str, Any]:
    """A model of the digits, locked in every way, on a netlist: what was compared and what was wrong."""
    library = native.library_of(netlist, design.TOP)
    data = datasets.load("digits")
    model = loop.train(spec, data, replace(recipes.recipe(data), epochs=2))
    device = Device(spec, bytes(range(1, 17)), sealed=spec.vault == VaultKind.ASCON)
    x, y = datasets.activations(spec, data.test_x[:images]), data.test_y[:images]
    result: dict[str, Any] = {"spec": spec.name, "vault": spec.vault, "images": len(x)}
    for transform in transforms_of(spec.vault):
        scheme = LockScheme.new(spec, "clock", transform)
        report = verify(Artefact(personalise(model.program, device, scheme), scheme), device, x, y, library=library)
        result[transform] = {name: getattr(report, name) for name in ("equal", "wrong_logits", "wrong_cycles", "accuracy")}
    return result


def _synthesised(target: Target, spec: UnitSpec) -> str:
    return gates.verilog(target, *design.engine(spec, True, target))


def main() -> None:
    """Run the netlists; the file is written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100, help="test images of the digits")
    parser.add_argument("--lanes", type=int, default=16, help="of `base`")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/netlists.json"))
    arguments = parser.parse_args()
    ice40, ecp5 = targets.find("ice40-up5k"), targets.find("ecp5-25k")
    steps: dict[str, tuple[UnitSpec, Callable[[], str]]] = {}
    for vault in VaultKind:
        tiny, base = parse_spec(f"tiny:vault={vault}"), parse_spec(f"base:vault={vault},lanes={arguments.lanes}")
        steps[f"iCE40 after synthesis, {vault}"] = (tiny, partial(_synthesised, ice40, tiny))
        steps[f"ECP5 after synthesis, {vault}"] = (base, partial(_synthesised, ecp5, base))
        steps[f"ECP5 after place and route, {vault}"] = (base, partial(placed.verilog, ecp5, base, True, seed=1))
    results = {}
    for name, (spec, netlist) in steps.items():
        results[name] = verified(spec, netlist(), arguments.images)
        write_text(arguments.output, json.dumps(results, indent=1) + "\n")
        console.out.print(f"{name}: {json.dumps(results[name])}", markup=False)


if __name__ == "__main__":
    main()
