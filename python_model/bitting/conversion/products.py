"""Layers with weights: swapped for the unit's, with what stands before and after them folded in."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from bitting.conversion.affine import Affine, AffineAnalysis, into_weights
from bitting.conversion.moves import MoveConversion
from bitting.conversion.nodes import Pair, shape_of, spatial
from bitting.errors import ConversionError
from bitting.network.layers import UnitConv2d, UnitLinear, UnitProduct
from bitting.network.normalised import UnitNormalisedConv2d
from bitting.unit.spec import UnitSpec

#: Weights take in what is done to the input unless some feature would be left with so many times fewer activations.
_LARGEST_LOSS = 4.0
#: Smallest gain of a normalised channel, of the largest: its logarithm is learnt.
_LEAST_GAIN = 1e-3


class ProductConversion(MoveConversion):
    """Handlers of layers with weights, batch normalisation, and affine operations.

    Attributes:
        floats: product -> weights and bias as the model has them. What is affine is folded in, or the gains are apart.
        gains: normalised product -> gains of its channels.
        sums: values of the model that are the sums of the product of that name, nothing else done to them.
        preparation: what the network's input is of the model's; None: the same.
    """

    def __init__(self, spec: UnitSpec, graph: fx.GraphModule, normalise: bool):
        super().__init__(spec)
        self.modules = dict(graph.named_modules())
        self.normalise = normalise
        self.floats: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self.gains: dict[str, torch.Tensor] = {}
        self.sums: dict[fx.Node, str] = {}
        self.affine = AffineAnalysis(graph)
        self.preparation: Affine | None = None
        folds = {reader: self._takes_in(reader, None) for reader in graph.graph.nodes if reader.op != "output"}
        try:
            self.preparation = self.affine.preparation(folds)
        except ConversionError as error:
            self.problems.append(f"the model {error}")

    def _takes_in(self, reader: fx.Node, preparation: Affine | None) -> bool:
        """Whether the weights of a reader can have what is done to the input before it. True if it reads no input."""
        found = [self.affine.relative(source, preparation) for source in self.affine.sources_of_input(reader)]
        if all(each.is_identity for each in found):
            return True
        module = self.modules.get(str(reader.target)) if reader.op == "call_module" else None
        if preparation is None and any(each.loss > _LARGEST_LOSS for each in found):
            return False
        if isinstance(module, nn.Linear):
            return True
        if not isinstance(module, nn.Conv1d | nn.Conv2d) or found[0].of_channels() is None:
            return False
        before, after = _padding(module)
        return not any((*before, *after)) or not bool(found[0].offset.any())

    def _check_input(self, node: fx.Node) -> None:
        if not self._takes_in(node, self.preparation):
            raise ConversionError("reads the input scaled in another way than other layers do; scale it once, for all")

    def _linear(self, node: fx.Node, module: nn.Linear) -> None:
        if len(shape_of(node)) != 2:
            raise ConversionError(
                f"Linear over inputs of shape {shape_of(node)}; allowed (samples, features): flatten before it"
            )
        self._product(node, module, UnitLinear(self.spec, module.in_features, module.out_features, normalise=self.normalise))

    def _convolve(self, node: fx.Node, module: nn.Conv1d | nn.Conv2d) -> None:
        before, after = _padding(module)
        swapped = self._convolution(module, normalise=self.normalise)
        if before != after:
            self._add_padding(node, before, after, "_pad")
        self._product(node, module, swapped)

    def _product(self, node: fx.Node, module: nn.Linear | nn.Conv1d | nn.Conv2d, swapped: UnitProduct) -> None:
        self._add_node(node, swapped, (self.alias.get(node, self._inputs(node)[0]),))
        self.sums[node] = node.name
        bias = module.bias if module.bias is not None else torch.zeros(len(module.weight))
        floats = module.weight.detach().clone().reshape(swapped.weight.shape), bias.detach().clone()
        for source in self.affine.sources_of_input(node):
            found = self.affine.relative(source, self.preparation)
            floats = floats if found.is_identity else into_weights(*floats, found)
        self.floats[node.name] = floats

    def _convolution(self, module: nn.Conv1d | nn.Conv2d, kind: type[UnitConv2d] = UnitConv2d, **options: Any) -> UnitConv2d:
        """The layer; one that pads both sides unequally pads with nothing, and another does that."""
        if module.padding_mode != "zeros":
            raise ConversionError(f"padding_mode {module.padding_mode!r} is not supported; allowed 'zeros'")
        rank = module.weight.ndim
        before, after = _padding(module)
        kernel, stride, dilation = (spatial(size, rank, 1) for size in (module.kernel_size, module.stride, module.dilation))
        return kind(
            self.spec, module.in_channels, module.out_channels, kernel, stride, before if before == after else (0, 0), dilation,
            module.groups, **options,
        )  # fmt: skip

    def _batch_norm(self, node: fx.Node, module: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        (source,) = node.all_input_nodes
        kind = type(module).__name__
        name = self.sums.get(source)
        if name is None or len(source.users) > 1:
            raise ConversionError(
                f"{kind} can be folded only into a Linear, Conv1d or Conv2d right before it, or into the input"
            )
        if module.running_mean is None or module.running_var is None:
            raise ConversionError(f"{kind} without running statistics has no fixed weights")
        gain, offset = _of_batch_norm(module)
        convolution = self.modules.get(str(source.target))
        if not self.normalise or not isinstance(convolution, nn.Conv1d | nn.Conv2d) or source.name != name:
            self._fold(node, name, gain * torch.rsqrt(module.running_var + module.eps), module.running_mean, offset)
            return
        swapped = self._convolution(convolution, UnitNormalisedConv2d)
        self.nodes[name] = self.nodes[name]._replace(module=swapped)
        weight, _ = self.floats[name]
        self.floats[name] = (weight * gain.sign().reshape(-1, 1, 1, 1), offset)
        self.gains[name] = gain.abs().clamp_min(_LEAST_GAIN * float(gain.abs().max()))
        self.alias[node], self.sums[node] = name, name

    def _gain_and_offset(self, node: fx.Node) -> bool:
        """Fold an affine operation on the sums of a product into that. False if there is none."""
        sources = [each for each in node.all_input_nodes if each in self.sums]
        found = self.affine.step(node) if len(sources) == 1 and node.op != "call_module" else None
        channels = found.of_channels() if found else None
        if channels is None or len(sources[0].users) > 1:
            return False
        gain, offset = (part.float() for part in channels)
        self._fold(node, self.sums[sources[0]], gain, torch.zeros_like(gain), offset)
        return True

    def _fold(self, node: fx.Node, name: str, gain: torch.Tensor, mean: torch.Tensor, offset: torch.Tensor) -> None:
        """The product's sums become (sums - mean) gain + offset, each (outputs,)."""
        weight, bias = self.floats[name]
        channels = (-1, *[1] * (weight.ndim - 1))
        scale = gain.sign() if name in self.gains else gain
        self.floats[name] = (weight * scale.reshape(channels), (bias - mean) * gain + offset)
        if name in self.gains:
            gains = self.gains[name] * gain.abs()
            self.gains[name] = gains.clamp_min(_LEAST_GAIN * float(gains.max()))
        self.alias[node], self.sums[node] = name, name


def _of_batch_norm(module: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """(channels,) weight and bias."""
    assert module.running_mean is not None
    gain = module.weight.detach() if module.weight is not None else torch.ones_like(module.running_mean)
    return gain, module.bias.detach() if module.bias is not None else torch.zeros_like(gain)


def _padding(module: nn.Conv1d | nn.Conv2d) -> tuple[Pair, Pair]:
    """(rows, columns) of zeros before and after; of "same", the odd one is after, as torch has it."""
    rank = module.weight.ndim
    if not isinstance(module.padding, str):
        pads = spatial(module.padding, rank, 0)
        return pads, pads
    steps, windows = spatial(module.dilation, rank, 1), spatial(module.kernel_size, rank, 1)
    rows, columns = (
        step * (window - 1) if module.padding == "same" else 0 for step, window in zip(steps, windows, strict=True)
    )
    return (rows // 2, columns // 2), (rows - rows // 2, columns - columns // 2)
