"""The break of the bitting table: stolen codes, a few labelled samples, and gradient descent on the table itself.

Level of claim: key. The attacker holds the artefact (all codes, shifts and biases), the public spec with its value set, and
N labelled samples; not the device. Because one table of 2^b values serves the whole network, it is learned like any other
parameter. This is why the table alone is no lock.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from bitting.data.dataset import Dataset
from bitting.data.datasets import activations as activations_of
from bitting.emulator.emulate import fold_of_phase, fold_phase, fold_slope
from bitting.errors import BittingError
from bitting.network.metrics import accuracy
from bitting.program.layers import Program
from bitting.unit.spec import SLOT_BITS

Progress = Callable[[int, int], None]

#: Starts before the attack gives up, and a training loss that only a start near the true table reaches: the others stay above
#: 0.4 (digits, 200 labels). Of some networks all starts succeed, of others one in eight.
STARTS = 32
SOLVED = 0.2


class _Fold(torch.autograd.Function):
    """The fold with its exact slope."""

    @staticmethod
    def forward(ctx, acc, spec, shift):  # type: ignore[no-untyped-def]
        ctx.slope = fold_slope(spec, shift)
        phase = fold_phase(spec, acc.floor() * ctx.slope)
        ctx.save_for_backward(torch.sign(phase))
        return fold_of_phase(spec, phase)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return grad * ctx.saved_tensors[0] * -ctx.slope, None, None


def logits(program: Program, values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A dense program's accumulators with any real value for each code; not reduced.

    Raises:
        BittingError: if a layer has constants, several positions or chains.
    """
    if any(layer.constant or layer.position_count > 1 or layer.parts > 1 for layer in program.layers):
        raise BittingError("gradient descent on the table is written for dense layers; this artefact has others")
    for layer in program.layers:
        weights = values[torch.from_numpy(layer.codes).long()]
        x = x @ weights.t() + torch.from_numpy(layer.bias).float()
        if not layer.emits:
            x = _Fold.apply(x, program.spec, layer.shift)
    return x


def recover(
    locked: Program,
    activations: np.ndarray,
    labels: np.ndarray,
    *,
    steps: int = 400,
    starts: int = STARTS,
    rates: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0),
    seed: int = 0,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Learn the value of each code from labelled samples; the best of several starts by training loss.

    Args:
        locked: stolen program, of dense layers only.
        activations: (samples, input_words).
        labels: (samples,).
        steps: of Adam, in each start.
        starts: at most so many; a loss below `SOLVED` ends the search.
        rates: learning rates in weight units, taken in turn by the starts.
        seed: of the values that the starts begin with.
        progress: called with (starts done, at most).

    Returns:
        (2^b,) real values, code -> weight; (256,) of plain weights, which are bytes.

    Raises:
        BittingError: if the program has other layers.
    """
    spec = locked.spec
    codes = 1 << SLOT_BITS if locked.secret[0].plain else spec.codes
    x, y = torch.from_numpy(activations).float(), torch.from_numpy(labels)
    gain = 5.0 / (1 << (spec.acc_bits - 2))
    generator = torch.Generator().manual_seed(seed)
    best: tuple[float, torch.Tensor] | None = None
    for start in range(starts):
        values = (torch.randn(codes, generator=generator) * spec.value_set.sigma * 0.1).requires_grad_()
        optimiser = torch.optim.Adam([values], lr=rates[start % len(rates)])
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            loss = torch.nn.functional.cross_entropy(logits(locked, values, x) * gain, y)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        if best is None or loss.item() < best[0]:
            best = (loss.item(), values.detach().clone())
        if progress:
            progress(start + 1, starts)
        if best[0] < SOLVED:
            break
    assert best is not None
    return best[1]


def break_table(program: Program, data: Dataset, count: int, progress: Progress | None = None) -> float:
    """Test accuracy of a thief who learns the table from `count` labelled training samples."""
    spec = program.spec
    values = recover(program, activations_of(spec, data.train_x[:count]), data.train_y[:count], progress=progress)
    x = torch.from_numpy(activations_of(spec, data.test_x)).float()
    with torch.no_grad():
        return accuracy(logits(program, values, x), torch.from_numpy(data.test_y))
