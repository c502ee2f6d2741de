"""Reference networks against their twins, over seeds, and on the RTL: a Markdown table, and every figure as JSON.

    python scripts/networks_report.py [--seeds 3] [--images 1000] [--folder out/networks]

Trained models are kept in the folder and not trained again; an interrupted run resumes.
"""

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bitting.artefact.artefact import lock
from bitting.artefact.model import Model
from bitting.check.verification import verify
from bitting.cli import console
from bitting.data import datasets
from bitting.files import write_text
from bitting.locking.device import Device
from bitting.training import loop, recipes
from bitting.unit.spec import parse_spec

SPEC = "base:scratch_words=8192"
#: Lanes change nothing of a network but how many images pass together.
WIDE_SPEC = f"{SPEC},lanes=64"
NETWORKS = (("mnist", "lenet"), ("fashion-mnist", "lenet"), ("fashion-mnist", "residual"))


def trained(folder: Path, data: str, network: str, seed: int) -> Model:
    """The model of a recipe and seed, trained if it is not there."""
    path = folder / f"{data}-{network}-{seed}.safetensors"
    if not path.exists():
        loaded = datasets.load(data)
        config = replace(recipes.recipe(loaded, network), seed=seed)
        with console.progress(path.stem, config.epochs_in_all) as done:
            model = loop.train(parse_spec(SPEC), loaded, config, path.with_suffix(".checkpoint"), loop.counted(done, config))
            model.save(path)
    return Model.load(path)


def on_rtl(model: Model, images: int) -> dict[str, Any]:
    """A locked model on its device and on a wrong one, `images` test images through the RTL."""
    spec = parse_spec(WIDE_SPEC)
    device = Device(spec, bytes(range(1, 17)), sealed=True)
    artefact = lock(Model(replace(model.program, spec=spec), model.claims), device, allow_reproducible=True)
    data = datasets.load(datasets.claimed(model.claims))
    x, y = datasets.activations(spec, data.test_x[:images]), data.test_y[:images]
    with console.progress(f"{model.claims['config']['network']}: emulator = RTL", images) as done:
        report = verify(artefact, device, x, y, progress=done, forecast=lambda forecast: console.err.print(forecast))
    wrong = verify(artefact, device.with_flipped_bit(5), x[:128], y[:128])
    return {"right": report.to_dict(), "wrong": wrong.to_dict()}


def main() -> None:
    """Each row is printed, and the report written, as soon as its network is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="networks whose name holds this; default: all")
    parser.add_argument("--images", type=int, default=1000, help="test images on the RTL for each network")
    parser.add_argument("--whole", default="lenet", help="network that runs the whole Fashion-MNIST test set on the RTL")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: as many as it likes")
    parser.add_argument("--folder", type=Path, default=Path("out/networks"))
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    print("| | unit, mean of seeds | twin | gap in points | images on the RTL | wrong bits, cycles | wrong device |")
    print("|---|---|---|---|---|---|---|")
    for data, network in (pair for pair in NETWORKS if arguments.only in pair[1]):
        models = [trained(arguments.folder, data, network, seed) for seed in range(arguments.seeds)]
        unit, twin = ([100 * model.claims[key] for model in models] for key in ("accuracy", "twin_accuracy"))
        whole = data == "fashion-mnist" and network == arguments.whole
        rtl = on_rtl(models[0], 10_000 if whole else arguments.images)
        right = rtl["right"]
        rows.append({"data": data, "network": network, "unit": unit, "twin": twin, **rtl})
        print(
            f"| {network}, {data} | {statistics.mean(unit):.2f}% ({', '.join(f'{v:.2f}' for v in unit)}) "
            f"| {statistics.mean(twin):.2f}% ({', '.join(f'{v:.2f}' for v in twin)}) "
            f"| {statistics.mean(twin) - statistics.mean(unit):+.2f} "
            f"| {right['samples']}, {right['cycles'] / 1e6:.0f} M clocks, {right['seconds']:.0f} s "
            f"| {right['wrong_logits']}, {right['wrong_cycles']} | {'refuses' if rtl['wrong']['refused'] else 'runs it'} |",
            flush=True,
        )
        write_text(arguments.folder / "report.json", json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
