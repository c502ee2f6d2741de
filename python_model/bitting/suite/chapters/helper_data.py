"""Attacks on a key from a PUF by its helper data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bitting.attack import helper_data
from bitting.attack.weak_puf import ChosenPairs, Ours, Silicon, Unchecked
from bitting.puf.extractor import FuzzyExtractor
from bitting.suite.attack import Attack, Said, Verdict
from bitting.suite.cases import Case, Material
from bitting.suite.efforts import Effort
from bitting.suite.jobs import Answer, Outcome
from bitting.unit.bch import DEFAULT_CODE

#: Bits that are often wrong, and how often; the others are nearly never.
_UNRELIABLE, _OFTEN, _HARDLY = 8, 0.25, 1e-4
#: Bits of the weak key whose helper data choose pairs.
_PAIRS = 128
_SWAPS, _ERRORS, _EDITS = "swapped words", "added errors", "edits"


class HelperData(Attack):
    """See `bitting.attack.helper_data`. Its controls are keys from a PUF that check nothing."""

    name, chapter, attacker, unit = "helper data", "helper data", "owner of the chip", "answers to changed helper data"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """A job for each way to change helper data."""
        if not (case.puf or case.control):
            return []
        return [{"kind": kind, "queries": effort.helper_queries} for kind in (_SWAPS, _ERRORS, _EDITS)]

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """What one kind of change gives, on simulated silicon."""
        rng, kind, queries = np.random.default_rng(seed), parameters["kind"], parameters["queries"]
        extractor = FuzzyExtractor(material.architecture.spec, DEFAULT_CODE, 1)
        rates = np.full(extractor.response_bits, _HARDLY)
        rates[rng.choice(len(rates), _UNRELIABLE, replace=False)] = _OFTEN
        silicon = Silicon(rng.integers(0, 2, len(rates)), rates, seed)
        if kind == _SWAPS and material.case.control:
            chosen = ChosenPairs(silicon, _PAIRS)
            found = helper_data.relations(chosen.ask, chosen.helper)
            key = silicon.bits[chosen.helper]
            right = int((found.found == (key ^ key[0]).astype(bool)).sum())
            return Outcome({"got": right if right == len(key) else 0, "of": len(key)})
        chip = Unchecked(silicon, extractor) if material.case.control else Ours(silicon, extractor)
        if kind == _SWAPS:
            found = helper_data.relations(chip.ask, chip.helper)
        elif kind == _ERRORS:
            found = helper_data.unreliable_bits(chip.ask, extractor.code, chip.helper, queries, seed)
        else:
            found = helper_data.accepted_edits(chip.ask, extractor.code, chip.helper, queries, seed)
            behaviours = len(found.found)
            return Outcome({"got": behaviours - 1 if behaviours > 1 else found.got, "of": found.of})
        return Outcome({"got": found.got, "of": found.of})

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if any change is answered by anything but the one error."""
        got = {one.parameters["kind"]: one.values for one in own}
        told = "; ".join(f"{kind}: {values['got']} of {values['of']}" for kind, values in got.items())
        total = sum(values["got"] for values in got.values())
        if case.control:
            verdict = Verdict.BROKEN if all(values["got"] for values in got.values()) else Verdict.HOLDS
            return Said(verdict, f"Keys from a PUF that check nothing tell: {told}.", float(total))
        verdict = Verdict.BROKEN if total else Verdict.HOLDS
        return Said(verdict, f"Answers to changed helper data, other than the one error: {told}.", float(total))
