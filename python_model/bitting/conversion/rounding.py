"""Weights of a layer rounded to the unit's values, so that on calibration inputs its sums stay near the float layer's."""

from __future__ import annotations

import torch

#: Share of the mean diagonal of the inputs' second moments that is added to it: directions without inputs stay as they are.
DAMPING = 0.01
#: Strengths of the pull towards the float weights that are tried when weights are fitted, in the same unit.
_PULLS = (0.03, 0.3, 3.0)
#: Of the inputs, so many parts in ten choose among them.
_HELD_OUT = 3


def nearest(family: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The value of the family (ascending) next to each weight."""
    middles = (family[1:] + family[:-1]) / 2
    return family[torch.bucketize(weights.contiguous(), middles)]


def fitted(inputs: torch.Tensor, weights: torch.Tensor, sums: torch.Tensor) -> torch.Tensor:
    """Weights whose sums over these inputs come nearer to the wanted ones, by ridge regression towards the given weights.

    It mends what earlier layers did to the inputs. The strength of the pull is chosen on inputs that were not fitted; if none
    helps there, the weights stay.

    Args:
        inputs: (rows, K); their means do not matter.
        weights: (outputs, K).
        sums: (rows, outputs) that are wanted; their means do not matter.

    Returns:
        (outputs, K).
    """
    held = torch.arange(len(inputs)) % 10 < _HELD_OUT
    if not bool(held.any()) or bool(held.all()):
        return weights

    def apart(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = inputs[rows] - inputs[rows].mean(0)
        return x, sums[rows] - sums[rows].mean(0) - x @ weights.t()

    x, missing = apart(~held)
    moments, towards = x.t() @ x, x.t() @ missing
    unit = float(moments.diagonal().mean())
    if unit <= 0:
        return weights
    judge_x, judge_missing = apart(held)
    changes = [torch.zeros_like(weights)] + [
        torch.linalg.solve(moments + pull * unit * torch.eye(len(moments)), towards).t() for pull in _PULLS
    ]
    errors = [float((judge_missing - judge_x @ change.t()).square().mean()) for change in changes]
    return weights + changes[errors.index(min(errors))]


def compensated(inputs: torch.Tensor, weights: torch.Tensor, family: torch.Tensor, damping: float = DAMPING) -> torch.Tensor:
    """Weights rounded one input after another; the weights still to come make up for each rounding (Frantar et al. 2022, GPTQ).

    Args:
        inputs: (rows, K); their means do not matter, for the bias sees to them.
        weights: (outputs, K), in units of the family.
        family: its values, ascending.
        damping: share of the mean diagonal of the second moments that is added to it. Far below the default the inputs are to
            be float64, or rounding of the moments is larger.

    Returns:
        (outputs, K) values of the family.
    """
    x = inputs - inputs.mean(0)
    moments = (x.t() @ x).double() / len(x)
    order = moments.diagonal().argsort(descending=True)  # what matters most while there is most to make up for it
    upper = inverse_root(moments[order][:, order], damping).float()
    left = weights[:, order].clone()
    rounded = torch.empty_like(left)
    for k in range(left.shape[1]):
        rounded[:, k] = nearest(family, left[:, k])
        left[:, k:] -= ((left[:, k] - rounded[:, k]) / upper[k, k])[:, None] * upper[k, k:]
    result = torch.empty_like(rounded)
    result[:, order] = rounded
    return result


def damped(moments: torch.Tensor, damping: float) -> torch.Tensor:
    """(K, K) second moments with a share of their mean diagonal added to it, and a trace where all are zeros."""
    return moments + (damping * float(moments.diagonal().mean()) + 1e-9) * torch.eye(len(moments))


def inverse_root(moments: torch.Tensor, damping: float) -> torch.Tensor:
    """The upper triangle whose product with its transpose, that first, is the inverse of the damped moments.

    Row k, divided by its first entry, says how inputs k and later make up for a change of weight k.

    Args:
        moments: (K, K) float64 second moments of the inputs.
        damping: share of their mean diagonal that is added to it.
    """
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped(moments, damping)))
    return torch.linalg.cholesky(inverse, upper=True)
