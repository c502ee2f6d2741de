"""A network on the unit: layers in a graph, trained like any `nn.Module`, exact like the silicon."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from bitting.emulator import emulate
from bitting.errors import ProgramError
from bitting.network.alteration import Alteration
from bitting.network.averaging import UnitAveragePool2d
from bitting.network.layers import IntegerDropout, UnitAdd, UnitConv2d, UnitLayer, UnitLinear, UnitProduct
from bitting.network.loss import logit_scale, range_penalty, ranged_cross_entropy
from bitting.network.maximum import UnitMaxPool2d, UnitRectifier
from bitting.network.moving import Concatenate, Flatten, Permute, Repeat, Reshape, UnitChannelMean, ZeroPad
from bitting.network.normalised import UnitNormalisedConv2d
from bitting.network.pattern import PatternQuantiser
from bitting.network.straight_through import integers
from bitting.program import choosing, comparing, lowering, moves
from bitting.program.choosing import AUTO, Choice
from bitting.program.layers import Program
from bitting.program.lowering import INPUT
from bitting.unit import golden
from bitting.unit.spec import UnitSpec, spec_text

#: Of logits and what they are to be, a scalar with a gradient.
Measure = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
#: Gain and offset of what a model does to its input first, each (1, *input shape) float32.
Preparation = tuple[torch.Tensor, torch.Tensor]
#: Called with a module and its inputs.
Visitor = Callable[[nn.Module, tuple[torch.Tensor, ...]], None]


class Node(NamedTuple):
    """A module of the graph and the names of what it reads."""

    name: str
    inputs: tuple[str, ...]
    module: nn.Module


class LayerFit(NamedTuple):
    """How well a layer of the unit does what the float layer does, on the calibration inputs.

    Attributes:
        name: of the node.
        error: root mean square of the difference, over that of the float layer's values about their mean.
        beyond: share of sums that fold: they lie beyond the rising part of the wave.
        shift: left shift before the fold.
    """

    name: str
    error: float
    beyond: float
    shift: int


class UnitNetwork(nn.Module):
    """Layers on the unit, in topological order; the last gives logits.

    Called like any classifier: floating point in, logits out. What the unit sees is `floor(x input_scale + 1/2)`, clamped to
    its activations. In evaluation mode the logits are the unit's to the bit (accumulators modulo 2^W); while training they are
    not reduced, because straight through the reduction the gradient would point the wrong way as soon as one logit wraps, and
    training collapses (measured on MNIST: 31-74% instead of 98%). Add `penalty` to the loss, or use `loss`: it pulls logits
    towards the range in which the reduction changes nothing.

    Args:
        input_shape: of a sample: (channels, H, W), (channels, length) or (features,).
        input_scale: activations per unit of input.

    Attributes:
        penalty: of the last forward pass in training mode.
        locations: node -> where it stands in the code it was converted from.
        notes: what the conversion did that one might not expect.
        preparation: what the model does to its input first; None: nothing.
        output_gain: logits are accumulators times this and `logit_scale`, plus `output_offset`. They are `logit_gain` (of most
            families 1) and 0, or what makes them those of the model that was kept by conversion: (1,), or of a regression
            (outputs,).
        output_offset: likewise.
        regression: the outputs are numbers, each in its own unit, and not logits.
        fits: how well each layer does what that model's does; nothing if the model was not kept.
        ends_with: activation function that ended the converted model, and was left out, e.g. "sigmoid"; or nothing.

    Shape:
        (samples, *input_shape) -> (samples, outputs)
    """

    penalty: torch.Tensor
    output_gain: torch.Tensor
    output_offset: torch.Tensor

    def __init__(self, spec: UnitSpec, input_shape: Sequence[int], input_scale: float, nodes: Sequence[Node]):
        super().__init__()
        self.spec = spec
        self.input_shape = tuple(input_shape)
        self.input_scale = input_scale
        self.nodes = [(node.name, node.inputs) for node in nodes]
        self.graph = nn.ModuleDict({node.name: node.module for node in nodes})
        self.locations: dict[str, str] = {}
        self.notes: list[str] = []
        self.ends_with = ""
        self.preparation: Preparation | None = None
        self.register_buffer("output_gain", torch.ones(1), persistent=False)  # in the extra state, as earlier versions have it
        self.register_buffer("output_offset", torch.zeros(1), persistent=False)
        self.regression = False
        self.fits: list[LayerFit] = []

    def get_extra_state(self) -> dict[str, list[float]]:
        """What a state dictionary holds beside the layers': the units of the answers."""
        return {"output_gain": self.output_gain.tolist(), "output_offset": self.output_offset.tolist()}

    def set_extra_state(self, state: dict[str, float | list[float]]) -> None:
        """Take them from a state dictionary."""
        for name in ("output_gain", "output_offset"):
            own = getattr(self, name)
            setattr(self, name, torch.tensor(state[name], dtype=own.dtype, device=own.device).reshape(-1))

    def prepared(self, x: torch.Tensor) -> torch.Tensor:
        """(samples, *input_shape) inputs, as the first layers read them, before they are scaled and rounded."""
        if self.preparation is None:
            return x
        gain, offset = self.preparation
        return x * gain + offset

    def input_units(self) -> tuple[np.ndarray, np.ndarray]:
        """Offset and scale of `Interface`, one or one for each number of an input: activation = floor((x - offset) scale)."""
        if self.preparation is None:
            scale = np.array([self.input_scale], np.float32)
            return -0.5 / scale, scale
        return input_units(self.preparation, self.input_scale)

    def integers(self, x: torch.Tensor) -> torch.Tensor:
        """Inputs, of any number type, as activations: integers in float32."""
        x = torch.as_tensor(x, dtype=torch.float32)
        if self.preparation is None:
            return integers(x, self.input_scale, self.spec)
        # In the words of the interface, to the bit.
        offset, scale = (torch.from_numpy(part).reshape(1, *self.input_shape).to(x.device) for part in self.input_units())
        return ((x - offset) * scale).floor_().clamp_(self.spec.act_min, self.spec.act_max)

    def accumulators(self, x: torch.Tensor, before: Visitor | None = None) -> torch.Tensor:
        """Logits of integer activations as accumulators not yet reduced modulo 2^W, float32 or float64: exact.

        Args:
            x: (samples, *input_shape), from `integers`.
            before: called with each module and its inputs, before it runs.
        """
        values = {INPUT: x}
        last_use = {name: index for index, (_, inputs) in enumerate(self.nodes) for name in inputs}
        for index, (name, names) in enumerate(self.nodes):
            inputs = tuple(values[key] for key in names)
            if before:
                before(self.graph[name], inputs)
            output: torch.Tensor = self.graph[name](*inputs)
            values[name] = output
            for key in names:
                if last_use[key] == index:
                    values.pop(key, None)
        return output

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(samples, *input_shape), of any number type, to (samples, outputs) logits; while training, sets `penalty` too."""
        scale = logit_scale(self.spec.acc_bits)
        sums = self.accumulators(self.integers(x))
        if not self.training:
            return emulate.wrap(sums, self.spec.acc_bits).float() * (scale * self.output_gain) + self.output_offset
        logits = sums.float() * scale
        self.penalty = range_penalty(logits)
        return logits * self.output_gain + self.output_offset

    def loss(self, x: torch.Tensor, labels: torch.Tensor, measure: Measure | None = None) -> torch.Tensor:
        """Loss and `penalty`, in training mode.

        Args:
            x: (samples, *input_shape).
            labels: (samples,) classes, (samples, outputs) probabilities, or what `measure` takes.
            measure: of logits and labels; by default cross entropy.
        """
        if measure:
            return measure(self(x), labels) + self.penalty
        if not (self.training and labels.is_floating_point() and bool((self.output_gain == 1).all())):
            return nn.functional.cross_entropy(self(x), labels) + self.penalty
        sums = self.accumulators(self.integers(x))
        total, self.penalty = ranged_cross_entropy(sums.float(), labels, logit_scale(self.spec.acc_bits))
        return total

    @contextlib.contextmanager
    def altered(self, hardware: Alteration) -> Iterator[None]:
        """Other hardware computes the layers with weights meanwhile, with gradients; means and maxima any hardware has."""
        layers = self.products
        for layer in layers:
            layer.altered = hardware
        try:
            yield
        finally:
            for layer in layers:
                layer.altered = None

    @torch.no_grad()
    def calibrate(self, x: torch.Tensor, accumulator_std: Sequence[float]) -> None:
        """Choose every layer's shift on a batch of inputs.

        Args:
            x: (samples, *input_shape), floating point.
            accumulator_std: for each layer of calibrated shift in turn (the last holds for the rest), standard deviation of the
                accumulators in quarter periods of the fold.
        """
        wanted = itertools.chain(accumulator_std, itertools.repeat(accumulator_std[-1]))

        def visit(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            if isinstance(module, UnitLayer) and module.calibrated and not module.emits:
                module.calibrate(inputs, next(wanted))

        self.accumulators(self.integers(x), visit)

    @torch.no_grad()
    def update_statistics(self, x: torch.Tensor) -> None:
        """Take the statistics of normalised layers from these inputs, layer by layer.

        Those of training lag behind the weights and are of few samples: they cost up to four points, by chance.
        """
        if not any(isinstance(module, UnitNormalisedConv2d) for module in self.graph.values()):
            return

        def visit(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            if isinstance(module, UnitNormalisedConv2d):
                module.update_statistics(inputs)

        training = self.training
        self.eval()
        self.accumulators(self.integers(x), visit)
        self.train(training)

    @property
    def products(self) -> list[UnitProduct]:
        """The layers with weights, in order."""
        return [module for module in self.graph.values() if isinstance(module, UnitProduct)]

    def to_program(self) -> Program:
        """The unlocked program: codes are value indices.

        Raises:
            ProgramError: naming the layer and the limit, if the spec can not hold it.
        """
        return lowering.lower(self.spec, _image(self.input_shape), self._operations())

    def choices(self) -> list[Choice]:
        """What every number of lanes a sample (`stripes`) would mean. The network is the same for all of them."""
        return choosing.choices(self.spec, _image(self.input_shape), self._operations())

    def share_lanes(self, stripes: int | str) -> str:
        """Let so many lanes share a sample, or `AUTO`: as many as answer it soonest. Says why.

        Raises:
            ProgramError: if no number fits.
            SpecError: if the lanes can not be shared so.
        """
        found = self.choices()
        if stripes == AUTO:
            choice = choosing.chosen(self.spec, found)
        else:
            wanted = replace(self.spec, stripes=int(stripes)).stripes
            choice = next(each for each in found if each.stripes == wanted)
        if choice.stripes != self.spec.stripes:
            shared = replace(self.spec, stripes=choice.stripes)
            self.spec = replace(shared, name=spec_text(shared))
        return choosing.why(self.spec, choice, found)

    @torch.no_grad()
    def _operations(self) -> list[lowering.Operation]:
        operations: list[lowering.Operation] = []
        alias = {INPUT: INPUT}
        spread = self._spread()
        for name, inputs in self.nodes:
            module, sources = self.graph[name], tuple(alias[key] for key in inputs)
            operation = moves.Reshape(name, sources, (-1, 1, 1)) if name in spread else _operation(name, sources, module)
            if operation is None:
                alias[name] = sources[0]
            else:
                alias[name] = name
                operations.append(operation)
        return operations

    def _spread(self) -> set[str]:
        """Flattened tensors that must lie without gaps: a dense layer finds its inputs wherever they lie, others do not."""
        flat = {name for name, _ in self.nodes if isinstance(self.graph[name], Flatten)}
        passed = {name: inputs[0] for name, inputs in self.nodes if isinstance(self.graph[name], IntegerDropout | nn.Identity)}
        spread = set()
        for name, inputs in self.nodes:
            if name in passed or isinstance(self.graph[name], UnitLinear | Flatten | Reshape):
                continue
            for source in inputs:
                while source in passed:
                    source = passed[source]
                spread |= flat & {source}
        return spread


def input_units(preparation: Preparation, input_scale: float) -> tuple[np.ndarray, np.ndarray]:
    """(words,) float32 offset and scale of an `Interface` that prepares inputs, and then scales them."""
    gain, offset = (part.reshape(-1).double().cpu().numpy() for part in preparation)
    return (-(offset + 0.5 / input_scale) / gain).astype(np.float32), (gain * input_scale).astype(np.float32)


def _image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(channels, rows, columns) of an input: a series is one row, features are channels."""
    channels, *sizes = shape
    rows, columns = (1, *sizes) if len(sizes) == 1 else sizes or (1, 1)
    return channels, rows, columns


def _operation(name: str, inputs: tuple[str, ...], module: nn.Module) -> lowering.Operation | None:
    """A layer as the lowering wants it; None if it moves nothing."""
    if isinstance(module, UnitProduct):
        codes = module.quantiser.indices(module.latent).cpu().numpy()
        bias = module.integer_bias().to(torch.int32).cpu().numpy()
        common: dict[str, Any] = {"shift": module.shift, "emits": module.emits}
        common["skips_zeros"] = isinstance(module.quantiser, PatternQuantiser)
        if isinstance(module, UnitConv2d):
            common |= {"stride": module.stride, "padding": module.padding, "dilation": module.dilation, "groups": module.groups}
            common["fill"] = module.fill
        return lowering.Product(name, inputs, codes, bias, **common)
    if isinstance(module, UnitAveragePool2d):
        window = (module.kernel, module.stride, module.padding)
        start = golden.wrap(module.weight * module.start, module.spec.acc_bits)
        return lowering.Pool(name, inputs, *window, module.weight, module.shift, module.fill, start)
    if isinstance(module, UnitRectifier):
        return comparing.Rectifier(name, inputs, module.floor)
    if isinstance(module, UnitMaxPool2d):
        return comparing.MaxPool(name, inputs, module.kernel, module.stride, module.padding, module.fill)
    if isinstance(module, UnitAdd):
        bias = module.integer_bias().to(torch.int32).cpu().numpy()
        return lowering.Add(name, inputs, module.weights, bias, module.shift)
    if isinstance(module, Concatenate):
        return lowering.Concatenation(name, inputs)
    if isinstance(module, ZeroPad):
        return moves.Pad(name, inputs, module.before, module.after, module.fill)
    if isinstance(module, Reshape):
        return moves.Reshape(name, inputs, _image(module.shape))
    if isinstance(module, Permute):
        return moves.Permutation(name, inputs, module.order)
    if isinstance(module, Repeat):
        return moves.Upsample(name, inputs, module.factors)
    if isinstance(module, UnitChannelMean):
        return moves.ChannelMean(name, inputs, module.weight, module.shift)
    if isinstance(module, Flatten | IntegerDropout | nn.Identity):
        return None
    raise ProgramError(f"layer {name} is a {type(module).__name__}, which has no place on the unit")
