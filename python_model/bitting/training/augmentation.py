"""Pictures that look a little otherwise each time they are seen."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bitting.errors import BittingError


def moved(x: torch.Tensor, most: int) -> torch.Tensor:
    """Half of the pictures mirrored, all moved by up to so many pixels each way, as in arXiv 1512.03385, section 4.2.

    Draws from torch's own generator.

    Args:
        x: (samples, channels, H, W).
        most: pixels; what comes in from outside is 0.

    Returns:
        As `x`.

    Raises:
        BittingError: if `x` holds no pictures.
    """
    if x.dim() != 4:
        raise BittingError(f"moved pictures have shape (samples, channels, H, W); found {tuple(x.shape)}")
    mirrored = torch.rand(len(x)) < 0.5
    x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    rows, columns = (
        torch.arange(size) + torch.randint(0, 2 * most + 1, (len(x), 1)) for size in x.shape[2:]
    )  # (samples, H), (samples, W)
    samples = torch.arange(len(x))[:, None, None]
    return F.pad(x, (most,) * 4)[samples, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
