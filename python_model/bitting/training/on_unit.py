"""The network of the unit as training begins: converted, calibrated, and what is done to it after each epoch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from bitting.artefact.claims import SPARSITY, SPLIT
from bitting.conversion.converter import convert
from bitting.errors import BittingError, ProgramError
from bitting.network.graph import UnitNetwork
from bitting.network.layers import UnitAdd, UnitProduct
from bitting.network.loss import logit_gain
from bitting.training import balance, randomness, sparsity, splitting
from bitting.training.balance import Balance
from bitting.training.inputs import Inputs
from bitting.training.recipes import TrainConfig
from bitting.unit.spec import UnitSpec

#: Training samples that shifts are calibrated on.
CALIBRATION_SAMPLES = 1024


def on_unit(
    reference: nn.Module,
    spec: UnitSpec,
    samples: torch.Tensor,
    inputs: Inputs,
    config: TrainConfig,
    fresh: bool,
    stripes: int | str | None = None,
) -> tuple[UnitNetwork, Callable[[], None]]:
    """The network to train, calibrated and known to fit, and what to call after each epoch; `stripes` as of `convert`."""
    randomness.seed_torch(config.known_seed)
    first = samples[:CALIBRATION_SAMPLES]
    try:
        network = convert(
            reference,
            spec,
            inputs.undone(first),
            input_scale=1.0 / inputs.scale,
            accumulator_std=config.accumulator_std,
            normalise=config.balance == Balance.NONE,
            fresh=fresh,
            activation=config.activation,
            stripes=stripes,
        )
    except ProgramError as error:
        if config.soft != SPLIT:
            raise
        raise ProgramError(f"{error}, for the network before its channels are doubled: take twice as many words") from None
    network.preparation = None  # `inputs` are prepared
    if network.fits:
        return network, lambda: None
    network.output_gain.fill_(logit_gain(spec))
    if fresh:
        _draw_biases(network, config)
    if config.logit_weight_rms:
        network.products[-1].learn_scale(config.logit_weight_rms)
    if config.soft == SPLIT:
        # Shifts of weights of the usual size tell how much smaller they can be; the last calibration finds those of small ones.
        network.calibrate(first, config.accumulator_std)
        splitting.prepare(network)
    if config.soft == SPARSITY:
        sparsity.prepare(network, config.known_seed)
    project = _projection(network, config)
    project()
    network.calibrate(first, config.accumulator_std)

    def finish_epoch() -> None:
        project()
        network.update_statistics(samples)

    return network, finish_epoch


@torch.no_grad()
def _draw_biases(network: UnitNetwork, config: TrainConfig) -> None:
    for module in network.graph.values():
        if not isinstance(module, UnitProduct | UnitAdd) or not module.activated:
            continue
        if config.bias_at_peaks:
            signs = torch.arange(len(module.bias)) % 2 * 2 - 1  # as many at either peak: luck would decide what is learnt
            module.bias.copy_(config.initial_bias * signs)
        elif isinstance(module, UnitProduct):
            nn.init.uniform_(module.bias, -config.initial_bias, config.initial_bias)


def _projection(network: UnitNetwork, config: TrainConfig) -> Callable[[], None]:
    """What brings the latent weights back to the histogram (and spectrum) they are to have."""
    if config.balance == Balance.NONE:
        if config.match_random_spectrum:
            raise BittingError("match_random_spectrum needs a balance of equal or drawn: without, nothing is projected")
        return lambda: None
    weights = [layer.weight for layer in network.products]
    seed = config.known_seed
    shapes = [(len(weight), weight[0].numel()) for weight in weights]
    wanted = balance.counts_of_all(config.balance, network.spec, shapes, seed)

    @torch.no_grad()
    def project() -> None:
        for weight, histogram in zip(weights, wanted, strict=True):
            matrix = weight.flatten(1)
            flat = (
                balance.match_random_spectrum(matrix, seed)
                if config.match_random_spectrum and weight is not weights[-1]
                else matrix
            )
            weight.copy_(balance.project(network.spec, flat, histogram).reshape(weight.shape))

    return project
