"""Why the bitting table alone is no lock: codes that lie side by side tell it, and gradient descent learns the rest.

    bitting lock model.safetensors --device A.key --transform table -o artefact.safetensors
    python scripts/break_table.py artefact.safetensors --samples 200

Holds what a thief holds: the artefact, the public spec, N labelled samples. Not the device. Against a keyed transform the same
attack learns a table for random codes, and reaches less than the same labels without the file.
"""

import argparse
import time
from pathlib import Path

from bitting.artefact.artefact import Artefact
from bitting.attack.baselines import from_scratch
from bitting.attack.free_table import break_table
from bitting.data import datasets


def main() -> None:
    """Attack the artefact, and print accuracies: of the device, of the thief, and of his labels without the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefact", type=Path)
    parser.add_argument("--samples", type=int, default=100, help="labelled training samples the thief holds")
    arguments = parser.parse_args()
    artefact = Artefact.load(arguments.artefact)
    if any(layer.plain for layer in artefact.locked_layers().layers):
        parser.error("the artefact ships plain weights (transform aes): there is no table to learn")
    dataset = datasets.load(datasets.claimed(artefact.claims))
    started = time.perf_counter()
    thief = break_table(artefact.locked_layers(), dataset, arguments.samples)
    told = "" if thief.told is None else f"{100 * thief.told:.2f}% by codes side by side, "
    print(
        f"{artefact.claims['dataset']}: device {100 * artefact.claims['accuracy']:.2f}%, thief with {arguments.samples} labels "
        f"{told}{100 * thief.learnt:.2f}% learnt, after {time.perf_counter() - started:.0f} s, "
        f"without the file {100 * from_scratch(dataset, arguments.samples):.2f}%"
    )


if __name__ == "__main__":
    main()
