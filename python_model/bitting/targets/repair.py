"""What a thief does to a stolen network before he converts it, without any data. Level of claim: family.

`merged` is the answer to `bitting.training.splitting`, by somebody who knows it. The others are what is done to any network
that does not survive a conversion: outliers are clipped or trimmed, roundings averaged, biases corrected. Ranges are made alike
in `bitting.targets.equalisation`; what learns is in `bitting.targets.relearning`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from bitting.errors import BittingError
from bitting.targets.accumulators import reduced
from bitting.targets.formats import Format
from bitting.targets.stolen import Kind, Stolen, StolenLayer
from bitting.targets.target import Target

#: Random inputs on which channels are compared.
_INPUTS = 256
#: Random inputs for each column of the widest layer, where a span is taken from them; and the share of the largest mean square
#: along a direction, below which it does not belong to the span: rounding leaves 1e-12 or so.
_SPANNING, _SPAN = 4, 1e-9
#: Inputs of a layer that a span is found for, and scratch words of all random inputs together: about a gigabyte for each, for a
#: file that somebody has made can name networks of any size.
_WIDEST, _MOST_WORDS = 8192, 1 << 28
#: Random inputs that are looked at together.
_TOGETHER = 256


def random_inputs(stolen: Stolen, seed: int = 0, count: int = _INPUTS) -> torch.Tensor:
    """What a thief without data knows of inputs: (count, words) activations of the whole range, all alike."""
    spec, generator = stolen.spec, torch.Generator().manual_seed(seed)
    return torch.randint(spec.act_min, spec.act_max + 1, (count, stolen.input_words), generator=generator)


def merged(stolen: Stolen, seed: int = 0) -> Stolen:
    """Weights of inputs that are always equal are added up, and biases and weights reduced modulo the period of the wave.

    Inputs count as equal if they were on random inputs; no sample is needed. The answers are as before as far as that is true:
    of channels that a construction doubled it is, of some that are nearly always at a bound it may not be.

    Args:
        stolen: the network; is left as it is.
        seed: of the random inputs.
    """
    scratch = stolen.scratch(random_inputs(stolen, seed))
    layers = []
    for layer, how in zip(stolen.layers, stolen.exact(), strict=True):
        layers.append(_merged(layer, scratch) if layer.kind is Kind.PRODUCT else layer)
        stolen.step(layer, how, scratch)
    return replace(stolen, layers=tuple(layers))


def _merged(layer: StolenLayer, scratch: torch.Tensor) -> StolenLayer:
    """A layer's inputs as `scratch` has them now."""
    weights = layer.weights.clone()
    for group in layer.groups:
        columns = scratch[group.addresses.t()].flatten(1)  # (K, positions times inputs)
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
    # Whole periods change nothing, neither in a bias nor in a weight.
    return replace(layer.with_reduced_bias(), weights=reduced(weights, layer.period))


def shrunk(stolen: Stolen, seed: int = 0) -> Stolen:
    """The smallest trained weights that give the same sums: their part within the span of what a layer reads.

    What lies outside of it meets no input and is free. Whoever fits a layer to its own sums with the least decay of weights
    finds this, without knowing of channels that are equal: a difference of two that read the same becomes two halves.

    Args:
        stolen: the network; is left as it is.
        seed: of the random inputs that the span is taken from; no sample is needed.

    Raises:
        BittingError: if the network is so large that the span would not fit into memory.
    """
    reduced_biases = with_reduced_biases(stolen)
    # Fewer inputs than columns would span less than there is.
    widest = max(layer.weights.shape[1] for layer in stolen.layers)
    words = _SPANNING * widest * stolen.reach
    if widest > _WIDEST or words > _MOST_WORDS:
        raise BittingError(
            f"the smallest weights are sought in layers of up to {widest} inputs, with {words} words of random activations; "
            f"allowed are {_WIDEST} and {_MOST_WORDS}: use another repair"
        )
    scratch = stolen.scratch(random_inputs(stolen, seed, _SPANNING * widest))
    layers = []
    for layer, how in zip(reduced_biases.layers, stolen.exact(), strict=True):
        layers.append(_shrunk(layer, scratch) if layer.kind is Kind.PRODUCT else layer)
        for part in scratch.split(_TOGETHER, 1):
            stolen.step(layer, replace(how, weights=layer.weights, bias=layer.bias), part)
    return replace(stolen, layers=tuple(layers))


def _shrunk(layer: StolenLayer, scratch: torch.Tensor) -> StolenLayer:
    weights = layer.weights.clone()
    for group in layer.groups:
        alike = torch.zeros(2 * (weights.shape[1],), dtype=torch.float64)
        for part in scratch.split(_TOGETHER, 1):
            read = part[group.addresses.t()].flatten(1).double()
            alike += read @ read.t()
        values, vectors = torch.linalg.eigh(alike)
        span = vectors[:, values > _SPAN * values[-1]]
        if span.shape[1] == len(span):
            continue  # nothing lies outside, and a product with almost the identity would move sums that lie at a step
        weights[group.channels] = (weights[group.channels].double() @ span @ span.t()).to(weights.dtype)
    return replace(layer, weights=weights)


def clipped(stolen: Stolen, deviations: float) -> Stolen:
    """Trained weights beyond so many standard deviations of their layer are brought back to there."""

    def clip(layer: StolenLayer) -> StolenLayer:
        most = deviations * float(layer.weights.std())
        return replace(layer, weights=layer.weights.clamp(-most, most))

    return _of_products(stolen, clip)


def trimmed(stolen: Stolen, share: float) -> Stolen:
    """Of each channel the largest trained weights are brought back to the largest of the others: outlier removal.

    Args:
        stolen: the network; is left as it is.
        share: of a channel's weights that are brought back, 0..1 without the ends; at least one is.

    Raises:
        BittingError: if there is no such share.
    """
    if not 0 < share < 1:
        raise BittingError(f"a share of {share} of the weights is to be trimmed; allowed is more than 0 and less than 1")

    def trim(layer: StolenLayer) -> StolenLayer:
        magnitudes = layer.weights.abs()
        beyond = min(max(1, round(share * magnitudes.shape[1])), magnitudes.shape[1] - 1)
        most = magnitudes.topk(beyond + 1, 1).values[:, -1:]
        return replace(layer, weights=torch.minimum(torch.maximum(layer.weights, -most), most))

    return _of_products(stolen, trim)


def with_reduced_biases(stolen: Stolen) -> Stolen:
    """Whole periods of the wave taken off the biases, which changes nothing on the unit: half of what `merged` does."""
    return _of_products(stolen, StolenLayer.with_reduced_bias)


def averaged(stolen: Stolen, weights: Format, count: int, noise: float, seed: int = 0) -> Stolen:
    """Trained weights as the mean of several roundings, each after noise of its own: what dithers rounding errors away.

    What a lock hides below a step of the format comes back as far as it survives the mean of `count` roundings, and is lost
    again where the hardware rounds that mean: its own rounding is the last.

    Args:
        stolen: the network; is left as it is.
        weights: format that is rounded to, per channel or not.
        count: roundings, at least 1.
        noise: standard deviation, as a share of the root mean square of a channel; not negative.
        seed: of the noise.

    Raises:
        BittingError: if there is nothing to average, or the noise is negative.
    """
    if count < 1 or noise < 0:
        raise BittingError(f"a mean of {count} roundings with noise {noise}; allowed is at least one, and no negative noise")
    generator = torch.Generator().manual_seed(seed)

    def mean(layer: StolenLayer) -> StolenLayer:
        size = noise * layer.weights.square().mean(1, keepdim=True).sqrt()
        total = torch.zeros_like(layer.weights)
        for _ in range(count):
            total += weights(layer.weights + size * torch.randn(total.shape, generator=generator, dtype=total.dtype))
        return replace(layer, weights=total / count)

    return _of_products(stolen, mean)


def bias_corrected(stolen: Stolen, target: Target, seed: int = 0) -> Stolen:
    """Means of sums on the target brought back to the unit's, on random inputs: no sample is needed.

    Nagel et al. 2019 (arXiv 1906.04721, section 4.1) take the means from statistics of batch normalisation. A network on the
    unit has none: what is known of its activations without data is their range, so inputs are drawn from all of it alike.

    Args:
        stolen: the network; is left as it is.
        target: of our own engine.
        seed: of the random inputs.

    Raises:
        BittingError: if the target is a runtime.
    """
    if target.engine != "bitting":
        raise BittingError(f"target {target.name} runs on {target.engine}, which tells no sums; correct for one of bitting's")
    found = replace(target, corrects_bias=True).arithmetic(stolen, random_inputs(stolen, seed))
    layers = [replace(layer, bias=how.bias) for layer, how in zip(stolen.layers, found, strict=True)]
    return replace(stolen, layers=tuple(layers))


def _of_products(stolen: Stolen, change: Callable[[StolenLayer], StolenLayer]) -> Stolen:
    """The network with its layers of trained weights changed."""
    return replace(stolen, layers=tuple(change(layer) if layer.kind is Kind.PRODUCT else layer for layer in stolen.layers))
