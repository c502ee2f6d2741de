"""Permutation alignment against `shuffle`: with a public base model, and across two copies of one model for two devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
NOISES = (0.1, 0.25, 0.5, 0.6, 0.75, 1.0, 2.0)
#: Bases of each distance.
_BASES = 3
#: More accuracy than the base has, 0..1; more counts if a chance of 5% for all tries together does not give it, of a network
#: that is worth something.
ALLOWED, _CHANCE = 0.02, 0.05
#: Parts of the test samples, whose gains say how sure their mean is: both networks answer the same samples.
_BLOCKS = 20
#: Whose table the codes are read with.
_TABLES = {"found": "the table that he finds by it", "given": "the device's table, which he is given"}
#: Share of the accuracy over chance that a network must have to be worth something.
_WORTH = 0.5
#: Share of the codes that the control must give.
_ALL = 0.99
#: Places told across two copies, 0..1, that are not by chance.
_TOLD = 0.01


class Alignment(Attack):
    """See `bitting.attack.alignment`. Its control is a base that is the model itself.

    The table is no lock, so in the thief's favour he also tries the device's.
    """

    name, chapter, attacker, unit = "permutation alignment", "shuffle", "thief of the file", "points over the base model"
    weak = "a shuffle whose base is the model itself: shows that table and order are found, not what they are worth"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """A job for each base: some of each distance."""
        if case.transform != Transform.SHUFFLE and not case.control:
            return []
        bases = [(0.0, 0)] if case.control else [(noise, base) for noise in NOISES for base in range(_BASES)]
        return [{"noise": noise, "base": base, "samples": effort.samples} for noise, base in bases]

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """Accuracy of the base, and with each table that of the aligned network and the shares that are right."""
        model = material.architecture
        if material.case.control:
            device = public_device(material, VaultKind.AES, derived(seed, "device"))
            locked = locked_for(material, device, "clock", Transform.SHUFFLE, seed).locked_layers()
        else:
            device, locked = material.owner, material.locked.locked_layers()
        base = alignment.near(model, parameters["noise"], seed)
        x, labels = material.test(parameters["samples"])
        blocks = np.array_split(np.arange(len(labels)), min(_BLOCKS, len(labels)))

        def accuracies(program: Program) -> list[float]:
            sums = Emulator(program, range(program.spec.codes))(torch.from_numpy(x)).numpy()
            return [float(material.model.interface.rating(sums[block], labels[block])) for block in blocks]

        def tried(table: np.ndarray) -> dict[str, Any]:
            found = alignment.aligned(locked, base, table)
            pairs = zip(found.secret, model.secret, strict=True)
            wrong = sum(int((layer.codes != right.codes).sum()) for layer, right in pairs)
            same = float((table == np.array(device.table())).mean())
            return {"aligned": accuracies(found), "table": same, "codes": 1 - wrong / model.parameters}

        found = {"found": tried(alignment.table_of_base(locked, base))}
        if not material.case.control:
            found["given"] = tried(np.array(device.table()))
        return Outcome({"base": accuracies(base), "tables": found})

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if an aligned network is surely better than the base that was used, and worth something."""
        useful = case.chance + _WORTH * (case.authorised - case.chance)
        tries = [
            _Try(one.parameters["noise"], whose, np.array(one.values["base"]), np.array(found["aligned"]), found)
            for one in own
            for whose, found in one.values["tables"].items()
        ]
        chance = _CHANCE / len(tries)
        best = max(tries, key=lambda one: (one.aligned.mean() >= useful, one.gain - one.counts(chance)))
        had = f"the model's weights and noise of {best.noise} sigma" if best.noise else "the model itself"
        summary = (
            f"A thief who also has a network near the stolen one (made up here: {had}) puts codes in order by it, with "
            f"{_TABLES[best.whose]}. In the surest of {len(tries)} tries the aligned network "
            f"answers {100 * best.aligned.mean():.2f}%, his own {100 * best.base.mean():.2f}% (standard error of the "
            f"difference {100 * best.error:.2f} points: a gain counts from {100 * best.counts(chance):.2f} on, of a network "
            f"that answers at least {100 * useful:.0f}%); {100 * best.found['table']:.0f}% of the table and "
            f"{100 * best.found['codes']:.0f}% of the codes are right."
        )
        if case.control:
            verdict = Verdict.BROKEN if best.found["codes"] > _ALL else Verdict.HOLDS
            return Said(verdict, summary, None, _drawn(tries, "control"))
        broken = best.gain > best.counts(chance) and best.aligned.mean() >= useful
        return Said(Verdict.BROKEN if broken else Verdict.HOLDS, summary, best.gain, _drawn(tries, "lock"))


@dataclass(frozen=True, eq=False)
class _Try:
    """One base, and the network that one table makes of it. `base`, `aligned`: accuracies of the same blocks of samples."""

    noise: float
    whose: str
    base: np.ndarray
    aligned: np.ndarray
    found: Mapping[str, float]

    @property
    def gain(self) -> float:
        return float((self.aligned - self.base).mean())

    @property
    def error(self) -> float:
        """Standard error of the gain, of pairs of blocks."""
        return float((self.aligned - self.base).std(ddof=1) / np.sqrt(len(self.base)))

    def counts(self, chance: float) -> float:
        """From which gain on it is more than chance gives, by Student's t, one-sided."""
        from scipy.stats import t

        return max(ALLOWED, float(t.isf(chance, len(self.base) - 1)) * self.error)


def _drawn(tries: Sequence[_Try], role: str) -> list[Mapping[str, Any]]:
    """Means over the bases of each distance, as curves and as a table."""
    noises = sorted({one.noise for one in tries})
    tables = [whose for whose in _TABLES if any(one.whose == whose for one in tries)]

    def means(of: Callable[[_Try], float], whose: str = "found") -> list[float]:
        return [float(np.mean([of(one) for one in tries if (one.noise, one.whose) == (n, whose)])) for n in noises]

    columns = {
        "distance of the base, sigma": noises,
        "base accuracy": means(lambda one: float(one.base.mean())),
        **{f"aligned accuracy, {_TABLES[whose]}": means(lambda one: float(one.aligned.mean()), whose) for whose in tables},
        "table right, as found": means(lambda one: one.found["table"]),
        **{f"codes right, {_TABLES[whose]}": means(lambda one: one.found["codes"], whose) for whose in tables},
    }
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    series = [
        *(
            figures.line(f"aligned, {_TABLES[one]}", role, noises, columns[f"aligned accuracy, {_TABLES[one]}"])
            for one in tables
        ),
        figures.line("base model", "baseline", noises, columns["base accuracy"]),
    ]
    title = f"Alignment, means of {len(tries) // len(noises) // len(tables)} bases"
    return [
        figures.plot(
            "curve", "Alignment with a base model", "distance of the base model, sigma of weights", "accuracy", series
        ),
        figures.table(title, tuple(columns), rows),
    ]


class TwoCopies(Attack):
    """One model for two devices, both shuffled. Its control are two copies under one secret order."""

    name, chapter, attacker, unit = "alignment of two copies", "shuffle", "thief of many files", "places told"
    weak = "two copies in which every tile of a layer has one and the same order, the same in both"

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
            f"rightly), which is the table's secret, and no lock; and tell {100 * found['places']:.1f}% of the places."
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
