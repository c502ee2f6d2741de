"""Lanes that share a sample: scratch words and clocks of an image for the reference networks, a Markdown table and JSON.

    python scripts/stripes_report.py [--lanes 16] [--spec base] [--mhz 100] [--folder out/stripes]

Weights are random, as training begins: what a network needs depends on its shape, and its clocks by some percent on its codes.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from bitting.conversion.converter import convert
from bitting.files import write_text
from bitting.program import choosing
from bitting.training import architectures
from bitting.unit.spec import parse_spec

NETWORKS = {
    "LeNet": (architectures.LeNet, (1, 28, 28)),
    "residual network": (architectures.ResidualNetwork, (1, 28, 28)),
    "ResNet8": (architectures.ResNet8, (3, 32, 32)),
    "DS-CNN": (architectures.DepthwiseSeparable, (1, 49, 10)),
}


def main() -> None:
    """A row for each network and number of stripes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", default="base", help="family; its scratch memory is taken to be as large as can be")
    parser.add_argument("--lanes", type=int, default=16)
    parser.add_argument("--mhz", type=float, default=100.0)
    parser.add_argument("--folder", type=Path, default=Path("out/stripes"))
    arguments = parser.parse_args()
    spec = parse_spec(arguments.spec).replace(lanes=arguments.lanes, scratch_words=1 << 16)
    rows = []
    print("| | stripes | scratch words | samples of a batch | clocks of a batch | ms | lanes busy | leaves the bands |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (make, shape) in NETWORKS.items():
        torch.manual_seed(0)
        network = convert(make().eval(), spec, torch.rand(16, *shape), fresh=True)
        for choice in network.choices():
            rows.append({"network": name, **asdict(choice)})
            if choice.refused:
                print(f"| {name} | {choice.stripes} | refused: {choice.refused} | | | | | |")
                continue
            print(
                f"| {name} | {choice.stripes} | {choice.words} | {choice.samples} | {choice.clocks} "
                f"| {choice.clocks / arguments.mhz / 1000:.2f} | {100 * choice.busy:.0f}% | {choice.leaves} |"
            )
        print(f"| {name} | auto: {choosing.chosen(spec, network.choices()).stripes} | | | | | | |")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    write_text(arguments.folder / "report.json", json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
