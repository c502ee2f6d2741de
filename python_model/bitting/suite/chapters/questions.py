"""Questions and answers: what a copy costs that is trained on what the right device says. No lock prevents it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from bitting.attack import distillation
from bitting.emulator.emulate import Emulator
from bitting.suite import figures
from bitting.suite.attack import Attack, Said
from bitting.suite.cases import Case, Material
from bitting.suite.efforts import Effort
from bitting.suite.format import Verdict
from bitting.suite.jobs import Answer, Outcome
from bitting.training import recipes
from bitting.training.architectures import CONVOLUTIONAL

#: Widths of the hidden layers of a copy that is of dense layers.
_HIDDEN = (256, 128)
#: A copy that keeps so much of the accuracy over chance, as a share, is a copy.
_COPY = 0.8


class Questions(Attack):
    """See `bitting.attack.distillation`. What is asked is the right device, so the lock plays no part; the price is told."""

    name, chapter, attacker, unit = (
        "questions and answers",
        "questions",
        "whoever runs it",
        "share of the accuracy over chance",
    )
    weak = "the model in clear"

    shared = True

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """A job for each number of questions. All locks answer alike, so they share the jobs of the control."""
        if not (case.locked or case.control):
            return []
        alike = {"alike": True} if effort.copy_alike else {}
        return [{"questions": count, "steps": effort.copy_steps, **alike} for count in effort.questions]

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """Accuracy of a copy, and of the same training on true labels."""
        data, interface = material.data, material.model.interface
        count = min(parameters["questions"], len(data.train_y))
        emulator = Emulator(material.architecture, range(material.architecture.spec.codes))

        def answers(inputs: np.ndarray) -> np.ndarray:
            return np.asarray(emulator(torch.from_numpy(interface.activations(inputs))).numpy())

        # What it was trained as, which shapes of layers in its file would tell a thief.
        config = material.model.claims.get("config")
        network = config.get("network", "") if isinstance(config, dict) else ""
        alike = CONVOLUTIONAL.get(network) if parameters.get("alike") else None
        moves = recipes.recipe(data, network).moved if alike else 0
        (copy,) = distillation.copies(
            answers, data, alike or _HIDDEN, [count], steps=parameters["steps"], moves=moves, seed=seed
        )
        return Outcome(
            {
                "questions": copy.questions,
                "copy": copy.accuracy,
                "labels": copy.with_labels,
                "network": network if alike else "",
            }
        )

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Conceded, with the price."""
        ordered = sorted(own, key=lambda one: one.values["questions"])
        counts = [one.values["questions"] for one in ordered]
        copies, labels = ([one.values[name] for one in ordered] for name in ("copy", "labels"))
        share = (copies[-1] - case.chance) / max(case.authorised - case.chance, 1e-9)
        drawn = [
            figures.plot(
                "curve", "Copies by questions and answers", "whole inputs that the right device was asked", "accuracy", [
                    figures.line("copy", "control" if case.control else "lock", counts, copies),
                    figures.line("the same inputs, labelled by hand", "baseline", counts, labels),
                ],
            )
        ]  # fmt: skip
        summary = (
            f"Whoever can ask, the owner too, trains a copy on the answers. By {counts[-1]} questions it "
            f"answers {100 * copies[-1]:.1f}% (the device {100 * case.authorised:.1f}%, "
            f"labels by hand {100 * labels[-1]:.1f}%)."
        )
        if network := own[0].values["network"]:
            summary += f" (It is of the same kind, {network}, in fp32, trained for {own[0].parameters['steps']} steps.)"
        broken = share > _COPY
        verdict = (Verdict.BROKEN if broken else Verdict.HOLDS) if case.control else Verdict.CONCEDED
        return Said(verdict, summary, share, drawn)
