"""What a thief does to a stolen network before he converts it, without any data. Level of claim: family.

`merged` is the answer to `bitting.training.splitting`, by somebody who knows it; `clipped` is what is done to outliers;
`filled` makes dense matrices of the gather lists of `bitting.training.sparsity`, as hardware without such lists wants them.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from bitting.targets.accumulators import reduced
from bitting.targets.stolen import Group, Kind, Stolen, StolenLayer

#: Random inputs on which channels are compared.
_INPUTS = 256


def merged(stolen: Stolen, seed: int = 0) -> Stolen:
    """Weights of inputs that are always equal are added up, and biases and weights reduced modulo the period of the wave.

    Inputs count as equal if they were on random inputs; no sample is needed. The answers are as before as far as that is true:
    of channels that a construction doubled it is, of some that are nearly always at a bound it may not be.

    Args:
        stolen: the network; is left as it is.
        seed: of the random inputs.
    """
    spec, generator = stolen.spec, torch.Generator().manual_seed(seed)
    x = torch.randint(spec.act_min, spec.act_max + 1, (_INPUTS, stolen.input_words), generator=generator)
    scratch = stolen.scratch(x)
    layers = []
    for layer, how in zip(stolen.layers, stolen.exact(), strict=True):
        layers.append(_merged(layer, scratch) if layer.kind is Kind.PRODUCT else layer)
        stolen.step(layer, how, scratch)
    return replace(stolen, layers=tuple(layers))


def _merged(layer: StolenLayer, scratch: torch.Tensor) -> StolenLayer:
    """A layer's inputs as `scratch` has them now."""
    weights = layer.weights.clone()
    for group in layer.groups:
        columns = scratch[:, group.addresses].flatten(0, 1).T  # (K, inputs times positions)
        _, first = torch.unique(columns, dim=0, return_inverse=True)
        sums = torch.zeros(len(weights[group.channels]), int(first.max()) + 1, dtype=weights.dtype)
        sums.index_add_(1, first, weights[group.channels])
        place = torch.full((sums.shape[1],), -1)
        for column, kind in enumerate(first.tolist()):
            if place[kind] < 0:
                place[kind] = column
        rows = torch.zeros_like(weights[group.channels])
        rows[:, place] = sums
        weights[group.channels] = rows
    if layer.emits:
        return replace(layer, weights=weights)
    period = 4 * layer.quarter  # whole numbers of it change nothing, neither in a bias nor in a weight
    return replace(layer, weights=reduced(weights, period), bias=reduced(layer.bias, period))


def filled(stolen: Stolen) -> Stolen:
    """Neighbouring layers whose channels could be those of one, with gather lists filled up with zeros: the same answers."""
    layers: list[StolenLayer] = []
    for layer in stolen.layers:
        if layers and _belong(layers[-1], layer):
            layers[-1] = _filled(layers[-1], layer)
        else:
            layers.append(layer)
    return replace(stolen, layers=tuple(layers))


def _belong(first: StolenLayer, second: StolenLayer) -> bool:
    """Both are trained, read words that overlap at one position alone, and neither reads what the other writes."""
    if any(layer.kind is not Kind.PRODUCT or layer.emits or len(layer.groups) != 1 for layer in (first, second)):
        return False
    alike = first.slope == second.slope and first.quarter == second.quarter
    reads = [layer.groups[0].addresses for layer in (first, second)]
    if not alike or any(len(addresses) != 1 for addresses in reads):
        return False
    return bool(torch.isin(*reads).any()) and not bool(torch.isin(reads[1], first.written).any())


def _filled(first: StolenLayer, second: StolenLayer) -> StolenLayer:
    """One layer of both's channels."""
    union = torch.cat([layer.groups[0].addresses[0] for layer in (first, second)]).unique()
    rows = []
    for layer in (first, second):
        weights = torch.zeros(len(layer.weights), len(union), dtype=layer.weights.dtype)
        weights[:, torch.searchsorted(union, layer.groups[0].addresses[0])] = layer.weights
        rows.append(weights)
    weights = torch.cat(rows)
    return replace(
        first, weights=weights, bias=torch.cat([first.bias, second.bias]), written=torch.cat([first.written, second.written]),
        groups=(Group(torch.arange(len(weights)), union[None]),),
    )  # fmt: skip


def clipped(stolen: Stolen, deviations: float) -> Stolen:
    """Trained weights beyond so many standard deviations of their layer are brought back to there."""
    layers = []
    for layer in stolen.layers:
        if layer.kind is Kind.PRODUCT:
            most = deviations * float(layer.weights.std())
            layer = replace(layer, weights=layer.weights.clamp(-most, most))
        layers.append(layer)
    return replace(stolen, layers=tuple(layers))
