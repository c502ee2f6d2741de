"""Networks of every operator: golden = emulator = training = RTL, locked and not, and clear words for what does not fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import bitting
from bitting.artefact.artefact import Artefact
from bitting.check.verification import verify
from bitting.data import datasets
from bitting.emulator.emulate import Emulator
from bitting.errors import ConversionError, ProgramError
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.kinds import AES_TRANSFORMS
from bitting.locking.scheme import LockScheme
from bitting.locking.transform import lock_program, unlock_program
from bitting.program import packets
from bitting.program.packets import ExpectedResults
from bitting.sim.native import NativeEngine, Stalls, engine_library
from bitting.training import architectures, loop, recipes
from bitting.unit.spec import PRESETS, parse_spec
from tb.moved_networks import MovedNetwork
from tb.networks import RandomNetwork
from tb.programs import golden_cycles, golden_run, random_activations

SEEDS = 220
ROOT = bytes(range(7, 23))


SMALL = pytest.param("tiny:scratch_words=2048,vault=aes", marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=[SMALL, "base:vault=aes"])
def chip(request):
    spec = parse_spec(request.param)
    with NativeEngine(engine_library(spec), ROOT) as engine:
        yield spec, Device(spec, ROOT), engine


def random_model(spec, seed, kind=RandomNetwork):
    """A random network on the unit, its unlocked program, and samples."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    plain = kind(rng, largest=60 if spec.scratch_words > 2048 else 24)
    x = random_activations(spec, rng, spec.lanes, int(np.prod(plain.shape)))
    inputs = torch.from_numpy(x).float().reshape(-1, *plain.shape)
    fresh, activation = ((True, "fold"), (False, "fold"), (False, "relu"))[rng.integers(3)]
    try:
        network = bitting.convert(plain, spec, inputs, input_scale=1.0, fresh=fresh, activation=activation)
    except ConversionError as error:
        assert "what is concatenated here and then reordered" in str(error), "the one thing that relu may refuse here"
        network = bitting.convert(plain, spec, inputs, input_scale=1.0)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.uniform_(parameter, -2, 2)
    model = bitting.export(network, inputs)  # insists on training's arithmetic and the emulator's being equal
    return model.program, x


@pytest.mark.parametrize("seed", [*range(20), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(20, SEEDS // 2))])
def test_golden_emulator_and_rtl_agree_on_random_networks(chip, seed):
    agree_on_random_network(chip, seed, RandomNetwork)


@pytest.mark.parametrize("seed", [*range(12), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(12, 60))])
def test_golden_emulator_and_rtl_agree_on_networks_that_move_their_activations(chip, seed):
    agree_on_random_network(chip, seed, MovedNetwork)


def agree_on_random_network(chip, seed, kind):
    spec, device, engine = chip
    program, x = random_model(spec, seed, kind)
    locked = lock_program(program, device, LockScheme())
    table = device.table()
    logits = Emulator(locked, table)(torch.from_numpy(x)).numpy()
    assert np.array_equal(logits[:2], golden_run(locked, table, x[:2])), f"seed {seed}"
    expected = ExpectedResults.of(locked, locked.tile_cycles(table))
    stalls = Stalls(seed, 90, 90) if seed % 4 == 1 else Stalls()
    engine.reset()
    inputs = packets.activations_packet(spec, locked.input_base, x)
    run = engine.run(np.concatenate([inputs, packets.program_packets(locked)]), len(expected), stalls)
    assert np.array_equal(run.words, expected.words(logits)), f"seed {seed}"
    assert [tile.cycles for tile in packets.parse_results(run.words)] == golden_cycles(locked, table)


@pytest.mark.slow
@pytest.mark.parametrize("transform", AES_TRANSFORMS)
@pytest.mark.parametrize("seed", range(6))
def test_locked_random_networks_run_on_the_right_device_and_are_noise_elsewhere(chip, seed, transform):
    spec, device, _ = chip
    program, x = random_model(spec, 1000 + seed)
    scheme = LockScheme.new(spec, ("clock", "numeric")[seed % 2], transform)
    locked = lock_program(program, device, scheme)
    for before, after in zip(program.layers, locked.layers, strict=True):
        assert before.constant == np.array_equal(before.codes, after.codes), "constants, and only they, stay as they are"
    labels = np.zeros(len(x), np.int64)
    assert verify(Artefact(locked, scheme), device, x, labels).equal
    other = Device(spec, bytes(15) + b"\x01")
    assert verify(Artefact(locked, scheme), other, x, labels).equal, "noise, but the noise that was foretold"
    right, wrong = (
        Emulator(unlock_program(locked, scheme, ChipModel.of(d)), d.table())(torch.from_numpy(x)) for d in (device, other)
    )
    assert not torch.equal(right, wrong)


class Wide(nn.Module):
    """Sums longer than the tile buffer of `tiny`: a window over 30 channels, and a dense layer after it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(30, 5, 3, padding=1)
        self.fc = nn.Linear(5 * 4 * 4, 3)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).flatten(1))


class Long(nn.Module):
    """A dense layer over 401 words: prime, so the last part is filled up."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(401, 20), nn.Linear(20, 4)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))


@pytest.mark.slow
@pytest.mark.parametrize("plain, shape", [(Wide, (30, 4, 4)), (Long, (401,))])
def test_sums_longer_than_the_tile_buffer_become_chains(plain, shape):
    spec = parse_spec("tiny:scratch_words=2048,vault=aes")
    device = Device(spec, ROOT)
    rng = np.random.default_rng(0)
    x = random_activations(spec, rng, 9, int(np.prod(shape)))
    inputs = torch.from_numpy(x).float().reshape(-1, *shape)
    program = bitting.export(bitting.convert(plain(), spec, inputs, input_scale=1.0), inputs).program
    assert max(layer.parts for layer in program.layers) == 2
    scheme = LockScheme.new(spec, "numeric", "aes-clocked")
    locked = lock_program(program, device, scheme)
    assert verify(Artefact(locked, scheme), device, x, np.zeros(9, np.int64)).equal
    clear = unlock_program(locked, scheme, ChipModel.of(device))
    logits = Emulator(clear, device.table())(torch.from_numpy(x)).numpy()
    assert np.array_equal(logits[:1], golden_run(clear, device.table(), x[:1]))


def test_what_does_not_fit_is_named_with_a_spec_that_would_do():
    x = torch.rand(4, 1, 28, 28)
    with pytest.raises(ProgramError, match=r"layer features_\d.*scratch_words = 4096.*base:scratch_words=8192 would do"):
        bitting.convert(architectures.LeNet(), PRESETS["base"], x)
    bitting.convert(architectures.LeNet(), parse_spec("base:scratch_words=8192"), x).to_program().validate()
    with pytest.raises(ProgramError, match="no spec would do"):
        bitting.convert(nn.Sequential(nn.Conv2d(1, 100, 3), nn.Flatten(), nn.Linear(67600, 2)), PRESETS["tiny"], x)
    with pytest.raises(ProgramError, match=r"window of 400 weights.*tile_codes=512"):
        bitting.convert(
            nn.Sequential(nn.Conv2d(1, 1, 20), nn.Flatten(), nn.Linear(81, 2)), parse_spec("tiny:scratch_words=4096"), x
        )


def test_sums_beyond_fp32_are_exact_in_training_too():
    """784 inputs of `wide` reach beyond 2^24; a convolution of as many, too. `export` insists on equality."""
    x = torch.rand(8, 16, 7, 7)
    for layers in (
        (nn.Flatten(), nn.Linear(784, 6), nn.ReLU(), nn.Linear(6, 2)),
        (nn.Conv2d(16, 6, 7), nn.ReLU(), nn.Conv2d(6, 2, 1)),
    ):
        network = bitting.convert(nn.Sequential(*layers, nn.Flatten()), PRESETS["wide"], x)
        wide = network.products[0]
        assert wide.exact is torch.float64
        with torch.no_grad():
            wide.learn_scale(1.0)
            wide.weight.fill_(10.0)  # all are the family's largest
        network.train().loss(x, torch.zeros(8, dtype=torch.long)).backward()
        assert wide.weight.grad is not None and wide.weight.grad.isfinite().all()
        program = bitting.export(network, x).program
        assert int(program.layers[0].codes.max()) == PRESETS["wide"].codes - 1


def test_words_are_used_again():
    x = torch.rand(4, 3, 8, 8)
    deep = nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1) for _ in range(12)], nn.Flatten(), nn.Linear(192, 2))
    program = bitting.convert(deep, PRESETS["base"], x).to_program()
    assert program.reach <= 3 * (3 * 9 * 9 + 10), "three images at most are alive at a time"


@pytest.mark.slow
@pytest.mark.parametrize("network", ["lenet", pytest.param("residual", marks=pytest.mark.thorough)])
def test_reference_networks_run_on_the_rtl(network):
    """Briefly trained, locked: not one wrong bit, not one wrong cycle; on a wrong device noise.

    `scripts/networks_report.py` trains them well and runs more images.
    """
    spec, whole = parse_spec("base:scratch_words=8192,lanes=64,vault=aes"), datasets.load("fashion-mnist")
    data = replace(whole, train_x=whole.train_x[:16_000], train_y=whole.train_y[:16_000])
    model = loop.train(spec, data, replace(recipes.recipe(data, network), epochs=1, batch_size=128, seed=0))
    assert model.claims["accuracy"] > 0.6
    device = Device(spec, ROOT)
    scheme = LockScheme.new(spec, "clock", "aes-clocked")
    locked = lock_program(model.program, device, scheme)
    x, y = datasets.activations(spec, data.test_x[:256]), data.test_y[:256]
    report = verify(Artefact(locked, scheme), device, x, y)
    assert report.equal and report.samples == 256 and report.accuracy == report.emulator_accuracy > 0.6
    wrong = verify(Artefact(locked, scheme), device.with_flipped_bit(3), x[:64], y[:64])
    assert wrong.equal and wrong.accuracy < 0.5
