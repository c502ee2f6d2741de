"""Screening: is the right key told from wrong ones, by the weights, one batch without labels, a few labels, or both?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from bitting.artefact.artefact import Artefact
from bitting.attack import screening, unlabelled
from bitting.emulator.emulate import Emulator
from bitting.locking.chip import ChipModel
from bitting.locking.device import ROOT_BYTES, Device
from bitting.locking.transform import unlock_with_key
from bitting.program.layers import Program
from bitting.suite import figures
from bitting.suite.attack import Attack, Said
from bitting.suite.cases import Case, Material
from bitting.suite.chapters.locks import locked_for, public_device
from bitting.suite.efforts import Effort
from bitting.suite.format import Verdict
from bitting.suite.jobs import Answer, Outcome, derived
from bitting.unit.spec import VaultKind

#: Inputs of an unlabelled batch, and batches that are looked at under the right key.
_BATCH, _BATCHES = 32, 20
#: Chance that any of the statistics tells a key that is no other than the wrong ones. By ranks, so it wants many wrong keys.
CHANCE = 0.05
#: What a thief who can check a guess still has before him.
_LEFT = "2^128 keys are left to guess."
_TOGETHER, _SELF_TEST = "answers and labels together", "the self-test in the artefact"


class Screening(Attack):
    """See `bitting.attack.screening` and `unlabelled`. Its control is the transform `aes`: plain weights."""

    name, chapter, attacker, unit = "screening", "screening", "thief of the file", "area under the ROC curve"
    weak = "the transform aes, whose weights stand in the file's places: under the right key alone they look like weights"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """By the weights, and by running the network. Of a sealed program there is nothing to look at but the tags."""
        if case.sealed:
            return [{"kind": "tag"}]
        if not case.keyed and not case.control:
            return []
        by_weights = {"kind": "weights", "keys": effort.screened}
        return [by_weights, {"kind": "answers", "keys": effort.screened, "labels": effort.labels}]

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """Of each statistic the area under the curve, how likely a wrong key looks so strange, and its price."""
        if parameters["kind"] == "tag":
            return Outcome({"permutations": tag_permutations(material.locked)})
        if material.case.control:
            device = public_device(material, VaultKind.AES, seed)
            artefact = locked_for(material, device, "clock", _weakest(device), seed)
        else:
            device, artefact = material.owner, material.locked
        if parameters["kind"] == "weights":
            return self._by_weights(artefact, device, parameters["keys"], seed)
        return self._by_answers(material, artefact, device, parameters["keys"], parameters["labels"], seed)

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Conceded if anything tells the right key from wrong ones: each guess can be checked, and all of them are left."""
        found = {answer.parameters["kind"]: answer.values for answer in own}
        if "tag" in found:
            cost = float(found["tag"]["permutations"])
            summary = (
                f"A guessed key is told right or wrong by a tag, for {cost:.0f} Ascon permutations a guess; nothing else can "
                f"be looked at. {_LEFT}"
            )
            return Said(Verdict.CONCEDED, summary, 1.0, (), cost)
        weights, answers = found["weights"], found["answers"]
        areas, p, price = (weights[name] | answers[name] for name in ("auc", "p", "price"))
        role = "control" if case.control else "lock"
        ordered = sorted(areas, key=lambda name: (-round(abs(areas[name] - 0.5), 3), price[name]))
        rows = [[name, areas[name], p[name], float(price[name])] for name in ordered]
        columns = ("by", "AUC", "chance that a wrong key looks so strange", "operations a guess")
        drawn = [figures.table("Is the right key told?", columns, rows)]
        for name in _curves(answers):
            curve = answers["roc"][name]
            series = [figures.line(name, role, curve["x"], curve["y"])]
            drawn.append(figures.plot("roc", f"By {name}", "wrong keys kept, share", "right keys kept, share", series))
        sure = [name for name in ordered if p[name] < CHANCE / len(p)]
        of_all = f"{len(sure)} of {len(p)} statistics tell it from {weights['keys']} wrong ones"
        if not sure:
            nearest = min(p, key=lambda name: p[name])
            summary = f"The right key is not told from wrong ones: {of_all} (nearest: {nearest}, p = {p[nearest]:.2g})."
            return Said(Verdict.HOLDS, summary, 0.5 + abs(areas[nearest] - 0.5), drawn, float(price[nearest]))
        best = sure[0]
        summary = (
            f"A guessed key is told right or wrong without the device, by what it makes of the weights or answers, for "
            f"{price[best]:.0f} operations a guess, with those of its cipher on top: {of_all} (cheapest of the best: {best}, "
            f"area under the ROC curve {areas[best]:.3f}). {_LEFT}"
        )
        verdict = Verdict.BROKEN if case.control else Verdict.CONCEDED
        return Said(verdict, summary, 0.5 + abs(areas[best] - 0.5), drawn, float(price[best]))

    def _by_weights(self, artefact: Artefact, device: Device, keys: int, seed: int) -> Outcome:
        locked = artefact.locked_layers()
        found = screening.screen(locked, artefact.scheme, device, wrong_keys=keys, seed=seed)
        areas = {f"{name}, one tile": area for name, area in found.tile.items()}
        areas |= {f"{name}, model": area for name, area in found.model.items()}
        return Outcome({"auc": areas, "p": found.p, "price": found.price, "keys": keys})

    def _by_answers(
        self, material: Material, artefact: Artefact, device: Device, keys: int, counts: Sequence[int], seed: int
    ) -> Outcome:
        """Run the network under every key, on the same inputs."""
        x, labels = material.test(_BATCH * _BATCHES)
        rng = np.random.default_rng(derived(seed, "inputs"))
        right, *wrong = self._sums(artefact, device, x, keys, seed)
        batches = [np.sort(rng.permutation(len(x))[:_BATCH]) for _ in range(_BATCHES)]
        areas, curves, p, price = {}, {}, {}, {}
        inference = artefact.locked_layers().macs

        def compare(name: str, ones: Sequence[float], zeros: Sequence[float], inputs: int) -> None:
            """One network stands for the right key, however many batches it answers, as one does for each wrong key."""
            false, true, areas[name] = figures.roc(ones, zeros)
            curves[name] = {"x": false, "y": true}
            p[name] = screening.surprise(float(np.mean(ones)), np.array(zeros))
            price[name] = inference * inputs

        columns_right, columns_wrong = [], []
        for name, statistic in unlabelled.STATISTICS.items():
            ones = [statistic(right[rows]) for rows in batches]
            zeros = [statistic(sums[batches[number % _BATCHES]]) for number, sums in enumerate(wrong)]
            compare(f"{name}, {_BATCH} inputs without labels", ones, zeros, _BATCH)
            columns_right.append(ones)
            columns_wrong.append(zeros)
        for count in counts:
            chosen = [rng.permutation(len(x))[:count] for _ in range(_BATCHES)]
            ones = [unlabelled.right_answers(right[rows], labels[rows]) for rows in chosen]
            zeros = [
                unlabelled.right_answers(sums[chosen[number % _BATCHES]], labels[chosen[number % _BATCHES]])
                for number, sums in enumerate(wrong)
            ]
            compare(f"{count} labels", ones, zeros, count)
        columns_right.append(ones)
        columns_wrong.append(zeros)
        if artefact.self_test:
            test = artefact.self_test
            asked = self._sums(artefact, device, test.questions, keys, seed)
            equal = [float((sums == test.answers).mean()) for sums in asked]
            compare(_SELF_TEST, equal[:1] * _BATCHES, equal[1:], len(test.questions))
        strange, usual = (_strangeness(columns, columns_wrong) for columns in (columns_right, columns_wrong))
        compare(_TOGETHER, strange, usual, _BATCH + count)
        return Outcome({"auc": areas, "roc": curves, "p": p, "price": price})

    def _sums(self, artefact: Artefact, device: Device, x: np.ndarray, keys: int, seed: int) -> Iterator[np.ndarray]:
        """Of the right key, then of wrong ones."""
        rng, chip, inputs = np.random.default_rng(seed), ChipModel.of(device), torch.from_numpy(x)
        for key in (None, *(rng.bytes(ROOT_BYTES) for _ in range(keys))):
            opened = unlock_with_key(artefact.program, artefact.scheme, chip, key)
            assert isinstance(opened, Program)
            yield Emulator(opened, device.table())(inputs).numpy()


def _curves(answers: Mapping[str, Any]) -> list[str]:
    """Statistics whose curve shows something: one that is always right has corners only, and one of those is enough."""
    areas = answers["auc"]
    corners = [name for name in answers["roc"] if areas[name] == 1]
    return [name for name in answers["roc"] if areas[name] < 1 or name in corners[:1]]


def tag_permutations(artefact: Artefact) -> int:
    """Permutations of Ascon that tell a guessed lock key right or wrong: those of the first packet, which has one block.

    Twelve rounds at the beginning and at the end count as one each (NIST SP 800-232); a guess of the root secret also derives
    the device key and absorbs the challenge, a permutation for each eight bytes.
    """
    words = sum(len(packet) for packet in artefact.scheme.challenge_packets())
    return 2 + 2 + -(-4 * words // 8)


def _weakest(device: Device) -> str:
    """The transform that is recognised at once; a family whose weights need more than a byte has none, its codes then are."""
    return "aes" if device.spec.plain_values else "aes-pre"


def _strangeness(columns: Sequence[Sequence[float]], usual: Sequence[Sequence[float]]) -> list[float]:
    """How far samples lie from what is usual in all statistics together: squares of standardised distances, added up."""
    samples, wrong = np.array(columns, float), np.array(usual, float)
    spreads = np.maximum(wrong.std(axis=1, keepdims=True), 1e-9)
    return [float(value) for value in (((samples - wrong.mean(axis=1, keepdims=True)) / spreads) ** 2).sum(axis=0)]
