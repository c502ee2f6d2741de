"""A trained network to a file: lowered to gather layers, and shown to answer as it did in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitting.artefact.model import Model
from bitting.conversion.tracing import as_floats
from bitting.emulator import emulate
from bitting.errors import BittingError
from bitting.network.graph import UnitNetwork


def export(
    network: UnitNetwork,
    samples: torch.Tensor | np.ndarray,
    path: Path | str | None = None,
    claims: dict[str, Any] | None = None,
) -> Model:
    """A trained network as a model (unlocked: keep it secret), ready for `bitting lock`.

    Args:
        network: from `bitting.convert`, trained; keeps its mode, training or evaluation.
        samples: (n, *input shape), inputs for which the exported program must answer as the network does.
        path: where to write it; by default it is not written.
        claims: what the file says of the model, e.g. its accuracy.

    Raises:
        ProgramError: if the spec can not hold the network.
        BittingError: if the arithmetic of training and of the program differ: a fault of bitting, or of this machine's torch.

    Example:
        >>> import bitting, numpy, torch
        >>> x = numpy.random.default_rng(0).uniform(-1, 1, (32, 8))
        >>> network = bitting.convert(torch.nn.Sequential(torch.nn.Linear(8, 3)), "tiny", x)
        >>> model = bitting.export(network, x)
        >>> model.program.parameters
        24
    """
    program = network.to_program()
    was_training = network.training
    network.eval()
    with torch.no_grad():
        integers = network.integers(as_floats(samples))
        trained = emulate.wrap(network.accumulators(integers), network.spec.acc_bits).to(torch.int32)
    network.train(was_training)
    emulated = emulate.Emulator(program, range(network.spec.codes))(integers.flatten(1))
    if not torch.equal(trained.cpu(), emulated):
        raise BittingError(
            "the trained network and its program differ in some logit; please report this with the versions in use"
        )
    model = Model(program, {"input_scale": network.input_scale, **(claims or {})})
    if path is not None:
        model.save(Path(path))
    return model
