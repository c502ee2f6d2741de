"""A shuffle falls to a network that resembles the stolen one, and two copies tell each other's codes and no places."""

import numpy as np
import pytest

from bitting.attack import alignment, stolen_codes
from bitting.locking.device import Device
from bitting.locking.scheme import LockScheme
from bitting.locking.transform import inverse, lock_program
from bitting.program.layers import multilayer_perceptron
from bitting.unit.spec import parse_spec

SPEC = parse_spec("base:vault=aes")
OWNER, OTHER = (Device(SPEC, bytes(range(n, n + 16))) for n in (1, 2))


@pytest.fixture(scope="module")
def model():
    """A network of random weights: alignment looks at nothing else."""
    rng = np.random.default_rng(4)
    weights = [rng.integers(0, SPEC.codes, shape) for shape in ((90, 120), (10, 90))]
    return multilayer_perceptron(SPEC, weights, [np.zeros(90), np.zeros(10)], [0, 0])


def shuffled(model, device):
    return lock_program(model, device, LockScheme.new(SPEC, "clock", "shuffle"))


def distance(one, two):
    values = np.array(SPEC.values, float)
    return sum(float(np.square(values[a.codes] - values[b.codes]).sum()) for a, b in zip(one.secret, two.secret, strict=True))


def test_with_the_model_itself_everything_comes_back(model):
    locked = shuffled(model, OWNER)
    table = alignment.table_of_base(locked, model)
    assert table.tolist() == list(OWNER.table())
    found = alignment.aligned(locked, model, table)
    assert all(np.array_equal(a.codes, b.codes) for a, b in zip(found.layers, model.layers, strict=True))


def test_from_a_base_the_weights_come_nearer(model):
    base = alignment.near(model, 1.0, seed=5)
    locked = shuffled(model, OWNER)
    found = alignment.aligned(locked, base, np.array(OWNER.table()))
    assert distance(found, model) < 0.8 * distance(base, model)
    near = alignment.near(model, 0.1, seed=5)
    assert 0 < distance(near, model) < 0.05 * distance(base, model)


def test_two_copies_tell_which_codes_are_alike_and_nothing_of_places(model):
    first, second = (shuffled(model, device) for device in (OWNER, OTHER))
    link = alignment.linked_codes(first, second)
    assert (link == np.array(inverse(OTHER.table()))[np.array(OWNER.table())]).all()
    assert alignment.places_told(first, second, link) < 0.02
    same = first.map_codes(link)
    assert alignment.places_told(first, same, link) == pytest.approx(1.0)


def test_random_codes_tell_nothing(model):
    noise = stolen_codes.random_codes(model, np.random.default_rng(0))
    assert (alignment.linked_codes(shuffled(model, OWNER), noise) < 0).all()
