"""Signed digits, value sets, specs: what a family promises."""

from itertools import combinations
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitting.cli import format_page
from bitting.errors import SpecError
from bitting.unit import digits
from bitting.unit.spec import PRESETS, UnitSpec, VaultKind, parse_spec


@given(st.integers(-(1 << 20), 1 << 20))
def test_naf_is_exact_sparse_and_minimal(value):
    form = digits.naf(value)
    assert sum((-1 if d.negative else 1) << d.exponent for d in form) == value
    assert all(b.exponent - a.exponent >= 2 for a, b in zip(form, form[1:], strict=False))
    # 3n XOR n has one bit for each non-zero NAF digit of n (Prodinger, "On binary representations", 2000)
    assert len(form) == (abs(value) ^ 3 * abs(value)).bit_count()


def test_75_integers_have_two_digits_up_to_exponent_6():
    assert len(digits.representable(2, 6)) == 75


def test_value_sets_are_distinct_representable_and_hold_zero_and_the_powers_of_two(spec):
    values = spec.values
    assert len(values) == spec.codes and list(values) == sorted(set(values))
    assert set(values) <= set(digits.representable(spec.max_digits, spec.max_exponent))
    assert {0, *(1 << e for e in range(spec.max_exponent + 1))} <= set(values)


def test_value_set_is_the_best_subset_by_brute_force():
    code_bits, max_digits, max_exponent = 3, 2, 2
    candidates = digits.representable(max_digits, max_exponent)
    forced = {0, 1, 2, 4}
    z = [round(NormalDist().inv_cdf((i + 0.5) / 8) * 2**20) for i in range(8)]
    fits = []
    for sigma in (s / 2 for s in range(1, 40)):
        for subset in combinations(candidates, 8):
            if forced <= set(subset):
                cost = sum((v - sigma * q / 2**20) ** 2 for v, q in zip(subset, z, strict=True)) / sigma**2
                fits.append((cost, sigma, subset))
    best = min(fits)
    found = digits.quantile_values(code_bits, max_digits, max_exponent)
    assert (found.sigma, found.values) == (best[1], best[2])


def test_gaussian_weights_use_the_codes_about_equally(rng):
    import torch

    from bitting.network.straight_through import WeightQuantiser

    family = PRESETS["base"]
    indices = WeightQuantiser(family).indices(torch.from_numpy(rng.standard_normal(200_000)).float()).numpy()
    share = np.bincount(indices, minlength=family.codes) / indices.size
    entropy = -(share[share > 0] * np.log2(share[share > 0])).sum()
    assert entropy > 0.97 * family.code_bits


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"code_bits": 9}, "code_bits = 9"),
        ({"lanes": 6}, "multiple of 4"),
        ({"scratch_words": 1000}, "power of two"),
        ({"max_shift": 10}, "max_shift = 10"),
        ({"max_exponent": 2}, "allow more digits"),
        ({"acc_bits": 7}, "acc_bits = 7"),
        ({"lanes": 2.5}, "must be an integer"),
        ({"colour": 3}, "unknown spec parameter 'colour'"),
    ],
)
def test_each_bad_parameter_is_named(change, message):
    with pytest.raises(SpecError, match=message):
        PRESETS["base"].replace(**change)


@pytest.mark.parametrize("name", ["", "a\tb", "a\n", "a/b", "a\x1b[1m", "x" * 201, 3, None, "tiny[/nope]"])
def test_a_name_can_say_nothing_to_a_tool_that_reads_what_is_made(name):
    with pytest.raises(SpecError, match=r"name = .* of a spec; allowed are up to 200"):
        UnitSpec(name=name)


def test_id_changes_with_every_parameter_but_the_name():
    changes: dict[str, int | str] = {
        "code_bits": 5, "max_digits": 3, "max_exponent": 7, "act_bits": 5, "acc_bits": 17, "lanes": 32, "max_shift": 6,
        "tile_codes": 512, "scratch_words": 2048, "vault": "aes", "stripes": 2,
    }  # fmt: skip
    base = PRESETS["base"]
    assert set(changes) == set(base.parameters())
    ids = {base.replace(**{key: value}).id for key, value in changes.items()}
    assert len(ids | {base.id}) == len(changes) + 1
    assert UnitSpec(name="another").id == base.id


def test_specs_are_read_from_text():
    assert parse_spec("base:lanes=64").lanes == 64
    assert parse_spec("base").vault == VaultKind.ASCON and parse_spec("base:vault=aes").vault == VaultKind.AES
    for wrong in ("bose", "base:lanes", "base:lanes=x", "base:lames=3", "base:vault=bank"):
        with pytest.raises(SpecError):
            parse_spec(wrong)


def test_format_page_shows_every_code(spec):
    facts = format_page.facts(spec)
    assert [row["value"] for row in facts["values"]] == list(spec.values)
    assert spec.id in format_page.text(spec)
