"""Random small networks in plain PyTorch, of every operator that has a place on the unit, from a seed."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import torch
from torch import nn


class Window(TypedDict):
    """Over rows and columns."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]


class RandomNetwork(nn.Module):
    """Two to four random operators on a small image, then a dense layer; shapes are odd on purpose.

    Attributes:
        shape: (channels, H, W) of its input.
    """

    KINDS: tuple[str, ...] = ("conv", "depthwise", "pool", "largest", "residual", "concat")

    def __init__(self, rng: np.random.Generator, largest: int):
        super().__init__()
        self._rng = rng
        self._largest = largest
        self.shape = (int(rng.integers(1, 4)), int(rng.integers(3, 9)), int(rng.integers(3, 9)))
        self.steps = nn.ModuleList()
        self.kinds: list[str] = []
        shape = self.shape
        for _ in range(int(rng.integers(2, 5))):
            shape = getattr(self, f"_make_{rng.choice(self.KINDS)}")(shape)
        self.head = nn.Linear(int(np.prod(shape)), int(rng.integers(1, 6)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for kind, step in zip(self.kinds, self.steps, strict=True):
            if kind == "residual":
                x = torch.relu(step(x) + x)
            elif kind == "concat":
                x = torch.cat([x, torch.relu(step(x))], dim=1)
            elif kind in ("move", "largest"):
                x = step(x)
            else:
                x = torch.relu(step(x))
        logits: torch.Tensor = self.head(torch.flatten(x, 1))
        return logits

    def _append(self, kind: str, module: nn.Module) -> None:
        self.kinds.append(kind)
        self.steps.append(module)

    def _window(self, shape: tuple[int, int, int]) -> Window:
        """A kernel, stride, padding and dilation that leave at least one position, and not too many."""
        rng = self._rng
        while True:
            chosen: Window = {
                "kernel_size": (int(rng.integers(1, 4)), int(rng.integers(1, 4))),
                "stride": (int(rng.integers(1, 3)), int(rng.integers(1, 3))),
                "padding": (int(rng.integers(0, 3)), int(rng.integers(0, 3))),
                "dilation": (int(rng.integers(1, 3)), int(rng.integers(1, 3))),
            }
            rows, columns = self._output(shape, chosen)
            if rows > 0 and columns > 0 and rows * columns <= self._largest:
                return chosen

    @staticmethod
    def _output(shape: tuple[int, int, int], window: Window) -> tuple[int, int]:
        sizes = [
            (size + 2 * p - d * (k - 1) - 1) // s + 1
            for size, k, s, p, d in zip(
                shape[1:], window["kernel_size"], window["stride"], window["padding"], window["dilation"], strict=True
            )
        ]
        return sizes[0], sizes[1]

    def _make_conv(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        window = self._window(shape)
        groups = int(self._rng.choice([g for g in (1, 2, 3) if shape[0] % g == 0]))
        outputs = groups * int(self._rng.integers(1, 3))
        self._append("conv", nn.Conv2d(shape[0], outputs, groups=groups, bias=bool(self._rng.integers(2)), **window))
        return (outputs, *self._output(shape, window))

    def _make_depthwise(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        window = self._window(shape)
        self._append("conv", nn.Conv2d(shape[0], shape[0], groups=shape[0], **window))
        return (shape[0], *self._output(shape, window))

    def _make_pool(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        kernel = (min(2, shape[1]), min(int(self._rng.integers(1, 3)), shape[2]))
        padding = (int(self._rng.integers(0, kernel[0] // 2 + 1)), 0)
        stride = (int(self._rng.integers(1, 3)), 1)
        window: Window = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": (1, 1)}
        module = nn.AvgPool2d(kernel, stride, padding)
        self._append("pool", module)
        return (shape[0], *self._output(shape, window))

    def _make_largest(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Max pooling; the ReLU of the layer before it is its own, and a padded one is not read by anything else."""
        rng = self._rng
        kernel = (int(rng.integers(1, min(4, shape[1] + 1))), int(rng.integers(1, min(4, shape[2] + 1))))
        padding = (int(rng.integers(0, kernel[0] // 2 + 1)), int(rng.integers(0, kernel[1] // 2 + 1)))
        stride = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
        window: Window = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": (1, 1)}
        self._append("largest", nn.MaxPool2d(**window))
        return (shape[0], *self._output(shape, window))

    def _make_residual(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        self._append("residual", nn.Conv2d(shape[0], shape[0], 3, padding=1))
        return shape

    def _make_concat(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        outputs = int(self._rng.integers(1, 3))
        self._append("concat", nn.Conv2d(shape[0], outputs, (1, 3), padding=(0, 1)))
        return (shape[0] + outputs, *shape[1:])
