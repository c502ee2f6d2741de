"""Gather lists made dense, as hardware without such lists wants them: what a thief does to `bitting.training.sparsity`.

Level of claim: family. It needs no data, and changes no answer.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from bitting.targets.stolen import Group, Kind, Stolen, StolenLayer


def filled(stolen: Stolen) -> Stolen:
    """Neighbouring dense layers whose channels could be those of one, lists filled up with zeros: the same answers.

    Layers of more than one position, convolutions, stay as they are.
    """
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
