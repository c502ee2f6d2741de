"""A user's PyTorch model to a network on the unit: traced, batch normalisation folded, layers swapped, shifts calibrated."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import TensorMetadata

from bitting.conversion.reconstruction import reconstruct as rebuild
from bitting.conversion.tracing import as_floats, check_numbers, source_location, trace
from bitting.errors import BittingError, ConversionError
from bitting.network.graph import INPUT, Node, UnitNetwork
from bitting.network.layers import (
    Concatenate,
    Flatten,
    IntegerDropout,
    UnitAdd,
    UnitAveragePool2d,
    UnitConv2d,
    UnitLinear,
    UnitNormalisedConv2d,
    UnitProduct,
)
from bitting.network.maximum import UnitMaxPool2d, UnitRectifier
from bitting.unit.spec import UnitSpec, as_spec

#: The fold takes the place of these; functions and methods by name.
_ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Softplus,
    nn.Tanh, nn.Hardtanh, nn.Sigmoid, nn.Hardsigmoid, nn.LogSigmoid, nn.Softsign,
)  # fmt: skip
_ACTIVATION_NAMES = frozenset(
    (
        "relu",
        "relu_",
        "relu6",
        "leaky_relu",
        "elu",
        "gelu",
        "silu",
        "hardtanh",
        "hardswish",
        "tanh",
        "sigmoid",
        "softplus",
        "mish",
    )
)
#: At the end of a model these change no answer.
_OUTPUT_ACTIVATIONS = (nn.Softmax, nn.LogSoftmax)
_OUTPUT_NAMES = frozenset(("softmax", "log_softmax"))

#: Standard deviation of accumulators in quarter periods, see `UnitNetwork.calibrate`.
ACCUMULATOR_STD = (0.6,)


class Activation(StrEnum):
    """What takes the place of activation functions."""

    FOLD = "fold"
    """The unit's own wave, whatever the function was."""
    RELU = "relu"
    """ReLU is kept, exactly; there are no others."""


def convert(
    model: nn.Module,
    spec: UnitSpec | str,
    calibration: torch.Tensor | np.ndarray,
    *,
    input_scale: float | None = None,
    accumulator_std: Sequence[float] = ACCUMULATOR_STD,
    normalise: bool = True,
    fresh: bool = False,
    activation: Activation | str = Activation.FOLD,
    reconstruct: bool = True,
) -> UnitNetwork:
    """The same architecture on the unit.

    With `activation="fold"` every activation function becomes the fold: it costs nothing, but the network wants training; its
    weights begin as the model's. With `activation="relu"` a ReLU is kept, for three clocks an activation and lane, and the
    network answers nearly as the model does, without training.

    Args:
        model: is left as it is. Known: Linear, Conv2d, BatchNorm after either, activation functions, AvgPool2d and
            AdaptiveAvgPool2d, additions, concatenation of channels, Flatten, Dropout, Identity, and their functional forms.
        spec: of the unit, or its name as `parse_spec` reads it.
        calibration: (samples, *input shape), inputs as the model takes them.
        input_scale: activations per unit of input; by default the largest calibration input just fits.
        accumulator_std: see `UnitNetwork.calibrate`.
        normalise: see `straight_through.WeightQuantiser`.
        fresh: begin with random weights (Gaussian, from torch's generator) instead of the model's.
        activation: "fold" or "relu".
        reconstruct: with "relu", fit each layer to what the model's gives on the calibration inputs; else every weight is
            rounded to the nearest. `UnitNetwork.fits` tells how well each layer does what the model's does.

    Raises:
        ConversionError: listing, with the place in the user's code, everything that can not be mapped, layers among them that
            are too long for exact training.
        SpecError: for a name that is no spec.

    Example:
        >>> import bitting, numpy, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
        >>> x = numpy.random.default_rng(0).uniform(-1, 1, (32, 8))
        >>> network = bitting.convert(model, "base", x)
        >>> network(torch.from_numpy(x)).shape
        torch.Size([32, 3])
    """
    spec, calibration = as_spec(spec), as_floats(calibration)
    try:
        activation = Activation(activation)
    except ValueError:
        raise ConversionError(f"activation = {activation!r} is unknown; allowed: {', '.join(Activation)}") from None
    keeps = activation == Activation.RELU
    if keeps and fresh:
        raise ConversionError("activation = 'relu' keeps the model's weights, and fresh=True does without; give one of them")
    check_numbers(model, calibration)
    graph = trace(model, calibration)
    if input_scale is None:
        input_scale = spec.act_max / max(float(calibration.abs().max()), 1e-12)
    conversion = _Conversion(spec, graph, input_scale, normalise and not keeps, fresh, keeps)
    network = conversion.network(tuple(calibration.shape[1:]))
    if keeps:
        network.fits = rebuild(network, conversion.floats, calibration, reconstruct)
    else:
        conversion.calibrate(network, calibration, accumulator_std)
    return network


class _Conversion:
    """Walks the traced graph and collects nodes of the unit, or what is in the way."""

    def __init__(self, spec: UnitSpec, graph: fx.GraphModule, input_scale: float, normalise: bool, fresh: bool, keeps: bool):
        self.spec = spec
        self.graph = graph
        self.modules = dict(graph.named_modules())
        self.input_scale = input_scale
        self.normalise = normalise
        self.fresh = fresh
        self.keeps = keeps  # ReLU is kept
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.ends_with = ""
        self.nodes: dict[str, Node] = {}
        self.alias: dict[fx.Node, str] = {}  # graph node -> node of the unit
        self.locations: dict[str, str] = {}
        #: Weights and bias of products as the model has them. Batch normalisation is folded in, or the gains are apart.
        self.floats: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self.gains: dict[str, torch.Tensor] = {}
        self.rectified: set[fx.Node] = set()  # poolings that have a ReLU to do first
        self.output = ""

    def network(self, input_shape: tuple[int, ...]) -> UnitNetwork:
        for node in self.graph.graph.nodes:
            try:
                self._visit(node)
            except BittingError as error:
                self._problem(node, str(error))
                self.alias.setdefault(node, INPUT)
        last = self.nodes.get(self.output)
        if not self.problems and not (last and isinstance(last.module, UnitProduct) and last.name == list(self.nodes)[-1]):
            self.problems.append(
                "the model must end in a Linear (or Conv2d) layer that gives the logits; found "
                f"{type(last.module).__name__ if last else 'nothing'}"
            )
        if self.problems:
            raise ConversionError(f"the model has parts with no place on the unit: {'; '.join(self.problems)}")
        assert last
        last.module.emits = True  # type: ignore[assignment]
        network = UnitNetwork(self.spec, input_shape, self.input_scale, list(self.nodes.values()))
        network.locations, network.notes, network.ends_with = self.locations, self.notes, self.ends_with
        return network

    def calibrate(self, network: UnitNetwork, calibration: torch.Tensor, accumulator_std: Sequence[float]) -> None:
        """Weights, then shifts; then biases, whose unit depends on the shift."""
        if not self.fresh:
            for name, (weight, _) in self.floats.items():
                scale = max(float(weight.square().mean().sqrt()), 1e-12)  # of unit variance: learning rates mean the same
                network.get_parameter(f"graph.{name}.weight").data.copy_(weight / scale)
            for name, gain in self.gains.items():
                network.get_parameter(f"graph.{name}.gain").data.copy_(gain.log())
        network.calibrate(calibration, accumulator_std)
        if self.fresh:
            return
        scales = {INPUT: self.input_scale}  # activations per unit of the model's values
        for name, node in self.nodes.items():
            module = node.module
            scale = scales[node.inputs[0]]
            if isinstance(module, UnitNormalisedConv2d):
                quarters = float(module.gain[0].detach().exp() / self.gains[name][0])  # per unit of the model's values
                module.bias.data.copy_(self.floats[name][1] * quarters)
                scale = quarters * module.bias_unit * module.slope
            elif isinstance(module, UnitProduct):
                weight, bias = self.floats[name]
                latent = float(module.weight.detach().norm() / weight.norm().clamp_min(1e-12))
                scale *= module.quantiser.scale(module.weight.detach()) * latent
                module.bias.data.copy_(bias * scale / module.bias_unit)
                scale *= module.slope
            scales[name] = scale
        network.calibrate(calibration, accumulator_std)

    # -- what each node becomes

    def _visit(self, node: fx.Node) -> None:
        match node.op:
            case "placeholder":
                if self.alias:
                    raise ConversionError("the model takes more than one input")
                self.alias[node] = INPUT
            case "output":
                (result,) = node.args
                if not isinstance(result, fx.Node):
                    raise ConversionError("the model must return one tensor")
                self.output = self.alias[result]
            case "call_module":
                self._module(node, self.modules[str(node.target)])
            case "call_function" | "call_method":
                self._function(node, node.target if isinstance(node.target, str) else node.target.__name__)
            case _:
                raise ConversionError(f"a tensor of the model's own ({node.target})")

    def _module(self, node: fx.Node, module: nn.Module) -> None:
        match module:
            case nn.Linear():
                self._product(
                    node, module, UnitLinear(self.spec, module.in_features, module.out_features, normalise=self.normalise)
                )
            case nn.Conv2d():
                self._product(node, module, self._convolution(module, normalise=self.normalise))
            case nn.BatchNorm1d() | nn.BatchNorm2d():
                self._batch_norm(node, module)
            case nn.AvgPool2d():
                self._average(
                    node, module.kernel_size, module.stride, module.padding, module.ceil_mode, module.count_include_pad
                )
            case nn.MaxPool2d():
                plain = not (module.ceil_mode or module.return_indices) and _pair(module.dilation) == (1, 1)
                self._largest(node, module.kernel_size, module.stride, module.padding, plain)
            case nn.AdaptiveAvgPool2d():
                self._adaptive(node, module.output_size)
            case nn.Flatten():
                self._flatten(node)
            case nn.Dropout() | nn.Dropout2d():
                self._add_node(node, IntegerDropout(module.p))
            case nn.Identity():
                self._pass(node)
            case _ if isinstance(module, _ACTIVATIONS):
                self._activation(node, type(module).__name__.lower())
            case _ if isinstance(module, _OUTPUT_ACTIVATIONS):
                self._output_activation(node)
            case _:
                raise ConversionError(f"{type(module).__name__} is not supported{_advice(type(module).__name__)}")

    def _function(self, node: fx.Node, name: str) -> None:
        handlers: dict[str, Callable[[], None]] = {
            "add": lambda: self._addition(node),
            "iadd": lambda: self._addition(node),
            "cat": lambda: self._concatenation(node),
            "concat": lambda: self._concatenation(node),
            "flatten": lambda: self._flatten(node),
            "view": lambda: self._flatten(node),
            "reshape": lambda: self._flatten(node),
            "avg_pool2d": lambda: self._functional_average(node),
            "max_pool2d": lambda: self._functional_largest(node),
            "adaptive_avg_pool2d": lambda: self._adaptive(
                node, node.args[1] if len(node.args) > 1 else node.kwargs["output_size"]
            ),
            "mean": lambda: self._mean(node),
            "dropout": lambda: self._add_node(node, IntegerDropout(float(self._argument(node, 1, "p", 0.5)))),
            "contiguous": lambda: self._pass(node),
        }
        if not isinstance(node.meta.get("tensor_meta"), TensorMetadata):
            return  # a size, for a reshape that is checked by what it gives
        if name in handlers:
            handlers[name]()
        elif name in _ACTIVATION_NAMES:
            self._activation(node, name)
        elif name in _OUTPUT_NAMES:
            self._output_activation(node)
        else:
            raise ConversionError(f"{name}() is not supported{_advice(name)}")

    def _problem(self, node: fx.Node, reason: str) -> None:
        self.problems.append(f"{node.target} ({source_location(node)}): {reason}")

    def _argument(self, node: fx.Node, position: int, name: str, default: Any) -> Any:
        return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)

    def _inputs(self, node: fx.Node) -> tuple[str, ...]:
        return tuple(self.alias[source] for source in node.all_input_nodes if source in self.alias)

    def _pass(self, node: fx.Node) -> None:
        self.alias[node] = self._inputs(node)[0]

    def _add_node(self, node: fx.Node, module: nn.Module, inputs: tuple[str, ...] | None = None) -> None:
        name = node.name
        self.nodes[name] = Node(name, inputs or self._inputs(node), module)
        self.alias[node] = name
        self.locations[name] = source_location(node)

    def _product(self, node: fx.Node, module: nn.Linear | nn.Conv2d, swapped: UnitProduct) -> None:
        if isinstance(module, nn.Linear) and len(_shape(node)) != 2:
            raise ConversionError(f"Linear over inputs of shape {_shape(node)}; allowed (samples, features): flatten before it")
        self._add_node(node, swapped)
        bias = module.bias if module.bias is not None else torch.zeros(len(module.weight))
        self.floats[node.name] = (module.weight.detach().clone(), bias.detach().clone())

    def _convolution(self, module: nn.Conv2d, kind: type[UnitConv2d] = UnitConv2d, **options: Any) -> UnitConv2d:
        if module.padding_mode != "zeros":
            raise ConversionError(f"padding_mode {module.padding_mode!r} is not supported; allowed 'zeros'")
        padding = module.padding
        if isinstance(padding, str):
            sizes = [step * (window - 1) for step, window in zip(module.dilation, module.kernel_size, strict=True)]
            if padding == "same" and any(size % 2 for size in sizes):
                raise ConversionError("padding 'same' with an even window is not symmetric; use an odd window")
            padding = tuple(size // 2 if padding == "same" else 0 for size in sizes)
        return kind(
            self.spec, module.in_channels, module.out_channels, _pair(module.kernel_size), _pair(module.stride), _pair(padding),
            _pair(module.dilation), module.groups, **options,
        )  # fmt: skip

    def _batch_norm(self, node: fx.Node, module: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        (source,) = node.all_input_nodes
        name = self.alias[source]
        if name not in self.floats or len(source.users) > 1 or source.name != name:
            raise ConversionError(f"{type(module).__name__} can be folded only into a Linear or Conv2d right before it")
        if module.running_mean is None or module.running_var is None:
            raise ConversionError(f"{type(module).__name__} without running statistics has no fixed weights")
        weight, bias = self.floats[name]
        gain = module.weight.detach() if module.weight is not None else torch.ones_like(module.running_mean)
        shift = module.bias.detach() if module.bias is not None else torch.zeros_like(gain)
        channels = (-1, *[1] * (weight.ndim - 1))
        convolution = self.modules.get(str(source.target))
        if self.normalise and isinstance(convolution, nn.Conv2d):
            swapped = self._convolution(convolution, UnitNormalisedConv2d)
            self.nodes[name] = self.nodes[name]._replace(module=swapped)
            self.floats[name] = (weight * gain.sign().reshape(channels), shift)
            self.gains[name] = gain.abs().clamp_min(1e-3 * float(gain.abs().max()))
        else:
            gain = gain * torch.rsqrt(module.running_var + module.eps)
            self.floats[name] = (weight * gain.reshape(channels), (bias - module.running_mean) * gain + shift)
        self.alias[node] = name

    def _activation(self, node: fx.Node, kind: str) -> None:
        """The fold that ends every layer stands in its place. None ends the network: its sums leave as they are."""
        (name,) = self._inputs(node)
        if node.users and all(user.op == "output" for user in node.users):
            self.ends_with = kind
            told = {"sigmoid": "the sums are its logits, and a host applies it (Interface.probabilities)"}
            what = told.get(kind, "the answers are what comes before it")
            self.notes.append(f"{node.target} ({source_location(node)}), a {kind}, is left out: {what}")
            self._pass(node)
            return
        if self.keeps:
            self._rectify(node, kind)
            return
        if name == INPUT:
            raise ConversionError("an activation function of the input itself; put a layer before it")
        self.nodes[name].module.activated = True  # type: ignore[assignment]
        self.alias[node] = name

    def _rectify(self, node: fx.Node, kind: str) -> None:
        if kind not in ("relu", "relu_"):
            raise ConversionError(
                f"a {kind}, where activation='relu' keeps ReLU only; activation='fold' puts the fold in its place"
            )
        if len(node.users) == 1 and self._is_max_pool(next(iter(node.users))):
            self.rectified.add(next(iter(node.users)))  # of fewer activations, with the same result
            self._pass(node)
        else:
            self._add_node(node, UnitRectifier())

    def _is_max_pool(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return isinstance(self.modules[str(node.target)], nn.MaxPool2d)
        return node.op == "call_function" and getattr(node.target, "__name__", "") == "max_pool2d"

    def _functional_largest(self, node: fx.Node) -> None:
        names = (("kernel_size", None), ("stride", None), ("padding", 0), ("dilation", 1), ("ceil_mode", False))
        kernel, stride, padding, dilation, ceil_mode = (
            self._argument(node, index + 1, name, default) for index, (name, default) in enumerate(names)
        )
        self._largest(node, kernel, stride, padding, not ceil_mode and _pair(dilation) == (1, 1))

    def _largest(self, node: fx.Node, kernel: Any, stride: Any, padding: Any, plain: bool) -> None:
        if not plain:
            raise ConversionError("max pooling with ceil_mode, dilation or return_indices is not supported")
        steps = _pair(stride) if stride not in (None, [], ()) else _pair(kernel)
        self._add_node(node, UnitMaxPool2d(self.spec, _pair(kernel), steps, _pair(padding)))
        if node in self.rectified:
            name = f"{node.name}_relu"
            self.nodes[name] = Node(name, (node.name,), UnitRectifier())
            self.alias[node] = name

    def _output_activation(self, node: fx.Node) -> None:
        if any(user.op != "output" for user in node.users):
            raise ConversionError("a softmax inside the network; only one after the logits can be left out")
        self.notes.append(f"{node.target} ({source_location(node)}) is left out: it changes no answer")
        self._pass(node)

    def _functional_average(self, node: fx.Node) -> None:
        arguments = [self._argument(node, index + 1, name, default) for index, (name, default) in enumerate(
            (("kernel_size", None), ("stride", None), ("padding", 0), ("ceil_mode", False), ("count_include_pad", True))
        )]  # fmt: skip
        self._average(node, *arguments)

    def _average(self, node: fx.Node, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, count_padding: bool) -> None:
        if ceil_mode or (not count_padding and any(_pair(padding))):
            raise ConversionError("average pooling with ceil_mode, or without counting the padding, is not supported")
        steps = _pair(stride) if stride not in (None, [], ()) else _pair(kernel)
        self._add_node(node, UnitAveragePool2d(self.spec, _pair(kernel), steps, _pair(padding)))

    def _adaptive(self, node: fx.Node, wanted: Any) -> None:
        sizes = _shape(node.all_input_nodes[0])[2:]
        targets = [size if target is None else target for size, target in zip(sizes, _pair(wanted), strict=True)]
        if any(size % target for size, target in zip(sizes, targets, strict=True)):
            raise ConversionError(f"adaptive pooling of {sizes} to {targets}: windows of unequal size; the sizes must divide")
        kernel = (sizes[0] // targets[0], sizes[1] // targets[1])
        self._add_node(node, UnitAveragePool2d(self.spec, kernel, kernel))

    def _mean(self, node: fx.Node) -> None:
        rank = len(_shape(node.all_input_nodes[0]))
        axes = self._argument(node, 1, "dim", None)
        chosen = (
            sorted(axis % rank for axis in (axes if isinstance(axes, list | tuple) else [axes])) if axes is not None else []
        )
        if rank != 4 or chosen != [2, 3]:
            raise ConversionError("mean() is supported over rows and columns, dim=(2, 3), only")
        size = _shape(node.all_input_nodes[0])[2:]
        self._add_node(node, UnitAveragePool2d(self.spec, _pair(size), _pair(size)))
        if len(_shape(node)) == 2:
            pooled = self.alias[node]
            name = f"{pooled}_flat"
            self.nodes[name] = Node(name, (pooled,), Flatten())
            self.alias[node] = name

    def _addition(self, node: fx.Node) -> None:
        names = [self.alias.get(argument) for argument in node.args if isinstance(argument, fx.Node)]
        if len(names) != 2 or None in names or node.kwargs.get("alpha", 1) != 1:
            raise ConversionError("only the sum of two tensors is supported, without alpha")
        shapes = {_shape(argument) for argument in node.args if isinstance(argument, fx.Node)}
        if len(shapes) != 1:
            raise ConversionError(f"a sum of shapes {sorted(shapes)}; allowed are equal ones")
        self._add_node(node, UnitAdd(self.spec, _shape(node)[1]), (str(names[0]), str(names[1])))

    def _concatenation(self, node: fx.Node) -> None:
        parts = node.args[0]
        axis = self._argument(node, 1, "dim", 0)
        if axis not in (1, 1 - len(_shape(node))):
            raise ConversionError(f"concatenation along dimension {axis}; allowed is 1, the channels")
        self._add_node(node, Concatenate(), tuple(self.alias[part] for part in parts))  # type: ignore[union-attr, index]

    def _flatten(self, node: fx.Node) -> None:
        before, after = _shape(node.all_input_nodes[0]), _shape(node)
        if before == after:
            self._pass(node)
        elif len(after) == 2 and after == (before[0], math.prod(before[1:])):
            self._add_node(node, Flatten(), (self.alias[node.all_input_nodes[0]],))
        else:
            raise ConversionError(f"a reshape of {before} to {after}; allowed is to (samples, everything else)")


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["tensor_meta"].shape)


def _pair(value: Any) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else tuple(value)
    return int(first), int(second)


def _advice(name: str) -> str:
    """What to do about the most common obstacles."""
    if "norm" in name.lower():
        return ": only batch normalisation has fixed weights that can be folded"
    if name in ("mul", "matmul", "bmm", "einsum"):
        return ": the unit multiplies by stored weights, not by activations"
    return ""
