"""Models that a user gives are trained in the shape and in the units that they take."""

import numpy as np
import pytest
import torch
from torch import nn

from bitting.data.dataset import of_arrays
from bitting.emulator.emulate import Emulator
from bitting.training import loop
from bitting.training.recipes import TrainConfig
from bitting.unit.spec import PRESETS

SPEC = PRESETS["base"]
MEAN, DEVIATION = 20.0, 5.0


class OfSeries(nn.Module):
    """Scales its input before a convolution that pads: the interface must do that."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv1d(3, 4, 5, padding=2), nn.Linear(4 * 12, 2)

    def forward(self, x):
        x = torch.relu(self.conv((x - MEAN) / DEVIATION))
        return self.head(nn.functional.avg_pool1d(x, 2).flatten(1))


@pytest.fixture(scope="module")
def series():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(240, 3, 24)) * DEVIATION + MEAN).astype(np.float32)
    y = (x[:, 0, 5:10].mean(axis=1) > MEAN).astype(np.int64)
    return of_arrays("series", (x, y), (x[:120], y[:120]))


@pytest.mark.parametrize("spec", ["base", "soft"])  # of `soft` answers are a quarter as large, and so is what is learnt from
def test_a_model_of_series_is_fine_tuned_in_the_units_it_takes(series, spec):
    torch.manual_seed(0)
    model, x, y = OfSeries(), torch.from_numpy(series.train_x).reshape(-1, 3, 24), torch.from_numpy(series.train_y)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    trained = loop.train(spec, series, TrainConfig(epochs=8, seed=0), model=model)
    with torch.no_grad():
        own = float((model.eval()(x[:120]).argmax(1) == y[:120]).float().mean())
    assert abs(trained.claims["twin_accuracy"] - own) < 0.05, "the twin is the model, of inputs on the unit's grid"
    assert trained.claims["accuracy"] > own - 0.1
    # The file takes inputs as the data set has them, and answers what training measured.
    sums = trained.sums(series.test_x.reshape(-1, 3, 24))
    assert float((sums.argmax(1) == series.test_y).mean()) == trained.claims["accuracy"]
    activations = torch.from_numpy(trained.interface.activations(series.test_x))
    assert np.array_equal(Emulator(trained.program, range(trained.program.spec.codes))(activations).numpy(), sums)


def test_series_without_a_model_are_learnt_by_dense_layers(series):
    trained = loop.train(SPEC, series, TrainConfig(hidden=(16,), epochs=8, seed=0))
    most_frequent = np.bincount(series.test_y).max() / len(series.test_y)
    assert trained.claims["accuracy"] > (1 + most_frequent) / 2 and trained.interface.shape == (3, 24)
