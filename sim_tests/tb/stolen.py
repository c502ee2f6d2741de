"""Programs of random networks, for a thief to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

import bitting
from bitting.program.layers import Program, dense
from bitting.targets.stolen import Stolen
from bitting.unit.spec import UnitSpec
from tb.conversions import SPEC
from tb.networks import RandomNetwork
from tb.programs import random_activations


def network_program(seed: int, activation: str, kind: type[RandomNetwork] = RandomNetwork) -> tuple[Program, torch.Tensor]:
    """Of a random network in plain PyTorch, with biases at random; and activations for it."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    plain = kind(rng, largest=60)
    x = random_activations(SPEC, rng, 8, int(np.prod(plain.shape)))
    inputs = torch.from_numpy(x).float().reshape(-1, *plain.shape)
    network = bitting.convert(plain, SPEC, inputs, input_scale=1.0, activation=activation)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.uniform_(parameter, -2, 2)
    return network.to_program(), torch.from_numpy(x)


def chained(spec: UnitSpec, shift: int, *layers: tuple[Sequence[Sequence[float]], int, int], bias: int = 0) -> Stolen:
    """Dense layers of any weights, in fp64, each with the words that it reads and writes from; the inputs are two words.

    The first has `bias` in every channel, the last emits, the others have `shift`.
    """
    made = []
    for number, (weights, reads, writes) in enumerate(layers):
        last, start = number == len(layers) - 1, np.full(len(weights), 0 if number else bias)
        made.append(dense(np.zeros(np.shape(weights)), start, reads, 0 if last else writes, 0 if last else shift, last))
    stolen = Stolen.of(Program(spec, tuple(made), 0, 2))
    real = [
        replace(layer, weights=torch.tensor(weights, dtype=torch.float64), bias=layer.bias.double())
        for layer, (weights, _, _) in zip(stolen.layers, layers, strict=True)
    ]
    return replace(stolen, layers=tuple(real), dtype=torch.float64)
