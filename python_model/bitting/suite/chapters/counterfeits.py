"""Counterfeits: chips that know the secret and pace otherwise, with a made-up challenge; and chips that do not know it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bitting.check import attacks
from bitting.locking.device import ROOT_BYTES
from bitting.suite.attack import Attack, Said
from bitting.suite.cases import Case, Material
from bitting.suite.chapters.locks import locked_for, malleable_or_owned, public_device
from bitting.suite.efforts import Effort
from bitting.suite.format import Verdict
from bitting.suite.jobs import Answer, Outcome
from bitting.unit.spec import VaultKind


class Counterfeits(Attack):
    """See `bitting.attack.crafted_challenge`. Its control absorbs answers only, and not the challenge: the vault `aes`."""

    name, chapter, attacker, unit = (
        "counterfeits with a made-up challenge",
        "counterfeits",
        attacks.COUNTERFEITER,
        "lock keys derived, or answers got",
    )
    weak = "the vault aes, whose lock key takes in the answers to the challenge and not the challenge"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """Mutants of timing for `clock`, of arithmetic for `numeric`; and a made-up challenge on the RTL of the right chip."""
        ported = [{"chips": "right, on the RTL"}] if effort.rtl else []
        return [{"chips": "mutants"}, *ported] if case.keyed or case.control else []

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """How many emulated mutants derive the right chip's lock key, or what the chip answers to a made-up challenge."""
        device, artefact = malleable_or_owned(material, seed)
        if parameters["chips"] == "mutants":
            found = attacks.mutant_attacks(artefact, device)
            return Outcome({"got": int(found.got), "of": int(found.of), "what": found.note.partition(";")[0]})
        (found,) = attacks.port_attacks(artefact, device, seed=seed, attackers=[attacks.COUNTERFEITER])
        return Outcome({"got": int(found.got), "of": int(found.of)})

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if any derives it, or answers; the control if both do. A faithful copy is conceded, with the root secret."""
        mutants, *ported = (one.values for one in own)
        chips = f"Of {mutants['of']} {mutants['what']} {mutants['got']}"
        summary = f"{chips} derive the right chip's lock key with a challenge of their own"
        for found in ported:
            summary += f"; with a made-up challenge the RTL of the right chip gives {found['got']} of {found['of']} answers"
        every = [found["got"] for found in (mutants, *ported)]
        broken = all(every) if case.control else any(every)
        if not broken:
            summary += "; a faithful copy, with the root secret, runs it, as with any lock of a key"
        return Said(Verdict.BROKEN if broken else Verdict.CONCEDED, f"{summary}.", float(max(every)))


class Clone(Attack):
    """See `bitting.attack.clone`. In its control the root secret is no secret: his chip has it."""

    name, chapter, attacker, unit = (
        "chip without the secret",
        "counterfeits",
        "counterfeiter without the root secret",
        "answers got",
    )
    weak = "a root secret that is none: his chip has it"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """One job, where the RTL is run."""
        return [{"chips": 1}] if effort.rtl and (case.keyed or case.control) else []

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """How many answers of his chip are those of the right one."""
        root = np.random.default_rng([seed, 1]).bytes(ROOT_BYTES)
        if material.case.control:
            device = public_device(material, VaultKind.ASCON, seed)
            artefact, root = locked_for(material, device, "clock", "sealed-clocked", seed), device.root
        else:
            device, artefact = material.owner, material.locked
        found = attacks.clone_attack(artefact, device, root, seed=seed)
        return Outcome({"got": int(found.got), "of": int(found.of), "queries": found.queries})

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if there is a right answer."""
        (found,) = (one.values for one in own)
        whose = "the right chip's root secret" if case.control else "another root secret"
        summary = (
            f"A chip of the same RTL with {whose}, given the file as it ships, then with a challenge that it answers rightly "
            f"({found['queries']} queries), answers {found['got']} of the {found['of']} inputs of a batch with "
            f"the right chip's sums."
        )
        return Said(Verdict.BROKEN if found["got"] else Verdict.HOLDS, summary, float(found["got"]))
