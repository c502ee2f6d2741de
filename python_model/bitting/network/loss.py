"""The loss of logits that are accumulators: cross entropy, and a penalty beyond the range of the accumulator."""

from __future__ import annotations

import math
from typing import Any

import torch

from bitting.unit.spec import UnitSpec

#: Cross entropy sees accumulators in units of 2^(W-2) / LOGIT_GAIN.
LOGIT_GAIN = 5.0
#: Logits beyond this many quarter periods (2 is where they wrap) are pulled back, with this weight.
RANGE = 1.7
RANGE_WEIGHT = 30.0

_LIMIT = RANGE * LOGIT_GAIN
#: Products of a weight of sigma and the largest activation in a quarter of the accumulator's range, of the family `base`.
_USUAL_PRODUCTS = 15.0


def logit_scale(acc_bits: int) -> float:
    """Logits per unit of accumulator."""
    return LOGIT_GAIN / (1 << (acc_bits - 2))


def logit_gain(spec: UnitSpec) -> float:
    """What logits of a network that is trained from the start are multiplied by, a power of two of 1 at least.

    An accumulator wider than weights and activations need would make logits too small to learn from.
    """
    products = (1 << (spec.acc_bits - 2)) / (spec.value_set.sigma * -spec.act_min)
    return 2.0 ** max(math.floor(math.log2(products / _USUAL_PRODUCTS)), 0)


def range_penalty(logits: torch.Tensor) -> torch.Tensor:
    """Mean square of what lies beyond the range, weighted; a scalar with a gradient for `logits`."""
    beyond = torch.nn.functional.mse_loss(logits, logits.detach().clamp(-_LIMIT, _LIMIT))
    return RANGE_WEIGHT / LOGIT_GAIN**2 * beyond


class _RangedCrossEntropy(torch.autograd.Function):
    """Loss and gradient in one go: by autograd's single steps they take a tenth of a training step of a small network."""

    @staticmethod
    def forward(ctx: Any, sums: torch.Tensor, targets: torch.Tensor, scale: float) -> Any:  # type: ignore[override]
        samples, weight = len(sums), RANGE_WEIGHT / LOGIT_GAIN**2 / sums.numel()
        logits = sums * scale
        beyond = logits - logits.clamp(-_LIMIT, _LIMIT)
        logs = torch.log_softmax(logits, 1)
        loss = torch.dot(targets.flatten(), logs.flatten()).div_(-samples)
        penalty = torch.dot(beyond.flatten(), beyond.flatten()).mul_(weight)
        gradient = logs.exp_().mul_(targets.sum(1, keepdim=True)).sub_(targets).add_(beyond, alpha=2 * weight * samples)
        ctx.save_for_backward(gradient.mul_(scale / samples))
        ctx.mark_non_differentiable(penalty)
        return loss + penalty, penalty

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor, _penalty: torch.Tensor) -> Any:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        return gradient * upstream, None, None


def ranged_cross_entropy(sums: torch.Tensor, targets: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross entropy of `sums` times `scale` plus `range_penalty`; both scalars, the second (the penalty) without gradient.

    Args:
        sums: (samples, outputs) accumulators.
        targets: (samples, outputs) probabilities, float32.
        scale: logits per unit of accumulator (`logit_scale`).
    """
    total, penalty = _RangedCrossEntropy.apply(sums, targets, scale)
    return total, penalty
