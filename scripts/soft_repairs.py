"""What a thief gets back of a soft-locked network with work: repairs without data, with unlabelled samples, with labels.

    python scripts/soft_repairs.py [--seeds 0 1 2] [--network NAME] [--objective NAME] [--epochs N] [--samples N] [--json FILE]

A network of `soft_report.py`, trained with one of its objectives. The thief's samples are drawn from the
second half of the test set and the first half judges, so that neither was trained on: a thief's own data are new to the model.
Where something learns, training from scratch stands beside it: random weights of the same shape, on the same hardware, with the
same samples, answers or labels, and as many steps.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitting import malloc
from bitting.data import datasets
from bitting.targets import relearning, repair, unfolding
from bitting.targets.equalisation import equalised
from bitting.targets.families import every_target
from bitting.targets.formats import IntegerFormat
from bitting.targets.judge import accuracy
from bitting.targets.relearning import Effort
from bitting.targets.stolen import Stolen
from bitting.targets.target import Target
from bitting.targets.waves import Wave
from soft_report import NETWORKS, OBJECTIVES, trained

TARGETS = ("int8-channel", "int4-channel-mse", "clamp-1", "relu-1", "pruned-2-4")
#: Samples of the thief's.
COUNTS = (100, 1000)
#: Of them, so many find the scales of a converted network's activations.
CALIBRATED = 512
#: Half periods on either side, over which the wave is written out: 5 clamps or 9 ReLUs for a channel.
HALVES = 2
#: Steps of everything that learns, and the rates at which it begins: with learnt weights, and where some are random.
STEPS, RATE, RANDOM_RATE = 200, 0.01, 0.03


@dataclass(frozen=True, eq=False)
class Case:
    """A thief before one hardware. `x`: (samples, words) his activations; `labels`: (samples,), which some repairs look at."""

    stolen: Stolen
    merged: Stolen
    target: Target
    x: torch.Tensor
    labels: np.ndarray
    seed: int

    @cached_property
    def answers(self) -> torch.Tensor:
        """Of the exact unit, which an emulator gives: (samples, outputs)."""
        return self.stolen(self.x)

    @cached_property
    def random(self) -> Stolen:
        """Random weights of the same shape."""
        return relearning.random_weights(self.stolen, self.target, self.x, self.seed)

    @cached_property
    def starts(self) -> dict[str, Stolen]:
        """Networks to begin with that have something of the stolen one."""
        first = relearning.random_weights(repair.with_reduced_biases(self.stolen), self.target, self.x, self.seed, kept=1)
        return {"as stolen": self.stolen, "first layer only": first, "merged": self.merged}

    def effort(self, start: Stolen) -> Effort:
        """The same steps from anywhere."""
        return Effort(STEPS, rate=RATE if start in (self.stolen, self.merged) else RANDOM_RATE, seed=self.seed)

    def fine_tuned(self, start: Stolen) -> Stolen:
        """Towards the labels."""
        return relearning.fine_tuned(start, self.target, self.x, self.labels, self.effort(start))

    def distilled(self, start: Stolen) -> Stolen:
        """Towards the exact answers."""
        return relearning.distilled(start, self.target, self.x, self.answers, self.effort(start))

    def reconstructed(self, start: Stolen) -> Stolen:
        """Layer by layer towards the exact activations."""
        return relearning.reconstructed(start, self.target, self.x, self.effort(start), self.stolen)

    def averaged(self) -> Stolen:
        """Over rounding noise; hardware that does not round weights leaves them as they are."""
        weights = self.target.weights
        return repair.averaged(self.stolen, weights, 8, 0.02, self.seed) if weights else self.stolen


#: Accuracy of a network on a target whose scales are found on some activations.
Judge = Callable[[Target, Stolen, torch.Tensor], float]
#: Repairs without data.
FREE: dict[str, Callable[[Case], Stolen]] = {
    "nothing": lambda case: case.stolen,
    "biases reduced by periods": lambda case: repair.with_reduced_biases(case.stolen),
    "bias correction, random inputs": lambda case: repair.bias_corrected(case.stolen, case.target, case.seed),
    "clipped at 2 deviations": lambda case: repair.clipped(case.stolen, 2.0),
    "outliers: largest 1% of each channel trimmed": lambda case: repair.trimmed(case.stolen, 0.01),
    "cross-layer equalisation": lambda case: equalised(case.stolen),
    "mean of 8 noisy roundings": lambda case: case.averaged(),
    "smallest weights with the same sums": lambda case: repair.shrunk(case.stolen, case.seed),
    "merged": lambda case: case.merged,
    "merged, bias correction, random inputs": lambda case: repair.bias_corrected(case.merged, case.target, case.seed),
}
#: Conversions that look at unlabelled samples: what is asked of the target.
CONVERSIONS: dict[str, dict[str, Any]] = {
    "bias correction": {"corrects_bias": True},
    "learned rounding (AdaRound)": {"rounding": "adaround"},
    "GPTQ": {"rounding": "gptq"},
}
#: What learns: the name of what it needs and does, how, and where it begins.
LEARNING: tuple[tuple[str, Callable[[Case, Stolen], Stolen], tuple[str, ...]], ...] = (
    ("unlabelled: layers reconstructed", Case.reconstructed, ("as stolen", "merged")),
    ("unlabelled: distilled from the emulator", Case.distilled, ("as stolen", "first layer only")),
    ("labels: fine-tuned", Case.fine_tuned, ("as stolen", "first layer only", "merged")),
)


def free(case: Case, judged: Judge) -> Iterator[dict[str, Any]]:
    """Repairs without data; scales of activations are found on random inputs, too."""
    inputs = repair.random_inputs(case.stolen, case.seed)
    for name, make in FREE.items():
        yield {"repair": name, "samples": 0, "accuracy": judged(case.target, make(case), inputs)}
    wave = Wave(case.target.wave, case.stolen.spec, case.target.gain)
    if wave.name in unfolding.NAMES:
        for name, start in (("", repair.with_reduced_biases(case.stolen)), ("merged, ", case.merged)):
            found = judged(case.target, unfolding.unfolded(start, wave, HALVES), inputs)
            yield {"repair": f"{name}wave written out", "samples": 0, "accuracy": found}


def converted(case: Case, judged: Judge) -> Iterator[dict[str, Any]]:
    """Conversions with unlabelled samples."""
    for start in ("as stolen", "merged"):
        for name, asked in CONVERSIONS.items():
            if "rounding" in asked and (start == "merged" or not isinstance(case.target.weights, IntegerFormat)):
                continue
            found = judged(replace(case.target, **asked), case.starts[start], case.x)
            yield {"repair": f"unlabelled: {name}, {start}", "samples": len(case.x), "accuracy": found}


def learnt(case: Case, judged: Judge) -> Iterator[dict[str, Any]]:
    """What learns, from every start, and beside it from random weights."""
    for name, learn, starts in LEARNING:
        control = judged(case.target, learn(case, case.random), case.x)
        for start in starts:
            found = judged(case.target, learn(case, case.starts[start]), case.x)
            yield {"repair": f"{name}, {start}", "samples": len(case.x), "accuracy": found, "control": control}


def table(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Lines of Markdown: percent, mean of the seeds and in brackets the largest; behind a stroke the control's mean."""
    yield f"| repair | samples | {' | '.join(TARGETS)} |"
    yield "|---|---|" + "---|" * len(TARGETS)
    for name, samples in dict.fromkeys((each["repair"], each["samples"]) for each in found):
        cells = []
        for target in TARGETS:
            own = [e for e in found if (e["repair"], e["samples"], e["target"]) == (name, samples, target)]
            accuracies = [100 * each["accuracy"] for each in own]
            text = f"{np.mean(accuracies):.1f} ({max(accuracies):.1f})" if own else ""
            if own and "control" in own[0]:
                text += f" / {np.mean([100 * each['control'] for each in own]):.1f}"
            cells.append(text)
        yield f"| {name} | {samples} | {' | '.join(cells)} |"


def measured(seed: int, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every repair of one network on every target."""
    model, data = trained(options.objective, seed, options.epochs, options.network), datasets.load(NETWORKS[options.network][0])
    half = len(data.test_x) // 2
    x, labels = torch.as_tensor(model.interface.activations(data.test_x)), np.asarray(data.test_y)
    judges = min(options.samples, half)

    def judged(target: Target, stolen: Stolen, calibration: torch.Tensor) -> float:
        return accuracy(target.run(stolen, calibration[:CALIBRATED])(x[:judges]), labels[:judges])

    stolen = Stolen.of(model.program)
    merged = repair.merged(stolen)
    exact = accuracy(stolen(x[:judges]), labels[:judges])
    print(f"seed {seed}, {options.objective}: {100 * exact:.2f}% on the unit, judged on {judges} test images", flush=True)
    drawn = half + np.random.default_rng(seed).permutation(half)
    known = {target.name: target for target in every_target(stolen.spec.acc_bits)}
    for name in TARGETS:
        began = time.perf_counter()
        for count in (0, *COUNTS):
            case = Case(stolen, merged, known[name], x[drawn[:count]], labels[drawn[:count]], seed)
            results = [*converted(case, judged), *learnt(case, judged)] if count else free(case, judged)
            for result in results:
                yield {"seed": seed, "objective": options.objective, "target": name, "unit": exact, "judged": judges, **result}
        print(f"    {name}: {time.perf_counter() - began:.0f} s", flush=True)


def main() -> None:
    """Measure what the command line asks for."""
    malloc.keep_freed()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=tuple(NETWORKS), default="mlp")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--objective", choices=("none", *OBJECTIVES), default="split")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--samples", type=int, default=5000, help="of the first half of the test set, which judge")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    for seed in options.seeds:
        for result in measured(seed, options):
            found.append(result)
            if options.json:
                options.json.write_text(json.dumps(found, indent=1) + "\n")
    print("\n".join(table(found)))
    judged = f"{found[0]['judged']} images of the first half of the test set of {NETWORKS[options.network][0]}"
    units = [100 * each for each in {result["seed"]: result["unit"] for result in found}.values()]
    print(
        f"Judged on {judged}; the unit itself: {np.mean(units):.1f} ({max(units):.1f}). Behind a stroke: training from scratch."
    )


if __name__ == "__main__":
    main()
