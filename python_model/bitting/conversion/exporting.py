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
from bitting.network.loss import logit_scale
from bitting.program.interface import Interface, Task


def export(
    network: UnitNetwork,
    samples: torch.Tensor | np.ndarray,
    path: Path | str | None = None,
    claims: dict[str, Any] | None = None,
    interface: Interface | None = None,
) -> Model:
    """A trained network as a model (unlocked: keep it secret), ready for `bitting lock`.

    Args:
        network: from `bitting.convert`, trained; keeps its mode, training or evaluation.
        samples: (n, *input shape), inputs for which the exported program must answer as the network does.
        path: where to write it; by default it is not written.
        claims: what the file says of the model, e.g. its accuracy.
        interface: how a user's inputs become activations, and what the sums say; by default inputs are those that the network
            takes, and the largest output wins, or one output alone is a number (a regression), and so is each of a network that
            was converted with `regression=True`. Of a model that ended with a sigmoid each output is a yes or no.

    Raises:
        ProgramError: if the spec can not hold the network, or the interface does not fit it.
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
    interface = interface or _of_network(network, program.outputs)
    interface.validate(network.spec, program.sample_words, program.outputs)
    model = Model(program, dict(claims or {}), interface)
    if path is not None:
        model.save(Path(path))
    return model


def _of_network(network: UnitNetwork, outputs: int) -> Interface:
    """Inputs in the network's units to the nearest activation; sums to what the network answers."""
    offset, scale = network.input_units()
    return Interface(
        network.input_shape, offset, scale, network.spec.act_min, network.spec.act_max, _task(network, outputs),
        output_scale=np.float32(logit_scale(network.spec.acc_bits)) * network.output_gain.cpu().numpy(),
        output_offset=network.output_offset.cpu().numpy(),
    )  # fmt: skip


def _task(network: UnitNetwork, outputs: int) -> Task:
    if network.ends_with == "sigmoid":
        return Task.BINARY if outputs == 1 else Task.LABELS
    return Task.CLASSES if outputs > 1 and not network.regression else Task.REGRESSION
