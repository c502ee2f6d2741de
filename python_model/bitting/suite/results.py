"""From results of jobs to findings: `results.json`, which the report reads. docs/attacks.md says the format."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bitting.suite.attack import Attack, Said
from bitting.suite.cases import Case
from bitting.suite.efforts import Effort
from bitting.suite.folder import RunFolder
from bitting.suite.format import FORMAT, Verdict
from bitting.suite.jobs import Answer, Job

#: Facts of a case that attacks find out, with what stands where none did.
_FACTS: dict[str, Any] = {"verification": None, "targets": [], "cycles": []}


@dataclass(frozen=True)
class Source:
    """An attack on a case, with its jobs, and those that it wanted of its control beside what every case has of that."""

    attack: Attack
    case: Case
    jobs: Sequence[Job]
    beside: Sequence[Job] = ()


def results_of(
    made: Mapping[str, Any], cases: Sequence[Case], sources: Sequence[Source], folder: RunFolder, command: str, effort: Effort
) -> dict[str, Any]:
    """Everything that is known so far; an attack without all of its jobs, or without those of its control, is left out."""
    done = {
        (source.attack.name, source.case.id): source
        for source in sources
        if source.jobs and all(folder.done(job) for job in (*source.jobs, *source.beside))
    }
    controls = {case.group: case.id for case in cases if case.control}
    findings = []
    facts: dict[str, dict[str, Any]] = {case.id: {} for case in cases}
    for source in sorted(sources, key=lambda one: not one.case.control):
        name, case = source.attack.name, source.case
        key, control = (name, case.id), (name, controls.get(case.group, case.id))
        if key not in done or control not in done:
            continue
        # A case may want jobs of its control that the control wanted too: each counts once.
        base = {job.id: job for job in (*done[control].jobs, *source.beside)}.values()
        own = [folder.read(job) for job in source.jobs]
        judged = source.attack.judge(case, own, [folder.read(job) for job in base])
        facts[case.id] |= judged.case_facts
        findings.append(_finding(source, judged, own, command, effort))
    _doubt(findings, {case.id: case.group for case in cases})
    return {
        "format": FORMAT,
        "made": dict(made),
        "cases": [_case(case, facts[case.id], effort) for case in cases],
        "findings": findings,
    }


def void(results: Mapping[str, Any]) -> list[str]:
    """Names of the attacks that could not break their control."""
    return sorted({one["attack"] for one in _controls(results["findings"]) if one["verdict"] != Verdict.BROKEN})


def _controls(findings: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of what no weak lock could be made, nothing was tried: such a control counts neither way."""
    return [one for one in findings if one["control"] and one["verdict"] != Verdict.NOT_APPLICABLE]


def _doubt(findings: Sequence[dict[str, Any]], groups: Mapping[str, str]) -> None:
    """That an attack failed, or got what is conceded, counts if it broke all its controls: of the same group, or else others.

    The rule of `bitting.report.verdicts`, so that a report says what its results say.
    """
    tried = _controls(findings)
    for one in findings:
        if one["control"] or one["verdict"] not in (Verdict.HOLDS, Verdict.CONCEDED):
            continue
        runs = [run for run in tried if run["attack"] == one["attack"]]
        runs = [run for run in runs if groups[run["case"]] == groups[one["case"]]] or runs
        if not runs or any(run["verdict"] != Verdict.BROKEN for run in runs):
            why = "The attack could not break its control" if runs else "No weak lock could be tried with the attack"
            one |= {"verdict": Verdict.VOID.value, "summary": f"{why}, so this says nothing. {one['summary']}"}


def _case(case: Case, facts: Mapping[str, Any], effort: Effort) -> dict[str, Any]:
    told, facts = case.to_dict(), dict(facts)
    del told["digest"]
    if told["cost"]:
        told["cost"] |= facts.pop("clocks", {})
    return _finite({**told, "seeds": [effort.seed], **_FACTS, **facts})


def _finding(source: Source, said: Said, answers: Sequence[Answer], command: str, effort: Effort) -> dict[str, Any]:
    attack, case = source.attack, source.case
    options = (
        f"--suite {effort.suite}" + (f" --seed {effort.seed}" if effort.seed else "") + ("" if effort.rtl else " --no-rtl")
    )
    return _finite(
        {
            "case": case.id,
            "attack": attack.name,
            "chapter": attack.chapter,
            "attacker": attack.attacker,
            "control": case.control,
            "weak": attack.weak if case.control else None,
            "verdict": said.verdict.value,
            "gain": said.gain,
            "unit": attack.unit,
            "summary": said.summary,
            "seed": effort.seed,
            "seconds": sum(answer.seconds for answer in answers),
            "guess_operations": said.guess_operations,
            "command": f"{command} {options} --only {shlex.quote(attack.name)} -o RUN",
            "figures": list(said.figures),
        }
    )


def _finite(data: Any) -> Any:
    """The same, with None for what is no number: JSON has no word for that."""
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
