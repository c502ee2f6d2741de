"""Soft locks judged: networks without one, split, or trained against sampled hardware; and what a thief does to a split one.

    python scripts/soft_report.py [--network NAME] [--objectives ...] [--seeds 0 1 2] [--epochs N] [--samples N]
        [--models FOLDER] [--as-stolen] [--json FILE] [--read FILE ...]

An MLP on MNIST, LeNet or the residual network on Fashion-MNIST, in the family `soft`. Every network is judged on every target
of `families.toml`; the table gives the worst target of each family. `--objectives` names what is trained: "none", "sampled"
(`bitting.training.soft`), "qu-anti", "split", "sparsity" (of which `sparsity_report.py` says more). A run that was
interrupted goes on from its JSON file, and trains no model again that is in `--models`.
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
from bitting import malloc
from bitting.data import datasets
from bitting.files import write_text
from bitting.targets.families import Split
from bitting.targets.judge import CALIBRATION_SAMPLES, Judgement, judge
from bitting.targets.repair import merged
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
REPAIRS = {"split, merged": merged}


def trained(objective: str, seed: int, epochs: int, network: str = "mlp", models: Path | None = None) -> bitting.Model:
    """A model with one of the objectives. `models`: folder of those that were trained before, and where this one is put."""
    kept = models / f"{network}-{objective}-{epochs}-epochs-seed-{seed}.safetensors" if models else None
    if kept and kept.exists():
        return bitting.Model.load(kept)
    name, spec = NETWORKS[network]
    data = datasets.load(name)
    config = replace(recipes.recipe(data, network), seed=seed, epochs=epochs)
    model = loop.train(spec, data, config if objective == "none" else recipes.soft(config, OBJECTIVES[objective]))
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        model.save(kept)
    return model


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
            found.setdefault(key, {}).setdefault(_column(each), []).append(100 * accuracy)
    names = list(dict.fromkeys(_column(each) for each in rows))
    yield f"| | {' | '.join(names)} |"
    yield "|---|" + "---|" * len(names)
    for key, of_names in found.items():
        yield f"| {key} | " + " | ".join(f"{np.mean(of_names[name]):.1f} ({max(of_names[name]):.1f})" for name in names) + " |"


def _column(result: dict[str, Any]) -> str:
    """What stands above a network's results."""
    return f"{result['network']}, {result['name']}" if "network" in result else result["name"]


def judged(options: argparse.Namespace, objective: str, seed: int) -> Iterator[dict[str, Any]]:
    """Train a network, and judge it and what a thief makes of it."""
    data = datasets.load(NETWORKS[options.network][0])
    model = trained(objective, seed, options.epochs, options.network, options.models)
    part = slice(options.samples)
    x, labels = model.interface.activations(data.test_x[part]), data.test_y[part]
    drawn = np.random.default_rng(seed).permutation(len(data.train_x))[:CALIBRATION_SAMPLES]
    seen = model.interface.activations(data.train_x[drawn])
    accuracies = {name: model.claims[name] for name in ("accuracy", "twin_accuracy", "test_samples")}
    print(f"{options.network}, seed {seed}, {objective}: " + ", ".join(f"{key} {value}" for key, value in accuracies.items()))
    made = {"network": options.network, "objective": objective, "seed": seed, **accuracies}
    yield {**made, **row(objective, judge(model.program, x, labels, calibration=seen))}
    if objective == "split" and not options.as_stolen:
        stolen = Stolen.of(model.program)
        for name, repair in REPAIRS.items():
            yield {**made, **row(name, judge(repair(stolen), x, labels, calibration=seen))}


def main() -> None:
    """Measure what the command line asks for; what its JSON file has already is not measured again."""
    malloc.keep_freed()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=tuple(NETWORKS), default="mlp")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--objectives", nargs="+", choices=("none", *OBJECTIVES), default=["none", "split"])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--samples", type=int, default=2000, help="of the test set, judged on every target")
    parser.add_argument("--models", type=Path, help="a folder of the trained models: what is in it is not trained again")
    parser.add_argument("--as-stolen", action="store_true", help="a split network as it is, not merged: half the time")
    parser.add_argument("--json", type=Path, help="where results go, and from where a run that was interrupted goes on")
    parser.add_argument("--read", type=Path, nargs="*", default=[], help="JSON of other runs, for the same table")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if options.json and options.json.exists():
        rows = json.loads(options.json.read_text())
    for seed in options.seeds:
        for objective in options.objectives:
            if any((each["network"], each["objective"], each["seed"]) == (options.network, objective, seed) for each in rows):
                continue
            rows += judged(options, objective, seed)
            if options.json:
                write_text(options.json, json.dumps(rows, indent=1) + "\n")
    for path in options.read:
        rows += json.loads(path.read_text())
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
