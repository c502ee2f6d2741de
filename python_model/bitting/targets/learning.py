"""One layer of a stolen network, with gradients: autograd by hand where autograd alone takes too long.

All layers read and write one scratch memory. Autograd would make a gradient of the memory's size for each group that is read
and each layer that writes, and add them up; of a network whose pooling takes 150 layers that was three quarters of a training
step. Here the gradient is one array too, and each layer changes what it read and wrote of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch

from bitting.targets.stolen import LayerArithmetic, Stolen, StolenLayer


def step(
    network: Stolen, layer: StolenLayer, how: LayerArithmetic, scratch: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run one layer, as `Stolen.step`.

    Args:
        network: whose layer it is.
        layer: without a product of its own in `how`.
        how: gradients reach its weights and bias, if they want them.
        scratch: (words, samples), written on. What the last step gave, and used by nothing else: its gradient is changed, too.

    Returns:
        The same memory for the next step, and sums (channels, positions, samples) if the layer emits.
    """
    found: tuple[torch.Tensor, torch.Tensor | None] = _Step.apply(scratch, how.weights, how.bias, network, layer, how)  # type: ignore[no-untyped-call]
    return found


def sums(network: Stolen, layers: Iterable[tuple[StolenLayer, LayerArithmetic]], scratch: torch.Tensor) -> torch.Tensor:
    """Sums that leave, (samples, outputs), not reduced: through the reduction there is no useful gradient.

    Args:
        network: whose layers they are.
        layers: those that are still to run, each with its arithmetic; see `step`.
        scratch: (words, samples) behind the layers before them, written on.
    """
    answers = []
    for layer, how in layers:
        scratch, found = step(network, layer, how, scratch)
        if found is not None:
            answers.append(found.flatten(0, 1))
    return torch.cat(answers).t()


class _Step(torch.autograd.Function):
    """What the layer computes of the words that it read is a graph of its own, which the backward pass goes through."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        scratch: torch.Tensor,
        weights: torch.Tensor,
        bias: torch.Tensor,
        network: Stolen,
        layer: StolenLayer,
        how: LayerArithmetic,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        read = [x.requires_grad_(ctx.needs_input_grad[0]) for x in layer.gathered(scratch)]
        own = [
            one.detach().requires_grad_(wanted) for one, wanted in zip((weights, bias), ctx.needs_input_grad[1:3], strict=True)
        ]
        with torch.enable_grad():
            sums = layer.sums(read, replace(how, weights=own[0], bias=own[1]))
            given = sums if layer.emits else network.activations(layer, how, sums)
        if not layer.emits:
            scratch.index_copy_(0, layer.written, given.detach().flatten(0, 1))
        ctx.mark_dirty(scratch)
        ctx.layer, ctx.read, ctx.own, ctx.given = layer, read, own, given
        return scratch, given.detach() if layer.emits else None

    @staticmethod
    def backward(ctx: Any, memory: torch.Tensor, sums: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        layer: StolenLayer = ctx.layer
        if layer.emits:
            of_given = sums
        else:
            of_given = memory.index_select(0, layer.written).reshape(ctx.given.shape)
            memory.index_fill_(0, layer.written, 0)  # what was there before has no part in what came after
        wanted = [one for one in (*ctx.read, *ctx.own) if one.requires_grad]
        found = iter(torch.autograd.grad(ctx.given, wanted, of_given))
        for addresses, read in zip(layer.reads, ctx.read, strict=True):
            if read.requires_grad:
                memory.index_add_(0, addresses.flatten(), next(found).reshape(addresses.numel(), -1))
        of_own = [next(found) if one.requires_grad else None for one in ctx.own]
        return memory, *of_own, None, None, None
