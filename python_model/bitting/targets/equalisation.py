"""Cross-layer equalisation: ranges of weights made alike without data (Nagel et al. 2019, arXiv 1906.04721, section 4.1).

A channel's weights and bias are divided by a factor, and the weights that read it multiplied by the same. That changes nothing
if what stands between them is positively homogeneous, as a ReLU is. The fold is not: its amplitude is fixed and it is periodic,
so factors are free only while every sum stays on the rising part about 0, where the wave is the identity, and up to the
rounding down of what is written. Beyond it a factor changes the function. A thief who has no data does not know which sums
those are; what he can do is to take whole periods off the biases first, which is free, and to limit the factors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from bitting.errors import BittingError
from bitting.targets.repair import with_reduced_biases
from bitting.targets.stolen import Kind, Stolen


@dataclass(frozen=True, eq=False)
class Reading:
    """Which channel of `writer` each column of `reader` reads, (K,); both are numbers of layers."""

    writer: int
    reader: int
    channels: torch.Tensor


def equalised(stolen: Stolen, limit: float = float("inf")) -> Stolen:
    """Channels scaled so that the largest weight that makes one and the largest that reads it are equal.

    Done where one layer of trained weights is read by one other alone, without anything between them but their wave.

    Args:
        stolen: the network; is left as it is.
        limit: factors are 1/limit..limit; at least 1.

    Raises:
        BittingError: if the limit is less.
    """
    if not limit >= 1:
        raise BittingError(f"factors are limited to {limit}; allowed is 1 (nothing is changed) or more")
    reduced = with_reduced_biases(stolen)
    layers = list(reduced.layers)
    for pair in readings(reduced):
        first, second = layers[pair.writer], layers[pair.reader]
        makes = first.weights.abs().amax(1)
        reads = torch.zeros_like(makes).scatter_reduce(0, pair.channels, second.weights.abs().amax(0), "amax")
        factors = torch.where((makes > 0) & (reads > 0), (makes / reads).sqrt(), 1.0).clamp(1 / limit, limit)
        layers[pair.writer] = replace(first, weights=first.weights / factors[:, None], bias=first.bias / factors)
        layers[pair.reader] = replace(second, weights=second.weights * factors[pair.channels])
    return replace(reduced, layers=tuple(layers))


def readings(stolen: Stolen) -> list[Reading]:
    """Pairs of layers of trained weights: what one writes the other reads, a channel in each column, and nothing else does."""
    source = torch.full((stolen.reach,), -1)  # layer that wrote a word last; words are written over
    channel = torch.zeros(stolen.reach, dtype=torch.long)
    readers: dict[int, set[int]] = {}
    found = {}
    for number, layer in enumerate(stolen.layers):
        words = torch.cat([group.addresses for group in layer.groups])
        writers = set(source[words].unique().tolist())
        for writer in writers:
            readers.setdefault(writer, set()).add(number)
        columns = channel[words]
        if layer.kind is Kind.PRODUCT and len(writers) == 1 and bool((columns == columns[0]).all()):
            found[writers.pop()] = Reading(int(source[words[0, 0]]), number, columns[0])
        if not layer.emits:
            source[layer.written] = number
            channel[layer.written] = torch.arange(len(layer.bias)).repeat_interleave(len(layer.written) // len(layer.bias))
    return [
        pair
        for writer, pair in found.items()
        if writer >= 0 and readers[writer] == {pair.reader} and stolen.layers[writer].kind is Kind.PRODUCT
    ]
