"""Rounding of weights that looks at the data: AdaRound, GPTQ, and bias correction, all on unlabelled calibration inputs.

Layer by layer: the inputs of a layer are those of the hardware, its wanted sums those of the unit.
"""

from __future__ import annotations

import torch

from bitting.conversion.rounding import DAMPING, compensated, inverse_root
from bitting.targets.formats import Grid

#: AdaRound as published: the stretched sigmoid's ends, and the exponent of the pull to 0 and 1 at begin and end. Its strength
#: is of the mean over the weights beside an error of 1: as much as it takes to end at 0 or 1 everywhere.
_STRETCH = (-0.1, 1.1)
_PULL, _EXPONENTS = 3.0, (20.0, 2.0)
#: Steps and rate of Adam, samples a step, and the share of steps before the pull begins.
_STEPS, _RATE, _BATCH, _WARM = 500, 0.1, 256, 0.2
#: Dampings that a careful thief tries: that of the tools, and one with which equal inputs make up for one another entirely.
DAMPINGS = (DAMPING, 1e-6)
#: Shares of the range that `gptq_tuned` tries. More than the range leaves room to make up for what was rounded.
_SHARES = (0.5, 0.65, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5)


def refitted(inputs: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The smallest weights whose sums are near the wanted ones: ridge regression towards 0, in closed form.

    It mends what earlier layers did to the inputs, and what inputs have in common is shared among their weights.

    Args:
        inputs: (rows, K) of the layer, on the hardware.
        wanted: (rows, sums) without the bias; means do not count, for the bias sees to them.

    Returns:
        (sums, K), in the type of `wanted`.
    """
    x, sums = (each.double() - each.double().mean(0) for each in (inputs, wanted))
    root = inverse_root(x.t() @ x / len(x), DAMPING)
    return (sums.t() @ x / len(x) @ root.t() @ root).to(wanted.dtype)


def gptq(inputs: torch.Tensor, weights: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Weights rounded one input after another, the others making up for it (Frantar et al. 2022, arXiv 2210.17323).

    Args:
        inputs: (rows, K) of the layer, on the hardware.
        weights: (sums, K).
        grid: of these weights.

    Returns:
        (sums, K) numbers of the grid.
    """
    return _compensated(inputs.float(), weights, grid, DAMPING)


def gptq_tuned(inputs: torch.Tensor, weights: torch.Tensor, grid: Grid, wanted: torch.Tensor) -> torch.Tensor:
    """GPTQ with its two settings searched: each row has the damping and the range whose sums have the least error.

    Args:
        inputs: (rows, K) of the layer, on the hardware.
        weights: (sums, K).
        grid: of these weights, with a scale for each row.
        wanted: (rows, sums) without the bias; means do not count, for the bias sees to them.

    Returns:
        (sums, K) numbers, each row of a grid of its own.
    """
    x = inputs.double() - inputs.double().mean(0)
    target = (wanted.double() - wanted.double().mean(0)).t()
    best, least = weights, torch.full((len(weights),), torch.inf, dtype=torch.float64)
    # Rows do not know of one another, so those of all shares are rounded at once.
    scales = torch.cat([grid.scale * share for share in _SHARES])
    stacked = Grid(scales, grid.zero.repeat(len(_SHARES), 1), grid.low, grid.high)
    for damping in DAMPINGS:
        for found in _compensated(x, weights.repeat(len(_SHARES), 1), stacked, damping).split(len(weights)):
            error = (found.double() @ x.t() - target).square().mean(1)
            best = torch.where((error < least)[:, None], found, best)
            least = torch.minimum(error, least)
    return best


def _compensated(inputs: torch.Tensor, weights: torch.Tensor, grid: Grid, damping: float) -> torch.Tensor:
    # In units of a code all rows have the same numbers, whatever their scales.
    codes = torch.arange(grid.low, grid.high + 1, dtype=torch.float32)
    inverse = (weights / grid.scale + grid.zero).float()
    return grid.values(compensated(inputs, inverse, codes, damping).to(weights.dtype))


@torch.enable_grad()  # type: ignore[untyped-decorator]
def adaround(inputs: torch.Tensor, weights: torch.Tensor, grid: Grid, wanted: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Up or down for each weight, learnt by the layer's own sums (Nagel et al. 2020, arXiv 2004.10568).

    Args:
        inputs: (rows, K) of the layer, on the hardware.
        weights: (sums, K).
        grid: of these weights.
        wanted: (rows, sums) without the bias; their means count, as those of the product do.
        seed: of the order of rows.

    Returns:
        (sums, K) numbers of the grid.
    """
    generator = torch.Generator().manual_seed(seed)
    x, target = inputs.float(), wanted.float()
    scale, zero = grid.scale.float(), grid.zero.float()
    exact = weights.float() / scale
    below = exact.floor()
    low, high = _STRETCH
    share = ((exact - below - low) / (high - low)).clamp(1e-3, 1 - 1e-3)
    latent = torch.logit(share).requires_grad_()
    optimiser = torch.optim.Adam([latent], lr=_RATE)
    unit = target.square().mean().clamp(min=1e-12)
    for step in range(_STEPS):
        rows = torch.randint(0, len(x), (min(_BATCH, len(x)),), generator=generator)
        up = (torch.sigmoid(latent) * (high - low) + low).clamp(0, 1)
        codes = (below + up + zero).clamp(grid.low, grid.high)
        error = (x[rows] @ ((codes - zero) * scale).t() - target[rows]).square().mean() / unit
        done = step / _STEPS
        if done > _WARM:
            exponent = _EXPONENTS[0] + (_EXPONENTS[1] - _EXPONENTS[0]) * (done - _WARM) / (1 - _WARM)
            error = error + _PULL * (1 - (2 * up - 1).abs().pow(exponent)).mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
    codes = (below + (latent.detach() >= 0) + zero).clamp(grid.low, grid.high)
    learnt, nearest = grid.values(codes.to(weights.dtype)), grid(weights)
    errors = [float((x @ each.float().t() - target).square().mean()) for each in (learnt, nearest)]
    return learnt if errors[0] < errors[1] else nearest  # a thief looks which is better


def corrected(bias: torch.Tensor, wanted: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """A bias that gives every sum the mean it had (Nagel et al. 2019, arXiv 1906.04721, section 4.2, with data).

    Args:
        bias: (channels,).
        wanted: (channels, positions, samples) sums of the unit.
        found: the same on the hardware, with `bias`.
    """
    return bias + (wanted - found).mean((1, 2))
