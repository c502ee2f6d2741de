"""What files alone tell: two under one keystream, and training again from what an artefact claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bitting.attack import retraining, two_files
from bitting.locking.kinds import Transform
from bitting.suite.attack import Attack, Said
from bitting.suite.cases import Case, Material
from bitting.suite.chapters.locks import locked_for, public_device
from bitting.suite.efforts import Effort
from bitting.suite.format import Verdict
from bitting.suite.jobs import Answer, Outcome, derived
from bitting.unit.spec import VaultKind


class TwoFiles(Attack):
    """One model locked twice for one device. Its control uses a nonce twice."""

    name, chapter, attacker, unit = "two files", "files", "thief of many files", "share of words under one keystream"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """One job; a shuffle adds nothing to codes."""
        return [{"files": 2}] if (case.keyed and case.transform != Transform.SHUFFLE) or case.control else []

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """How many words of two files are under one keystream."""
        if material.case.control:
            device = public_device(material, VaultKind.AES, seed)
            first, second = (locked_for(material, device, "clock", "aes-pre", seed) for _ in range(2))
        else:
            scheme = material.locked.scheme
            first, second = (
                locked_for(material, material.owner, scheme.fingerprint, scheme.transform, derived(seed, number))
                for number in range(2)
            )
        found = two_files.two_time_pad(first, second)
        return Outcome({"got": int(found.got), "of": found.of})

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if the sum of two files is not like chance."""
        (found,) = (one.values for one in own)
        summary = f"Of two files of one model for one device {found['got']} of {found['of']} words are under one keystream."
        return Said(Verdict.BROKEN if found["got"] else Verdict.HOLDS, summary, found["got"] / found["of"])


class Retraining(Attack):
    """Training again from the claims of the artefact. Its control ships the model's own claims, with the seed."""

    name, chapter, attacker, unit = "training again", "files", "thief of the file", "share of the weights"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """One job."""
        return [{"claims": "all"}] if case.locked or case.control else []

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """How many weights are right."""
        if material.case.control:
            config = material.model.claims.get("config")
            if not isinstance(config, Mapping) or config.get("seed") is None:
                return Outcome({"applies": False, "right": 0, "of": material.architecture.parameters})
            device = public_device(material, VaultKind.AES, seed)
            artefact, claims = locked_for(material, device, "clock", "aes-pre", seed), dict(material.model.claims)
        else:
            artefact, claims = material.locked, dict(material.claims)
        found = retraining.retrain(artefact, claims)
        truth = retraining.flat_codes(material.architecture)
        right = int((found.found == truth).sum()) if found.found.shape == truth.shape else 0
        return Outcome({"applies": True, "right": right, "of": len(truth)})

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if most weights come again."""
        (found,) = (one.values for one in own)
        if not found["applies"]:
            return Said(Verdict.NOT_APPLICABLE, "The model was not trained here, so nobody can train it again from a seed.")
        share = found["right"] / found["of"]
        summary = f"Trained again from what the file claims, {found['right']} of {found['of']} weights are right."
        return Said(Verdict.BROKEN if share > 0.5 else Verdict.HOLDS, summary, share)
