"""Which activation stands for which value of a float network: a scale for each channel, and a zero, for every tensor.

A value v of channel c becomes the activation `v scale[c] + zero`. Products choose their scale freely, since their weights take
it in; the other layers pass on what they are given. What is rectified gets a zero below 0: values below it need no activations
of their own, because a sum that folds once at the trough of the wave comes back below the zero and is rectified all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from bitting.emulator import emulate
from bitting.network.averaging import UnitAveragePool2d
from bitting.network.graph import INPUT, Node
from bitting.network.layers import IntegerDropout, UnitAdd, UnitProduct
from bitting.network.maximum import UnitMaxPool2d, UnitRectifier
from bitting.network.moving import Concatenate, Flatten, Permute, Reshape, UnitChannelMean
from bitting.unit.spec import UnitSpec

#: Values of a channel that its scale is chosen by.
_VALUES = 4096
#: Scales that are tried, in units of the one at which the largest value just fits: the more, the fewer values fit.
_STRETCHES = torch.tensor([1.0, 1.1, 1.2, 1.35, 1.5, 1.7, 2.0, 2.4, 2.9, 3.5])
#: A channel that is almost always 0 is not stretched beyond this many times the median scale.
_LARGEST_RATIO = 8.0
#: Weights of a summand that are tried, in units of the one that keeps its scale.
_SHARES = (0.0625, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0, 1.25, 1.5, 2.0)

#: Layers that give back values that they were given, each in its channel.
_PASSING = (UnitRectifier, UnitMaxPool2d, IntegerDropout)


@dataclass(frozen=True)
class Units:
    """What activations of one tensor mean.

    Attributes:
        scale: (channels,) activations per unit of value.
        zero: the activation of the value 0; a whole number but after means.
        rectified: what is below zero is of no interest.
    """

    scale: torch.Tensor
    zero: float
    rectified: bool = False


@dataclass
class Plan:
    """Units of every tensor, and weights of additions.

    Attributes:
        units: tensor -> its units, of all but the sums that leave.
        shares: addition -> what each summand is multiplied by, in units of the weight that keeps its scale.
    """

    units: dict[str, Units]
    shares: dict[str, tuple[float, float]] = field(default_factory=dict)


def _one(scales: torch.Tensor) -> torch.Tensor:
    """(channels,) the scale that all words of a channel have, of (channels, words)."""
    if bool((scales != scales[:, :1]).any()):
        raise MixedUnitsError
    return scales[:, 0]


def drawn(count: int, most: int) -> torch.Tensor:
    """Indices of at most so many of `count` items, always the same ones, and spread over all positions of an image."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:most]


class MixedUnitsError(Exception):
    """A tensor would have several zeros, or a channel of it several scales: the network needs the same everywhere."""


def rectified_zero(spec: UnitSpec) -> int:
    """The zero of rectified tensors: as many activations above it as a sum may go below it and still come back below."""
    return -round((1 << (spec.act_bits - 1)) / 3)


def wave(spec: UnitSpec, values: torch.Tensor) -> torch.Tensor:
    """What a product writes if its sum stands for `values` activations. Consumes its argument."""
    return emulate.fold_of_phase(spec, emulate.fold_phase(spec, values.add_(0.5)))


def plan(
    spec: UnitSpec,
    nodes: Sequence[Node],
    values: Mapping[str, torch.Tensor],
    input_scale: float,
    zero: int,
    uniform: bool = False,
) -> Plan:
    """Choose the units of all tensors by the values they have on calibration data.

    Args:
        spec: of the unit.
        nodes: of the network.
        values: tensor -> (samples, channels, ...) of the float network, the input among them.
        input_scale: activations per unit of input.
        zero: of rectified tensors.
        uniform: all channels of a tensor have one scale.

    Raises:
        MixedUnitsError: if a tensor would have several zeros, or a channel several scales.
    """
    return _Planner(spec, nodes, values, input_scale, zero, uniform).plan


class _Planner:
    """Walks the network once; what flows into nothing but an addition is chosen together with it."""

    def __init__(
        self, spec: UnitSpec, nodes: Sequence[Node], values: Mapping[str, torch.Tensor], input_scale: float, zero: int,
        uniform: bool,
    ):  # fmt: skip
        self.spec, self.values, self.zero, self.uniform = spec, values, zero, uniform
        self.modules = {node.name: node.module for node in nodes}
        self.inputs = {node.name: node.inputs for node in nodes}
        self.users: dict[str, list[str]] = {}
        for node in nodes:
            for source in node.inputs:
                self.users.setdefault(source, []).append(node.name)
        channels = values[INPUT].shape[1]
        self.plan = Plan({INPUT: Units(torch.full((channels,), input_scale), 0.0)})
        for node in nodes:
            self._visit(node)

    def _visit(self, node: Node) -> None:
        module, name = node.module, node.name
        units = self.plan.units
        if isinstance(module, UnitAdd):
            self._add(node)
        elif isinstance(module, UnitProduct):
            if not module.emits and not self._decided_later(name):
                units[name] = self._units(name, self._natural(name))
        elif all(source in units for source in node.inputs):
            units[name] = self._passed(node)

    def _passed(self, node: Node) -> Units:
        """Units behind a layer that has no say in them."""
        sources = [self.plan.units[source] for source in node.inputs]
        scale, zero = sources[0].scale, sources[0].zero
        match node.module:
            case UnitAveragePool2d() as pool:
                return self._average(node.name, pool, scale, zero)
            case Concatenate():
                if any(source.zero != zero for source in sources):
                    raise MixedUnitsError
                return Units(torch.cat([source.scale for source in sources]), zero)
            case UnitChannelMean() as mean:
                ratio = mean.factor * len(scale)
                return Units(_one(scale[None]) * ratio, zero * ratio)
            case Flatten() | Reshape() | Permute():
                shape = self.values[node.inputs[0]].shape
                moved = node.module(scale.reshape(1, -1, *[1] * (len(shape) - 2)).expand(1, *shape[1:]))[0]
                return Units(_one(moved.reshape(len(moved), -1)), zero)
        return Units(scale, zero)

    def _average(self, name: str, pool: UnitAveragePool2d, scale: torch.Tensor, zero: float) -> Units:
        """Means are smaller than what they are of: magnified, they fill the range, from its lower end if none is negative."""
        values = self._channels(name)
        count = pool.kernel[0] * pool.kernel[1]
        pool.reset()
        if not self.zero:  # what is joined has to have one zero
            ratio = pool.factor * count
            return Units(scale * ratio, zero * ratio)
        positive = bool((values >= 0).all())
        new_zero = float(self.spec.act_min) if positive else 0.0
        room = (self.spec.act_max + 0.5 - new_zero) / max(float((values.abs() * scale[:, None]).max()), 1e-12)
        pool.magnify(room / (pool.factor * count))
        ratio = pool.factor * count
        pool.start = round((new_zero + 0.5 - zero * ratio) / pool.factor)
        return Units(scale * ratio, zero * ratio + pool.start * pool.factor - 0.5)

    def _chain(self, name: str) -> list[str]:
        """The tensor and those that it alone becomes, up to the first layer that does more than pass values on."""
        chain = [name]
        while len(users := self.users.get(chain[-1], [])) == 1 and isinstance(self.modules[users[0]], _PASSING):
            chain.append(users[0])
        return chain

    def _decided_later(self, name: str) -> bool:
        users = self.users.get(self._chain(name)[-1], [])
        return len(users) == 1 and isinstance(self.modules[users[0]], UnitAdd)

    def _zero_of(self, name: str) -> float:
        return float(self.zero) if self._is_rectified(name) else 0.0

    def _units(self, name: str, scale: torch.Tensor) -> Units:
        return Units(scale, self._zero_of(name), self._is_rectified(name))

    def _is_rectified(self, name: str) -> bool:
        return any(isinstance(self.modules[link], UnitRectifier) for link in self._chain(name)[1:])

    # -- what suits a tensor

    def _channels(self, name: str) -> torch.Tensor:
        """(channels, some values) of a tensor."""
        values = self.values[name].transpose(0, 1).flatten(1)
        return values[:, drawn(values.shape[1], _VALUES)]

    def _error(self, name: str, scale: torch.Tensor) -> torch.Tensor:
        """(channels,) mean square of what a scale does to the values of a tensor, in its own units."""
        values = self._channels(name)
        zero = self._zero_of(name)
        written = wave(self.spec, values * scale[:, None] + zero)
        if self._is_rectified(name):
            written, values = written.clamp_(min=zero), values.clamp(min=0)
        return ((written - zero) / scale[:, None] - values).square().mean(1)

    def _natural(self, name: str) -> torch.Tensor:
        """The scale of each channel with the least error."""
        values = self._channels(name)
        zero = self._zero_of(name)
        above = values.amax(1).clamp(min=1e-12) / (self.spec.act_max + 0.5 - zero)
        below = (-values.amin(1)).clamp(min=1e-12) / (
            2 * (1 << (self.spec.act_bits - 1)) + 2 * zero if self._is_rectified(name) else 0.5 - self.spec.act_min
        )
        fits = 1 / torch.maximum(above, below)
        fits = fits.amin().expand_as(fits) if self.uniform else torch.minimum(fits, _LARGEST_RATIO * fits.median())
        tried = fits * _STRETCHES[:, None]
        errors = torch.stack([self._error(name, scale) for scale in tried])
        if self.uniform:
            errors = errors.sum(1, keepdim=True).expand_as(errors)
        return tried.gather(0, errors.argmin(0, keepdim=True))[0]

    def _relative_error(self, name: str, scale: torch.Tensor) -> float:
        """Mean over the channels of the error, in units of each channel's own size."""
        size = self._channels(name).square().mean(1)
        return float((self._error(name, scale) / (size + 1e-3 * size.mean() + 1e-12)).mean())

    # -- additions

    def _add(self, node: Node) -> None:
        left, right = node.inputs
        units = self.plan.units
        fixed = [name for name in (left, right) if name in units]
        if not fixed:
            total = self._natural(node.name)
            shares = {name: self._share_of_branch(name, total) for name in (left, right)}
        else:
            first = fixed[0]
            share = min(self._shares(), key=lambda s: self._relative_error(node.name, units[first].scale * s))
            total = units[first].scale * share
            shares = {first: share}
            for name in {left, right} - {first}:
                if name in units:  # both are given: one weight for all channels has to do
                    wanted = float((total / units[name].scale).median())
                    shares[name] = min(self._shares(), key=lambda s: abs(s - wanted))
                else:
                    shares[name] = self._share_of_branch(name, total)
        for name in {left, right} - set(fixed):
            self._decide(name, total / shares[name])
        self.plan.shares[node.name] = (shares[left], shares[right])
        units[node.name] = self._units(node.name, total)

    def _shares(self) -> tuple[float, ...]:
        """Those of `_SHARES` that the spec's plain weights can express."""
        one = addition_weight(self.spec)[0]
        return tuple(share for share in _SHARES if (share * one).is_integer() and share * one <= self.spec.plain_max)

    def _origin(self, name: str) -> str:
        """The product that a branch comes from."""
        while isinstance(self.modules[name], _PASSING):
            (name,) = self.inputs[name]
        return name

    def _share_of_branch(self, name: str, total: torch.Tensor) -> float:
        origin = self._origin(name)
        return min(self._shares(), key=lambda share: self._relative_error(origin, total / share))

    def _decide(self, name: str, scale: torch.Tensor) -> None:
        """A branch's units, from its product on."""
        origin = self._origin(name)
        for link in self._chain(origin):
            self.plan.units[link] = self._units(origin, scale)


def addition_weight(spec: UnitSpec) -> tuple[int, int]:
    """(weight, shift) of an addition that keep a summand's scale: a weight of 16 if that can be, so that its parts can too."""
    power = spec.acc_bits - 1 - spec.act_bits
    weight = min(16, 1 << (spec.plain_max.bit_length() - 1), 1 << power)
    shift = min(power - (weight.bit_length() - 1), spec.max_shift)
    return 1 << (power - shift), shift
