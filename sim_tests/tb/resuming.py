"""A training that is interrupted after its second epoch of the unit, and goes on from its checkpoint."""

from pathlib import Path

import pytest

from bitting.artefact.model import Model
from bitting.data.dataset import Dataset
from bitting.training import loop
from bitting.training.recipes import TrainConfig


def resumed(spec: str, data: Dataset, config: TrainConfig, checkpoint: Path) -> Model:
    """The model of a run in two parts. It is to be that of `loop.train` without a break."""

    def stop(*told: object) -> None:
        if told[:2] == ("unit", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.train(spec, data, config, checkpoint, stop)
    return loop.train(spec, data, config, checkpoint)
