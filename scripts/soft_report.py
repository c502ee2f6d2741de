"""Soft locks judged: networks without one, split, or trained against sampled hardware; and what a thief does to a split one.

    python scripts/soft_report.py [--network NAME] [--objectives ...] [--seeds 0 1 2] [--epochs N] [--samples N] [--json FILE]

An MLP on MNIST, LeNet or the residual network on Fashion-MNIST, in the family `soft`. Every network is judged on every target
of `families.toml`; the table gives the worst target of each family. `--objectives` names what is trained: "none", "sampled"
(`bitting.training.soft`), "qu-anti", "split", "sparsity" (of which `sparsity_report.py` says more).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import bitting
from bitting.data import datasets
from bitting.targets.families import Split
from bitting.targets.judge import Judgement, judge
from bitting.targets.repair import clipped, merged
from bitting.targets.stolen import Stolen
from bitting.training import loop, recipes

#: Network -> data set, and a unit whose scratch memory holds it with channels doubled.
NETWORKS = {
    "mlp": ("mnist", "soft"),
    "lenet": ("fashion-mnist", "soft:scratch_words=16384"),
    "residual": ("fashion-mnist", "soft:scratch_words=16384"),
}
OBJECTIVES = {"split": "quantisation", "sparsity": "sparsity", "sampled": "sampled", "qu-anti": "qu-anti"}
#: What a thief does to a network that was split, before he converts it.
REPAIRS = {"split, clipped at 2 deviations": lambda stolen: clipped(stolen, 2.0), "split, merged": merged}


def trained(objective: str, seed: int, epochs: int, network: str = "mlp") -> bitting.Model:
    """A model with one of the objectives."""
    name, spec = NETWORKS[network]
    data = datasets.load(name)
    config = replace(recipes.recipe(data, network), seed=seed, epochs=epochs)
    return loop.train(spec, data, config if objective == "none" else recipes.soft(config, OBJECTIVES[objective]))


def row(name: str, found: Judgement) -> dict[str, Any]:
    """One line of the table, and what goes into JSON."""
    worst = {split: found.worst(split) for split in (Split.TRAINING, Split.HELD_OUT)}
    print(f"{name}: authorised {100 * found.authorised:.2f}%, " + ", ".join(
        f"worst {split} {100 * each.accuracy:.1f}% ({each.target})" for split, each in worst.items()))  # fmt: skip
    print("    " + ", ".join(f"{key} {100 * each.accuracy:.1f}" for key, each in found.worst_of_families().items()), flush=True)
    return {"name": name, **found.to_dict()}


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Lines of Markdown: for each family its worst target, percent, mean of the seeds and in brackets the largest."""
    found: dict[str, dict[str, list[float]]] = {}
    for each in rows:
        worst: dict[str, float] = {"the unit": each["authorised"]}
        for result in each["results"]:
            key = f"{result['split']}: {result['family']}"
            worst[key] = max(worst.get(key, 0.0), result["accuracy"])
        for key, accuracy in worst.items():
            found.setdefault(key, {}).setdefault(each["name"], []).append(100 * accuracy)
    names = list(dict.fromkeys(each["name"] for each in rows))
    yield f"| | {' | '.join(names)} |"
    yield "|---|" + "---|" * len(names)
    for key, of_names in found.items():
        yield f"| {key} | " + " | ".join(f"{np.mean(of_names[name]):.1f} ({max(of_names[name]):.1f})" for name in names) + " |"


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=tuple(NETWORKS), default="mlp")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--objectives", nargs="+", choices=("none", *OBJECTIVES), default=["none", "split"])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--samples", type=int, default=2000, help="of the test set, judged on every target")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    data = datasets.load(NETWORKS[options.network][0])
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        for objective in options.objectives:
            model = trained(objective, seed, options.epochs, options.network)
            x = model.interface.activations(data.test_x[: options.samples])
            seen = model.interface.activations(data.train_x[np.random.default_rng(seed).permutation(len(data.train_x))[:512]])
            labels = data.test_y[: options.samples]
            claims = f"unit {100 * model.claims['accuracy']:.2f}%, twin {100 * model.claims['twin_accuracy']:.2f}%"
            print(f"seed {seed}, {objective}: {claims} of {len(data.test_y)}", flush=True)
            rows.append({"seed": seed, "claims": claims, **row(objective, judge(model.program, x, labels, calibration=seen))})
            if objective == "split":
                stolen = Stolen.of(model.program)
                for name, repair in REPAIRS.items():
                    rows.append({"seed": seed, **row(name, judge(repair(stolen), x, labels, calibration=seen))})
            if options.json:
                options.json.write_text(json.dumps(rows, indent=1) + "\n")
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
