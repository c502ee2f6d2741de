"""Why the bitting table alone is no lock: learn it from a few labelled samples by gradient descent.

    python scripts/break_table.py out/demo/artefact.safetensors --samples 200

Holds what a thief holds: the artefact, the public spec, N labelled samples. Not the device.
"""

import argparse
import time
from pathlib import Path

from bitting import datasets
from bitting.artefact import Artefact
from bitting.demo import break_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefact", type=Path)
    parser.add_argument("--samples", type=int, default=100, help="labelled training samples the thief holds")
    arguments = parser.parse_args()
    artefact = Artefact.load(arguments.artefact, "artefact")
    dataset = datasets.load(artefact.claims["dataset"])
    started = time.perf_counter()
    accuracy = break_table(artefact.program, dataset, arguments.samples)
    print(
        f"{artefact.claims['dataset']}: device {100 * artefact.claims['accuracy']:.2f}%, thief with {arguments.samples} labels "
        f"{100 * accuracy:.2f}% after {time.perf_counter() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
