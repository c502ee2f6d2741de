"""A float network with ReLU to the unit, layer by layer, so that it answers as it did: no labels and no training.

Every layer is fitted to what the float layer gives, on calibration inputs that have come through the layers before it as the
unit computes them: first the units of its activations (`scales`), then its shift, its weights (`rounding`) and its biases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from bitting.conversion import rounding, scales
from bitting.conversion.scales import MixedUnitsError, Plan, addition_weight
from bitting.errors import ConversionError
from bitting.network.averaging import UnitAveragePool2d
from bitting.network.graph import INPUT, LayerFit, Node, UnitNetwork
from bitting.network.layers import UnitAdd, UnitConv2d, UnitLayer, UnitProduct
from bitting.network.loss import logit_scale
from bitting.network.maximum import UnitMaxPool2d, UnitRectifier
from bitting.network.moving import UnitChannelMean, ZeroPad

#: What is less is nothing, where something is divided by it.
_TINY = 1e-30
#: Rows of a layer's inputs (samples, or positions of samples) that its weights are fitted on.
_ROWS = 32_768
#: Sums that leave keep within this share of the accumulator's range on the calibration inputs.
_LOGIT_RANGE = 0.8
#: Scales of the sums that leave that are tried, in units of the largest possible.
_LOGIT_SHARES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18)

#: Weights and bias of each product of the float network.
Floats = Mapping[str, tuple[torch.Tensor, torch.Tensor]]


@torch.no_grad()
def float_values(nodes: Sequence[Node], floats: Floats, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What every tensor of the float network holds for inputs (samples, ...)."""
    values = {INPUT: x}
    for name, inputs, module in nodes:
        sources = [values[source] for source in inputs]
        match module:
            case UnitProduct():
                values[name] = _product(module, sources[0], *floats[name])
            case UnitAveragePool2d():
                values[name] = F.avg_pool2d(sources[0], module.kernel, module.stride, module.padding)
            case UnitAdd():
                values[name] = sources[0] + sources[1]
            case UnitRectifier():
                values[name] = sources[0].clamp(min=0)
            case UnitChannelMean():
                values[name] = sources[0].mean(1, keepdim=True)
            case _:
                values[name] = module.eval()(*sources)
    return values


def _product(module: UnitProduct, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    if isinstance(module, UnitConv2d):
        return F.conv2d(x, weight, bias, module.stride, module.padding, module.dilation, module.groups)
    return F.linear(x, weight, bias)


@torch.no_grad()
def reconstruct(
    network: UnitNetwork, floats: Floats, x: torch.Tensor, answers: torch.Tensor | None, fit: bool = True
) -> list[LayerFit]:
    """Give every layer the shift, weights and biases with which it does what the float layer does.

    Args:
        network: whose products have quantisers that do not normalise; is changed.
        floats: product -> weights and bias of the float network, batch normalisation folded in.
        x: (samples, *input_shape), calibration inputs.
        answers: (samples, outputs) of the model for them, if they are those of its last layer with weights.
        fit: weights are fitted and rounded by what their layer is to give; else each to its nearest value.

    Returns:
        A `LayerFit` for each layer but those that only pass values on.

    Raises:
        ConversionError: if the layers do not give the model's answers, before anything is rounded.
    """
    nodes = [Node(name, inputs, network.graph[name]) for name, inputs in network.nodes]
    network.eval()
    values = float_values(nodes, floats, network.prepared(x))
    if answers is not None and not torch.allclose(
        list(values.values())[-1], answers, rtol=1e-3, atol=1e-3 * float(answers.std(correction=0))
    ):
        raise ConversionError(
            "the layers that were traced do not give the model's answers; does it change a value in place that it reads again, "
            "as nn.ReLU(inplace=True) does?"
        )
    settings = (network.spec, nodes, values, network.input_scale)
    for zero, uniform in ((scales.rectified_zero(network.spec), False), (0, False), (0, True)):
        try:
            plan = scales.plan(*settings, zero, uniform)
            break
        except MixedUnitsError:
            continue
    else:
        raise ConversionError(
            "what is concatenated here and then reordered has several scales, which activation='relu' can not keep; reorder "
            "first, or use activation='fold'"
        )
    return _Reconstruction(network, nodes, floats, values, x, plan, fit).fits


class _Reconstruction:
    """Walks the network once; the inputs of each layer are what the unit has computed so far."""

    def __init__(
        self, network: UnitNetwork, nodes: Sequence[Node], floats: Floats, values: dict[str, torch.Tensor], x: torch.Tensor,
        plan: Plan, fit: bool,
    ):  # fmt: skip
        self.network, self.spec, self.floats, self.values = network, network.spec, floats, values
        self.units, self.shares, self.fit = plan.units, plan.shares, fit
        self.family = torch.tensor(self.spec.values, dtype=torch.float32)
        self.fits: list[LayerFit] = []
        self.written = {INPUT: network.integers(x)}
        self.nodes = {node.name: (node.module, node.inputs) for node in nodes}
        for node in nodes:
            self._visit(node)

    def _visit(self, node: Node) -> None:
        name, inputs, module = node
        sources = tuple(self.written[source] for source in inputs)
        if inputs[0] not in self.units:  # the sums that leave, in another shape
            self.written[name] = module(*sources)
            return
        zero = round(self.units[inputs[0]].zero)
        if isinstance(module, UnitLayer | ZeroPad):
            module.fill = zero
        match module:
            case UnitProduct():
                self._product(name, module, sources[0], inputs[0])
            case UnitAdd():
                self._add(node, module)
            case UnitRectifier():
                module.floor = zero
            case UnitMaxPool2d():  # what is below zero is, or will be, rectified; else padding holds the least activation
                rectified = self.units[inputs[0]].rectified or self._is_rectified(inputs[0])
                module.fill = zero if rectified else self.spec.act_min
        self.written[name] = module(*sources)
        if isinstance(module, UnitLayer):
            self._judge(name, module, sources)

    def _is_rectified(self, name: str) -> bool:
        """Nothing in a tensor is below its zero, whatever the input."""
        module, sources = self.nodes.get(name, (None, ()))
        if isinstance(module, UnitProduct | UnitAdd | UnitAveragePool2d | UnitChannelMean) or module is None:
            return False
        return isinstance(module, UnitRectifier) or all(self._is_rectified(source) for source in sources)

    def _add(self, node: Node, module: UnitAdd) -> None:
        weight, module.shift = addition_weight(self.spec)
        module.weights = tuple(round(share * weight) for share in self.shares[node.name])  # type: ignore[assignment]
        kept = sum(share * self.units[source].zero for share, source in zip(self.shares[node.name], node.inputs, strict=True))
        start = (self.units[node.name].zero - kept + 0.5) / module.slope
        module.bias.fill_(start / module.bias_unit)

    def _product(self, name: str, module: UnitProduct, x: torch.Tensor, source: str) -> None:
        weight, bias = self.floats[name]
        wide = (-1, *[1] * (weight.ndim - 1))
        per_input = self.units[source].scale
        if isinstance(module, UnitConv2d):  # (groups, inputs of a group) -> one row for each output
            per_input = per_input.reshape(module.groups, 1, -1).expand(-1, len(weight) // module.groups, -1).flatten(0, 1)
            per_input = per_input[:, :, None, None]
        given = weight / per_input  # values of the float layer per activation
        rows = _Rows(module, x)
        if module.emits:
            best = self._logits(name, module, given, rows)
        else:
            total = self.units[name].scale.reshape(wide)
            best = min(
                (self._tried(name, module, given * total, rows, shift) for shift in range(self.spec.max_shift + 1)),
                key=lambda tried: tried.error,
            )
        module.shift = best.shift
        weights = best.weights
        wanted = self._wanted(name, module, best.scale)
        if self.fit:
            weights = self._fitted(module, best.latent, rows, wanted)
        module.weight.copy_((weights / module.quantiser.sigma).reshape(module.weight.shape))
        if self.fit:
            sums = _product(module, x - module.fill, weights.reshape(weight.shape), None)
            start, zero = (wanted - sums).transpose(0, 1).flatten(1).mean(1), float(module.fill)
        else:
            offset = self.network.output_offset if module.emits else torch.zeros(1)
            start = (bias - offset) * best.scale + self._zero(name, module) / module.slope
            zero = self.units[source].zero
        start = start - zero * weights.flatten(1).sum(1)
        module.bias.copy_(start / module.bias_unit)

    def _zero(self, name: str, module: UnitProduct) -> float:
        return 0.0 if module.emits else self.units[name].zero + 0.5

    def _wanted(self, name: str, module: UnitProduct, scale: torch.Tensor) -> torch.Tensor:
        """Accumulators with which the layer would give exactly what the float layer does."""
        values, wide = self.values[name], (1, -1, *[1] * (self.values[name].ndim - 2))
        if module.emits:
            values = values - self.network.output_offset.reshape(wide)
        return values * scale.reshape(wide) + self._zero(name, module) / module.slope

    class _Tried(NamedTuple):
        error: float
        shift: int
        scale: torch.Tensor  # accumulator units per unit of value, (outputs,)
        latent: torch.Tensor
        weights: torch.Tensor

    def _tried(self, name: str, module: UnitProduct, latent: torch.Tensor, rows: _Rows, shift: int) -> _Tried:
        """Nearest weights with this shift; `latent`: weights in written activations per activation."""
        module.shift = shift
        latent = latent / module.slope
        weights = rounding.nearest(self.family, latent)
        error = rows.error((weights - latent) * module.slope)
        return self._Tried(error, shift, self.units[name].scale / module.slope, latent, weights)

    def _logits(self, name: str, module: UnitProduct, given: torch.Tensor, rows: _Rows) -> _Tried:
        """Weights of the sums that leave: one scale for all outputs, or of numbers for each."""
        values = self.values[name].transpose(0, 1).flatten(1)  # (outputs, samples and positions)
        wide = (-1, *[1] * (given.ndim - 1))
        each = values if self.network.regression else values.reshape(1, -1)
        # An offset of all outputs need not be computed: the host adds it. Outputs about 0 have none.
        high, low = each.amax(1), each.amin(1)
        middle = (high + low) / 2
        offset = torch.where(middle.abs() > high - middle, middle, 0.0)
        room = _LOGIT_RANGE * (1 << (self.spec.acc_bits - 1)) / (each - offset[:, None]).abs().amax(1).clamp(min=_TINY)
        weight = given.flatten(1).abs() if self.network.regression else given.reshape(1, -1).abs()
        largest = torch.minimum(room, min(self.family[-1], -self.family[0]) / weight.amax(1).clamp(min=_TINY))
        spread = each.std(1, correction=0).clamp(min=_TINY) if self.network.regression else torch.ones(1)
        tried = []
        for share in _LOGIT_SHARES:
            scale = (largest * share).reshape(wide)
            weights = rounding.nearest(self.family, given * scale)
            error = rows.error((weights - given * scale) / (scale * spread.reshape(wide)))
            tried.append(self._Tried(error, 0, scale.flatten().expand(len(given)), given * scale, weights))
        best = min(tried, key=lambda item: item.error)
        self.network.output_offset = offset
        self.network.output_gain = 1 / (best.scale[: len(each)] * logit_scale(self.spec.acc_bits))
        return best

    def _fitted(self, module: UnitProduct, latent: torch.Tensor, rows: _Rows, wanted: torch.Tensor) -> torch.Tensor:
        """Weights by what the layer is to give, group by group."""
        outputs = len(latent) // rows.groups
        sums = rows.chosen(wanted)
        parts = []
        for group in range(rows.groups):
            own = slice(group * outputs, (group + 1) * outputs)
            inputs = rows.of_group(group)
            weights = rounding.fitted(inputs, latent[own].flatten(1), sums[:, own])
            parts.append(rounding.compensated(inputs, weights, self.family))
        return torch.cat(parts)

    def _judge(self, name: str, module: UnitLayer, sources: tuple[torch.Tensor, ...]) -> None:
        values, written = self.values[name], self.written[name]
        wide = (1, -1, *[1] * (values.ndim - 2))
        if module.emits:
            gain, offset = (part.reshape(wide) for part in (self.network.output_gain, self.network.output_offset))
            found = written * logit_scale(self.spec.acc_bits) * gain + offset
            beyond = float((written.abs() >= 1 << (self.spec.acc_bits - 1)).float().mean())
        else:
            units = self.units[name]
            found = (written - units.zero) / units.scale.reshape(wide)
            if units.rectified:
                found, values = found.clamp(min=0), values.clamp(min=0)
            sums = module.sums(*sources) * module.factor
            beyond = float(((sums < self.spec.act_min) | (sums >= self.spec.act_max + 1)).float().mean())
        if module.emits:  # each output is read by itself: the worst counts
            found, values = (part.transpose(0, 1).flatten(1) for part in (found, values))
        else:
            found, values = found.reshape(1, -1), values.reshape(1, -1)
        spread = (values - values.mean(1, keepdim=True)).square().mean(1)
        spread = spread.maximum(values.square().mean(1) * 1e-6).clamp(min=_TINY)  # of what hardly varies, the size counts
        error = float(((found - values).square().mean(1) / spread).max())
        self.fits.append(LayerFit(name, error**0.5, beyond, module.shift))


class _Rows:
    """Inputs of a product as the rows of a matrix, one for each sample and position, or a part of them."""

    def __init__(self, module: UnitProduct, x: torch.Tensor):
        self.groups = module.groups if isinstance(module, UnitConv2d) else 1
        x = x - module.fill  # then padding is 0
        if isinstance(module, UnitConv2d):
            x = F.unfold(x, module.kernel, module.dilation, module.padding, module.stride).transpose(1, 2)
        else:
            x = x[:, None]
        self._drawn = scales.drawn(x.shape[0] * x.shape[1], _ROWS)
        rows = x.flatten(0, 1)[self._drawn]
        self._of_groups = rows.reshape(len(rows), self.groups, -1)

    def of_group(self, group: int) -> torch.Tensor:
        """(rows, inputs of a group)."""
        return self._of_groups[:, group]

    def chosen(self, sums: torch.Tensor) -> torch.Tensor:
        """(rows, outputs) of what the layer gives, (samples, outputs, ...)."""
        rows = sums.flatten(2).transpose(1, 2).flatten(0, 1) if sums.ndim > 2 else sums
        return rows[self._drawn]

    def error(self, change: torch.Tensor) -> float:
        """Mean square of what a change of the weights (outputs, ...) does to the sums, means left out."""
        parts = change.flatten(1).chunk(self.groups)
        total = 0.0
        for group, part in enumerate(parts):
            x = self.of_group(group)[:4096]
            total += float(((x - x.mean(0)) @ part.t()).square().sum(0).sum()) / len(x)
        return total / len(change)
