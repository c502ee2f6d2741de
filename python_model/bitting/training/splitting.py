"""A soft lock by construction: hidden channels twice, and each weight that reads one as the difference of two large ones.

The unit's sums are exact, so the network answers as before, to the bit. Hardware that rounds weights loses the small difference
of large weights; hardware that rounds or saturates sums loses their place on the wave, for biases are moved by whole periods.

Whoever knows it takes it off: channels that are always equal can be found with any inputs and merged, and biases reduced modulo
the period (`bitting.targets.repair`). It deters who converts a model with the tools that there are, and nobody else.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from bitting.emulator import emulate
from bitting.errors import BittingError
from bitting.network.averaging import UnitAveragePool2d
from bitting.network.graph import INPUT, Node, UnitNetwork
from bitting.network.layers import IntegerDropout, UnitConv2d, UnitLinear, UnitProduct
from bitting.network.maximum import UnitMaxPool2d, UnitRectifier
from bitting.network.moving import Flatten
from bitting.network.normalised import UnitNormalisedConv2d
from bitting.network.straight_through import WeightQuantiser
from bitting.training import randomness
from bitting.unit.spec import UnitSpec

#: What leaves channels where they are, whatever their number.
_EACH_CHANNEL = (UnitAveragePool2d, UnitMaxPool2d, UnitRectifier, Flatten, IntegerDropout, nn.Identity)
#: How far parts are from the largest power of two among the weights, as a share of it: a quarter of a step of an 8-bit grid, so
#: that all have the same code.
NEAR = 1 / 512
#: Share of all pairs which hide 0 and lie elsewhere: few, for who prunes by magnitude takes these first, and breaks nothing.
ELSEWHERE = 1 / 10
#: Every so many of those in a row are the largest parts instead.
FURTHEST = 4
#: Root mean square of weights as training begins, of layers that read split channels and of others; the shift makes the period
#: fit them. Of a normalised layer it is that of the largest channel: twice as much.
_READING, _OTHER = 6, 256
_NOTHING = (
    "no hidden layer can be split: none is read by one other Linear or Conv2d alone, before that of the answers; "
    "an MLP wants two hidden layers at least, e.g. --hidden 64,32"
)
#: Of what it draws, for `randomness.numpy_generator`.
_PURPOSE = 16_002
#: Random inputs that a network that was split must answer as before.
_CHECKED = 64
#: Small weights that a family is to hide at least, 0 among them, and its least largest shift: a period is to fit them.
_LEAST_VALUES, _LEAST_SHIFT = 15, 10


@torch.no_grad()
def prepare(network: UnitNetwork) -> None:
    """Small weights, before training, which splitting will hide in large ones.

    Calibrate before, with weights of the family's usual size, and afterwards: larger shifts follow from smaller weights.

    Raises:
        BittingError: if the family has too few such weights, or the network no layer that can be split.
    """
    spec = network.spec
    hidden = _Differences(spec)
    if len(hidden.values) < _LEAST_VALUES or not len(hidden.furthest) or spec.max_shift < _LEAST_SHIFT:
        raise BittingError(
            f"a soft lock hides small weights in sums of two about plus and minus {_largest_power(spec)}; {spec.name} has "
            f"{len(hidden.values)} such sums and shifts to {spec.max_shift}; allowed are {_LEAST_VALUES} and {_LEAST_SHIFT} at "
            "least: use --spec soft"
        )
    readers = {reader for _, reader in _pairs(network)}
    if not readers:
        raise BittingError(_NOTHING)
    for name, module in network.graph.items():
        if isinstance(module, UnitProduct) and not module.emits:
            reads, normalised = name in readers, isinstance(module, UnitNormalisedConv2d)
            wanted = (_READING if reads else _OTHER) * (1 + normalised)
            share = wanted / spec.value_set.sigma
            if reads:
                module.most_shift = _most_shift(spec)
            else:
                share = max(share, 2.0 ** (module.shift - spec.max_shift))
            if isinstance(module, UnitNormalisedConv2d):
                module.full *= share
            else:
                module.learn_scale(share)
            if reads:
                module.quantiser = WeightQuantiser(spec, normalise=False, values=hidden.values)


@torch.no_grad()
def split(network: UnitNetwork, seed: int) -> UnitNetwork:
    """The same function of the same inputs, harder to convert.

    A product's channels are doubled if one other product reads them and nothing else does, pooling and the like between them,
    and if that does not give the answers.

    Args:
        network: trained; is left as it is.
        seed: of the choice of parts and periods.

    Returns:
        A network in evaluation mode whose program gives the same sums.

    Raises:
        BittingError: if no layer can be split, or a weight is no such difference.
    """
    rng = randomness.numpy_generator(seed, _PURPOSE)
    pairs = list(_pairs(network))
    if not pairs:
        raise BittingError(_NOTHING)
    # Copies stand in any order: a rotation would tell neighbours that are always equal apart, or two halves of a layer.
    order = {name: rng.permutation(2 * len(network.get_parameter(f"graph.{name}.weight"))) for name, _ in pairs}
    read = {reader: order[name] for name, reader in pairs}
    halves = _Differences(network.spec)
    nodes = []
    for name, inputs in network.nodes:
        module = network.graph[name]
        if isinstance(module, UnitProduct):
            block = _block(network, name) if name in read else 1
            module = _product(module, read.get(name), order.get(name), block, halves, rng)
        else:
            module = copy.deepcopy(module)
        nodes.append(Node(name, inputs, module))
    made = UnitNetwork(network.spec, network.input_shape, network.input_scale, nodes)
    made.output_gain, made.output_offset = network.output_gain.clone(), network.output_offset.clone()
    made.preparation, made.ends_with, made.regression = network.preparation, network.ends_with, network.regression
    made.locations, made.notes = dict(network.locations), list(network.notes)
    _require_same(network, made.eval())
    return made


def _require_same(network: UnitNetwork, made: UnitNetwork) -> None:
    """Raises BittingError unless both give the same sums for random activations."""
    spec, generator = network.spec, torch.Generator().manual_seed(0)
    x = torch.randint(spec.act_min, spec.act_max + 1, (_CHECKED, *network.input_shape), generator=generator).float()
    training = network.training
    before, after = (emulate.wrap(each.accumulators(x), spec.acc_bits) for each in (network.eval(), made))
    network.train(training)
    if not torch.equal(before, after):
        raise BittingError(
            "a network that was split answers otherwise than before; please report this with the versions in use"
        )


def _pairs(network: UnitNetwork) -> Iterator[tuple[str, str]]:
    """Each product whose channels only one other product reads, and that one."""
    readers: dict[str, list[str]] = {}
    for name, inputs in network.nodes:
        for source in inputs:
            readers.setdefault(source, []).append(name)
    for name, _ in network.nodes:
        product = network.graph[name]
        if not isinstance(product, UnitProduct) or product.emits or getattr(product, "groups", 1) != 1:
            continue
        reader = name
        while len(readers.get(reader, ())) == 1:
            (reader,) = readers[reader]
            module = network.graph[reader]
            if isinstance(module, UnitLinear) or (isinstance(module, UnitConv2d) and module.groups == 1):
                if not module.emits:  # its weights are as large as those that would hide them
                    yield name, reader
                break
            if not isinstance(module, _EACH_CHANNEL):
                break


def _block(network: UnitNetwork, name: str) -> int:
    """How many inputs of a dense layer are positions of one channel."""
    inputs = dict(network.nodes)
    source = inputs[name][0]
    while source != INPUT and not isinstance(network.graph[source], UnitProduct):
        source = inputs[source][0]
    channels = len(network.get_parameter(f"graph.{source}.weight"))
    weight = network.get_parameter(f"graph.{name}.weight")
    return weight.shape[1] // channels if weight.ndim == 2 else 1


def _largest_power(spec: UnitSpec) -> int:
    """The largest power of two among the weights, about which parts lie."""
    return 1 << (max(spec.values).bit_length() - 1)


def _most_shift(spec: UnitSpec) -> int:
    """The largest shift of a layer that reads split channels: the period is twice that power, no part is near a multiple."""
    return min(spec.max_shift, spec.acc_bits - _largest_power(spec).bit_length())


class _Differences:
    """Weights of a family that are sums of two large ones of opposite signs and nearly the same magnitude.

    Parts lie about one power of two: a grid of 8 bits over them has one number there, and each sum becomes 0. That power is
    half a period of the wave at the largest shift, so that a copy which is one off (hardware that saturates) would turn all
    sums of the next layer alike, and half of the samples would be right: some parts that hide 0 lie elsewhere, where any grid
    has both. Others that hide 0 are the largest: no other part is at the end of a grid, where one of two signs is rounded away.
    """

    def __init__(self, spec: UnitSpec):
        family, power = np.array(spec.values), _largest_power(spec)
        beyond = np.abs(family) - power
        self._large = family[(beyond >= -NEAR * power) & (beyond <= NEAR * power / 2)]
        paired = np.isin(-family, family)
        self._elsewhere = family[paired & (beyond >= -3 * power // 4) & (beyond <= -power // 8)]
        self.furthest = family[paired & (beyond == NEAR * power)]

    @property
    def values(self) -> list[int]:
        """The sums, ascending; most of them are not in the family."""
        above, below = self._large[self._large > 0], self._large[self._large < 0]
        return np.unique(above[:, None] + below[None, :]).tolist()

    def of(self, weights: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Two arrays of parts that sum to `weights`.

        Raises:
            BittingError: if a weight is no such sum.
        """
        first = weights.copy()
        for value in np.unique(weights):
            rest, place = value - self._large, weights == value
            parts = self._large[np.isin(rest, self._large) & (np.sign(rest) != np.sign(self._large))]
            if not len(parts):
                raise BittingError(
                    f"weight {value:g} is no sum of two large ones; allowed: {self.values}, which `prepare` sees to"
                )
            first[place] = rng.choice(parts, int(place.sum()))
        zeros = max(int((weights == 0).sum()), 1)
        moved = (weights == 0) & (rng.random(weights.shape) < ELSEWHERE * weights.size / zeros)
        first[moved] = rng.choice(self._elsewhere, int(moved.sum()))
        rows = moved.reshape(len(moved), -1)
        ends = (rows & (rows.cumsum(1) % FURTHEST == 1)).reshape(moved.shape)  # wherever there is one at all, the first is
        first[ends] = rng.choice(self.furthest, int(ends.sum()))
        return first, weights - first


def _product(
    module: UnitProduct,
    read: np.ndarray | None,
    order: np.ndarray | None,
    block: int,
    halves: _Differences,
    rng: np.random.Generator,
) -> UnitProduct:
    """The layer with integer weights.

    Args:
        module: the layer.
        read: order of the channels that it reads, if they are doubled.
        order: of its own, likewise.
        block: inputs that are positions of one channel.
        halves: of its weights.
        rng: decides between halves, and between ends of the accumulator.
    """
    weights = module.quantiser.values(module.latent).double().numpy()
    bias = module.integer_bias().double().numpy()
    if order is not None:
        weights, bias = np.concatenate([weights, weights]), np.concatenate([bias, bias])
    if read is not None:
        parts = [each.reshape(len(each), -1, block, *each.shape[2:]) for each in halves.of(weights, rng)]
        weights = np.concatenate(parts, 1)[:, read].reshape(len(weights), -1, *weights.shape[2:])
    if module.shift:
        period = 1 << (module.spec.acc_bits - module.shift)
        half = 1 << (module.spec.acc_bits - 1)
        # To the ends of the accumulator, where whatever rounds large sums rounds most, and whatever saturates does it: one copy
        # to either end, so that they are no longer equal then.
        ends = rng.integers(0, 2, len(bias)) if order is None else np.arange(len(bias)) >= len(bias) // 2
        bias = (bias + half) % period + ends * (2 * half - period) - half
    if order is not None:
        weights, bias = weights[order], bias[order]
    made = _emptied(module, *weights.shape[:2])
    made.quantiser = WeightQuantiser(module.spec, normalise=False)
    made.shift, made.fill, made.activated = module.shift, module.fill, module.activated
    made.weight.copy_(torch.from_numpy(weights / made.quantiser.sigma))
    made.bias.copy_(torch.from_numpy(bias / made.bias_unit))
    return made


def _emptied(module: UnitProduct, outputs: int, inputs: int) -> UnitProduct:
    """A layer of the same kind without its weights, for so many channels."""
    if isinstance(module, UnitConv2d):
        geometry = (module.kernel, module.stride, module.padding, module.dilation)
        return UnitConv2d(module.spec, inputs * module.groups, outputs, *geometry, groups=module.groups, emits=module.emits)
    return UnitLinear(module.spec, inputs, outputs, emits=module.emits)
