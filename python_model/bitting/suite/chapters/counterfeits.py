"""Counterfeits: chips that know the secret and pace otherwise, with a challenge made up so that it is answered rightly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bitting.check import attacks
from bitting.suite.attack import Attack, Said, Verdict
from bitting.suite.cases import Case, Material
from bitting.suite.chapters.locks import locked_for, public_device
from bitting.suite.efforts import Effort
from bitting.suite.jobs import Answer, Outcome
from bitting.unit.spec import VaultKind


class Counterfeits(Attack):
    """See `bitting.attack.crafted_challenge`. Its control absorbs answers only, and not the challenge: the vault `aes`."""

    name, chapter, attacker, unit = (
        "counterfeits with a made-up challenge",
        "counterfeits",
        "counterfeiter",
        "lock keys derived",
    )

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """One job: mutants of timing for `clock`, of arithmetic for `numeric`."""
        return [{"mutants": "all"}] if case.keyed or case.control else []

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """How many emulated mutants derive the right chip's lock key."""
        if material.case.control:
            device = public_device(material, VaultKind.AES, seed)
            artefact = locked_for(material, device, "clock", "aes-pre", seed)
        else:
            device, artefact = material.owner, material.locked
        found = attacks.mutant_attacks(artefact, device)
        return Outcome({"got": int(found.got), "of": int(found.of), "what": found.note.partition(";")[0]})

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if any derives it."""
        (found,) = (one.values for one in own)
        summary = (
            f"Of {found['of']} {found['what']} {found['got']} derive the right chip's lock key with a challenge of their own."
        )
        return Said(Verdict.BROKEN if found["got"] else Verdict.HOLDS, summary, float(found["got"]))
