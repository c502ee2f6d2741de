"""The report and its command: judged on boards that chose nothing, the same figures as text, JSON and pictures."""

import json
import xml.dom.minidom
from dataclasses import replace

import numpy as np
import pytest

from bitting.errors import MeasurementError
from bitting.look import puf_charts
from bitting.puf import choice, measurements, pairing, report
from bitting.puf.measurements import Measurements
from bitting.puf.population import Population
from tb.command import bitting


@pytest.fixture(scope="module")
def recorded():
    steps = []
    found = report.make(measurements.recorded(), progress=lambda done, total: steps.append((done, total)))
    assert steps[-1][0] == steps[-1][1] == len(steps)
    return found


def test_the_recorded_boards_are_judged_as_docs_say(recorded):
    """Bounds that a change of code may not pass unseen; the figures themselves are on docs/puf.md."""
    by_name = {one.name: one for one in recorded.candidates}
    none, best = by_name["horizontal, no constants"], recorded.default
    assert none.entropy.corrected < 0.7 < 0.85 < best.entropy.corrected, "constants are worth a quarter of a bit"
    assert by_name["matched by population mean"].worth.conservative < 0.45, "pairs across the die give away the trend"
    assert 0.77 < best.worth.conservative < best.worth.likely < 0.92
    assert recorded.few_constants.accuracy > 0.52, "few calibration boards leave a bias"


def test_averaging_stops_to_help(recorded):
    """Noise has a slow part: 64 reads would make errors an eighth if it had not."""
    rates = {one.reads: one.counted.mean() for one in recorded.rates}
    assert 0.008 < rates[1] < 0.012
    assert rates[64] > rates[1] / 4
    for one in recorded.rates:
        expected, seen = one.tail(report.TAIL_ERRORS)
        assert abs(one.modelled.mean() / one.counted.mean() - 1) < 0.1
        assert abs(seen - expected) < 4 * np.sqrt(expected / recorded.boards), "the tail is as heavy as the model's"
        assert one.deepest.max() < 0.15, "all wrong bits have small margins"


def test_the_choice_meets_the_requirement(recorded):
    best = recorded.best
    assert best is not None and best.failure <= choice.MOST_FAILURES and best.left >= choice.KEY_BITS
    assert recorded.one_block(best)["likely"] < choice.KEY_BITS, "a recorded board holds no whole key"
    row = dict(recorded.failures(best.reads))[best.code]
    assert [unequal for unequal, _ in row] == sorted(unequal for unequal, _ in row)
    at_margin = row[choice.FACTORS.index(choice.MARGIN)][0]
    assert np.isclose(best.blocks * at_margin, best.failure, rtol=1e-3)


def test_pictures_are_drawn(recorded, tmp_path):
    for name, shown in (("distances", "between boards"), ("aliasing", "pair"), ("failures", "BCH(255, k, t)")):
        getattr(puf_charts, name)(tmp_path / f"{name}.svg", recorded)
        text = (tmp_path / f"{name}.svg").read_text()
        xml.dom.minidom.parseString(text)
        assert shown in text
    rows = puf_charts.failure_curves(recorded)
    assert f"({recorded.best.code.k}, {recorded.best.code.t})" in {row["code"] for row in rows}
    for code in {row["code"] for row in rows}:
        curve = [row["failure"] for row in rows if row["code"] == code]
        assert curve == sorted(curve), "more errors, more failures"


def test_the_chosen_code_is_shown_whichever_it_is(recorded):
    for chosen in recorded.choices:
        assert choice.shown(chosen.code, chosen)
    assert not all(choice.shown(chosen.code, None) for chosen in recorded.choices), "some choice is not among the usual ones"


def test_no_pair_can_be_told_in_the_picture_of_aliasing(recorded, tmp_path, rng):
    for name, found in (("a", recorded), ("b", replace(recorded, aliasing=rng.permutation(recorded.aliasing)))):
        puf_charts.aliasing(tmp_path / f"{name}.svg", found)
    assert (tmp_path / "a.svg").read_text() == (tmp_path / "b.svg").read_text()


def test_the_json_holds_no_measurement_of_an_oscillator(recorded):
    found = json.loads(json.dumps(recorded.to_dict()))
    assert found["measured"] == {"boards": 150, "oscillators": 512, "reads": 100}

    def longest(part):
        parts = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        return max([len(parts), *map(longest, parts)])

    assert longest(found) < 50, "nothing is listed for each board or pair"


def test_constants_are_chosen_by_other_boards():
    """Eight boards choose for four: their constants are visibly wrong. Those of the judged themselves would not be."""
    found = report.make(Population().boards(12, 1, reads=6))
    assert found.default.entropy.corrected < 0.85 and found.spread.aliasing_deviation > 1.05 * found.spread.aliasing_by_chance


def test_coins_look_like_coins():
    """Oscillators of no layout and no trend: nothing is lost, constants or not."""
    plain = Population(layout=0.0, smooth=0.0)
    found = report.make(plain.boards(60, 1, reads=10), seed=3)
    for one in found.candidates:
        if "no constants" in one.name:
            assert one.entropy.corrected > 0.93, one
    assert abs(found.spread.degrees_of_freedom - 255) < 40 and abs(found.spread.correlation - 1) < 0.1


@pytest.mark.parametrize(
    ("boards", "oscillators", "reads", "said"),
    [(5, 512, 9, "boards: 5; at least 6"), (9, 480, 9, "510"), (9, 512, 2, "reads of an oscillator: 2; errors need 3")],
)
def test_too_little_is_said(boards, oscillators, reads, said):
    measured = Population().boards(boards, 1, oscillators=oscillators, reads=reads)
    with pytest.raises(MeasurementError, match=said):
        report.make(measured)


def test_copies_of_a_board_are_refused():
    """One of them would be judged by the constants and the attackers that had the other."""
    measured = Population().boards(9, 1, reads=9)
    copied = Measurements(measured.frequency_hz[[0, 1, 2, 3, 4, 5, 6, 7, 3]], measured.board, measured.columns)
    with pytest.raises(MeasurementError, match="2 boards have the very frequencies of board"):
        report.make(copied)


def test_the_command_on_a_file(tmp_path):
    Population().boards(12, 4, reads=20).save(tmp_path / "boards.npz")
    arguments = ("puf", "report", "--measurements", tmp_path / "boards.npz", "--plots", tmp_path / "plots", "--seed", "1")
    said = bitting(*arguments).stdout
    for words in (*pairing.CANDIDATES, "uniqueness", "aliasing", "SP 800-90B", "key failure", "12 boards", "BCH(255, k, t)"):
        assert words in said, words
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["aliasing.svg", "distances.svg", "failures.svg"]


def test_the_command_on_simulated_boards():
    found = json.loads(bitting("puf", "report", "--boards", "9", "--json").stdout)
    assert found["measured"]["boards"] == 9 and found["judging"]["judged_boards"] == 3
    assert [one["reads"] for one in found["error_rates"]] == [1, 2, 4, 8, 16, 32, 64]


def test_mistakes_end_in_one_line(tmp_path):
    Measurements(np.ones((7, 512, 4)), np.arange(7)).save(tmp_path / "flat.npz")
    for arguments, said in (
        (("--measurements", tmp_path / "none.npz"), "does not exist"),
        (("--measurements", tmp_path / "flat.npz", "--boards", "9"), "both given"),
        (("--boards", "2"), "boards: 2; at least 6"),
        (("--columns", "16"), "--columns"),
        (("--boards", "9", "--columns", "7"), "whole rows"),
        ((), "BITTING_DATA"),
    ):
        done = bitting("puf", "report", *arguments, status=2, BITTING_DATA=str(tmp_path))
        assert said in done.stderr and "Traceback" not in done.stderr
