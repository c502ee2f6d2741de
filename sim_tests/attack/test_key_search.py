"""Searches find what they can, weak keys are climbed to, and right keys are told by answers."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bitting.artefact.artefact import lock
from bitting.artefact.model import Model
from bitting.artefact.self_test import SelfTest
from bitting.attack import key_search, stolen_codes, unlabelled, weak
from bitting.errors import LockError
from bitting.locking.device import Device
from bitting.program.layers import multilayer_perceptron
from bitting.suite import figures
from bitting.unit.spec import parse_spec

SPECS = {vault: parse_spec(f"tiny:vault={vault}") for vault in ("aes", "ascon")}


def model_of(spec, seed=1):
    rng = np.random.default_rng(seed)
    weights = [rng.integers(0, spec.codes, shape) for shape in ((8, 16), (10, 8))]
    return Model(multilayer_perceptron(spec, weights, [np.zeros(8), np.zeros(10)], [1, 0]))


@pytest.mark.parametrize("vault", ["aes", "ascon"])
def test_unknown_bits_are_found_and_nothing_else_is(vault):
    spec = SPECS[vault]
    device, model = Device.new(spec), model_of(spec)
    artefact = lock(model, device)
    test = artefact.self_test
    assert isinstance(test, SelfTest)
    right = key_search.tells_right(artefact, test)
    last = int.from_bytes(device.root) & 0xF
    assert key_search.exhaustive(device, right, 124, range(16)) == last
    assert key_search.exhaustive(device, right, 124, [guess for guess in range(16) if guess != last]) is None
    assert key_search.core_years(128, 1e12) == pytest.approx(2**127 / 1e12 / 31_557_600)


def test_known_bits_stay_and_masked_ones_are_not_looked_at():
    device = Device.new(SPECS["ascon"])
    assert weak.with_known_bits(device, 128, 5) == device
    assert weak.with_known_bits(device, 120, 0x1FF).root == device.root[:-1] + b"\xff"
    assert weak.masked(device.with_flipped_bit(3), 120) == weak.masked(device, 120)
    assert weak.masked(device.with_flipped_bit(8), 120) != weak.masked(device, 120)
    bits = key_search.bits_of(device.root)
    assert key_search.root_of(bits) == device.root and bits.shape == (128,)


def test_a_key_whose_bits_act_one_by_one_is_climbed_to():
    program = model_of(SPECS["aes"]).program
    right = np.random.default_rng(2).integers(0, 2, 128).astype(np.uint8)
    locked = weak.BitPerTile.lock(program, right)
    assert locked.used == 18
    opened = locked.unlock(right)
    assert all(np.array_equal(a.codes, b.codes) for a, b in zip(opened.layers, program.layers, strict=True))

    def equal_codes(key):
        pairs = zip(locked.unlock(key).layers, program.layers, strict=True)
        return float(np.mean([(a.codes == b.codes).mean() for a, b in pairs]))

    climbed = key_search.climb(equal_codes, right, 3000, seed=3)
    assert climbed.scores[-1] == 1.0 and climbed.scores == sorted(climbed.scores)
    blind = key_search.climb(lambda key: 0.0, right, 100, seed=3)
    assert 30 < blind.wrong_bits < 98, "without anything to see a climb is a walk"


def test_a_key_of_the_last_layer_leaves_the_others_in_clear():
    program = model_of(SPECS["aes"]).program
    right = np.random.default_rng(2).integers(0, 2, 128).astype(np.uint8)
    weakly = weak.BitPerCode.lock(program, right)
    first, last = ((one.codes != other.codes).ravel() for one, other in zip(weakly.locked.layers, program.layers, strict=True))
    assert not first.any() and np.array_equal(last, right[np.arange(last.size) % 128].astype(bool))
    assert weakly.used == min(128, last.size) == 80
    opened = weakly.unlock(right[: weakly.used])
    assert all(np.array_equal(a.codes, b.codes) for a, b in zip(opened.layers, program.layers, strict=True))


def test_codes_of_a_sealed_file_are_read_where_they_lie_and_are_noise():
    spec = SPECS["ascon"]
    model = model_of(spec)
    sealed = lock(model, Device.new(spec))
    read = stolen_codes.codes_of(sealed, model.program)
    assert [layer.codes.shape for layer in read.layers] == [(8, 16), (10, 8)]
    same = np.mean([(a.codes == b.codes).mean() for a, b in zip(read.layers, model.program.layers, strict=True)])
    assert same < 0.2 and max(int(layer.codes.max()) for layer in read.layers) < spec.codes
    other = multilayer_perceptron(spec, [np.zeros((3, 4), int)], [np.zeros(3)], [0])
    with pytest.raises(LockError, match="18 tiles, the architecture 3"):
        stolen_codes.codes_of(sealed, other)
    plain = lock(model_of(SPECS["aes"]), Device.new(SPECS["aes"]))
    assert stolen_codes.codes_of(plain, model.program) is plain.program
    first, second, third = stolen_codes.tables(16, 3, seed=0)
    assert first == list(range(16)) and sorted(second) == sorted(third) == first and second != third


def test_areas_are_those_of_scikit_learn(rng):
    right, wrong = rng.integers(3, 9, 30), rng.integers(0, 7, 50)
    false, true, area = figures.roc(right, wrong)
    truth = [1] * 30 + [0] * 50
    assert area == pytest.approx(roc_auc_score(truth, [*right, *wrong]))
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)


def test_statistics_of_answers(rng):
    sure = np.eye(10)[rng.permutation(np.arange(200) % 10)] * 100
    noise = rng.normal(size=(200, 10))
    assert unlabelled.margin(sure) > unlabelled.margin(noise)
    assert unlabelled.spread(sure) == pytest.approx(np.log2(10)) and unlabelled.spread(np.eye(1, 10).repeat(9, 0)) == 0
    assert unlabelled.likeness(np.tile(rng.normal(size=10), (50, 1))) == pytest.approx(0, abs=1e-9)
    assert unlabelled.right_answers(sure, sure.argmax(axis=1)) == 1.0
