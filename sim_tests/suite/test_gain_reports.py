"""The scripts on what one file, and many, are worth to who fine-tunes: their statistics beside figures made up here."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def scripts():
    """The modules, as `python scripts/...` finds them."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        import file_luck_report
        import fresh_files_report
    finally:
        sys.path.remove(str(SCRIPTS))
    return file_luck_report, fresh_files_report


def tables(rng, luck, rest=2.0):
    """Two vaults with levels of their own, 4 and 6 files x 5 subsets, which have levels too."""
    subsets = rng.normal(0, 3, (1, 5))
    return [
        level + rng.normal(0, luck, (files, 1)) + subsets + rng.normal(0, rest, (files, 5)) for level, files in ((0, 4), (7, 6))
    ]


def test_luck_that_was_made_up_is_found_and_bounded(scripts):
    """Bounds of 95%, which rest on an estimate of the rest, too: most hold the truth; without luck p is even."""
    luck, _ = scripts
    rng, truth = np.random.default_rng(0), 1.5
    found = [luck.luck(tables(rng, truth)) for _ in range(500)]
    assert np.mean([rest for _, _, rest, _ in found]) == pytest.approx(2.0, rel=0.03)
    assert np.sqrt(np.mean([file**2 for file, _, _, _ in found])) == pytest.approx(truth, rel=0.06)
    assert 0.9 < np.mean([lower <= truth <= upper for _, (lower, upper), _, _ in found]) < 0.98
    even = [luck.luck(tables(np.random.default_rng(seed), 0.0))[3] for seed in range(4000)]
    assert stats.kstest(even, "uniform").pvalue > 0.01


def test_a_worthless_file_is_called_broken_as_often_as_the_rounds_allow(scripts):
    """Without luck the first round errs in 5%, of one share at a time; fresh files keep the second below its 1%."""
    luck, _ = scripts
    none, some = luck.called_broken(0, 5, trials=40_000), luck.called_broken(2, 2, trials=40_000)
    assert none["the first round"] == pytest.approx(0.05, abs=0.004) and none["both"] < 0.002
    assert some["both"] < 0.01 * some["the first round"] * 1.5 < some["both, of one file"]


def test_a_run_gives_tables_of_enciphered_files_and_nothing_else(scripts, tmp_path):
    luck, _ = scripts
    (tmp_path / "jobs").mkdir()
    kinds = [("ascon/clock/sealed", "stolen", 1), ("ascon/numeric/sealed", "stolen", 1), ("aes/clock/aes", "stolen", 1)]
    others = [("aes/clock/shuffle", "stolen", 1), ("none", "stolen", 1), ("ascon/clock/sealed", "stolen", 2)]
    for number, (lock, start, turn) in enumerate([*kinds, *others]):
        for repeat in (1, 0):
            part = {"start": start, "round": turn, "share": 0.1, "repeat": repeat}
            job = {"case": f"data/net/{lock}", "parameters": part, "values": {"best": (10 * number + repeat) / 100}}
            (tmp_path / "jobs" / f"fine-tuning.{number}.{repeat}.json").write_text(json.dumps(job))
    (found,) = luck.accuracies(tmp_path).values()
    assert [table.tolist() for table in found] == [[[0, 1], [10, 11]], [[20, 21]]]


def test_gains_are_over_the_better_beginning_pair_by_pair_with_bounds_of_student(scripts):
    _, fresh = scripts
    rng = np.random.default_rng(1)
    names = ("random weights", "random codes", "one", "two")
    accuracies = {name: rng.normal(level, 0.02, 30).tolist() for name, level in zip(names, (0.6, 0.7, 0.69, 0.72), strict=True)}
    found = {row["lock"]: row for row in fresh.gains(accuracies)}
    paired = {name: np.array(accuracies[name]) - np.array(accuracies["random codes"]) for name in ("one", "two")}
    paired["all"] = (paired["one"] + paired["two"]) / 2
    assert list(found) == list(paired)
    for name, row in paired.items():
        at_most = stats.ttest_1samp(row, 0, alternative="less").confidence_interval(0.95).high
        at_least = stats.ttest_1samp(row, 0, alternative="greater").confidence_interval(0.95).low
        wanted = {"mean": row.mean(), "upper": at_most, "lower": at_least, "scatter": row.std(ddof=1), "files": 30}
        assert {key: found[name][key] for key in wanted} == pytest.approx(wanted)
