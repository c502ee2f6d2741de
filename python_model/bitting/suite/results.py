"""From results of jobs to findings: `results.json`, which the report reads. docs/attacks.md says the format."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bitting.suite.attack import Attack, Said, Verdict
from bitting.suite.cases import Case
from bitting.suite.efforts import Effort
from bitting.suite.folder import RunFolder
from bitting.suite.jobs import Answer, Job

FORMAT = "bitting attack suite 1"
#: Facts of a case that attacks find out, with what stands where none did.
#: Verdicts of a control after which an attack may be believed.
_SOUND = (Verdict.BROKEN, Verdict.NOT_APPLICABLE)
_FACTS: dict[str, Any] = {"verification": None, "targets": [], "cycles": [], "cost": None}


@dataclass(frozen=True)
class Source:
    """An attack on a case, with its jobs."""

    attack: Attack
    case: Case
    jobs: Sequence[Job]


def results_of(
    made: Mapping[str, Any], cases: Sequence[Case], sources: Sequence[Source], folder: RunFolder, command: str, effort: Effort
) -> dict[str, Any]:
    """Everything that is known so far; an attack without all of its jobs, or without those of its control, is left out."""
    answers = {
        (source.attack.name, source.case.id): [folder.read(job) for job in source.jobs]
        for source in sources
        if source.jobs and all(folder.done(job) for job in source.jobs)
    }
    controls = {case.group: case.id for case in cases if case.control}
    said: dict[tuple[str, str], Said] = {}
    findings = []
    facts: dict[str, dict[str, Any]] = {case.id: {} for case in cases}
    for source in sorted(sources, key=lambda one: not one.case.control):
        name, case = source.attack.name, source.case
        key, control = (name, case.id), (name, controls.get(case.group, case.id))
        if key not in answers or control not in answers:
            continue
        judged = source.attack.judge(case, answers[key], answers[control])
        said[key] = judged
        facts[case.id] |= judged.case_facts
        broken = said[control].verdict in _SOUND
        findings.append(_finding(source, judged, answers[key], broken, command, effort))
    return {
        "format": FORMAT,
        "made": dict(made),
        "cases": [_case(case, facts[case.id], effort) for case in cases],
        "findings": findings,
    }


def void(results: Mapping[str, Any]) -> list[str]:
    """Names of the attacks that could not break their control."""
    return sorted({one["attack"] for one in results["findings"] if one["control"] and one["verdict"] not in _SOUND})


def _case(case: Case, facts: Mapping[str, Any], effort: Effort) -> dict[str, Any]:
    told = case.to_dict()
    del told["digest"]
    return _finite({**told, "seeds": [effort.seed], **_FACTS, **facts})


def _finding(
    source: Source, said: Said, answers: Sequence[Answer], control_broken: bool, command: str, effort: Effort
) -> dict[str, Any]:
    attack, case = source.attack, source.case
    verdict, summary = said.verdict, said.summary
    if not control_broken:
        verdict = verdict if case.control or verdict is Verdict.NOT_APPLICABLE else Verdict.VOID
        summary = f"The attack could not break its control, so this says nothing. {summary}"
    options = f"--suite {effort.suite} --seed {effort.seed}" + ("" if effort.rtl else " --no-rtl")
    return _finite(
        {
            "case": case.id,
            "attack": attack.name,
            "chapter": attack.chapter,
            "attacker": attack.attacker,
            "control": case.control,
            "verdict": verdict.value,
            "gain": said.gain,
            "unit": attack.unit,
            "summary": summary,
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
