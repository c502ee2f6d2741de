"""What a network is judged by."""

from __future__ import annotations

import torch


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of samples whose largest logit is at their label."""
    return float((logits.argmax(1) == labels).double().mean())
