"""Simulated boards have the distribution that is written down, and resemble the recorded ones where those speak."""

from dataclasses import fields, replace

import numpy as np
import pytest

from bitting.errors import MeasurementError
from bitting.puf import failure, measurements, pairing, population
from bitting.puf.population import Population, Surroundings, fitted

#: What measurements tell; the rest are assumptions.
FITTED = (
    "frequency_hz", "between_boards", "layout", "smooth", "local", "shared_noise", "white_noise", "slow_noise",
)  # fmt: skip


def test_the_same_seed_gives_the_same_boards():
    first, again, other = (Population().boards(3, seed, reads=4) for seed in (1, 1, 2))
    assert np.array_equal(first.frequency_hz, again.frequency_hz)
    assert not np.array_equal(first.frequency_hz, other.frequency_hz)


def test_fitting_gives_back_what_boards_were_made_of():
    """Half and double of each: no default is simply returned."""
    for factor in (0.5, 2.0):
        plain = Population()
        made = replace(plain, **{name: getattr(plain, name) * factor for name in FITTED if name != "between_boards"})
        found = fitted(made.boards(120, 7, reads=60))
        for name in FITTED:
            wanted = getattr(made, name)
            assert abs(getattr(found, name) / wanted - 1) < 0.2, (name, wanted, getattr(found, name))


def test_the_defaults_are_the_recorded_boards_rounded():
    found, plain = fitted(measurements.recorded()), Population()
    for name in FITTED:
        assert abs(getattr(found, name) / getattr(plain, name) - 1) < 0.05, (name, getattr(found, name))


def test_simulated_boards_err_like_the_recorded_ones():
    """Not fitted to: the share of wrong bits, for single reads and for averages."""
    real = measurements.recorded()
    made = Population().boards(150, 1)
    for reads in (1, 16):
        rates = [failure.error_rates(one, pairing.block(one.mean(), 16), reads).modelled.mean() for one in (real, made)]
        assert abs(rates[1] / rates[0] - 1) < 0.2, rates


@pytest.mark.parametrize("where", [Surroundings(kelvin=60), Surroundings(voltage=0.05), Surroundings(years=10)])
def test_surroundings_begin_where_they_are_said_to(where):
    plain = replace(Population(), white_noise=0.0, slow_noise=0.0, shared_noise=0.0)
    found = plain.boards(4, 1, reads=6, surroundings=(where, 3)).frequency_hz
    assert (found[:, :, :3] == found[:, :, :1]).all() and (found[:, :, 3:] == found[:, :, 3:4]).all()
    assert (found[:, :, 2] != found[:, :, 3]).mean() > 0.9


@pytest.mark.parametrize("field", [field.name for field in fields(Population)])
def test_what_is_no_size_is_refused(field):
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(MeasurementError, match=field):
            replace(Population(), **{field: value})


@pytest.mark.parametrize("wrong", [{"boards": 0}, {"boards": 1, "reads": 0}, {"boards": 1, "oscillators": 500}])
def test_no_boards_are_refused(wrong):
    with pytest.raises(MeasurementError, match="whole rows"):
        Population().boards(seed=1, **wrong)


def test_two_boards_are_no_population():
    with pytest.raises(MeasurementError, match="at least 3"):
        fitted(Population().boards(2, 1, reads=5))


def test_the_variance_of_a_mean_is_right():
    made = population._process(np.random.default_rng(1), 20_000, 30, 20).mean(1)
    assert abs(made.var() / population._of_mean(20, 30) - 1) < 0.05
