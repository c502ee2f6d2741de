"""What the networks of a training see: activations times a scale, in the shape that they take."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from bitting.conversion.converter import input_preparation
from bitting.data.dataset import Dataset
from bitting.data.fitting import fitted, uniform
from bitting.network.graph import Preparation, input_units
from bitting.program.interface import Interface
from bitting.unit.spec import UnitSpec

#: An odd number of samples: what takes them as something else gives another number of answers.
_PROBE = 7
#: Samples that show how large a prepared input gets.
_SEEN = 4096


class Prepared(nn.Module):
    """A model behind the inverse of what it does to its input first: it takes inputs that are prepared already."""

    def __init__(self, model: nn.Module, preparation: Preparation):
        super().__init__()
        self.model = model
        gain, offset = preparation
        self.register_buffer("_gain", gain, persistent=False)
        self.register_buffer("_offset", offset, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The model's answers."""
        answers: torch.Tensor = self.model((x - self.get_buffer("_offset")) / self.get_buffer("_gain"))
        return answers


@dataclass(frozen=True, eq=False)
class Inputs:
    """How inputs of a data set become activations, and what networks see of them.

    Attributes:
        interface: inputs of the data set to activations.
        scale: what activations are multiplied by.
        shape: of a sample.
        preparation: of a given model, if that prepares its input; networks see inputs that are prepared.
    """

    interface: Interface
    scale: float
    shape: tuple[int, ...]
    preparation: Preparation | None = None

    @classmethod
    def of_data(cls, spec: UnitSpec, data: Dataset, flat: bool) -> Inputs:
        """For networks of ours."""
        return cls(fitted(spec, data), 1.0 / (spec.act_max + 1), (data.words,) if flat else data.shape)

    @classmethod
    def of_model(cls, spec: UnitSpec, data: Dataset, model: nn.Module) -> Inputs:
        """For a given model: it sees pixels from 0 to 1, and other inputs as they are, flat if it can.

        Raises:
            ConversionError: if the model can not be traced.
        """
        interface = uniform(spec, data)
        pixel = 255.0 if data.pictures else 1.0
        shape = (data.words,) if _takes(model, (data.words,)) else data.shape
        seen = torch.from_numpy(data.train_x[:_SEEN]).float().reshape(-1, *shape) / pixel
        preparation = input_preparation(model, spec, seen)
        if preparation is None:
            return cls(interface, 1.0 / (spec.act_max + 1) if data.pictures else float(1 / interface.scale[0]), shape)
        gain, offset = preparation
        largest = max(float((seen * gain + offset).abs().max()), 1e-12)
        zero, scale = input_units(preparation, spec.act_max / largest)
        said = replace(interface, offset=zero * np.float32(pixel), scale=scale / np.float32(pixel), low=spec.act_min)
        return cls(said, largest / spec.act_max, shape, preparation)

    def activations(self, inputs: np.ndarray) -> torch.Tensor:
        """(samples, *shape) integers as float32, of inputs as the data set has them."""
        return torch.from_numpy(self.interface.activations(inputs)).float().reshape(len(inputs), *self.shape)

    def prepared(self, model: nn.Module) -> nn.Module:
        """The model as a network that sees these inputs."""
        return Prepared(model, self.preparation) if self.preparation else model

    def undone(self, x: torch.Tensor) -> torch.Tensor:
        """What networks see, as the given model takes it."""
        if self.preparation is None:
            return x
        gain, offset = self.preparation
        return (x - offset) / gain


def _takes(model: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether a model gives an answer for each sample of a shape."""
    try:
        with torch.no_grad():
            answers = copy.deepcopy(model).eval()(torch.zeros(_PROBE, *shape))
    except Exception:  # the user's code may raise anything
        return False
    return isinstance(answers, torch.Tensor) and answers.shape[:1] == (_PROBE,)
