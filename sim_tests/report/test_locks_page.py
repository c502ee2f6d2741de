"""Pages of the docs say what the committed results hold, and that is what a suite wrote, thinner."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bitting.report import locks_page, reading
from bitting.report.results import Results
from bitting.report.verdicts import Judgement, Standing
from bitting.suite.format import Verdict
from tb import suite_results
from tb.suite_results import case, finding

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
#: File names of results by the pages that are made of them.
PAGES = {page: found for page in sorted(DOCS.glob("*.md")) if (found := locks_page.sources(page.read_text()))}
COMMITTED = sorted(DOCS.glob("attacks*.json"))


def committed(name: str) -> Results:
    """Results in the docs."""
    return reading.read(DOCS / name)


def test_every_committed_result_is_on_a_page():
    assert sorted(name for names in PAGES.values() for name in names) == [path.name for path in COMMITTED]
    assert PAGES[DOCS / "locks.md"] == ["attacks.json"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_made_of_the_committed_results(page):
    assert locks_page.rewritten(page.read_text(), committed) == page.read_text(), "scripts/locks_page.py makes it again"


def test_a_changed_result_changes_the_page():
    results, page = committed("attacks.json"), (DOCS / "locks.md").read_text()
    first = next(number for number, found in enumerate(results.findings) if found.verdict == Verdict.HOLDS)
    findings = [replace(found, verdict=Verdict.BROKEN) if at == first else found for at, found in enumerate(results.findings)]
    changed = replace(results, findings=tuple(findings))
    assert locks_page.rewritten(page, lambda _: changed) != page == locks_page.rewritten(page, lambda _: results)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_results_are_whole_small_and_of_no_machine(path):
    text, results = path.read_text(), committed(path.name)
    assert len(text) < 300_000 and str(ROOT) not in text and "/home/" not in text and "/tmp/" not in text
    judgement = Judgement(results)
    assert results.made.unfinished == 0 and "dirty" not in results.made.commit
    assert not judgement.failed_controls and not judgement.without_control and not judgement.differing
    # A control of what no lock of the run can be tried with (two shuffled copies, where none is shuffled) says nothing there.
    tried = {found.attack for found in results.findings if not found.control}
    page = locks_page.section(results).replace("\\", "")
    assert tried and all(found.command in page for found in results.findings if found.attack in tried)


def test_every_attacker_is_played():
    """On the data set of `make report`; each of docs/threats.md."""
    assert not Judgement(committed("attacks.json")).untested


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
    assert len(histogram.values) == len(curve.x) == 8 and (histogram.values[0], histogram.values[-1]) == (0, 999)
    assert curve.x == curve.y and (curve.x[0], curve.x[-1]) == (0, 999)
    assert len(path.read_text()) < len(json.dumps(data))


@pytest.mark.parametrize("standing", list(Standing))
def test_every_standing_has_words_on_the_page(standing):
    """None is left out of the ranking but that an attack had nothing to work on."""
    assert standing in locks_page._COLUMNS or standing == Standing.NOT_APPLICABLE
