"""The report and its command: judged on boards that chose nothing, the same figures as text, JSON and pictures."""

import json
import xml.dom.minidom
from dataclasses import replace

import numpy as np
import pytest

from bitting.errors import MeasurementError
from bitting.look import puf_charts
from bitting.puf import choice, failure, measurements, pairing, report
from bitting.puf.measurements import Measurements
from bitting.puf.population import Population
from bitting.unit.puf_key import DEFAULT_KEY, DEFAULT_READS
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
    assert best.failure <= choice.MOST_FAILURES and best.left >= choice.KEY_BITS
    assert best.oscillators < 700 < 1900 < recorded.unmasked.oscillators, "a mask saves two thirds of the oscillators"
    assert best.failure_of_kept < best.failure / 1e20, "to triple the rate of kept bits alone is the milder reading"
    board = recorded.left_of_a_board(best)
    assert (board["conservative"] >= choice.KEY_BITS) == (best.key.pairs <= 255) and board["likely"] > board["conservative"]
    rows = {key.code: fails for key, fails in recorded.failures(best)}
    for fails in rows.values():
        assert fails == sorted(fails)
    at_margin = rows[best.key.code][choice.FACTORS.index(choice.MARGIN)]
    assert np.isclose(at_margin, best.failure, rtol=1e-9), "no board fails more than those that were looked at"


def test_the_key_that_devices_have_is_judged_like_the_others(recorded):
    built = recorded.built
    assert recorded.asked == (DEFAULT_READS, DEFAULT_KEY)
    assert (built.key, built.reads) == (DEFAULT_KEY, DEFAULT_READS)
    assert built.left == choice.left(DEFAULT_KEY, recorded.share(built.left_out).worth.conservative)
    fails = choice.key_failures(recorded.rates_of(DEFAULT_READS), DEFAULT_KEY, built.left_out, choice.MARGIN)
    assert np.isclose(built.failure, fails.max(), rtol=1e-9)


def test_every_board_is_looked_at_for_the_one_that_fails_most(recorded):
    for one in recorded.choices:
        fails = choice.key_failures(recorded.rates_of(one.reads), one.key, one.left_out, choice.MARGIN)
        assert np.isclose(fails.max(), one.failure, rtol=1e-9), one


def test_what_is_left_out_costs_entropy_and_saves_errors(recorded):
    worth = [one.worth.conservative for one in recorded.shares]
    assert worth == sorted(worth, reverse=True) and worth[0] - worth[2] < 0.06
    bias = [one.bias for one in recorded.shares]
    assert bias == sorted(bias), "strong pairs are the biased ones"
    for reads, found in recorded.kept_errors.items():
        for factor in (1, choice.MARGIN):
            at = [one for one in found if one.factor == factor]
            modelled = [one.modelled for one in at]
            assert modelled == sorted(modelled, reverse=True) and len(at) == len(recorded.shares), reads


def test_errors_of_kept_bits_at_more_noise_are_those_of_the_model(recorded):
    """Where there are enough of them to see; with 3 x the errors no recorded boot had one among the strongest 70%."""
    for reads, found in recorded.kept_errors.items():
        for one in found:
            board = one.errors.mean(1) / one.rates.shape[1]
            if one.counted > 1e-3:
                assert abs(one.counted - one.modelled) < 4 * board.std() / np.sqrt(len(board)), (reads, one.left_out)
            if one.factor == choice.MARGIN and one.left_out >= 0.3 and reads > 1:
                assert one.errors.max() == 0


def test_masks_tell_nothing(recorded):
    for one in recorded.shares[1:]:
        assert abs(one.mask.correlation) < 0.003 and one.mask.deviation < 1.1 * one.mask.deviation_by_chance
        told = [attack for attack in one.attacks if "mask" in attack.name]
        assert len(told) == 4
        for attack in told:
            assert 2 * attack.accuracy - attack.bound < 0.5 < attack.bound, (one.left_out, attack)


def test_the_sums_are_what_is_seen_where_it_can_be_seen(recorded):
    seen = [one for one in recorded.confirmed if 1e-3 < one.exact < 0.999]
    assert seen, "some factor makes failures visible"
    for one in seen:
        low, high = failure.interval(one.thrown, one.throws, 0.9999)
        assert low < one.exact < high
    assert [one.factor for one in recorded.confirmed] == list(choice.FACTORS)


def test_the_choice_holds_on_boards_that_made_none(recorded):
    assert len(recorded.nested) == 3
    for one in recorded.nested:
        assert (one.boards, one.judged, one.failing) == (100, 50, 0) and one.left > choice.KEY_BITS - 6
        assert abs(one.choice.oscillators / recorded.best.oscillators - 1) < 0.15


def test_pictures_are_drawn(recorded, tmp_path):
    shown_in = {"distances": "between boards", "aliasing": "pair", "failures": "BCH(255, k, t)", "left_out": "weak pairs"}
    for name, shown in shown_in.items():
        getattr(puf_charts, name)(tmp_path / f"{name}.svg", recorded)
        text = (tmp_path / f"{name}.svg").read_text()
        xml.dom.minidom.parseString(text)
        assert shown in text
    rows = puf_charts.failure_curves(recorded)
    assert f"({recorded.best.key.code.k}, {recorded.best.key.code.t})" in {row["code"] for row in rows}
    for code in {row["code"] for row in rows}:
        curve = [row["failure"] for row in rows if row["code"] == code]
        assert curve == sorted(curve), "more errors, more failures"


def test_the_chosen_code_is_shown_whichever_it_is(recorded):
    for chosen in recorded.choices:
        assert choice.shown(chosen.key.code, chosen)
    usual = [choice.shown(chosen.key.code, None) for chosen in recorded.choices]
    assert not all(usual), "some choice is not among the usual ones"


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
    for words in (*pairing.CANDIDATES, "uniqueness", "aliasing", "SP 800-90B", "key failure", "12 boards", "weak pairs"):
        assert words in said, words
    pictures = sorted(path.stem for path in (tmp_path / "plots").iterdir())
    assert pictures == ["aliasing", "distances", "failures", "left_out"]


def test_the_command_on_simulated_boards():
    found = json.loads(bitting("puf", "report", "--boards", "9", "--key", "4:300:240:7", "--json").stdout)
    assert (found["built"]["reads"], found["built"]["key"]["pairs"], found["built"]["key"]["code"]["t"]) == (4, 300, 7)
    assert found["measured"]["boards"] == 9 and found["judging"]["judged_boards"] == 3
    assert [one["reads"] for one in found["error_rates"]] == [1, 4, 16, 64]


def test_mistakes_end_in_one_line(tmp_path):
    Measurements(np.full((7, 512, 4), 1e8), np.arange(7)).save(tmp_path / "flat.npz")
    for arguments, said in (
        (("--measurements", tmp_path / "none.npz"), "does not exist"),
        (("--measurements", tmp_path / "flat.npz", "--boards", "9"), "both given"),
        (("--boards", "9", "--plots", tmp_path / "flat.npz"), "flat.npz is a file; allowed is a folder"),
        (("--boards", "9", "--plots", tmp_path / "flat.npz" / "deeper"), "flat.npz is a file; allowed is a folder"),
        (("--boards", "9", "--key", "64:288"), "READS:PAIRS:KEPT:T"),
        (("--boards", "9", "--key", "64:288:300:6"), "allowed"),
        (("--boards", "2"), "boards: 2; at least 6"),
        (("--columns", "16"), "--columns"),
        (("--boards", "9", "--columns", "7"), "whole rows"),
        ((), "BITTING_DATA"),
    ):
        done = bitting("puf", "report", *arguments, status=2, BITTING_DATA=str(tmp_path))
        assert said in done.stderr and "Traceback" not in done.stderr
