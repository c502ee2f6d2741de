"""What an attack came to: who tried it, what he was after, how much of it he got, and what it cost him."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from bitting.attack.port import Probe
from bitting.locking.kinds import Level

#: Clocks are told as seconds of a chip with so many of them a second.
CLOCK_HZ = 100_000_000


def _nothing() -> np.ndarray:
    return np.empty(0)


@dataclass(frozen=True)
class Finding:
    """One attack on one lock.

    Attributes:
        attack: its name.
        attacker: one of those in docs/threats.md.
        sought: what of it `got` and `of` count.
        got: how much the attacker says that he has.
        of: of how much.
        level: of the claim that it tests.
        queries, words, clocks: streams sent to the chip, words in them, and clocks they took; 0 without a chip.
        note: what stopped him, or what he did.
        found: what he has (nothing: an empty array), for whoever knows the truth to compare; secret.
        right: how much of it is right, by somebody who knows; None: nobody looked.
    """

    attack: str
    attacker: str
    sought: str
    got: int
    of: int
    level: Level = Level.KEY
    queries: int = 0
    words: int = 0
    clocks: int = 0
    note: str = ""
    found: np.ndarray = field(default_factory=_nothing, repr=False, compare=False)
    right: int | None = None

    @classmethod
    def of_probe(
        cls,
        probe: Probe,
        attack: str,
        attacker: str,
        sought: str,
        got: int,
        of: int,
        note: str,
        found: np.ndarray,
    ) -> Finding:
        """With what was spent on a port, and the errors it answered with."""
        errors = ", ".join(f"{name} x {count}" for name, count in sorted(probe.refusals.items()))
        said = "; ".join(part for part in (note, f"refused: {errors}" if errors else "") if part)
        return cls(attack, attacker, sought, got, of, Level.KEY, probe.queries, probe.words, probe.clocks, said, found)

    def judged(self, truth: np.ndarray) -> Finding:
        """With how much of what was got is right."""
        fits = self.got and self.found.shape == truth.shape
        return replace(self, right=int((self.found == truth).sum()) if fits else 0)

    @property
    def succeeded(self) -> bool:
        """The attacker got something; if somebody looked, something right."""
        return bool(self.got if self.right is None else self.right)

    @property
    def seconds(self) -> float:
        """Time on a chip with `CLOCK_HZ`."""
        return self.clocks / CLOCK_HZ

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, but for what was found; ready for JSON."""
        told = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "found"}
        return told | {"seconds": self.seconds, "succeeded": self.succeeded, "level": self.level.value}
