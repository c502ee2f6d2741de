"""Soft locks: a stolen model in clear on other hardware, as stolen and after repairs that need no data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from bitting.artefact.claims import SPARSITY
from bitting.suite import figures
from bitting.suite.attack import Attack, Said
from bitting.suite.cases import Case, Material
from bitting.suite.efforts import Effort
from bitting.suite.format import Verdict
from bitting.suite.jobs import Answer, Outcome
from bitting.targets import filling, repair
from bitting.targets.families import Split, every_target
from bitting.targets.formats import IntegerFormat
from bitting.targets.judge import judge
from bitting.targets.stolen import Kind, Stolen
from bitting.targets.target import OWN_ENGINE, Target
from bitting.unit.spec import SLOT_BITS

_NOTHING = "as stolen"
#: What a thief does first, without any data.
REPAIRS: dict[str, Callable[[Stolen], Stolen]] = {
    _NOTHING: lambda stolen: stolen,
    "merged": repair.merged,
    "shrunk": repair.shrunk,
    "filled": filling.filled,
    "clipped": lambda stolen: repair.clipped(stolen, 3.0),
    "trimmed": lambda stolen: repair.trimmed(stolen, 0.02),
    "biases reduced": repair.with_reduced_biases,
    "averaged": lambda stolen: repair.averaged(stolen, IntegerFormat(8, True, True), 16, 0.01),
}
#: Unlabelled samples that conversions look at: scales of activations need some.
_SEEN = 128
#: Who keeps so much of the accuracy that the unit has over chance, as a share, has broken a soft lock.
_GAINED = 0.5
#: Families that a repaired network is tried on where there is little time.
_PLAIN = ("half", "fp8-e4m3", "int8", "unstructured")
#: Roundings that learn for long.
_LEARNT = ("adaround", "gptq-tuned")


class Repair(Attack):
    """See `bitting.targets`. Its control hides rounding in whole periods of the wave, which a repair takes off."""

    name, chapter, attacker, unit = "data-free repair", "repair", "thief of the file", "share of the accuracy over chance"
    weak = (
        "a model in clear, to some of whose weights whole periods of the wave were added: nothing to the unit, ruin to rounding"
    )

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """A job for each repair. Runtimes that may not be installed are left out."""
        if not case.soft and not case.control:
            return []
        names = list(REPAIRS) if case.soft else [_NOTHING, "merged"]
        return [{"repair": name, "samples": effort.judged, "all": effort.suite != "digits"} for name in names]

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """Accuracy on every target."""
        stolen = Stolen.of(material.architecture)
        if material.case.control:
            stolen = _hidden_in_periods(stolen, seed)
        repaired = REPAIRS[parameters["repair"]](stolen)
        x, labels = material.test(parameters["samples"])
        seen, _ = material.train(_SEEN)
        spec = material.architecture.spec
        chosen = [target for target in every_target(spec.acc_bits) if target.engine == OWN_ENGINE]
        if material.case.control:
            chosen = [target for target in chosen if target.family == "int8"]
        elif not parameters["all"]:
            chosen = _quick(chosen, parameters["repair"] == _NOTHING)
        found = judge(repaired, torch.from_numpy(x), labels, chosen, torch.from_numpy(seen))
        targets = [
            {"name": one.target, "family": one.family, "split": one.split, "metric": one.accuracy} for one in found.results
        ]
        return Outcome({"targets": targets, "authorised": found.authorised})

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if hardware that is not conceded runs it: more than half of what the unit has over chance is left.

        The sparsity lock is against hardware that prunes; if no such runs it, other hardware that does is conceded.
        """
        by_repair = {one.parameters["repair"]: one.values for one in own}
        unit = by_repair[_NOTHING]["authorised"]
        left: dict[str, tuple[float, str]] = {}
        others, prune = [0.0], _that_prune()
        for name, values in by_repair.items():
            meant = [one for one in values["targets"] if one["split"] != Split.CONCEDED]
            if case.soft == SPARSITY:
                others += [one["metric"] for one in meant if one["name"] not in prune]
                meant = [one for one in meant if one["name"] in prune]
            left[name] = max((one["metric"], one["name"]) for one in meant)
        best = max(left, key=lambda name: left[name])
        metric, target = left[best]

        def kept(accuracy: float) -> float:
            return (accuracy - case.chance) / max(unit - case.chance, 1e-9)

        share = kept(metric)
        plain = left[_NOTHING]
        rows = [[name, *found] for name, found in sorted(left.items(), key=lambda item: -item[1][0])]
        drawn = [figures.table("The best hardware after each repair", ("repair", "accuracy", "hardware"), rows)]
        mended = ", and no repair does better"
        if best != _NOTHING:
            mended = f", {100 * metric:.1f}% after the repair {best!r} ({target})"
        summary = (
            f"The right unit answers {100 * unit:.1f}%, the best other hardware {100 * plain[0]:.1f}% as stolen ({plain[1]})"
            f"{mended}. (Exact emulation, which keeps all, is conceded and not counted.)"
        )
        if case.soft == SPARSITY:
            summary += (
                f" That is hardware which prunes; other hardware, which this lock is not against, has {100 * max(others):.1f}%."
            )
        facts: dict[str, Any] = {}
        if case.soft:
            facts["targets"] = [
                {
                    "name": one["name"],
                    "family": one["family"],
                    "held_out": one["split"] == Split.HELD_OUT,
                    "metric": one["metric"],
                }
                for one in by_repair[_NOTHING]["targets"]
            ]
            short = Verdict.CONCEDED if kept(max(others)) > _GAINED else Verdict.HOLDS
            verdict = Verdict.BROKEN if share > _GAINED else short
        else:  # the control is broken if its rounding destroys it, and the repair mends that
            verdict = Verdict.BROKEN if share > _GAINED > kept(plain[0]) else Verdict.HOLDS
        return Said(verdict, summary, share, drawn, case_facts=facts)


def _that_prune() -> set[str]:
    """Names of the hardware that the sparsity lock is against; no width of an accumulator changes them."""
    return {target.name for target in every_target(SLOT_BITS) if target.pruning or target.pruning_by_data}


def _quick(chosen: Sequence[Target], every_family: bool) -> list[Target]:
    """One target of each family, and of a repaired network the families of plain rounding only."""
    first: dict[str, Target] = {}
    for target in chosen:
        if every_family or target.family in _PLAIN:
            first.setdefault(target.family, target)
    return [target for target in first.values() if target.rounding not in _LEARNT]


def _hidden_in_periods(stolen: Stolen, seed: int) -> Stolen:
    """Whole periods of the wave added to some weights, up or down: nothing on the unit, ruin where weights are rounded."""
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for layer in stolen.layers:
        layer = replace(layer, weights=layer.weights.double(), bias=layer.bias.double())
        if layer.kind is Kind.PRODUCT and not layer.emits:
            signs = torch.randint(-1, 2, layer.weights.shape, generator=generator)
            layer = replace(layer, weights=layer.weights + signs * layer.period)
        layers.append(layer)
    return replace(stolen, layers=tuple(layers), dtype=torch.float64)
