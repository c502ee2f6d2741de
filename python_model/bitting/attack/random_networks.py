"""Networks of the same shape with codes at random: the honest level of chance beside wrong keys.

A lucky random network tells two classes of ten apart, so that the best of a thousand wrong keys must be compared with the best
of a thousand of these, and not with one in ten.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from bitting.attack import stolen_codes
from bitting.emulator.emulate import Emulator
from bitting.program.interface import Interface
from bitting.program.layers import Program


def scores(
    architecture: Program,
    count: int,
    seed: int,
    activations: np.ndarray,
    labels: np.ndarray,
    interface: Interface,
    plain: bool = False,
) -> Iterator[float]:
    """Accuracy (`Interface.rating`) of so many random networks on (samples, input_words) activations.

    `plain`: their weights are bytes at random, as a wrong key makes them of weights that are enciphered byte by byte.
    """
    rng, x = np.random.default_rng(seed), torch.from_numpy(activations)
    for _ in range(count):
        network = stolen_codes.random_codes(architecture, rng, plain)
        yield interface.rating(Emulator(network, range(network.spec.codes))(x).numpy(), labels)
