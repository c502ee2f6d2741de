"""Models that are converted and exported, and the answers of what was exported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import bitting
from bitting.unit.spec import parse_spec

SPEC = parse_spec("base:scratch_words=8192")


class Step(nn.Module):
    """A function as a module, for a Sequential."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def samples(*shape: int, seed: int = 0) -> torch.Tensor:
    """Multiples of 1/64 between -1 and 1: exact in every product with powers of two."""
    return torch.randint(-64, 65, shape, generator=torch.Generator().manual_seed(seed)).float() / 64


def answers(model: nn.Module, x: torch.Tensor, **options: Any) -> torch.Tensor:
    """Sums of the exported program, which `export` has compared with the network's."""
    network = bitting.convert(model, SPEC, x, **options).eval()
    return torch.from_numpy(bitting.export(network, x).sums(x.numpy()))


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return make().eval()
