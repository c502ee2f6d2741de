"""Relaxed keys: a bitting table told by codes that lie side by side, then learnt by gradient descent from a few labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bitting.attack import baselines, free_table, stolen_codes
from bitting.locking.chip import ChipModel
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
#: It answers if it keeps so much of the accuracy over chance, as a share.
_ANSWERS = 0.8
#: Ways to a table, in words.
_WAYS = {"told": "told by codes side by side (labels choose among few)", "learnt": "then learnt by gradient"}


class FreeTable(Attack):
    """See `bitting.attack.free_table`. Its control is the table alone, which is no lock."""

    name, chapter, attacker, unit = "gradient on a free table", "key search", "thief of the file", "points over from scratch"
    weak = "the table alone, on codes in their places"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """One job."""
        if not (case.locked or case.control):
            return []
        return [{"labels": effort.table_labels, "starts": effort.table_starts, "steps": effort.table_steps}]

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """Test accuracy with the table as told and as learnt, and of logistic regression on the same samples."""
        count = min(parameters["labels"], len(material.data.train_y))
        x, labels = material.train(count)
        if material.case.control:
            device = public_device(material, VaultKind.AES, seed)
            codes = locked_for(material, device, "none", "table", seed).locked_layers()
        else:
            device = material.owner
            codes = stolen_codes.codes_of(material.locked, material.architecture)
        reader = free_table.Reader(codes)
        tables = free_table.recover(reader, x, labels, steps=parameters["steps"], starts=parameters["starts"], seed=seed)
        truth = ChipModel.of(device).values[codes.secret[0].plain]
        test = material.test(len(material.data.test_y))
        found: dict[str, Any] = {"labels": count, "scratch": baselines.from_scratch(material.data, count)}
        for way, values in (("told", tables.told), ("learnt", tables.learnt)):
            if values is not None:
                alike = abs(float(np.corrcoef(values.numpy(), truth)[0, 1]))
                found[way] = {"accuracy": reader.accuracy(values, *test), "correlation": alike}
        return Outcome(found)

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if the stolen codes are worth more than the labels alone, or the table is known (a control's must answer)."""
        (found,) = (one.values for one in own)
        ways = {name: found[way] for way, name in _WAYS.items() if way in found}
        best = max(float(way["accuracy"]) for way in ways.values())
        gain = best - found["scratch"]
        rows = [
            *([f"stolen codes, {name}", way["accuracy"], way["correlation"]] for name, way in ways.items()),
            ["logistic regression, no file", found["scratch"], ""],
        ]
        columns = ("how", "accuracy", "correlation of weights of codes with the true ones")
        drawn = [figures.table(f"With {found['labels']} labels", columns, rows)]
        told = ", ".join(
            f"{name} {100 * way['accuracy']:.1f}% (correlation with the true one {way['correlation']:.2f})"
            for name, way in ways.items()
        )
        summary = (
            f"The network answers with a table {told}; logistic regression on the {found['labels']} labels without the file "
            f"{100 * found['scratch']:.1f}%."
        )
        enough = case.chance + _ANSWERS * (case.authorised - case.chance)
        known = [way["accuracy"] for way in ways.values() if way["correlation"] > _KNOWN]
        broken = gain > ALLOWED or any(accuracy > enough or not case.control for accuracy in known)
        if known and gain <= ALLOWED:
            summary += " The table is known" + (", which breaks the lock." if broken else ", but not well enough to answer.")
        return Said(Verdict.BROKEN if broken else Verdict.HOLDS, summary, gain, drawn)
