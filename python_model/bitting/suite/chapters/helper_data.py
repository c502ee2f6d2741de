"""Attacks on a key from a PUF by its helper data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bitting.attack import helper_data
from bitting.attack.weak_puf import ChosenPairs, FillsUp, Ours, Silicon, Unchecked
from bitting.puf.extractor import FuzzyExtractor
from bitting.suite.attack import Attack, Said
from bitting.suite.cases import Case, Material
from bitting.suite.efforts import Effort
from bitting.suite.format import Verdict
from bitting.suite.jobs import Answer, Outcome
from bitting.unit.bch import DEFAULT_CODE
from bitting.unit.puf_key import PufKey

#: Bits that are often wrong, and how often; the others are nearly never.
_UNRELIABLE, _OFTEN, _HARDLY = 8, 0.25, 1e-4
#: Bits of the weak key whose helper data choose pairs.
_PAIRS = 128
_SWAPS, _MOVED, _SINGLE, _ERRORS, _EDITS = "swapped words", "a moved mask", "masks of one pair", "added errors", "edits"
#: All pairs are kept, or some are left out.
_WHOLE, _MASKED = PufKey(DEFAULT_CODE), PufKey(DEFAULT_CODE, kept=200, pairs=320)


class HelperData(Attack):
    """See `bitting.attack.helper_data`. Its controls are keys from a PUF that check nothing, or not all."""

    name, chapter, attacker, unit = "helper data", "helper data", "owner of the chip", "answers to changed helper data"
    weak = "keys from a PUF that check nothing, or not all"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """A job for each way to change helper data."""
        if not (case.puf or case.control):
            return []
        return [{"kind": kind, "queries": effort.helper_queries} for kind in (_SWAPS, _MOVED, _SINGLE, _ERRORS, _EDITS)]

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """What one kind of change gives, on simulated silicon."""
        rng, kind, queries = np.random.default_rng(seed), parameters["kind"], parameters["queries"]
        key = _WHOLE if kind in (_ERRORS, _EDITS) else _MASKED
        extractor = FuzzyExtractor(material.architecture.spec, key)
        rates = np.full(key.pairs, _HARDLY)
        if kind in (_ERRORS, _EDITS):
            rates[rng.choice(len(rates), _UNRELIABLE, replace=False)] = _OFTEN
        silicon = Silicon(rng.integers(0, 2, len(rates)), rates, seed)
        if kind == _SWAPS and material.case.control:
            chosen = ChosenPairs(silicon, _PAIRS)
            found = helper_data.relations(chosen.ask, chosen.helper)
            bits = silicon.bits[chosen.helper]
            right = int((found.found == (bits ^ bits[0]).astype(bool)).sum())
            return Outcome({"got": right if right == len(bits) else 0, "of": len(bits)})
        weak = FillsUp if kind == _SINGLE else Unchecked
        chip = weak(silicon, extractor) if material.case.control else Ours(silicon, extractor)
        if kind == _SWAPS:
            found = helper_data.relations(chip.ask, chip.helper)
        elif kind == _MOVED:
            found = helper_data.moved_mask(chip.ask, key, chip.helper, seed)
        elif kind == _SINGLE:
            found = helper_data.single_pairs(chip.ask, extractor)
        elif kind == _ERRORS:
            found = helper_data.unreliable_bits(chip.ask, key, chip.helper, queries, seed)
        else:
            found = helper_data.accepted_edits(chip.ask, key, chip.helper, queries, seed)
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
            what = (
                "bits of a key from a PUF that checks nothing, or takes any mask, and answers to changes that it should refuse"
            )
            return Said(verdict, f"Got, of {what}: {told}.", float(total))
        verdict = Verdict.BROKEN if total else Verdict.HOLDS
        summary = (
            f"Changed helper data of our PUF, and how many changes were answered by anything but the one error: {told}. "
            "(Weak keys are asked other numbers of questions: each answer leads to the next.)"
        )
        return Said(verdict, summary, float(total))
