"""Words of `results.json` that the suite writes and the report reads. Imports nothing heavy: a report wants no torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: The first field of the file. Another number means that fields changed their meaning.
FORMAT = "bitting attack suite 1"
#: Of the file, in the folder of a run.
RESULTS = "results.json"


class Verdict(StrEnum):
    """What came of an attack."""

    HOLDS = "holds"
    """The attacker got nothing."""
    BROKEN = "broken"
    """He got what the lock is to keep from him."""
    CONCEDED = "conceded"
    """He got something that no lock of this kind is said to keep; the price is what counts."""
    NOT_APPLICABLE = "not applicable"
    """The attack has no place on such a network."""
    VOID = "void"
    """The attack could not break its control, or had none, so that its failure says nothing."""


@dataclass(frozen=True)
class Training:
    """One training with a seed of its own: accuracy (0..1) of the unit's network and of its unlocked twin."""

    authorised: float
    twin: float
