"""Programs of random networks, for a thief to read."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import bitting
from bitting.program.layers import Program
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
