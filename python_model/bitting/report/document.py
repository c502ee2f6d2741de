"""From results to a document: the verdict, the locks, a chapter for each kind of attack, how it was made."""

from __future__ import annotations

from collections.abc import Sequence

from bitting.report import case_charts, charts, numbers, opening, words
from bitting.report.blocks import Block, Command, Document, Entry, Inline, Line, Link, Mark, Section, Strong, Table, Text
from bitting.report.results import Case, Claim, Finding, Results
from bitting.report.verdicts import ATTACKERS, THIEF, Judgement, Standing, worst_first
from bitting.suite.format import Verdict

TITLE = "How strong are these locks?"
#: Chapters in the order of the question that they answer; others follow as they come.
_CHAPTERS = (
    "fine-tuning", "wrong keys", "screening", "key search", "shuffle", "repair", "ports", "questions", "leakage", "helper data",
)  # fmt: skip
_OF_CASES = (
    "case", "what the attacker holds", "level", "right device", "unlocked twin",
)  # fmt: skip
#: Fields of `Cost` with names for people.
_MEASURES = {
    "lut4": "LUT4s", "ff": "flip-flops", "ram_bits": "bits of block RAM", "mhz": "MHz",
    "later": "clocks a batch, on the RTL", "clocks": "clocks until the first batch is answered, on the RTL",
    "cycles": "of these clocks of tiles", "words": "command words until the first answers", "bytes": "bytes of the file",
}  # fmt: skip
_COSTS = (
    ("lut4", "more LUT4s"), ("ff", "more flip-flops"), ("ram_bits", "more block RAM"),
    ("later", "more clocks a batch"), ("clocks", "more clocks until the first answers"),
    ("cycles", "more clocks of tiles until then"), ("words", "more command words until the first answers"),
    ("bytes", "more bytes in the file"),
)  # fmt: skip


def document(results: Results) -> Document:
    """All that a report says, whatever it is written as."""
    judgement, made = Judgement(results), results.made
    commit = f" (commit {made.commit})" if made.commit else ""
    controls = len(results.findings) - len(judgement.attacks)
    lead = (
        f"{_counted(len(results.cases), 'case')} (a lock, or none, on a network), {_counted(len(judgement.attacks), 'attack')} "
        f"on them, and {_counted(controls, 'control')}: these attacks on locks that were made weak on purpose, each described "
        "with its attack. "
        f"Suite {made.suite}, bitting {made.version}{commit}, begun {made.started}."
    )
    parts = [
        *opening.sections(judgement), _locks(judgement), _strength(judgement), _accuracy(results.cases), *_chapters(judgement),
        _cycles(results.cases), _verification(results.cases), _made(results), words.section(),
    ]  # fmt: skip
    return Document(TITLE, lead, tuple(parts))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _locks(judgement: Judgement) -> Section:
    entries: list[Block] = []
    costs = [case.cost for case in judgement.results.cases if case.cost]
    kept = [measure for measure in _MEASURES if any(getattr(cost, measure) is not None for cost in costs)]
    columns = (*_OF_CASES, *(_MEASURES[measure] for measure in kept), *(("engine",) if kept else ()))
    for number, lock in enumerate(judgement.locks, 1):
        rows = tuple(
            (case.id, case.holds, str(case.level), *_trained(case),
             *_costs(case, kept))
            for case in lock.cases
        )  # fmt: skip
        found = judgement.on(lock)
        blocks: list[Block] = [Table(f"Cases of lock {number}", columns, rows)]
        if found:
            blocks.append(_findings_table(judgement, f"Attacks on lock {number}", found))
        marks = _marks(judgement, found) if found or lock.is_lock else ("(for comparison)",)
        title: Line = (f"{number}. {lock.name} ", *marks)
        entries.append(Entry(opening.lock_id(judgement, lock), title, False, tuple(blocks)))
    said = (
        "Costs stand beside those of the same engine and network without a lock, accuracies beside an unlocked twin: the same "
        "network, trained in floating point (fp32), without lock and unit. "
    )
    if missing := [name for measure, name in _MEASURES.items() if measure not in kept]:
        said += f"Not measured here: {', '.join(missing)}. "
    if {"lut4", "mhz"} - set(kept):
        said += "The command bitting synth --spec FAMILY measures area and clock of an engine beside its twin."
    return Section("locks", "The locks", (Text((said if entries else "There are no cases.",)), *entries))


def _trained(case: Case) -> tuple[str, str]:
    """Accuracy on the right device and of the twin; of several trainings also least and greatest."""
    shown = []
    for kept, each in (
        (case.authorised, [item.authorised for item in case.trainings]),
        (case.twin, [item.twin for item in case.trainings]),
    ):
        reach = f" ({len(each)} trainings: {numbers.percent(min(each))} to {numbers.percent(max(each))})" if each else ""
        shown.append(numbers.percent(kept) + reach)
    return shown[0], shown[1]


def _marks(judgement: Judgement, found: Sequence[Finding]) -> Line:
    """The worst of some findings; none if there are none."""
    order = [judgement.standing_of(item) for item in worst_first(judgement, found)]
    return (Mark(order[0]),) if order else (Mark(Standing.UNTESTED),)


def _costs(case: Case, measures: Sequence[str]) -> tuple[str, ...]:
    """Of a case these fields of `Cost`, and the engine; nothing for no fields."""
    cost = case.cost
    if not measures:
        return ()
    if cost is None:
        return ("no lock" if case.level is Claim.NONE else "not measured",) * (len(measures) + 1)
    shown = []
    for measure in measures:
        value, twin = getattr(cost, measure), getattr(cost, f"{measure}_twin")
        beside = f" (twin {numbers.plain(twin)})" if twin is not None else ""
        shown.append("not measured" if value is None else f"{numbers.plain(value)}{beside}")
    return (*shown, cost.device or "not said")


def _strength(judgement: Judgement) -> Section:
    plots = [
        case_charts.pareto(judgement, title, [lock.overhead(measure) for lock in judgement.locks]) for measure, title in _COSTS
    ]
    plots.append(
        case_charts.pareto(judgement, "answers lost, of all", [opening.lost(judgement, lock) for lock in judgement.locks])
    )
    drawn = [plot for plot in plots if plot]
    said = (
        "How many of the attackers a lock stops, by what it costs more than the same network on the same engine without one: "
        "the engine's area after synthesis, clocks and words from the reset until the first batch is answered (a challenge "
        "among them), bytes of the file. A lock that falls to somebody is at no front."
        if drawn
        else "No measure of cost is known of two locks, so nothing is compared."
    )
    return Section("strength", "Cost against strength", (Text((said,)), *drawn))


def _accuracy(cases: Sequence[Case]) -> Section:
    if not cases:
        return Section("accuracy", "Accuracy on the right device and on others", (Text(("There are no cases.",)),))
    tried = [case for case in cases if case.targets]
    entries = [
        Entry(f"targets-{number}", (case.id,), number == 1, (case_charts.targets(case),))
        for number, case in enumerate(tried, 1)
    ]
    said = (
        "What counts is the highest accuracy on hardware that is not meant, above all on what training never saw."
        if tried
        else "No case was tried with other number formats, or pruned: that is for soft locks."
    )
    return Section(
        "accuracy",
        "Accuracy on the right device and on others",
        (Text((said,)), case_charts.accuracies(cases), *entries),
    )


def _chapters(judgement: Judgement) -> list[Section]:
    present = dict.fromkeys(finding.chapter for finding in judgement.results.findings)
    names = [name for name in _CHAPTERS if name in present] + [name for name in present if name not in _CHAPTERS]
    return [_chapter(judgement, number, name) for number, name in enumerate(names, 1)]


def _chapter(judgement: Judgement, number: int, name: str) -> Section:
    """Attacks worst first, then their controls; the worst that has a picture is unfolded."""
    findings = [finding for finding in judgement.results.findings if finding.chapter == name]
    ordered = worst_first(judgement, [item for item in findings if not item.control]) + [
        item for item in findings if item.control
    ]
    unfolded = next((item for item in ordered if item.figures), None)
    entries = [_entry(judgement, item, item is unfolded) for item in ordered]
    table = _findings_table(judgement, f"Findings: {name}", ordered)
    return Section(f"chapter-{number}", name[:1].upper() + name[1:], (table, *entries))


def _findings_table(judgement: Judgement, caption: str, findings: Sequence[Finding]) -> Table:
    rows = [
        (Link(item.attack, opening.entry_id(judgement, item)), _mark(judgement, item), item.case, item.attacker,
         _level(judgement, item), numbers.gain(item.gain, item.unit), item.summary)
        for item in findings
    ]  # fmt: skip
    columns = ("attack", "verdict", "case", "attacker", "level", "gain", "in words")
    return Table(caption, columns, tuple(rows))


def _mark(judgement: Judgement, finding: Finding) -> Inline:
    """Of a control it is said whether it did its work."""
    if not finding.control:
        return Mark(judgement.standing_of(finding))
    if finding.verdict == Verdict.NOT_APPLICABLE:
        return "control: not applicable"
    return "control: broken, as it must" if finding.verdict == Verdict.BROKEN else Strong("control: NOT broken")


def _level(judgement: Judgement, finding: Finding) -> str:
    case = judgement.results.case(finding.case)
    return str(case.level) if case else "none"


def _entry(judgement: Judgement, finding: Finding, unfolded: bool) -> Entry:
    case, controls = judgement.results.case(finding.case), judgement.controls(finding)
    rows: list[tuple[Inline, ...]] = [
        ("lock and network", finding.case),
        ("attacker", finding.attacker),
        ("the weak lock", finding.weak) if finding.control and finding.weak else ("what he holds", _held(finding, case)),
        ("level of the claim", _level(judgement, finding)),
        ("verdict", _mark(judgement, finding)),
    ]
    if finding.gain is not None:
        rows.append(("gain", numbers.gain(finding.gain, finding.unit)))
    if finding.guess_operations is not None:
        rows.append(("operations of one guess", numbers.plain(finding.guess_operations)))
    if not finding.control:
        broken = sum(control.verdict == Verdict.BROKEN for control in controls)
        rows.append(("weak locks it broke", f"{broken} of {len(controls)}" if controls else "none was tried"))
    rows += [("seed", finding.seed or "none"), ("took", numbers.seconds(finding.seconds))]
    facts = Table(f"Facts: {finding.attack}", ("what", "found"), tuple(rows))
    title: Line = (f"{finding.attack} on {finding.case} ", _mark(judgement, finding))
    figures = tuple(charts.of_figure(figure) for figure in finding.figures)
    said = Text((finding.summary,))
    return Entry(opening.entry_id(judgement, finding), title, unfolded, (said, *figures, facts, Command(finding.command)))


def _held(finding: Finding, case: Case | None) -> str:
    """What an attacker has: of a thief what his case says, of others what docs/threats.md says, and that."""
    if case is None:
        return "not said: a weak lock, made for this attack"
    own = ATTACKERS.get(finding.attacker)
    return case.holds if own is None or finding.attacker == THIEF else f"{own}; beside it: {case.holds}"


def _cycles(cases: Sequence[Case]) -> Section:
    timed = [case for case in cases if case.cycles]
    entries = [
        Entry(f"cycles-{number}", (case.id,), number == 1, (case_charts.cycles(case),)) for number, case in enumerate(timed, 1)
    ]
    said = (
        "Clocks of some tiles of a batch, evenly chosen, on the RTL, beside what the timing law says; they must be equal, as "
        "those of all tiles under Verification."
        if timed
        else "No tiles were timed."
    )
    return Section("cycles", "Clocks, predicted and measured", (Text((said,)), *entries))


def _verification(cases: Sequence[Case]) -> Section:
    rows = []
    for case in cases:
        checked = case.verification
        if checked is None:
            rows.append((case.id, "not verified", "", "", ""))
            continue
        more = ", ".join(f"{name} {value}" for name, value in checked.more.items())
        rows.append((case.id, str(checked.samples), str(checked.wrong_bits), str(checked.wrong_cycles), more))
    table = Table("Emulator and RTL", ("case", "samples", "wrong bits", "wrong cycles", "more"), tuple(rows))
    said = (
        "Emulator and RTL are compared by equality: anything but 0 is a fault. Each batch begins with a reset and reports the "
        "clocks of every tile, which takes more of them than what is reckoned as cost."
    )
    return Section("verification", "Verification", (Text((said,)), table))


def _made(results: Results) -> Section:
    made = results.made
    rows = (
        ("bitting", made.version),
        ("commit", made.commit or "not said"),
        ("suite", made.suite),
        ("budget", made.budget or "none"),
        ("seed", made.seed or "none"),
        ("begun (UTC)", made.started),
        ("took, the last command", numbers.seconds(made.seconds)),
        ("took, all jobs one after another", numbers.seconds(made.job_seconds)),
        ("jobs not done", str(made.unfinished)),
        *made.tools.items(),
    )
    said = "Every finding names its seed and the command that makes it again."
    return Section("made", "How this was made", (Text((said,)), Table("Versions and seeds", ("what", "which"), rows)))
