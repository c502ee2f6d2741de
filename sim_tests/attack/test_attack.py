"""What wrong devices, mutated chips and thieves achieve, and whole test sets on the RTL."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bitting.artefact.artefact import Artefact
from bitting.attack import baselines, mutants, screening, wrong_keys
from bitting.attack.free_table import break_table
from bitting.check.verification import verify
from bitting.data import datasets
from bitting.emulator.emulate import Emulator
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.kinds import Transform
from bitting.locking.scheme import LockScheme, pairings
from bitting.locking.transform import lock_program, unlock_program
from bitting.program.layers import multilayer_perceptron
from bitting.program.packets import activations_packet, program_packets, result_words, split
from bitting.sim.native import NativeEngine, Stalls, library_of
from bitting.training import balance, loop, recipes
from bitting.unit.protocol import TILE_DONE_FIXED_WORDS, Result
from bitting.unit.spec import parse_spec
from bitting_rtl.engine.export import TOP
from tb.families import AES
from tb.mutants import NAMES, TIMING, mutant_verilog

SPEC = AES["base"]
OWNER = Device(SPEC, bytes(range(16)))
NONCE = bytes(range(16))
OPEN = LockScheme()
PAIRINGS = [(scheme.fingerprint, scheme.transform) for scheme in pairings(SPEC)]
#: Each fingerprint once, and a transform that moves codes and one that encrypts: the rest of MNIST's is thorough.
SHOWN = [("clock", "shuffle"), ("numeric", "aes-pre")]


def a_lock(fingerprint: str, transform: str, spec=SPEC) -> LockScheme:
    return LockScheme.new(spec, fingerprint, transform, nonce=NONCE)


@pytest.fixture(scope="module")
def digits():
    data = datasets.load("digits")
    model = loop.train(SPEC, data, replace(recipes.RECIPES["digits"], epochs=30, seed=0))
    return data, model, datasets.activations(SPEC, data.test_x)


@pytest.mark.parametrize(
    ("fingerprint", "transform"), [("none", Transform.TABLE), ("clock", "aes-clocked"), ("numeric", "shuffle")]
)
def test_a_wrong_device_makes_noise_and_keeps_other_time(digits, fingerprint, transform):
    data, model, x = digits
    scheme = OPEN if transform == Transform.TABLE else a_lock(fingerprint, transform)
    locked = lock_program(model.program, OWNER, scheme)
    found = wrong_keys.survey(locked, scheme, OWNER, x, data.test_y, random_keys=100)
    assert found.right == model.claims["accuracy"]
    assert found.neighbours == 128 and found.mean and found.mean < 0.15
    other = OWNER.with_flipped_bit(7)
    right, wrong = (unlock_program(locked, scheme, ChipModel.of(chip)).tile_cycles(chip.table()) for chip in (OWNER, other))
    tiles = sum(len(layer) for layer in right)
    same = sum(a == b for one, two in zip(right, wrong, strict=True) for a, b in zip(one, two, strict=True))
    assert same < tiles / 4


def test_wrong_devices_are_seeded_and_distinct():
    tables = [device.table() for _, device in wrong_keys.wrong_devices(OWNER, 50, True, seed=3)]
    assert len(set(tables)) == 178 and OWNER.table() not in tables
    again = [device.table() for _, device in wrong_keys.wrong_devices(OWNER, 50, True, seed=3)]
    assert tables == again


@pytest.mark.slow
def test_the_table_alone_is_no_lock_and_a_keyed_transform_gives_less_than_nothing(digits):
    """Gradient descent with 200 labels: the table alone falls; under AES the stolen codes help less than no file at all."""
    data, model, _ = digits
    alone = break_table(lock_program(model.program, OWNER, OPEN), data, 200)
    keyed = break_table(lock_program(model.program, OWNER, a_lock("clock", "aes-pre")), data, 200)
    assert alone.learnt > 0.85 and keyed.learnt < baselines.from_scratch(data, 200) < alone.learnt + 0.15
    assert alone.told is not None and keyed.told is not None and keyed.told < 0.25  # digits have few neighbours


@pytest.mark.parametrize(
    ("fingerprint", "transform", "kind"),
    [("clock", "aes-pre", "timing"), ("numeric", "aes-clocked", "timing"), ("numeric", "aes-pre", "arithmetic")],
)
def test_every_mutant_is_noticed_and_sees_noise(digits, fingerprint, transform, kind):
    data, model, x = digits
    scheme = a_lock(fingerprint, transform)
    locked = lock_program(model.program, OWNER, scheme)
    honest = ChipModel.of(OWNER)
    chips = mutants.timing_mutants(honest) if kind == "timing" else mutants.arithmetic_mutants(honest, OWNER.table())
    found = mutants.survey(locked, scheme, OWNER, list(chips), x, data.test_y)
    assert found.mutants >= 117 and found.same_key == 0
    assert found.right == model.claims["accuracy"] and found.mean and found.worst and found.mean < 0.15 and found.worst < 0.4


TINY = AES["tiny"]


@pytest.fixture(scope="module")
def small():
    """A network on the small family: a simulation of it builds fast."""
    data = datasets.load("digits")
    model = loop.train(TINY, data, replace(recipes.RECIPES["digits"], epochs=20, seed=0))
    return data, model, datasets.activations(TINY, data.test_x)


def run_on(engine: NativeEngine, scheme: LockScheme, locked, x: np.ndarray) -> np.ndarray:
    """(samples, outputs) accumulators as the chip sends them; the samples fill whole batches."""
    logits = []
    for first in range(0, len(x), TINY.lanes):
        inputs = activations_packet(TINY, locked.input_base, x[first : first + TINY.lanes])
        engine.reset()
        run = engine.run(np.concatenate([scheme.packets(), inputs, program_packets(locked)]), result_words(locked))
        bodies = [payload[TILE_DONE_FIXED_WORDS:] for kind, payload in split(run.words) if kind == Result.TILE_DONE]
        logits.append(np.array([body.view(np.int32) for body in bodies if len(body)]).T)
    return np.concatenate(logits)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_mutants_in_the_silicon_see_noise(small, name):
    """Real chips a cycle or a bit off; they know the secret. Timing: `clock`, and `aes-clocked` under the other fingerprint."""
    data, model, x = small
    chip = Device(TINY, bytes(range(1, 17)))
    pairings = [("clock", "aes-pre"), ("numeric", "aes-clocked")] if name in TIMING else [("numeric", "aes-pre")]
    samples = 400
    with NativeEngine(library_of(mutant_verilog(name, TINY), TOP), chip.root) as engine:
        for pairing in pairings:
            scheme = a_lock(*pairing, spec=TINY)
            locked = lock_program(model.program, chip, scheme)
            honest = Emulator(unlock_program(locked, scheme, ChipModel.of(chip)), chip.table())(
                torch.from_numpy(x[:samples])
            ).numpy()
            found = run_on(engine, scheme, locked, x[:samples])
            accuracy = (found.argmax(1) == data.test_y[:samples]).mean()
            assert (honest.argmax(1) == data.test_y[:samples]).mean() > 0.8
            assert accuracy < 0.4, (pairing, accuracy)


def balanced_program(kind: str, seed: int):
    """Codes with the histogram training would keep, in random order: histograms know no order."""
    rng = np.random.default_rng(seed)
    weights = []
    for tiles, inputs in ((128, 784), (10, 128)):
        latent = torch.from_numpy(rng.standard_normal((tiles, inputs))).float()
        if kind == "none":  # rows of unlike size, as training leaves them
            latent *= torch.linspace(0.5, 1.5, tiles)[:, None]
            codes = np.abs(latent.numpy()[..., None] * SPEC.value_set.sigma - np.array(SPEC.values)).argmin(axis=-1)
        else:
            projected = balance.project(SPEC, latent, balance.counts(balance.Balance(kind), SPEC, tiles, inputs, seed)).numpy()
            codes = np.abs(projected[..., None] * SPEC.value_set.sigma - np.array(SPEC.values)).argmin(axis=-1)
        weights.append(codes)
    return multilayer_perceptron(SPEC, weights, [np.zeros(len(w)) for w in weights], [0, 0])


def screened(kind: str, transform: str) -> screening.Screening:
    scheme = a_lock("clock", transform)
    locked = lock_program(balanced_program(kind, 3), OWNER, scheme)
    redrawn = screening.redrawn_of(locked, scheme, {"balance": kind})
    return screening.screen(locked, scheme, OWNER, wrong_keys=400, redrawn=redrawn)


@pytest.mark.slow
def test_screening_sees_through_aes_and_not_through_drawn_histograms():
    plain = screened("drawn", "aes")
    assert min(plain.model[name] for name in ("chi-square", "variance", "kurtosis")) > 0.99
    assert min(plain.tile[name] for name in ("chi-square", "variance", "kurtosis")) > 0.99
    for transform in ("aes-pre", "aes-clocked"):
        found = screened("drawn", transform)
        assert all(abs(found.tile[name] - 0.5) < 0.05 for name in screening.HISTOGRAM), found.tile
        assert all(abs(found.model[name] - 0.5) < 0.05 for name in screening.HISTOGRAM), found.model


@pytest.mark.slow
def test_screening_sees_codes_used_exactly_equally_and_codes_left_alone():
    """A chi-square of 0 is as suspicious as a large one: exactly equal use gives the right key away."""
    assert screened("equal", "aes-pre").model["chi-square"] == 1.0
    left = screened("none", "aes-pre")
    assert left.model["chi-square"] == 1.0 and left.tile["variance"] > 0.8


def test_statistics_of_a_random_matrix_are_as_documented():
    rng = np.random.default_rng(0)
    found = screening.matrix_statistics(rng.standard_normal((256, 784)))
    assert abs(found["row correlation"] - 1) < 0.02 and abs(found["column correlation"]) < 0.02
    assert abs(found["spectrum"] - 1) < 0.05
    smooth = np.cumsum(rng.standard_normal((256, 784)), axis=1)
    assert screening.matrix_statistics(smooth)["column correlation"] > 0.9
    assert screening.auc(np.array([5.0]), np.array([0.0, 1.0, -1.0])) == 1.0


#: Of the MNIST test set: ten batches.
IMAGES = 640


@pytest.fixture(scope="module")
def mnist():
    """64 lanes: images pass four times as fast."""
    data = datasets.load("mnist")
    spec = parse_spec("base:vault=aes,lanes=64")
    model = loop.train(spec, data, replace(recipes.RECIPES["mnist"], epochs=2, seed=0))  # fewer: claims here are equalities
    assert model.claims["accuracy"] >= 0.94
    return data, model, datasets.activations(spec, data.test_x)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fingerprint", "transform"),
    [pair if pair in SHOWN else pytest.param(*pair, marks=pytest.mark.thorough) for pair in PAIRINGS],
)
def test_mnist_on_the_rtl_of_the_right_and_a_wrong_device(mnist, fingerprint, transform):
    """Not one wrong bit, not one wrong cycle; on a wrong device noise, and the same noise in both.

    The whole test set, for every pairing, is what `scripts/lock_report.py` runs.
    """
    data, model, x = mnist
    spec = model.program.spec
    owner = Device(spec, OWNER.root)
    scheme = a_lock(fingerprint, transform, spec)
    locked = lock_program(model.program, owner, scheme)
    report = verify(Artefact(locked, scheme), owner, x[:IMAGES], data.test_y[:IMAGES])
    assert report.equal and report.samples == IMAGES and report.wrong_logits == report.wrong_cycles == 0
    assert report.accuracy == report.emulator_accuracy > 0.9
    wrong = verify(Artefact(locked, scheme), owner.with_flipped_bit(0), x[:128], data.test_y[:128], stalls=Stalls(1, 40, 40))
    assert wrong.equal and wrong.accuracy == wrong.emulator_accuracy < 0.3
