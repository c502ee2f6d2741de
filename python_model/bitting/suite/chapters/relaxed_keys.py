"""Relaxed keys: gradient descent on a free bitting table, through the stolen codes, with a few labelled samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from bitting.attack import baselines, free_table, stolen_codes
from bitting.errors import BittingError
from bitting.locking.chip import ChipModel
from bitting.locking.kinds import Transform
from bitting.network.metrics import accuracy
from bitting.suite import figures
from bitting.suite.attack import Attack, Said
from bitting.suite.cases import Case, Material
from bitting.suite.chapters.locks import locked_for, public_device
from bitting.suite.efforts import Effort
from bitting.suite.format import Verdict
from bitting.suite.jobs import Answer, Outcome
from bitting.unit.spec import VaultKind

#: A stolen file may be better than none by so much, 0..1.
ALLOWED = 0.02
#: Correlation of learnt weights of codes with the true ones, from which on the table is known.
_KNOWN = 0.8


class FreeTable(Attack):
    """See `bitting.attack.free_table`. Its control is the table alone, which is no lock. Dense networks only."""

    name, chapter, attacker, unit = "gradient on a free table", "key search", "thief of the file", "points over from scratch"
    weak = "the table alone, on codes in their places"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """One job; of networks with other layers it says that it does not apply."""
        if not (case.locked or case.control):
            return []
        return [{"labels": effort.table_labels, "starts": effort.table_starts, "steps": effort.table_steps}]

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """Test accuracy with the learnt table, and of logistic regression on the same samples."""
        count = min(parameters["labels"], len(material.data.train_y))
        x, labels = material.train(count)
        if material.case.control:
            device = public_device(material, VaultKind.AES, seed)
            codes = locked_for(material, device, "none", "table", seed).locked_layers()
        else:
            device = material.owner
            codes = stolen_codes.codes_of(material.locked, material.architecture)
        scratch = baselines.from_scratch(material.data, count)
        try:
            values = free_table.recover(codes, x, labels, steps=parameters["steps"], starts=parameters["starts"], seed=seed)
        except BittingError as error:
            return Outcome({"applies": False, "why": str(error), "scratch": scratch})
        truth = ChipModel.of(device).values[codes.secret[0].plain]
        alike = float(np.abs(np.corrcoef(values.numpy(), truth)[0, 1]))
        test_x, test_y = material.test(len(material.data.test_y))
        with torch.no_grad():
            found = free_table.logits(codes, values, torch.from_numpy(test_x).float())
        told = {"accuracy": accuracy(found, torch.from_numpy(test_y)), "scratch": scratch, "correlation": alike}
        return Outcome({"applies": True, "labels": count, **told})

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if the stolen codes are worth more than the labels alone."""
        # The table alone is the lock that the control is made of: what breaks the one has broken the other.
        tried = [*own, *control] if case.transform == Transform.TABLE else own
        found = max((one.values for one in tried), key=lambda values: values.get("correlation", 0.0))
        if not found["applies"]:
            return Said(Verdict.NOT_APPLICABLE, f"It does not apply: {found['why']}.")
        gain = found["accuracy"] - found["scratch"]
        rows = [["stolen codes, learnt table", found["accuracy"]], ["logistic regression, no file", found["scratch"]]]
        drawn = [figures.table("Accuracy", ("how", "accuracy"), rows)]
        summary = (
            f"With {found['labels']} labels a learnt table answers {100 * found['accuracy']:.1f}%, logistic regression on them "
            f"without the file {100 * found['scratch']:.1f}%; learnt and true weights of codes correlate by "
            f"{found['correlation']:.2f}."
        )
        broken = gain > ALLOWED or found["correlation"] > _KNOWN
        return Said(Verdict.BROKEN if broken else Verdict.HOLDS, summary, gain, drawn)
