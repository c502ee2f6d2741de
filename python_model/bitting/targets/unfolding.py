"""The wave written out in what other hardware has: one channel becomes several clamps or ReLUs whose sum is the fold.

No data is needed, and nothing is approximated within the range that is written out: the fold is piecewise linear, and so are
they. What it costs are channels, as many as pieces. So hardware without the wave is slower, and not useless, for who knows
that, as long as sums stay within few periods: of a split network they do only after `bitting.targets.repair.merged`.

Both formulas are identities of integers, the rounding down of what is written included (`_pieces`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from bitting.errors import BittingError
from bitting.targets.equalisation import readings
from bitting.targets.stolen import Group, Stolen, StolenLayer
from bitting.targets.waves import Wave
from bitting.unit.spec import UnitSpec

NAMES = ("clamp", "relu")


@dataclass(frozen=True)
class _Pieces:
    """fold(t) = constant + sum of coefficient stand-in(t - offset) for steps t."""

    offsets: list[float]
    coefficients: list[float]
    constant: float


def unfolded(stolen: Stolen, wave: Wave, halves: int) -> Stolen:
    """Channels repeated, so that the stand-ins of their copies add up to the fold.

    Done where one layer of trained weights is read by one other alone, without anything between them but their wave. Biases
    are to be reduced before (`bitting.targets.repair.with_reduced_biases`).

    Args:
        stolen: the network; is left as it is.
        wave: "clamp" or "relu" of the hardware; a gain is divided out of the weights.
        halves: half periods of the wave on either side of the rising part about 0 that are written out; not negative. Each
            channel becomes 1 + 2 halves clamps, or 1 + 4 halves ReLUs.

    Returns:
        A network that answers on that hardware as the stolen one on the unit, while sums stay within that range.

    Raises:
        BittingError: if the wave is another.
    """
    if wave.name not in NAMES or halves < 0:
        raise BittingError(
            f"the fold is to be written out in {wave.name} over {halves} half periods; allowed are {', '.join(NAMES)}, from 0"
        )
    pieces = _pieces(wave.name, stolen.spec, halves)
    layers, reach = list(stolen.layers), stolen.reach
    for pair in readings(stolen):
        writer, reader = layers[pair.writer], layers[pair.reader]
        count = len(writer.written)
        copies = torch.arange(reach, reach + (len(pieces.offsets) - 1) * count).reshape(-1, count)
        layers[pair.writer] = _repeated(writer, pieces, copies, wave.gain)
        layers[pair.reader] = _reading(reader, pieces, writer.written, copies, reach)
        reach += copies.numel()
    return replace(stolen, layers=tuple(layers), reach=reach)


def _pieces(name: str, spec: UnitSpec, halves: int) -> _Pieces:
    """With T = 2^bx steps to half a period: the fold rises from -T/2 to T/2 - 1, stays for one step, falls, and so on.

    Clamps: one for every half period, with alternating signs; the pairs about the middle one leave a constant, 1 or 0.
    ReLUs: one where the range begins, and two at each turn, a step apart, for the wave stays there for one step.
    """
    half = float(1 << spec.act_bits)
    if name == "clamp":
        numbers = range(-halves, halves + 1)
        signs = [float((-1) ** abs(number)) for number in numbers]
        return _Pieces(
            [half * number for number in numbers], signs, float(sum((-1) ** number for number in range(1, halves + 1)))
        )
    begin, sign = -half / 2 - half * halves, float((-1) ** halves)
    offsets, coefficients = [begin], [sign]
    for turn in range(1, 2 * halves + 1):
        offsets += [begin + half * turn - 1, begin + half * turn]
        coefficients += [sign * (-1.0) ** turn] * 2
    return _Pieces(offsets, coefficients, -half / 2 if sign > 0 else half / 2 - 1)


def _repeated(layer: StolenLayer, pieces: _Pieces, copies: torch.Tensor, gain: float) -> StolenLayer:
    """What writes: the same sums with other biases, the first copy where it wrote before."""
    channels, times = len(layer.bias), len(pieces.offsets)
    biases = [layer.bias - offset / layer.slope for offset in pieces.offsets]
    groups = [
        Group(torch.cat([group.channels + number * channels for number in range(times)]), group.addresses)
        for group in layer.groups
    ]
    return replace(
        layer,
        weights=layer.weights.repeat(times, 1) / gain,
        bias=torch.cat(biases) / gain,
        groups=tuple(groups),
        written=torch.cat([layer.written, copies.flatten()]),
    )


def _reading(layer: StolenLayer, pieces: _Pieces, words: torch.Tensor, copies: torch.Tensor, reach: int) -> StolenLayer:
    """What reads: every copy, with its coefficient."""
    groups = []
    for group in layer.groups:
        addresses = [group.addresses]
        for copy in copies:
            place = torch.zeros(reach, dtype=torch.long)
            place[words] = copy
            addresses.append(place[group.addresses])
        groups.append(replace(group, addresses=torch.cat(addresses, 1)))
    weights = torch.cat([layer.weights * each for each in pieces.coefficients], 1)
    bias = layer.bias + pieces.constant * layer.weights.sum(1)
    return replace(layer, weights=weights, bias=bias, groups=tuple(groups))
