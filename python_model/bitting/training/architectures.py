"""Reference networks as a user would write them, in plain PyTorch; `convert` takes them to the unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


def multilayer_perceptron(sizes: Sequence[int], dropout: float = 0.0) -> nn.Sequential:
    """Dense layers with ReLU between them. `sizes`: inputs, hidden sizes, outputs."""
    modules: list[nn.Module] = []
    for inputs, outputs in zip(sizes, sizes[1:], strict=False):
        modules += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*modules[:-2])


class LeNet(nn.Module):
    """Two convolutions with average pooling, three dense layers (LeCun et al. 1998, with ReLU).

    Shape:
        (samples, 1, 28, 28) -> (samples, classes)
    """

    def __init__(self, classes: int = 10, dropout: float = 0.0):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.AvgPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(120, 84), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(84, classes),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, without softmax."""
        logits: torch.Tensor = self.classifier(self.features(x))
        return logits


class _Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(inner + self.shortcut(x))


class ResidualNetwork(nn.Module):
    """A strided convolution, two residual blocks, average pooling, one dense layer (He et al. 2016, small).

    Shape:
        (samples, 1, 28, 28) -> (samples, classes)
    """

    def __init__(self, classes: int = 10, dropout: float = 0.0, width: int = 12):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.block1 = _Block(width, width, 1)
        self.block2 = _Block(width, 2 * width, 2)
        self.pool = nn.AvgPool2d(2)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width * 9, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, without softmax."""
        x = torch.relu(self.norm(self.stem(x)))
        x = self.pool(self.block2(self.block1(x)))
        logits: torch.Tensor = self.head(self.dropout(x.flatten(1)))
        return logits


class _TensorflowBlock(nn.Module):
    """As `_Block`, with TensorFlow's padding "same": at stride 2 zeros come after the picture only; no norm on the shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, int(stride == 1))
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = x if self.stride == 1 else F.pad(x, (0, 1, 0, 1))
        inner = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(inner)))))
        return torch.relu(inner + self.shortcut(x))


class ResNet8(nn.Module):
    """The network of MLPerf Tiny's image classification: a convolution, three residual blocks, mean, one dense layer.

    Shape:
        (samples, 3, 32, 32) -> (samples, classes)
    """

    def __init__(self, classes: int = 10):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1)
        self.norm = nn.BatchNorm2d(16)
        self.block1 = _TensorflowBlock(16, 16, 1)
        self.block2 = _TensorflowBlock(16, 32, 2)
        self.block3 = _TensorflowBlock(32, 64, 2)
        self.pool = nn.AvgPool2d(8)
        self.head = nn.Linear(64, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, without softmax."""
        x = torch.relu(self.norm(self.stem(x)))
        logits: torch.Tensor = self.head(self.pool(self.block3(self.block2(self.block1(x)))).flatten(1))
        return logits


class _Separable(nn.Module):
    """A convolution of each channel by itself, then one of 1 x 1 over all."""

    def __init__(self, width: int):
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, 1, 1, groups=width)
        self.norm1 = nn.BatchNorm2d(width)
        self.pointwise = nn.Conv2d(width, width, 1)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm2(self.pointwise(torch.relu(self.norm1(self.depthwise(x))))))


class DepthwiseSeparable(nn.Module):
    """DS-CNN, the network of MLPerf Tiny's keyword spotting, with TensorFlow's padding "same".

    Shape:
        (samples, 1, 49, 10), 49 spectra of ten coefficients, -> (samples, classes)
    """

    def __init__(self, classes: int = 12, width: int = 64):
        super().__init__()
        self.stem = nn.Conv2d(1, width, (10, 4), 2)
        self.norm = nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(*(_Separable(width) for _ in range(4)))
        self.pool = nn.AvgPool2d((25, 5))
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, without softmax."""
        x = torch.relu(self.norm(self.stem(F.pad(x, (1, 1, 4, 5)))))
        logits: torch.Tensor = self.head(self.pool(self.blocks(x)).flatten(1))
        return logits


@dataclass(frozen=True)
class Convolutional:
    """A network for images of one size.

    Attributes:
        make: called with (classes, dropout).
        shape: (channels, H, W) of an image.
    """

    make: Callable[[int, float], nn.Module]
    shape: tuple[int, int, int]


#: By name.
CONVOLUTIONAL = {
    "lenet": Convolutional(LeNet, (1, 28, 28)),
    "residual": Convolutional(ResidualNetwork, (1, 28, 28)),
    "resnet8": Convolutional(lambda classes, _: ResNet8(classes), (3, 32, 32)),
}
NAMES = ("mlp", *CONVOLUTIONAL)
