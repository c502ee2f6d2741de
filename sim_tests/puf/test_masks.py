"""Weak pairs are left out as the extractor does it, and masks that are alike are seen to be."""

import numpy as np
import pytest

from bitting.puf import masks
from bitting.puf.extractor import FuzzyExtractor
from bitting.unit.bch import BchCode
from bitting.unit.puf_key import PufKey
from bitting.unit.spec import PRESETS


@pytest.mark.parametrize("kept", [1, 204, 255, 256])
def test_those_are_kept_that_the_extractor_keeps(kept):
    """With many equal differences, where the order decides."""
    differences = np.random.default_rng(kept).integers(-6, 7, (5, 256)).astype(float)
    found = masks.strongest(differences, kept)
    assert found.sum(1).tolist() == [kept] * 5
    for board, mask in zip(differences, found, strict=True):
        assert np.abs(board)[mask].min() >= np.abs(board)[~mask].max(initial=0)
        if 8 < kept < 256:
            key = PufKey(BchCode(8, 1), kept=kept, pairs=256)
            assert np.array_equal(FuzzyExtractor(PRESETS["tiny"], key).enrol(board).mask, mask)


def test_how_many_are_kept():
    assert [masks.kept(255, share) for share in masks.SHARES] == [255, 230, 204, 178, 153, 128]


def test_masks_of_independent_boards_do_not_correlate():
    found = masks.spread(masks.strongest(np.random.default_rng(1).standard_normal((150, 255)), 204))
    assert abs(found.correlation) < 0.003 and abs(found.deviation / found.deviation_by_chance - 1) < 0.15


def test_masks_of_one_layout_correlate():
    same = np.tile(np.random.default_rng(2).standard_normal(255), (20, 1))
    assert np.isclose(masks.spread(masks.strongest(same, 204)).correlation, 1)
    partly = 2 * same + np.random.default_rng(3).standard_normal((20, 255))
    found = masks.spread(masks.strongest(partly, 204))
    pairs = masks.strongest(partly, 204)
    slow = np.mean([np.corrcoef(pairs[a], pairs[b])[0, 1] for a in range(20) for b in range(20) if a != b])
    assert found.correlation > 0.05 and np.isclose(found.correlation, slow)
