"""Every attack breaks its control, and gets nothing of a sealed program but what is conceded."""

import math
from dataclasses import replace

import pytest

from bitting.report import reading
from bitting.report.verdicts import Judgement
from bitting.suite.attack import Attack, Said
from bitting.suite.chapters import fine_tuning
from bitting.suite.folder import RunFolder
from bitting.suite.format import Verdict
from bitting.suite.jobs import Answer, Job, Outcome
from bitting.suite.registry import ATTACKS, attack_named
from bitting.suite.results import Source, results_of, void
from bitting.suite.runner import Task, execute
from bitting.suite.suite import Run

#: Whose controls are chips, on the RTL: see `test_ports_on_the_rtl`.
ON_RTL = ("port attacks", "residue", "chip without the secret")
NAMES = [attack.name for attack in ATTACKS if attack.name not in ON_RTL]


@pytest.fixture(scope="module")
def said(cases, files, effort):
    """Called with an attack and a case: what it says of it; jobs are run once."""
    run = Run({case: files.get(name, files["open"]) for name, case in cases.items()}, effort)
    done: dict[str, Answer] = {}

    def answers(attack, case):
        for job in run.jobs(attack, case):
            if job.id not in done:
                at = next(one for one in run.cases if one.id == job.case)
                finished = execute(Task(job, at, run.cases[at]))
                done[job.id] = Answer(job.parameters, finished.outcome.values, finished.outcome.measured, finished.seconds)
        return [done[job.id] for job in run.jobs(attack, case)]

    def judged(name, case):
        attack = attack_named(name)
        own = answers(attack, cases[case])
        return attack.judge(cases[case], own, answers(attack, cases["open"])) if own else None

    return judged


@pytest.mark.parametrize("name", NAMES)
def test_every_attack_breaks_its_control(said, name):
    found = said(name, "open")
    assert found.verdict is Verdict.BROKEN, found.summary


@pytest.mark.parametrize("name", NAMES)
def test_a_sealed_program_tells_nothing_that_is_not_conceded(said, name):
    found = said(name, "sealed")
    assert found is None or found.verdict in (Verdict.HOLDS, Verdict.CONCEDED), found.summary
    conceded = {"screening", "weights through cycles", "table from time", "questions and answers"}
    assert found is None or (found.verdict is Verdict.CONCEDED) == (name in conceded)


def test_the_locks_of_the_paper_fall_where_they_are_known_to(said):
    assert said("permutation alignment", "shuffle").verdict is Verdict.BROKEN
    assert said("alignment of two copies", "shuffle").verdict is Verdict.HOLDS
    for case in ("shuffle", "aes-pre"):
        assert said("screening", case).verdict is Verdict.BROKEN
    assert said("wrong keys", "aes-pre").verdict is Verdict.HOLDS
    assert said("helper data", "puf").verdict is Verdict.HOLDS


def test_all_wrong_devices_refuse_a_sealed_program(said):
    found = said("wrong keys", "sealed")
    assert "All 168 wrong devices refused" in found.summary and found.gain == 0


@pytest.mark.slow
def test_ports_on_the_rtl(cases, files, effort):
    """The vault `aes` gives everything, an unsealed device its table, a sealed one nothing; RTL and law agree in every tile."""
    run = Run({cases[name]: files[name] for name in ("open", "sealed", "aes-pre")}, replace(effort, rtl=True, samples=48))
    inputs = attack_named("inputs through time")
    verdicts, attackers = {}, {}
    for attack in map(attack_named, (*ON_RTL, "counterfeits with a made-up challenge")):
        attackers[attack.name] = attack.attacker
        for name in ("open", "sealed", "aes-pre"):
            case = cases[name]
            found = [execute(Task(job, case, files[name])).outcome for job in run.jobs(attack, case)]
            asked = [
                Answer(job.parameters, one.values, one.measured, 0.0)
                for job, one in zip(run.jobs(attack, case), found, strict=True)
            ]
            told = attack.judge(case, asked, asked)
            verdicts[attack.name, name] = told.verdict
            if attack.name == "port attacks" and name != "open":
                facts = told.case_facts
                assert facts["verification"]["wrong_bits"] == facts["verification"]["wrong_cycles"] == 0
                assert facts["cycles"] and all(tile["predicted"] == tile["measured"] for tile in facts["cycles"])
    holds = {found for found, verdict in verdicts.items() if verdict is Verdict.HOLDS}
    assert holds == {(name, "sealed") for name in attackers} | {("chip without the secret", "aes-pre")}
    assert set(verdicts.values()) == {Verdict.HOLDS, Verdict.BROKEN}
    assert list(attackers.values()) == [
        "owner of the chip", "whoever uses it next", "counterfeiter without the root secret", "counterfeiter",
    ]  # fmt: skip
    (job,) = run.jobs(inputs, cases["sealed"])
    clocks = execute(Task(job, cases["sealed"], files["sealed"])).outcome.values
    assert len({*clocks["zeros"], *clocks["random"]}) == 1


def test_a_gain_by_chance_does_not_count_and_a_steady_one_does(cases):
    def answers(start, best):
        scopes = dict.fromkeys(("whole model", "last layer"), 0.5)
        return [
            Answer({"start": start, "share": 0.1, "repeat": n}, {"best": value, "scopes": scopes}, {}, 0.0)
            for n, value in enumerate(best)
        ]

    scratch = [*answers("random weights", [0.5] * 5), *answers("random codes", [0.4] * 5)]
    judge = fine_tuning.FineTuning().judge
    steady = judge(cases["sealed"], answers("stolen", [0.52, 0.53, 0.52, 0.53, 0.52]), scratch)
    assert steady.verdict is Verdict.BROKEN and steady.gain == pytest.approx(0.024)
    assert judge(cases["sealed"], answers("stolen", [0.7, 0.4, 0.6, 0.45, 0.47]), scratch).verdict is Verdict.HOLDS
    small = judge(cases["sealed"], answers("stolen", [0.503] * 5), scratch)
    assert small.verdict is Verdict.HOLDS, "half a point is allowed"


class Blunt(Attack):
    """Says of controls what it is told to, and that locks hold."""

    name, chapter, attacker, unit = "blunt", "none", "nobody", "nothing"

    def __init__(self, control):
        self.control = control

    def parts(self, case, effort):
        return [{"a": 1}]

    def run(self, material, parameters, seed):
        return Outcome({})

    def judge(self, case, own, control):
        return Said(self.control[case.group] if case.control else Verdict.HOLDS, "Nothing.", math.nan)


BROKEN, HOLDS, NONE = Verdict.BROKEN, Verdict.HOLDS, Verdict.NOT_APPLICABLE


@pytest.mark.parametrize(
    ("near", "far", "verdict", "said"),
    [
        (BROKEN, BROKEN, "holds", "Nothing."),
        (BROKEN, HOLDS, "holds", "Nothing."),
        (HOLDS, BROKEN, "void", "The attack could not break its control, so this says nothing. Nothing."),
        (NONE, BROKEN, "holds", "Nothing."),
        (NONE, HOLDS, "void", "The attack could not break its control, so this says nothing. Nothing."),
        (NONE, NONE, "void", "No weak lock could be tried with the attack, so this says nothing. Nothing."),
    ],
)
def test_an_attack_that_did_not_break_its_control_says_nothing(cases, effort, tmp_path, near, far, verdict, said):
    """And the report comes to the same, by its own rule, whatever the suite wrote there."""
    other = replace(cases["open"], id="digits/another/none", network="another")
    tried = [cases["open"], cases["sealed"], other]
    folder, attack = RunFolder(tmp_path, {}), Blunt({cases["open"].group: near, other.group: far})
    sources = []
    for case in tried:
        job = Job.of(attack.name, case.id, {"a": 1}, 0)
        folder.write(job, Outcome({}), 1.0)
        sources.append(Source(attack, case, [job]))
    made = {"version": "0", "suite": "digits", "started": "now", "seconds": 1, "tools": {}}
    results = results_of(made, tried, sources, folder, "bitting", effort)
    lock = next(one for one in results["findings"] if not one["control"])
    assert (lock["verdict"], lock["summary"]) == (verdict, said)
    assert void(results) == (["blunt"] if HOLDS in (near, far) else [])
    assert lock["gain"] is None, "JSON has no word for what is no number"
    written = lock["verdict"]
    for one in (written, "holds"):
        lock["verdict"] = one
        folder.write_results(results)
        judgement = Judgement(reading.read(tmp_path))
        (found,) = judgement.attacks
        assert judgement.standing_of(found) == written
