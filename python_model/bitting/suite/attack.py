"""What the suite asks of an attack: parts that are jobs, and a verdict when all of them are done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from bitting.suite.cases import Case, Material
from bitting.suite.efforts import Effort
from bitting.suite.format import Verdict
from bitting.suite.jobs import Answer, Outcome


@dataclass(frozen=True)
class Said:
    """An attack's result on a case.

    Attributes:
        verdict: of what came of it.
        summary: one sentence with the number in it.
        gain: what the attacker gained, in the attack's unit; None: nothing that can be counted.
        figures: as `bitting.suite.figures` makes them.
        guess_operations: what one guess of a key costs; None where none is made.
        case_facts: what becomes part of the case's own record: targets, cycles, verification.
    """

    verdict: Verdict
    summary: str
    gain: float | None = None
    figures: Sequence[Mapping[str, Any]] = ()
    guess_operations: float | None = None
    case_facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Repeat:
    """Jobs that follow from what others found: parameters of those on the case, and of those on its control beside it."""

    own: Sequence[dict[str, Any]] = ()
    control: Sequence[dict[str, Any]] = ()


class Attack(ABC):
    """One attack. Its first case is that of its control.

    Attributes:
        name: stable; findings carry it.
        chapter: of the report.
        attacker: one of docs/threats.md.
        unit: what the gain is in.
        weak: its control in words: what was made weak.
        shared: no lock changes what is found, so that the jobs of the control are those of all cases of its group.
    """

    name: ClassVar[str]
    chapter: ClassVar[str]
    attacker: ClassVar[str]
    unit: ClassVar[str]
    weak: ClassVar[str]
    shared: ClassVar[bool] = False

    @abstractmethod
    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """Parameters of its jobs on a case, or, of the case without a lock, on its control; none: it does not apply."""

    @abstractmethod
    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """One job. `parameters`: one of `parts`, which says all that matters, so that the job's id does too."""

    def again(self, case: Case, effort: Effort, own: Sequence[Answer], control: Sequence[Answer]) -> Repeat:
        """What is to be tried once more before it counts, by what was found; arguments as of `judge`. By default nothing."""
        return Repeat()

    @abstractmethod
    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """All jobs of a case together, those of `again` too; `control`: those of the control of its group, with baselines."""
