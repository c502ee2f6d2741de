"""Files of results: what a suite writes is read as it is, and anything else ends in one line that says what is wrong."""

import copy
import json

import pytest

from bitting.errors import ResultsError
from bitting.report import reading
from bitting.report.results import Claim
from bitting.suite.format import Verdict
from tb import suite_results
from tb.command import bitting, error_of

#: A place in the file, by keys and indices; a value that must not stand there; and what the error says.
WRONG: list[tuple[tuple[str | int, ...], object, str]] = [
    (("format",), "bitting attack suite 2", "format is 'bitting attack suite 2'; allowed is 'bitting attack suite 1'"),
    (("made",), None, "made is None; allowed is an object"),
    (("made", "seconds"), -1, "made.seconds is -1; allowed is a number from 0"),
    (("made", "tools"), ["a"], "made.tools is ['a']; allowed is an object"),
    (("cases",), {}, "cases is {}; allowed is a list"),
    (("cases", 0), 3, "cases[0] is 3; allowed is an object"),
    (("cases", 1, "id"), "invented/mlp/ascon/clock/sealed-clocked", "cases[0] has this one"),
    (("cases", 0, "id"), "", "cases[0].id is ''; allowed is a text of 1 to"),
    (("cases", 0, "level"), "silicon", "cases[0].level is 'silicon'; allowed is one of family, key, die, none"),
    (("cases", 0, "authorised"), 91, "cases[0].authorised is 91; allowed is a number from 0 to 1"),
    (("cases", 0, "authorised"), True, "cases[0].authorised is True"),
    (("cases", 0, "chance"), "0.1", "cases[0].chance is '0.1'"),
    (("cases", 0, "targets", 2, "metric"), float("nan"), "cases[0].targets[2].metric is nan"),
    (("cases", 0, "targets", 2, "held_out"), 1, "cases[0].targets[2].held_out is 1; allowed is true or false"),
    (("cases", 0, "cycles", 0, "measured"), 1.5, "cases[0].cycles[0].measured is 1.5; allowed is a whole number"),
    (("cases", 0, "verification", "wrong_bits"), -1, "wrong_bits is -1; allowed is a whole number, 0 or more"),
    (("cases", 0, "cost", "lut4"), float("inf"), "cases[0].cost.lut4 is inf"),
    (("findings", 0, "case"), "another", "findings[0].case is 'another'; allowed is the id of a case"),
    (
        ("findings", 0, "verdict"),
        "won",
        "findings[0].verdict is 'won'; allowed is one of holds, broken, conceded, not applicable, void",
    ),
    (("findings", 0, "control"), None, "findings[0].control is None; allowed is true or false"),
    (("findings", 0, "gain"), 10**301, "findings[0].gain is 1000"),
    (("findings", 0, "summary"), "x" * 30_000, "findings[0].summary is 'xxx"),
    (("findings", 0, "figures", 0, "kind"), "pie", "kind is 'pie'; allowed is one of curve, histogram, roc, scatter, table"),
    (("findings", 0, "figures", 0, "series", 0, "role"), "me", "role is 'me'; allowed is one of lock, control, baseline"),
    (("findings", 0, "figures", 0, "series", 0, "y"), [1, 2], "y is [1, 2]; allowed is as many numbers as x has, 6"),
    (("findings", 0, "figures", 0, "series", 0, "x"), [[1]], "x[0] is [1]; allowed is a number"),
    (("findings", 11, "figures", 1, "columns"), [], "columns is []; allowed is a list of one column or more"),
    (("findings", 11, "figures", 1, "rows", 0), [1], "rows[0] is [1]; allowed is a list of 5 cells"),
    (("findings", 11, "figures", 1, "rows", 0), [1, 2, 3, 4, {}], "rows[0][4] is {}; allowed is a number"),
]


def test_what_a_suite_writes_is_read_as_it_is(tmp_path):
    data = suite_results.results()
    read = reading.read(suite_results.write(tmp_path, data))
    assert [case.id for case in read.cases] == [case["id"] for case in data["cases"]]
    first, given = read.cases[0], data["cases"][0]
    assert (first.authorised, first.level, first.seeds) == (given["authorised"], Claim.KEY, ("1", "2", "3"))
    assert first.cost and first.cost.lut4_twin == given["cost"]["lut4_twin"]
    assert first.verification and first.verification.more == {"tiles": "202"}
    assert [finding.summary for finding in read.findings] == [finding["summary"] for finding in data["findings"]]
    curve, written = read.findings[0].figures[0], data["findings"][0]["figures"][0]
    assert [list(series.y) for series in curve.series] == [series["y"] for series in written["series"]]
    assert read.findings[1].verdict == Verdict.BROKEN
    assert read == reading.read(tmp_path / "results.json"), "the file itself may be named too"


@pytest.mark.parametrize(
    ("place", "value", "said"), WRONG, ids=lambda item: ".".join(map(str, item))[:40] if isinstance(item, tuple) else ""
)
def test_a_wrong_field_is_named_with_what_is_allowed(tmp_path, place, value, said):
    data = copy.deepcopy(suite_results.results())
    inside = data
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    with pytest.raises(ResultsError) as error:
        reading.read(suite_results.write(tmp_path, data))
    assert said in str(error.value) and "have the attack suite write it again" in str(error.value), str(error.value)


@pytest.mark.parametrize("name", ["format", "made", "cases", "findings"])
def test_a_missing_field_is_named(tmp_path, name):
    data = suite_results.results()
    del data[name]
    with pytest.raises(ResultsError, match=f"{name} is missing"):
        reading.read(suite_results.write(tmp_path, data))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "byte 0 is not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"format": "bitting attack suite 1", "made": {"budget": ' + b"[" * 900 + b"]" * 900 + b"}}", ""),
        (b'{"format": "a", "format": "b"}', "the field 'format' stands twice"),
        (b"1" * 5000, "is not JSON"),
        (b"null", "the whole file is None; allowed is an object"),
        (b'{"format": NaN}', "format is nan"),
        (b'"\\ud800"', "the whole file is"),
    ],
)
def test_what_is_no_file_of_results_ends_in_one_line(tmp_path, text, said):
    (tmp_path / "results.json").write_bytes(text)
    before = sorted(tmp_path.iterdir())
    assert said in error_of("report", tmp_path, "-o", tmp_path / "report.md")
    assert sorted(tmp_path.iterdir()) == before, "nothing is left half-written"


def test_a_run_that_is_not_there_and_a_suffix_that_is_none_are_named(tmp_path):
    assert "No such file" in error_of("report", tmp_path / "none", "-o", tmp_path / "report.md")
    assert "allowed are .html, .md, .json, .pdf" in error_of("report", tmp_path, "-o", tmp_path / "report.txt")
    assert not list(tmp_path.iterdir())


def test_a_file_that_could_not_be_replaced_stays(tmp_path):
    suite_results.write(tmp_path, suite_results.results())
    (tmp_path / "report.md").mkdir()
    assert "can not write" in error_of("report", tmp_path, "-o", tmp_path / "report.md")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.md", "results.json"]


def test_the_command_prints_and_returns_what_it_wrote(tmp_path):
    suite_results.write(tmp_path, suite_results.results())
    said = bitting("report", tmp_path, "-o", tmp_path / "report.md").stdout
    assert "clock x shuffle" in said and str(tmp_path / "report.md") in said.replace("\n", "")
    printed = json.loads(bitting("report", tmp_path, "-o", tmp_path / "report.json", "--json").stdout)
    assert printed == json.loads((tmp_path / "report.json").read_text())


def test_letters_that_change_how_others_are_read_are_written_out(tmp_path):
    data = suite_results.results()
    data["findings"][0]["summary"] = "up \u202edown \ud800 \x07"
    assert reading.read(suite_results.write(tmp_path, data)).findings[0].summary == "up \\u202edown \\ud800 \\x07"
