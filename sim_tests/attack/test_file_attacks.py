"""What thieves of files get: everything from weak artefacts, which are made here, and nothing from those of today."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bitting.artefact.artefact import Artefact, lock
from bitting.artefact.model import Model
from bitting.attack import histograms, retraining, two_files
from bitting.attack.findings import Finding
from bitting.attack.port import Probe
from bitting.check import attacks
from bitting.data import datasets
from bitting.errors import LockError
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.keys import lock_key
from bitting.locking.scheme import LockScheme
from bitting.locking.sealed_program import seal_program
from bitting.locking.transform import inverse, lock_program
from bitting.program.layers import multilayer_perceptron
from bitting.sim.native import NativeEngine, engine_library
from bitting.training import balance, loop
from bitting.training.recipes import TrainConfig
from bitting.unit.spec import parse_spec

OPEN, SEALED = parse_spec("tiny:vault=aes"), parse_spec("tiny:vault=ascon")
ROOT = bytes(range(1, 17))
#: As secret as one that was drawn; the same in every run of the tests.
SEED = 0xF3A1_77C0_5D2E_9B48_16E4_0C9A_D1B7_3388
QUICK = TrainConfig(hidden=(16,), epochs=1, balance=balance.Balance.DRAWN, seed=SEED)


def device_of(spec):
    return Device(spec, ROOT, sealed=spec is SEALED)


@pytest.fixture(scope="module")
def trained():
    """A model for each vault, of a secret seed, with histograms drawn from it."""
    model = loop.train(OPEN, datasets.load("digits"), QUICK)
    claims = model.claims | {"reproducible": False}
    return {spec: Model(replace(model.program, spec=spec), claims) for spec in (OPEN, SEALED)}


@pytest.mark.parametrize(("spec", "lock_as"), [(OPEN, ("clock", "aes-clocked")), (SEALED, ("clock", "sealed-clocked"))])
def test_with_its_seed_an_artefact_is_trained_again_and_without_it_is_not(trained, spec, lock_as):
    model = trained[spec]
    artefact = lock(model, device_of(spec), *lock_as)
    assert "seed" not in repr(artefact.claims)
    today = retraining.retrain(artefact, artefact.claims)
    assert today.got == 0 and not len(today.found) and today.of >= model.program.parameters
    weak = artefact.claims | {"config": model.claims["config"]}
    (found,) = (one for one in attacks.file_attacks(artefact, weak, model=model) if one.attack == "retraining")
    assert found.right == found.got == model.program.parameters


def test_training_again_tries_the_threads_that_its_owner_had(trained, monkeypatch):
    """Sums in floating point depend on their number: the demo trains on all cores, and its workers on one."""
    model = trained[OPEN]
    artefact, truth = lock(model, device_of(OPEN), "clock", "aes-pre"), retraining.flat_codes(model.program)
    before, tried = torch.get_num_threads(), []

    def one_right_number(stolen, claims, progress):
        tried.append(torch.get_num_threads())
        found = truth if len(tried) == 3 else truth[::-1]
        return Finding("retraining", "thief of the file", "weights", len(truth), len(truth), found=found)

    monkeypatch.setattr(retraining, "retrain", one_right_number)
    monkeypatch.setattr(retraining.os, "cpu_count", lambda: 4 * before)
    assert retraining.retrain_as(artefact, {}, truth).right == len(truth)
    assert len(set(tried)) == len(tried) == 3 and tried[0] == before == torch.get_num_threads()
    assert retraining.retrain_as(artefact, {}, None).right is None and len(tried) == 4


def test_histograms_tell_the_right_key_to_who_knows_the_seed(trained):
    device, model = device_of(OPEN), trained[OPEN]
    artefact = lock(model, device, "clock", "aes-pre")
    known, guessed = (histograms.tell_keys(artefact, device, guess) for guess in (SEED, 0))
    assert known.got == 1 and known.found[0] > 0.9, "one tile's counts in order may be a wrong key's too"
    assert guessed.got == 0 and abs(guessed.found[0] - 0.5) < 0.2
    plain = histograms.tell_keys(lock(model, device, "clock", "aes"), device, 0)
    assert plain.got == 1, "weights that are no codes tell it without a seed"
    sealed = histograms.tell_keys(lock(trained[SEALED], device_of(SEALED)), device_of(SEALED), SEED)
    assert sealed.got == 0


def test_histograms_of_a_shuffle_tell_the_table(trained):
    device, model = device_of(OPEN), trained[OPEN]
    artefact = lock(model, device, "clock", "shuffle")
    found = histograms.table_of_histograms(artefact, SEED)
    assert np.array_equal(found.found, device.table())
    assert histograms.table_of_histograms(artefact, 0).got == 0


def versions(spec):
    """A model, and the same after a little more training: one code in eight is another."""
    rng = np.random.default_rng(2)
    first = [rng.integers(0, spec.codes, shape) for shape in ((9, 20), (12, 9), (10, 12))]
    second = [np.where(rng.random(w.shape) < 1 / 8, rng.integers(0, spec.codes, w.shape), w) for w in first]
    biases = [np.zeros(len(w)) for w in first]
    return [multilayer_perceptron(spec, weights, biases, [2, 0, 0]) for weights in (first, second)]


def locked_twice(spec, fingerprint, transform, reuse):
    """Two versions; `reuse`: under one nonce, as no function of ours locks them."""
    device, models = device_of(spec), versions(spec)
    scheme = LockScheme.new(spec, fingerprint, transform)
    if not reuse:
        return [lock(Model(model), device, fingerprint, transform) for model in models]
    if not scheme.seals:
        return [Artefact(lock_program(model, device, scheme), scheme) for model in models]
    chip = ChipModel.of(device)
    clear = [model.map_codes(inverse(device.table())) for model in models]
    return [Artefact(seal_program(one, lock_key(scheme, chip), chip, scheme.clocked), scheme) for one in clear]


@pytest.mark.parametrize(
    ("spec", "transform"), [(OPEN, "aes-pre"), (OPEN, "aes-clocked"), (SEALED, "sealed"), (SEALED, "sealed-clocked")]
)
def test_two_programs_under_one_keystream_tell_their_sum(spec, transform):
    one, two = locked_twice(spec, "clock", transform, reuse=True)
    weak = two_files.two_time_pad(one, two)
    assert weak.got == weak.of or transform.endswith("clocked")  # cycles part the keystreams after the first other code
    if transform == "aes-pre":
        codes = [model.map_codes(inverse(device_of(spec).table())) for model in versions(spec)]
        flat = [retraining.flat_codes(program) for program in codes]
        assert np.array_equal(weak.found, flat[0] ^ flat[1])
    assert two_files.two_time_pad(*locked_twice(spec, "clock", transform, reuse=False)).got == 0


def test_equal_models_give_unrelated_words():
    model = Model(versions(SEALED)[0])
    one, two = (lock(model, device_of(SEALED)) for _ in range(2))
    found = two_files.two_time_pad(one, two)
    assert found.got == 0 and (found.found != 0).mean() > 0.99
    bits = np.unpackbits(found.found.view(np.uint8)).mean()
    assert abs(bits - 0.5) < 6 * 0.5 / np.sqrt(32 * len(found.found))


@pytest.mark.parametrize(("spec", "transform"), [(OPEN, "aes-pre"), (SEALED, "sealed")])
def test_versions_are_mixed_under_one_nonce_only(spec, transform):
    x = attacks.random_inputs(locked_twice(spec, "clock", transform, reuse=False)[0], 0)
    with NativeEngine(engine_library(spec), ROOT, sealed=spec is SEALED) as engine:
        found = []
        for reuse in (True, False):
            one, two = locked_twice(spec, "clock", transform, reuse)
            found.append(two_files.mix_versions(Probe(engine, spec), one, two, x))
    weak, today = found
    assert weak.got == weak.of > 0 and today.got == 0


def test_two_files_must_fit():
    model = Model(versions(OPEN)[0])
    other = Model(multilayer_perceptron(OPEN, [np.zeros((3, 4), int)], [np.zeros(3)], [0]))
    one, two = (lock(item, device_of(OPEN), "clock", "aes-pre") for item in (model, other))
    with pytest.raises(LockError, match="of one shape"):
        two_files.two_time_pad(one, two)
    with pytest.raises(LockError, match="of the same vault"):
        two_files.two_time_pad(one, lock(Model(versions(SEALED)[0]), device_of(SEALED)))
