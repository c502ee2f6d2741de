"""Permutation alignment against `shuffle`: with a public base model, and across two copies of one model for two devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from bitting.attack import alignment
from bitting.emulator.emulate import Emulator
from bitting.locking.kinds import Transform
from bitting.locking.transform import inverse
from bitting.program.layers import Program
from bitting.suite import figures
from bitting.suite.attack import Attack, Said
from bitting.suite.cases import Case, Material
from bitting.suite.chapters.locks import locked_for, public_device
from bitting.suite.efforts import Effort
from bitting.suite.format import Verdict
from bitting.suite.jobs import Answer, Outcome, derived
from bitting.unit.spec import VaultKind

#: How far the base lies from the model, in standard deviations of weights: from a little training to another network.
NOISES = (0.1, 0.25, 0.5, 1.0, 2.0)
#: More accuracy than the base has, 0..1; more counts if it is so many standard errors, of a network that is worth something.
ALLOWED, _SURE = 0.02, 3.0
#: Share of the accuracy over chance that a network must have to be worth something.
_WORTH = 0.5
#: Share of the codes that the control must give.
_ALL = 0.99
#: Places told across two copies, 0..1, that are not by chance.
_TOLD = 0.01


class Alignment(Attack):
    """See `bitting.attack.alignment`. Its control is a base that is the model itself."""

    name, chapter, attacker, unit = "permutation alignment", "shuffle", "thief of the file", "points over the base model"
    weak = "a shuffle whose base is the model itself: shows that table and order are found, not what they are worth"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """A job for each distance of the base."""
        if case.transform != Transform.SHUFFLE and not case.control:
            return []
        noises = (0.0,) if case.control else NOISES
        return [{"noise": noise, "samples": effort.samples} for noise in noises]

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """Accuracies of the base and of the aligned network, and the shares of table and codes that are right."""
        model = material.architecture
        if material.case.control:
            device = public_device(material, VaultKind.AES, derived(seed, "device"))
            locked = locked_for(material, device, "clock", Transform.SHUFFLE, seed).locked_layers()
        else:
            device, locked = material.owner, material.locked.locked_layers()
        base = alignment.near(model, parameters["noise"], seed)
        table = alignment.table_of_base(locked, base)
        found = alignment.aligned(locked, base, table)
        right = [layer.codes for layer in model.secret]
        wrong = sum(int((layer.codes != codes).sum()) for layer, codes in zip(found.secret, right, strict=True))
        x, labels = material.test(parameters["samples"])

        def accuracy(program: Program) -> float:
            sums = Emulator(program, range(program.spec.codes))(torch.from_numpy(x)).numpy()
            return float(material.model.interface.rating(sums, labels))

        return Outcome(
            {
                "base": accuracy(base),
                "aligned": accuracy(found),
                "table": float((table == np.array(device.table())).mean()),
                "codes": 1 - wrong / model.parameters,
                "samples": len(labels),
            }
        )

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if the aligned network is surely better than the base that was used, and worth something."""
        ordered = sorted(own, key=lambda one: one.parameters["noise"])
        noises = [one.parameters["noise"] for one in ordered]
        gains = [one.values["aligned"] - one.values["base"] for one in ordered]
        useful = case.chance + _WORTH * (case.authorised - case.chance)
        worth = [gain if one.values["aligned"] >= useful else -1.0 for gain, one in zip(gains, ordered, strict=True)]
        best = int(np.argmax(worth))
        at = ordered[best].values
        mean = (at["aligned"] + at["base"]) / 2
        error = float(np.sqrt(2 * mean * (1 - mean) / at["samples"]))
        role = "control" if case.control else "lock"
        columns = ("distance of the base, sigma", "base accuracy", "aligned accuracy", "table right", "codes right")
        rows = [
            [n, *(one.values[k] for k in ("base", "aligned", "table", "codes"))] for n, one in zip(noises, ordered, strict=True)
        ]
        drawn = [
            figures.plot(
                "curve", "Alignment with a base model", "distance of the base model, sigma of weights", "accuracy", [
                    figures.line("aligned", role, noises, [one.values["aligned"] for one in ordered]),
                    figures.line("base model", "baseline", noises, [one.values["base"] for one in ordered]),
                ],
            ),
            figures.table("Alignment", columns, rows),
        ]  # fmt: skip
        counts = max(ALLOWED, _SURE * error)
        had = f"the model's weights and noise of {noises[best]} sigma" if noises[best] else "the model itself"
        summary = (
            f"A thief who also has a network near the stolen one (made up here: {had}) puts codes in order by it. The aligned "
            f"network answers {100 * at['aligned']:.2f}%, his own {100 * at['base']:.2f}% (standard error of the difference "
            f"{100 * error:.2f} points: a gain counts from {100 * counts:.2f} on); {100 * at['table']:.0f}% of the table and "
            f"{100 * at['codes']:.0f}% of the codes are right."
        )
        if case.control:
            return Said(Verdict.BROKEN if at["codes"] > _ALL else Verdict.HOLDS, summary, None, drawn)
        broken = worth[best] > counts
        return Said(Verdict.BROKEN if broken else Verdict.HOLDS, summary, gains[best], drawn)


class TwoCopies(Attack):
    """One model for two devices, both shuffled. Its control are two copies under one secret order."""

    name, chapter, attacker, unit = "alignment of two copies", "shuffle", "thief of many files", "places told"
    weak = "two copies in which every tile of a layer has one and the same order"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """One job."""
        return [{"copies": 2}] if case.transform == Transform.SHUFFLE or case.control else []

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """Shares of codes that are linked, rightly, and of places that are told."""
        other = public_device(material, VaultKind.AES, derived(seed, "other"))
        if material.case.control:
            device = public_device(material, VaultKind.AES, derived(seed, "one"))
            first, second = (
                _one_order(locked_for(material, one, "none", "table", seed).locked_layers(), seed) for one in (device, other)
            )
        else:
            device, first = material.owner, material.locked.locked_layers()
            fingerprint = str(material.locked.scheme.fingerprint)
            second = locked_for(material, other, fingerprint, Transform.SHUFFLE, seed).locked_layers()
        link = alignment.linked_codes(first, second)
        truth = np.array(inverse(other.table()))[np.array(device.table())]
        linked = link >= 0
        return Outcome(
            {
                "linked": float(linked.mean()),
                "right": float((link == truth)[linked].mean()) if linked.any() else 0.0,
                "places": alignment.places_told(first, second, link),
            }
        )

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if places are told; that codes are linked is the table's secret, and the table is no lock."""
        (found,) = (one.values for one in own)
        summary = (
            f"Histograms link {100 * found['linked']:.0f}% of the codes of two copies ({100 * found['right']:.0f}% of those "
            f"rightly), and tell {100 * found['places']:.1f}% of the places."
        )
        verdict = Verdict.BROKEN if found["places"] > _TOLD else Verdict.HOLDS
        return Said(verdict, summary, found["places"])


def _one_order(program: Program, seed: int) -> Program:
    """Every tile of a layer with its codes in one and the same order."""
    rng = np.random.default_rng(derived(seed, "order"))
    layers = []
    for layer in program.layers:
        if not layer.constant:
            layer = replace(layer, codes=layer.codes[:, rng.permutation(layer.tile_codes)])
        layers.append(layer)
    return replace(program, layers=tuple(layers))
