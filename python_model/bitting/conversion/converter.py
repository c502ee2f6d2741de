"""A user's PyTorch model to a network on the unit: traced, batch normalisation folded, layers swapped, shifts calibrated."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import StrEnum

import numpy as np
import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import TensorMetadata

from bitting.conversion import no_place
from bitting.conversion.activations import ActivationConversion
from bitting.conversion.affine import name_of
from bitting.conversion.nodes import PASSES, REORDERS, shape_of
from bitting.conversion.reconstruction import reconstruct as rebuild
from bitting.conversion.tracing import as_floats, check_numbers, trace
from bitting.errors import BittingError, ConversionError, ProgramError
from bitting.network.graph import INPUT, Preparation, UnitNetwork
from bitting.network.layers import UnitAdd, UnitLayer, UnitProduct
from bitting.network.moving import Concatenate, Flatten, Reshape
from bitting.network.normalised import UnitNormalisedConv2d
from bitting.program import choosing
from bitting.unit.spec import UnitSpec, as_spec

_DROPOUTS = ("dropout", "dropout1d", "dropout2d", "feature_dropout")
#: What is said where a constant has no place.
_CONSTANTS = (
    "a gain or an offset has a place at the input, and right after a Linear, Conv1d or Conv2d that nothing else reads, one for "
    "each channel"
)
#: Relative errors of layers that the notes of a model that was kept name.
NOTED_ERROR = 0.3
#: What is noted of a model whose activation functions became the fold; true until it is trained.
UNTRAINED = "the unit's wave is in the place of activation functions: train it before you use it"
#: Standard deviation of accumulators in quarter periods, see `UnitNetwork.calibrate`.
ACCUMULATOR_STD = (0.6,)


def _require_fit(network: UnitNetwork) -> None:
    """Raises ProgramError if the spec can not hold a network; it names a number of stripes with which it could."""
    try:
        network.to_program()
    except ProgramError as error:
        alike = choosing.fitting(network.spec, network.choices())
        fit = [choice for choice in alike if choice.stripes > network.spec.stripes]
        if not fit:
            raise
        raise ProgramError(f"{error}, or let {fit[0].stripes} lanes share a sample: stripes={fit[0].stripes}") from None


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
    regression: bool = False,
    stripes: int | str | None = None,
) -> UnitNetwork:
    """The same architecture on the unit.

    With `activation="fold"` every activation function becomes the fold: it costs nothing, but the network wants training; its
    weights begin as the model's. With `activation="relu"` a ReLU is kept, for three clocks an activation and lane, and the
    network answers nearly as the model does, without training.

    Args:
        model: is left as it is. Known: Linear, Conv1d and Conv2d, BatchNorm after either, activation functions, average
            and max pooling, means, additions, concatenation of channels, padding with zeros, reshapes and permutations of a
            sample, upsampling by repetition, Dropout, Identity, their functional forms, and gains and offsets by constants of
            the model's own, of its input or of a product.
        spec: of the unit, or its name as `parse_spec` reads it.
        calibration: (samples, *input shape), inputs as the model takes them.
        input_scale: activations per unit of input, after what the model does to it first where that has no place in weights
            (`UnitNetwork.preparation`); by default the largest calibration input just fits.
        accumulator_std: see `UnitNetwork.calibrate`.
        normalise: see `straight_through.WeightQuantiser`.
        fresh: begin with random weights (Gaussian, from torch's generator) instead of the model's.
        activation: "fold" or "relu".
        reconstruct: with "relu", fit each layer to what the model's gives on the calibration inputs; else every weight is
            rounded to the nearest. `UnitNetwork.fits` tells how well each layer does what the model's does.
        regression: outputs are numbers, each in a unit of its own, and not logits of classes: with "relu" each has a scale and
            an offset of its own (`UnitNetwork.output_gain`).
        stripes: lanes that share a sample, instead of as many as `spec` says; "auto": as many as answer one sample soonest.
            `UnitNetwork.notes` says why, and what other numbers would mean.

    Raises:
        ConversionError: listing, with the place in the user's code, everything that can not be mapped.
        ProgramError: naming the layer, the limit and a spec that would do, if this one can not hold the network.
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
    conversion = _Conversion(spec, graph, normalise and not keeps, fresh, keeps)
    network = conversion.network(tuple(calibration.shape[1:]))
    if input_scale is None:
        input_scale = spec.act_max / max(float(network.prepared(calibration).abs().max()), 1e-12)
    network.input_scale = input_scale
    network.regression = regression
    network.notes = [*getattr(model, "conversion_notes", ()), *network.notes]
    if stripes is not None:
        network.notes.append(network.share_lanes(stripes))
    _require_fit(network)  # what does not fit is said now, and not after training
    if keeps:
        with torch.no_grad():
            answers = None if network.ends_with else graph(calibration)
        network.fits = rebuild(network, conversion.floats, calibration, answers, reconstruct)
        network.notes += [
            f"{fit.name} ({network.locations.get(fit.name, 'unknown place')}) is off by {fit.error:.0%} of its values' spread"
            for fit in network.fits
            if fit.error > NOTED_ERROR
        ]
    else:
        conversion.calibrate(network, calibration, accumulator_std)
        if not fresh and any(isinstance(module, UnitLayer) and module.activated for module in network.graph.values()):
            network.notes.append(UNTRAINED)
    return network


def input_preparation(model: nn.Module, spec: UnitSpec, calibration: torch.Tensor) -> Preparation | None:
    """What `convert` would leave to the interface: see `UnitNetwork.preparation`.

    Raises:
        ConversionError: if the model can not be traced.
    """
    check_numbers(model, calibration)
    return _Conversion(spec, trace(model, calibration), normalise=True, fresh=False).input_preparation()


class _Conversion(ActivationConversion):
    """Walks the traced graph and collects nodes of the unit, or what is in the way."""

    def __init__(self, spec: UnitSpec, graph: fx.GraphModule, normalise: bool, fresh: bool, keeps: bool = False):
        super().__init__(spec, graph, normalise, keeps)
        self.graph = graph
        self.fresh = fresh
        self.output = ""

    def network(self, input_shape: tuple[int, ...]) -> UnitNetwork:
        for node in self.graph.graph.nodes:
            try:
                self._visit(node)
            except BittingError as error:
                self._problem(node, str(error))
                self.alias.setdefault(node, INPUT)
        last = self.nodes.get(self.output)
        if last and isinstance(last.module, Flatten | Reshape):  # of a convolution that gives one position
            last = self.nodes.get(last.inputs[0])
        names = list(self.nodes)
        ends = last and isinstance(last.module, UnitProduct) and names[names.index(last.name) + 1 :] in ([], [self.output])
        if not self.problems and not ends:
            self.problems.append(
                "the model must end in a Linear (or Conv2d) layer that gives the logits; found "
                f"{type(last.module).__name__ if last else 'nothing'}"
            )
        if self.problems:
            raise ConversionError(f"the model has parts with no place on the unit: {'; '.join(self.problems)}")
        assert last
        last.module.emits = True  # type: ignore[assignment]
        network = UnitNetwork(self.spec, input_shape, 1.0, list(self.nodes.values()))
        network.locations, network.notes, network.ends_with = self.locations, self.notes, self.ends_with
        network.preparation = self.input_preparation()
        if network.preparation:
            self.notes.insert(0, "what the model does to its input first is part of the interface, which no lock hides")
        return network

    def input_preparation(self) -> Preparation | None:
        return (self.preparation.gain.float(), self.preparation.offset.float()) if self.preparation else None

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
        scales = {INPUT: network.input_scale}  # activations per unit of the model's values
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
                if len(shape_of(node)) == 3:
                    self._reshape(node, "_row")
            case "output":
                (result,) = node.args
                if not isinstance(result, fx.Node):
                    raise ConversionError("the model must return one tensor")
                self.output = self.alias[result]
                if result in self.sums and len(shape_of(result)) > 2:
                    self._reshape(result, "_flat", (math.prod(shape_of(result)[1:]),))
                    self.output = self.alias[result]
            case _ if node in self.affine.constants:
                pass
            case _ if node in self.affine.of_input and self.affine.step(node):
                self._pass(node)  # layers that read it have it in their weights, or the network prepares its input
            case _ if self._gain_and_offset(node):
                pass
            case "call_module":
                self._check_input(node)
                self._module(node, self.modules[str(node.target)])
            case _:
                self._check_input(node)
                self._function(node, name_of(node))

    def _module(self, node: fx.Node, module: nn.Module) -> None:
        match module:
            case nn.Linear():
                self._linear(node, module)
            case nn.Conv1d() | nn.Conv2d():
                self._convolve(node, module)
            case nn.BatchNorm1d() | nn.BatchNorm2d():
                self._batch_norm(node, module)
            case nn.AvgPool1d():
                self._average(
                    node, module.kernel_size, module.stride, module.padding, module.ceil_mode, module.count_include_pad
                )
            case nn.AvgPool2d():
                self._average(
                    node, module.kernel_size, module.stride, module.padding, module.ceil_mode, module.count_include_pad
                )
            case nn.AdaptiveAvgPool1d() | nn.AdaptiveAvgPool2d():
                self._adaptive(node, module.output_size)
            case nn.MaxPool1d() | nn.MaxPool2d():
                plain = not (module.ceil_mode or module.return_indices) and module.dilation in (1, (1,), (1, 1))
                self._largest(node, module.kernel_size, module.stride, module.padding, plain)
            case nn.ConstantPad1d() | nn.ConstantPad2d():  # of which the paddings with zeros are kinds
                self._pad(node, list(module.padding), "constant", module.value)
            case nn.Upsample():
                self._upsample(node, module.mode, module.scale_factor)
            case nn.Flatten() | nn.Unflatten():
                self._reorder(node)
            case nn.Dropout() | nn.Dropout1d() | nn.Dropout2d():
                self._drop_out(node, module.p)
            case nn.Identity():
                self._pass(node)
            case _ if self._activate(node, "", module):
                pass
            case _:
                raise ConversionError(f"{type(module).__name__} {no_place.refusal(type(module).__name__)}")

    def _function(self, node: fx.Node, name: str) -> None:
        handlers: dict[str, Callable[[], None]] = {
            "add": lambda: self._addition(node),
            "iadd": lambda: self._addition(node),
            "cat": lambda: self._concatenation(node),
            "concat": lambda: self._concatenation(node),
            "avg_pool1d": lambda: self._functional_average(node),
            "avg_pool2d": lambda: self._functional_average(node),
            "adaptive_avg_pool1d": lambda: self._adaptive(node, self._argument(node, 1, "output_size", None)),
            "adaptive_avg_pool2d": lambda: self._adaptive(node, self._argument(node, 1, "output_size", None)),
            "max_pool1d": lambda: self._functional_largest(node),
            "max_pool2d": lambda: self._functional_largest(node),
            "mean": lambda: self._mean(node),
            "pad": lambda: self._pad_function(node),
            "interpolate": lambda: self._upsample(
                node, self._argument(node, 3, "mode", "nearest"), self._argument(node, 2, "scale_factor", None)
            ),
            "repeat_interleave": lambda: self._repeat_interleave(node),
            "permute": lambda: self._permute_function(node),
            "transpose": lambda: self._transpose(node),
            **dict.fromkeys(_DROPOUTS, lambda: self._drop_out(node, float(self._argument(node, 1, "p", 0.5)))),
            **dict.fromkeys(REORDERS, lambda: self._reorder(node)),
            **dict.fromkeys(PASSES, lambda: self._pass(node)),
        }
        results = node.meta.get("tensor_meta")
        if isinstance(results, tuple) and not isinstance(results, TensorMetadata):
            raise ConversionError(f"{name}() {no_place.refusal(name)}")  # several tensors
        if not isinstance(results, TensorMetadata):
            return  # a size, for a reshape that is checked by what it gives
        if name == "getitem" and isinstance(node.args[0], fx.Node) and self.alias.get(node.args[0]) is None:
            self.alias[node] = INPUT  # one of several tensors: what gives them has been named
            return
        if self.affine.step(node) or any(source in self.affine.constants for source in node.all_input_nodes):
            raise ConversionError(f"{name}() with a constant: {_CONSTANTS}")
        if name in handlers:
            handlers[name]()
        elif not self._activate(node, name):
            raise ConversionError(f"{name}() {no_place.refusal(name)}")

    def _addition(self, node: fx.Node) -> None:
        names = [self.alias.get(argument) for argument in node.args if isinstance(argument, fx.Node)]
        if len(names) != 2 or None in names or node.kwargs.get("alpha", 1) != 1:
            raise ConversionError("only the sum of two tensors is supported, without alpha")
        shapes = {shape_of(argument) for argument in node.args if isinstance(argument, fx.Node)}
        if len(shapes) != 1:
            raise ConversionError(f"a sum of shapes {sorted(shapes)}; allowed are equal ones")
        self._add_node(node, UnitAdd(self.spec, shape_of(node)[1]), (str(names[0]), str(names[1])))

    def _concatenation(self, node: fx.Node) -> None:
        parts = node.args[0]
        axis = self._argument(node, 1, "dim", 0)
        if axis not in (1, 1 - len(shape_of(node))):
            raise ConversionError(f"concatenation along dimension {axis}; allowed is 1, the channels")
        self._add_node(node, Concatenate(), tuple(self.alias[part] for part in parts))  # type: ignore[union-attr, index]
