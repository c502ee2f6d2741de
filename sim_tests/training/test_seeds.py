"""Seeds of training: drawn in secret, used to the last bit, kept in the model's file and nowhere else."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import bitting
from bitting.data import datasets
from bitting.errors import LockError
from bitting.training import balance, loop, randomness, recipes
from bitting.training.balance import Balance
from bitting.unit.spec import PRESETS
from tb.command import bitting as command
from tb.command import error_of

SPEC = PRESETS["tiny"]
DRAWN = 0x5F1D36A08C2BE94477D210FE6B3AC985
CONFIG = replace(recipes.RECIPES["digits"], epochs=1, hidden=(16,), balance=Balance.DRAWN)


def training(config=CONFIG, **options):
    return loop.train(SPEC, "digits", config, **options)


def codes(model):
    return np.concatenate([layer.codes.ravel() for layer in model.program.layers])


@pytest.fixture(scope="module")
def drawn():
    return training()


def test_a_seed_that_nobody_gave_is_drawn_anew_from_128_bits(drawn, monkeypatch):
    again = training()
    seeds = [model.claims["config"]["seed"] for model in (drawn, again)]
    assert seeds[0] != seeds[1] and not np.array_equal(codes(drawn), codes(again))
    assert not drawn.reproducible and drawn.claims["reproducible"] is False
    monkeypatch.setattr(randomness.secrets, "randbits", {128: DRAWN}.__getitem__)
    assert randomness.draw() == DRAWN


def test_who_knows_the_drawn_seed_trains_the_same_codes(drawn):
    """Why it is as secret as the weights."""
    again = training(replace(CONFIG, seed=drawn.claims["config"]["seed"]))
    assert np.array_equal(codes(drawn), codes(again)) and again.reproducible


@pytest.mark.parametrize("bit", [0, 31, 32, 63, 64, 100, 127])
def test_every_choice_depends_on_every_bit_of_the_seed(bit):
    """Initial weights, drawn histograms, order and dropout. torch.manual_seed alone would look at the lowest 32 bits."""
    here, there = DRAWN, DRAWN ^ 1 << bit
    for epoch in (None, 3):
        streams = [torch.rand(1000, generator=randomness.torch_generator(seed, epoch)) for seed in (here, there)]
        assert (streams[0] == streams[1]).sum() < 5
    orders = [torch.randperm(1000, generator=randomness.torch_generator(seed, 3)) for seed in (here, there)]
    assert (orders[0] == orders[1]).sum() < 20
    histograms = [balance.counts(Balance.DRAWN, SPEC, 16, 64, seed) for seed in (here, there)]
    assert (histograms[0] != histograms[1]).mean() > 0.5
    layers = []
    for seed in (here, there):
        randomness.seed_torch(seed)
        layers.append(loop.build(datasets.load("digits"), replace(CONFIG, seed=seed)).state_dict()["0.weight"])
    assert (layers[0] == layers[1]).float().mean() < 0.01
    spectra = [balance.match_random_spectrum(torch.eye(8), seed) for seed in (here, there)]
    assert not torch.equal(*spectra)


def test_the_torch_of_this_machine_takes_32_bits_of_a_seed():
    """If this fails, `bitting.training.randomness` explains too much."""
    first, second = (torch.rand(9, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1 + (1 << 32)))
    assert torch.equal(first, second)


def test_streams_of_a_drawn_seed_are_even_and_apart():
    sample = torch.rand(100_000, generator=randomness.torch_generator(DRAWN))
    assert abs(sample.mean() - 0.5) < 0.01 and abs(sample.std() - 12**-0.5) < 0.01
    apart = [torch.rand(1000, generator=randomness.torch_generator(DRAWN, epoch)) for epoch in (None, 0, 1)]
    assert all((apart[a] == apart[b]).sum() < 5 for a, b in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("seed", [0, 7, (1 << 32) - 1])
def test_small_seeds_give_what_they_always_gave(seed):
    """Experiments that were published with `--seed N` stay as they are."""
    torch.manual_seed(seed)
    expected = torch.rand(10)
    randomness.seed_torch(seed)
    assert torch.equal(torch.rand(10), expected)
    torch.manual_seed(seed * 100_003 + 5)
    assert torch.equal(torch.randperm(50), torch.randperm(50, generator=randomness.torch_generator(seed, 5)))
    once = np.random.default_rng([seed, 4, 64]).multinomial(64, np.full(SPEC.codes, 1 / SPEC.codes), size=4)
    assert np.array_equal(balance.counts(Balance.DRAWN, SPEC, 4, 64, seed), once)


@pytest.mark.parametrize("seed", [7, DRAWN])
def test_matrices_of_one_shape_do_not_share_their_histograms(seed):
    """Else two layers that must agree would tell the right key."""
    first, other, second = balance.counts_of_all(Balance.DRAWN, SPEC, [(8, 64), (4, 64), (8, 64)], seed)
    assert other.shape == (4, SPEC.codes) and (first != second).mean() > 0.5


class _InterruptError(Exception):
    pass


def test_an_interrupted_run_goes_on_with_the_seed_it_began_with(tmp_path, monkeypatch):
    seeds = iter([DRAWN, DRAWN + 1])
    monkeypatch.setattr(randomness, "draw", lambda: next(seeds))
    whole = training(replace(CONFIG, seed=DRAWN, epochs=2))

    def stop(name, *_):
        if name == "unit":
            raise _InterruptError

    config, checkpoint = replace(CONFIG, epochs=2), tmp_path / "run"
    with pytest.raises(_InterruptError):
        training(config, checkpoint=checkpoint, progress=stop)
    assert checkpoint.stat().st_mode & 0o777 == 0o600
    resumed = training(config, checkpoint=checkpoint)
    assert resumed.claims["config"]["seed"] == DRAWN and np.array_equal(codes(whole), codes(resumed))


def test_a_drawn_seed_is_printed_nowhere(tmp_path):
    path = tmp_path / "model.safetensors"
    run = ("train", "--spec", "tiny", "--epochs", 1, "-o", path)
    done = [command(*run), command(*run, "--json")]
    model = bitting.Model.load(path)
    seed = model.claims["config"]["seed"]
    assert seed >= 1 << 64 and path.stat().st_mode & 0o777 == 0o600
    texts = [text for each in done for text in (each.stdout, each.stderr)] + [repr(model), repr(replace(CONFIG, seed=seed))]
    assert not [text for text in texts if str(seed) in text or f"{seed:x}" in text]
    assert json.loads(done[1].stdout)["reproducible"] is False and "config" not in done[1].stdout
    assert "others can train this model again" in command(*run, "--seed", 7).stdout
    assert bitting.Model.load(path).reproducible


def test_a_reproducible_model_is_locked_only_if_one_insists(drawn, tmp_path):
    device, model, key, out = bitting.Device.new(SPEC), tmp_path / "model", tmp_path / "A.key", tmp_path / "artefact"
    given = bitting.Model(drawn.program, {**drawn.claims, "reproducible": True})
    before = bitting.Model(drawn.program, {"config": {"seed": 0}})  # a file of before: its seed was 0 unless another was given
    for refused in (given, before):
        with pytest.raises(LockError, match=r"the model is reproducible: .*; allowed are .*: train again .*allow_reproducible"):
            bitting.lock(refused, device)
        bitting.lock(refused, device, allow_reproducible=True)
    bitting.lock(drawn, device)
    bitting.lock(bitting.Model(drawn.program), device)  # of a training of one's own: nothing is known of its seed
    given.save(model)
    device.save(key)
    run = ("lock", model, "--device", key, "-o", out)
    assert "--allow-reproducible" in error_of(*run) and not out.exists()
    command(*run, "--allow-reproducible")
    with pytest.raises(LockError, match="reproducible"):
        bitting.lock(bitting.unlock(bitting.Artefact.load(out), device), device)
