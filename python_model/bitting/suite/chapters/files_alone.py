"""What files alone tell: two under one keystream, and training again from what an artefact claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bitting.artefact.artefact import Artefact
from bitting.attack import alignment, retraining, two_files
from bitting.locking.kinds import Transform
from bitting.suite.attack import Attack, Said
from bitting.suite.cases import Case, Material
from bitting.suite.chapters.locks import locked_for, public_device
from bitting.suite.efforts import Effort
from bitting.suite.format import Verdict
from bitting.suite.jobs import Answer, Outcome, derived
from bitting.unit.spec import VaultKind

_NONCE_TWICE, _ONE_KEY = "one model for one device, under one nonce", "one model for two devices, under one lock key"
_TWO_DEVICES, _VERSIONS = "one model for two devices, under one nonce", "two versions for one device"
_PAIRS = ("one model for one device", _TWO_DEVICES, _VERSIONS)
#: How far weights of a next version lie from those of the first, in standard deviations of them.
_NEXT_VERSION = 0.1


class TwoFiles(Attack):
    """One model locked twice for one device; for two devices; and a next version of it. Its controls use a key twice."""

    name, chapter, attacker, unit = "two files", "files", "thief of many files", "pairs under one keystream"
    weak = "two files under one nonce, and two for two devices under one lock key"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """A job for each pair of files; a shuffle adds nothing to codes."""
        if case.control:
            return [{"files": pair} for pair in (_NONCE_TWICE, _ONE_KEY)]
        return [{"files": pair} for pair in _PAIRS] if case.keyed and case.transform != Transform.SHUFFLE else []

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """Whether two files are under one keystream, and why."""
        if material.case.control:
            device = public_device(material, VaultKind.AES, seed)
            first, second = (locked_for(material, device, "clock", "aes-pre", seed) for _ in range(2))
            if parameters["files"] == _ONE_KEY:
                other = public_device(material, VaultKind.AES, derived(seed, "other"))
                second = _read_by(first, *(locked_for(material, one, "none", "table", seed) for one in (device, other)))
        else:
            owner, scheme, pair = material.owner, material.locked.scheme, parameters["files"]
            how = scheme.fingerprint, scheme.transform
            device, nonce, version = owner, "second", None
            if pair == _TWO_DEVICES:  # under one nonce even, which no two files have
                device, nonce = public_device(material, VaultKind(owner.spec.vault), derived(seed, "other")), "first"
            elif pair == _VERSIONS:
                version = alignment.near(material.architecture, _NEXT_VERSION, seed)
            first = locked_for(material, owner, *how, derived(seed, "first"))
            second = locked_for(material, device, *how, derived(seed, nonce), version)
        found = two_files.two_time_pad(first, second)
        return Outcome({"reused": bool(found.got), "of": found.of, "why": found.note.partition(":")[0]})

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if the sum of two files is not like chance; the control if that is so of all its pairs."""
        what = "words" if case.sealed else "codes"
        told = [
            f"{one.parameters['files']}: {'yes' if one.values['reused'] else 'no'} ({one.values['of']} {what}, "
            f"{one.values['why']})"
            for one in own
        ]
        reused = [one.values["reused"] for one in own]
        summary = f"Are two files under one keystream, by the sums of their {what}? Of {'; of '.join(told)}."
        broken = all(reused) if case.control else any(reused)
        return Said(Verdict.BROKEN if broken else Verdict.HOLDS, summary, float(sum(reused)))


def _read_by(locked: Artefact, codes: Artefact, others: Artefact) -> Artefact:
    """A locked file with the codes of another device's table in the place of its own, under the keystream that it has."""
    keyed, mine, theirs = (one.locked_layers() for one in (locked, codes, others))
    layers = [
        layer if layer.constant else replace(layer, codes=layer.codes ^ own.codes ^ other.codes)
        for layer, own, other in zip(keyed.layers, mine.layers, theirs.layers, strict=True)
    ]
    return replace(locked, program=replace(keyed, layers=tuple(layers)))


class Retraining(Attack):
    """Training again from the claims of the artefact. Its control ships the model's own claims, with the seed."""

    name, chapter, attacker, unit = "training again", "files", "thief of the file", "share of the weights"
    weak = "a file that ships the seed of its training"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """One job. That of a control that takes long to train is for fewer epochs: its model is trained so first."""
        if case.control and effort.retrained_epochs is not None:
            return [{"claims": "all", "epochs": effort.retrained_epochs}]
        return [{"claims": "all"}] if case.locked or case.control else []

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """How many weights are right."""
        if material.case.control:
            device = public_device(material, VaultKind.AES, seed)
            artefact, claims = locked_for(material, device, "clock", "aes-pre", seed), dict(material.model.claims)
        else:
            artefact, claims = material.locked, dict(material.claims)
        if not retraining.names_seed(claims):
            return Outcome({"tried": False})
        truth = retraining.flat_codes(material.architecture)
        if epochs := parameters.get("epochs"):
            claims = retraining.cut(claims, epochs)
            truth = retraining.retrain(artefact, claims).found  # as its owner would
        right = retraining.retrain_as(artefact, claims, truth).right
        return Outcome({"tried": True, "right": right, "of": len(truth)})

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if most weights come again."""
        (found,) = (one.values for one in own)
        if not found["tried"] and case.control:
            return Said(Verdict.NOT_APPLICABLE, "The model was not trained here, so nobody can train it again from a seed.")
        if not found["tried"]:
            return Said(Verdict.HOLDS, "The file does not name the seed of its training: there is nothing to begin from.")
        share = found["right"] / found["of"]
        epochs = own[0].parameters.get("epochs")
        summary = f"Trained again from what the file claims, {found['right']} of {found['of']} weights are right" + (
            f" (epochs: {epochs}, of the model that was stolen, too)." if epochs else "."
        )
        return Said(Verdict.BROKEN if share > 0.5 else Verdict.HOLDS, summary, share)
