"""Statistics of clocks, beside those of scipy, and what a timing law tells of a table, beside a count of tables."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from bitting.attack import leakage, weak
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.unit.spec import parse_spec


def test_welch_is_that_of_scipy(rng):
    one, two = rng.normal(0, 1, 40), rng.normal(0.5, 3, 25)
    assert leakage.welch(one, two) == pytest.approx(stats.ttest_ind(one, two, equal_var=False).statistic)
    assert leakage.welch(np.ones(3), np.ones(3)) == 0 and leakage.welch(np.ones(3), np.zeros(3)) == math.inf


def test_bits_of_a_table_are_those_of_a_count():
    cycles = [1, 2, 2, 1, 3]
    tables = list(itertools.permutations(range(5)))
    plain = [1, 1, 2, 2, 3]
    fitting = [table for table in tables if [plain[index] for index in table] == cycles]
    told, total = leakage.table_bits(np.array(cycles))
    assert total == pytest.approx(math.log2(len(tables))) and total - told == pytest.approx(math.log2(len(fitting)))
    entries = [len({table[code] for table in fitting}) == 1 for code in range(5)]
    assert leakage.entries_told(np.array(cycles), np.array(plain)) == sum(entries) == 1


def test_the_timing_law_of_the_family_settles_no_entry_and_a_unary_one_all():
    spec = parse_spec("base")
    device = Device(spec, bytes(range(16)), sealed=True)
    told, total = leakage.table_bits(ChipModel.of(device).cycles[0])
    assert (round(total - told, 1), round(total, 1)) == (252.4, 296.0), "docs/threats.md"
    unary = weak.unary_cycles(np.array(device.table()))
    assert leakage.entries_told(unary, weak.unary_cycles(np.arange(spec.codes))) == spec.codes


def test_told_bits_of_known_samples():
    assert leakage.told_bits(np.array([1, 1, 2, 2])) == 1.0 and leakage.told_bits(np.zeros(9)) == 0.0


def test_an_engine_that_skips_zeros_tells_inputs(rng):
    weights, inputs = rng.integers(-3, 4, 50), rng.integers(0, 3, (6, 50))
    clocks = weak.skipping_cycles(weights, inputs, 8)
    by_hand = [8 + sum(1 for w, x in zip(weights, row, strict=True) if w and x) for row in inputs]
    assert clocks.tolist() == by_hand
