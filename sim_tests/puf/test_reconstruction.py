"""Keys of measured boards come back, other boards do not open them, and what makes them fail is seen."""

import json

import numpy as np
import pytest

from bitting.errors import MeasurementError
from bitting.puf import measurements, reconstruction
from bitting.puf.extractor import FuzzyExtractor
from bitting.puf.population import Population, Surroundings
from bitting.puf.reconstruction import Trial
from bitting.unit.bch import BchCode
from bitting.unit.puf_key import PufKey
from bitting.unit.spec import PRESETS
from tb.command import bitting


def trial(measured, left_out=0.2, corrects=5):
    return Trial(measured, FuzzyExtractor(PRESETS["tiny"], reconstruction.key(measured, left_out, corrects)))


@pytest.mark.parametrize("enrolled", [36, 1])
def test_every_recorded_board_comes_back_from_boots_of_64_reads(enrolled):
    found = trial(measurements.recorded()).boots(enrolled, 64)
    assert (found.boots, found.failed, found.boards_failed) == (150, 0, 0)


@pytest.mark.slow
def test_every_recorded_board_comes_back_from_single_reads_and_opens_no_other():
    boards = trial(measurements.recorded())
    found = boards.boots(1, 1)
    assert (found.boots, found.failed) == (150 * 99, 0)
    others = boards.strangers(36)
    assert others.tries == 150 * 149 and others.opened == 0 and others.nearest > 40


def test_without_a_mask_keys_fail_as_the_weak_pairs_do():
    """The control: the same boards and code, nothing left out, fail in one boot of fifty or more; with a mask in none."""
    measured = Population().boards(9, 1)
    none, masked = (trial(measured, left_out, 3).boots(36, 1) for left_out in (0, 0.2))
    assert none.boots == masked.boots == 9 * 64
    assert none.failed > none.boots / 50 and none.most_wrong > 3 and none.boards_failed > 3
    assert masked.failed == 0 and masked.most_wrong <= 3


def test_heat_that_was_not_measured_makes_keys_fail():
    hot = Population().boards(9, 1, surroundings=(Surroundings(kelvin=600), 36))
    found = trial(hot, 0.2, 1).boots(36, 64)
    assert found.failed > 0 and found.most_wrong > 1


def test_a_board_opens_its_own_and_no_other():
    measured = Population().boards(7, 2, reads=6)
    found = trial(measured).strangers(4)
    assert (found.tries, found.opened) == (42, 0) and found.nearest > 40
    twins = measurements.Measurements(measured.frequency_hz[[0, 1, 2, 3, 4, 5, 0]], measured.board)
    assert trial(twins).strangers(4).opened == 2, "a copy of a die opens it: the trial would see it"


def test_too_few_reads_and_other_sizes_are_refused():
    measured = Population().boards(7, 2, reads=6)
    with pytest.raises(MeasurementError, match="6 reads of each oscillator are too few to enrol 4 and boot with 3"):
        trial(measured).boots(4, 3)
    with pytest.raises(MeasurementError, match="a key of 255 pairs, boards of 512 oscillators"):
        Trial(measured, FuzzyExtractor(PRESETS["tiny"], PufKey(BchCode(8, 5))))


def test_keys_have_all_pairs_of_a_board():
    measured = Population().boards(1, 2, oscillators=1024, reads=1)
    found = reconstruction.key(measured, 0.25, 5)
    assert (found.pairs, found.blocks, found.kept) == (512, 2, 192)


def test_the_command(tmp_path):
    Population().boards(7, 4, reads=40).save(tmp_path / "boards.npz")
    arguments = ("puf", "reconstruct", "--measurements", tmp_path / "boards.npz", "--left-out", "0.3", "--corrects", "2")
    found = json.loads(bitting(*arguments, "--json").stdout)
    assert [(one["enrolled"], one["reads"]) for one in found["boots"]] == [(36, 1), (1, 1)]
    assert found["kept"] == 179 and found["strangers"] == {"nearest": found["strangers"]["nearest"], "opened": 0, "tries": 42}
    assert "42 tries, 0 opened" in bitting(*arguments).stdout
    assert np.all([one["failed"] == 0 for one in found["boots"]])
    done = bitting("puf", "reconstruct", "--boards", "7", "--corrects", "16", status=2)
    assert "allowed t" in done.stderr and "Traceback" not in done.stderr
