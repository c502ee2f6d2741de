"""What the findings come to: which lock stands against which attacker, and what nobody may rely on. Numbers and names, no text.

A lock is judged by the worst that was found on any of its networks. That an attack failed counts only if it broke a lock that
was made weak on purpose (its control): an attack that breaks nothing proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from bitting.report.results import Case, Claim, Cost, Finding, Results
from bitting.suite.format import Verdict

#: Attackers of docs/threats.md, in its order, and what each has. A test compares them with that page.
THIEF = "thief of the file"
ATTACKERS = {
    THIEF: "artefacts, all source, the family's spec, labelled data",
    "thief of many files": "artefacts of one device, of one model for many devices, versions of a model",
    "owner of the chip": "a right device, every port, any packets, a clock",
    "whoever runs it": "the device, every day, and the artefact",
    "whoever uses it next": "the device after a reset or an error",
    "counterfeiter": "the root secret, and chips that compute or pace otherwise; a faithful copy of the chip works by design",
    "counterfeiter without the root secret": "the RTL, and chips like the right one, without the root secret",
}


class Standing(StrEnum):
    """How a lock stands against an attacker: the first of these that any of his findings shows."""

    FALLS = "falls"
    VOID = "void"
    CONCEDED = "conceded"
    HOLDS = "holds"
    NOT_APPLICABLE = "not applicable"
    UNTESTED = "not tested"


#: Locks that may be bought, the better ones first.
_BUYABLE = (Standing.HOLDS, Standing.CONCEDED)


@dataclass(frozen=True)
class Lock:
    """One lock with all cases it was tried on."""

    spec: str
    vault: str
    fingerprint: str
    transform: str
    soft: str
    cases: tuple[Case, ...]

    @property
    def name(self) -> str:
        """Fingerprint x transform, and the vault, which decides most of what a lock is worth."""
        if self.fingerprint == "puf" and not self.is_lock:
            return f"puf alone (a root secret, no lock) on {self.spec}"
        hard = " x ".join(part for part in (self.fingerprint, self.transform) if part and part != "none")
        parts = [hard, f"soft {self.soft}" if self.soft else ""]
        vault = "" if self.vault in ("", "none") else f", vault {self.vault}"
        return (
            " + ".join(part for part in parts if part) + f"{vault} on {self.spec}" if any(parts) else f"no lock on {self.spec}"
        )

    @property
    def levels(self) -> tuple[Claim, ...]:
        """Of its claims; of one lock they should be one."""
        return tuple(dict.fromkeys(case.level for case in self.cases))

    @property
    def holds(self) -> tuple[str, ...]:
        """What an attacker has, in words."""
        return tuple(dict.fromkeys(case.holds for case in self.cases))

    @property
    def is_lock(self) -> bool:
        """False for an unlocked network, which is there for comparison, and for a root secret that locks nothing yet."""
        return bool(self.soft) or self.transform not in ("", "none")

    def lost(self) -> float | None:
        """Most accuracy lost against the unlocked twin on any network, 0..1; None: no twin was trained."""
        lost = [case.twin - case.authorised for case in self.cases if case.twin is not None]
        return max(lost) if lost else None

    def overhead(self, measure: str) -> float | None:
        """Greatest share that a measure of `Cost` (`lut4`, `cycles`, `bytes`) exceeds the twin's by; None: not measured."""
        found = [overhead(case.cost, measure) for case in self.cases if case.cost]
        known = [value for value in found if value is not None]
        return max(known) if known else None


def overhead(cost: Cost, measure: str) -> float | None:
    """Share by which a measure (`lut4`, `cycles`, `bytes`) exceeds the unlocked twin's; None: not measured."""
    locked, twin = getattr(cost, measure), getattr(cost, f"{measure}_twin")
    return None if locked is None or not twin else locked / twin - 1


@dataclass(frozen=True)
class Judgement:
    """All that is said of locks and attackers, worked out when it is asked for."""

    results: Results

    @cached_property
    def locks(self) -> tuple[Lock, ...]:
        """In the order of their first cases."""
        kinds: dict[tuple[str, str, str, str, str], list[Case]] = {}
        for case in self.results.cases:
            kinds.setdefault((case.spec, case.vault, case.fingerprint, case.transform, case.soft), []).append(case)
        return tuple(Lock(*kind, tuple(cases)) for kind, cases in kinds.items())

    @cached_property
    def attackers(self) -> tuple[str, ...]:
        """Those of docs/threats.md, tested or not, then any others."""
        return tuple(dict.fromkeys([*ATTACKERS, *(finding.attacker for finding in self.attacks)]))

    @cached_property
    def attacks(self) -> tuple[Finding, ...]:
        """Findings that judge a lock: all but the controls."""
        return tuple(finding for finding in self.results.findings if not finding.control)

    def on(self, lock: Lock) -> tuple[Finding, ...]:
        """Findings on any case of a lock."""
        cases = {case.id for case in lock.cases}
        return tuple(found for found in self.attacks if found.case in cases)

    def against(self, lock: Lock, attacker: str) -> tuple[Finding, ...]:
        """Findings of an attacker on any case of a lock."""
        return tuple(found for found in self.on(lock) if found.attacker == attacker)

    @cached_property
    def _controls(self) -> dict[str, list[Finding]]:
        controls: dict[str, list[Finding]] = {}
        for finding in self.results.findings:
            if finding.control and finding.verdict != Verdict.NOT_APPLICABLE:
                controls.setdefault(finding.attack, []).append(finding)
        return controls

    def controls(self, finding: Finding) -> tuple[Finding, ...]:
        """Runs of its attack on weak locks: on the same network if there are any, on others if not."""
        runs, case = self._controls.get(finding.attack, []), self.results.case(finding.case)
        near = [run for run in runs if (other := self.results.case(run.case)) and case and _where(other) == _where(case)]
        return tuple(near or runs)

    def proven(self, finding: Finding) -> bool:
        """Every control of its attack was broken, and there is one: that it failed means something."""
        controls = self.controls(finding)
        return bool(controls) and all(control.verdict == Verdict.BROKEN for control in controls)

    def standing_of(self, finding: Finding) -> Standing:
        """Of one finding. Also of what is conceded the price, or a part that was not got, wants an attack that works."""
        if finding.verdict in (Verdict.HOLDS, Verdict.CONCEDED) and not self.proven(finding):
            return Standing.VOID
        return {
            Verdict.BROKEN: Standing.FALLS,
            Verdict.HOLDS: Standing.HOLDS,
            Verdict.CONCEDED: Standing.CONCEDED,
            Verdict.NOT_APPLICABLE: Standing.NOT_APPLICABLE,
            Verdict.VOID: Standing.VOID,
        }[finding.verdict]

    def standing(self, lock: Lock, attacker: str) -> Standing:
        """The worst of an attacker's findings on any network."""
        found = {self.standing_of(finding) for finding in self.against(lock, attacker)}
        return next((standing for standing in Standing if standing in found), Standing.UNTESTED)

    def attackers_at(self, lock: Lock, standing: Standing) -> tuple[str, ...]:
        """Attackers against whom a lock stands so."""
        return tuple(attacker for attacker in self.attackers if self.standing(lock, attacker) == standing)

    def short(self, lock: Lock) -> str:
        """Its name without its family, where that tells no two apart."""
        names = [other.name.partition(" on ")[0] for other in self.locks]
        return lock.name.partition(" on ")[0] if len(set(names)) == len(names) else lock.name

    def sound(self, lock: Lock) -> bool:
        """Whether its RTL is what was emulated, as far as that was measured."""
        return not {case.id for case in lock.cases} & {case.id for case in self.differing}

    def falls_to(self, lock: Lock) -> tuple[str, ...]:
        """Attackers who broke it."""
        return self.attackers_at(lock, Standing.FALLS)

    def stops(self, lock: Lock) -> tuple[str, ...]:
        """Attackers who got nothing of it, by attacks that are proven, nothing conceded."""
        return self.attackers_at(lock, Standing.HOLDS)

    def advice(self, attacker: str) -> Lock | None:
        """The lock to buy: stands best against him, falls to fewest others, concedes least, is cheapest. None: none stands.

        Never one whose RTL is not what was emulated.
        """
        sound = [lock for lock in self.locks if lock.is_lock and self.sound(lock)]
        able = [lock for lock in sound if self.standing(lock, attacker) in _BUYABLE]
        return min(able, key=lambda lock: self._rank(lock, attacker), default=None)

    def _rank(self, lock: Lock, attacker: str) -> tuple[int, int, int, float, float, str]:
        conceded = [found for found in self.against(lock, attacker) if found.verdict == Verdict.CONCEDED]
        area, lost = lock.overhead("lut4"), lock.lost()
        far = float("inf")  # what was not measured is not cheap
        return (
            _BUYABLE.index(self.standing(lock, attacker)),
            len(self.falls_to(lock)),
            len({found.attack for found in conceded}),
            far if area is None else area,
            far if lost is None else lost,
            lock.name,
        )

    @cached_property
    def ranked(self) -> tuple[Lock, ...]:
        """Locks, the best first: stop most attackers, fall to fewest, concede something to fewest.

        What nobody tried is nothing that a lock stops, so a lock that was hardly attacked stands behind one that was.
        """

        def rank(lock: Lock) -> tuple[int, int, int]:
            return -len(self.stops(lock)), len(self.falls_to(lock)), len(self.attackers_at(lock, Standing.CONCEDED))

        return tuple(sorted((lock for lock in self.locks if lock.is_lock), key=rank))

    @cached_property
    def failed_controls(self) -> tuple[Finding, ...]:
        """Attacks that did not break what was made to be broken."""
        return tuple(run for runs in self._controls.values() for run in runs if run.verdict != Verdict.BROKEN)

    @cached_property
    def without_control(self) -> tuple[str, ...]:
        """Attacks that failed on a lock, and were run on no weak one."""
        void = [found for found in self.attacks if self.standing_of(found) == Standing.VOID and not self.controls(found)]
        return tuple(dict.fromkeys(found.attack for found in void))

    @cached_property
    def untested(self) -> tuple[str, ...]:
        """Attackers of docs/threats.md whom nobody played."""
        return tuple(name for name in self.attackers if not any(found.attacker == name for found in self.attacks))

    @cached_property
    def differing(self) -> tuple[Case, ...]:
        """Cases where the RTL is not the emulator, or takes other clocks than the timing law says."""
        return tuple(case for case in self.results.cases if _differs(case))


def worst_first(judgement: Judgement, findings: Iterable[Finding]) -> list[Finding]:
    """Negative results first; then in the order of attackers, for their gains are in different units; then by gain."""
    order, attackers = list(Standing), judgement.attackers

    def place(found: Finding) -> tuple[int, int, float]:
        return order.index(judgement.standing_of(found)), attackers.index(found.attacker), -(found.gain or 0)

    return sorted(findings, key=place)


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (cost, strength) those that no other point beats in one and equals in the other, by cost."""
    kept: list[tuple[float, float]] = []
    for cost, strength in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not kept or strength > kept[-1][1]:
            kept.append((cost, strength))
    return kept


def _where(case: Case) -> tuple[str, str]:
    return case.data, case.network


def _differs(case: Case) -> bool:
    checked = case.verification
    paced = any(tile.predicted != tile.measured for tile in case.cycles)
    return paced or bool(checked and (checked.wrong_bits or checked.wrong_cycles))
