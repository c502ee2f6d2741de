"""docs/locks.md says what docs/attacks.json holds, and that is what a suite wrote, thinner."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bitting.report import locks_page, reading
from bitting.report.verdicts import Judgement, Standing
from bitting.suite.format import Verdict
from tb import suite_results
from tb.suite_results import case, finding

ROOT = Path(__file__).parents[2]
DATA, PAGE = ROOT / "docs" / "attacks.json", ROOT / "docs" / "locks.md"


def test_the_page_is_made_of_the_committed_results():
    page = PAGE.read_text()
    assert page.count(locks_page.BEGIN) == page.count(locks_page.END) == 1
    assert locks_page.rewritten(page, reading.read(DATA)) == page, "scripts/locks_page.py makes it again"


def test_a_changed_result_changes_the_page():
    results = reading.read(DATA)
    first = next(number for number, found in enumerate(results.findings) if found.verdict == Verdict.HOLDS)
    findings = [replace(found, verdict=Verdict.BROKEN) if at == first else found for at, found in enumerate(results.findings)]
    page = PAGE.read_text()
    assert locks_page.rewritten(page, replace(results, findings=tuple(findings))) != page


def test_the_committed_results_are_whole_small_and_of_no_machine():
    text = DATA.read_text()
    assert len(text) < 300_000 and str(ROOT) not in text and "/home/" not in text and "/tmp/" not in text
    results = reading.read(DATA)
    judgement = Judgement(results)
    assert results.made.unfinished == 0 and "dirty" not in results.made.commit
    assert not judgement.failed_controls and not judgement.without_control and not judgement.differing
    assert not judgement.untested, "every attacker of docs/threats.md is played"
    assert all(found.command in locks_page.section(results).replace("\\", "") for found in results.findings)


def test_locks_are_ranked_by_whom_they_stop_then_whom_they_fall_to(tmp_path):
    names = ("falls", "holds", "conceded", "untried", "mixed")
    cases = {name: case("mlp", "clock", name) for name in names}
    findings = [
        finding(cases["falls"], "one", "broken"), finding(cases["holds"], "one", "holds"),
        finding(cases["conceded"], "one", "conceded"), finding(cases["mixed"], "one", "holds"),
        finding(cases["mixed"], "one", "broken", attacker="owner of the chip"),
        finding("a weak lock", "one", "broken", control=True),
    ]  # fmt: skip
    data = suite_results.results() | {"cases": list(cases.values()), "findings": findings}
    judgement = Judgement(reading.read(suite_results.write(tmp_path, data)))
    assert [lock.transform for lock in judgement.ranked] == ["holds", "mixed", "untried", "conceded", "falls"]
    assert judgement.standing(judgement.ranked[2], "thief of the file") == Standing.UNTESTED


def test_what_is_thinned_is_read_as_the_whole(tmp_path):
    """The same cases and verdicts, fewer points, the outermost among them."""
    data = suite_results.results()
    many = [float(number) for number in range(1000)]
    data["findings"][0]["figures"] = [
        {
            "kind": "histogram",
            "title": "h",
            "x": "x",
            "y": "y",
            "series": [{"name": "s", "role": "lock", "values": many[::-1]}],
        },
        {"kind": "curve", "title": "c", "x": "x", "y": "y", "series": [{"name": "s", "role": "lock", "x": many, "y": many}]},
    ]
    whole = reading.read(suite_results.write(tmp_path, data))
    path = tmp_path / "thin.json"
    path.write_text(locks_page.thinned(data))
    thin = reading.read(path)
    assert [found.summary for found in thin.findings] == [found.summary for found in whole.findings]
    assert [one.id for one in thin.cases] == [one.id for one in whole.cases]
    histogram, curve = (figure.series[0] for figure in thin.findings[0].figures)
    assert len(histogram.values) == len(curve.x) == 24 and (histogram.values[0], histogram.values[-1]) == (0, 999)
    assert curve.x == curve.y and (curve.x[0], curve.x[-1]) == (0, 999)
    assert len(path.read_text()) < len(json.dumps(data))


@pytest.mark.parametrize("standing", list(Standing))
def test_every_standing_has_words_on_the_page(standing):
    """None is left out of the ranking but that an attack had nothing to work on."""
    assert standing in locks_page._COLUMNS or standing == Standing.NOT_APPLICABLE
