"""What a thief trains after he has stolen a network: its weights, on his hardware, with few samples. Level of claim: family.

Weights and biases become real numbers and learn through the target's own arithmetic, straight through where it rounds: layer by
layer towards the exact unit's sums, or what it writes (as BRECQ does, Li et al. 2021, arXiv 2102.05426, here with single
layers and without its second derivatives), end to end towards the exact unit's answers (Hinton et al. 2015, arXiv 1503.02531),
or towards labels. Whoever has no stolen weights begins with `random_weights`: the control of each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from bitting.errors import BittingError
from bitting.network.loss import logit_gain, logit_scale, range_penalty
from bitting.network.metrics import accuracy
from bitting.targets import waves
from bitting.targets.repair import with_reduced_biases
from bitting.targets.stolen import Kind, LayerArithmetic, Stolen, StolenLayer
from bitting.targets.student import RANGED, Front, Student
from bitting.targets.target import Target

#: Steps after which scales and masks are found again: a range of least error costs more than a step.
_REFRESHED = 25
#: Shares of the rate that are tried where a layer learns its sums: large weights want steps well below one of the grid.
_SHARES = (1.0, 0.1, 0.01)
#: Standard deviation that sums of random weights have, in quarter periods: as `recipes` begin, and small for answers.
_SPREAD, _ANSWERS_SPREAD = 0.6, 0.1


@dataclass(frozen=True)
class Effort:
    """How long and how a thief trains.

    Attributes:
        steps: of Adam in all; layers that are trained one after another share them.
        batch: samples a step.
        rate: of Adam at the beginning, falling to 0 along a cosine; of weights in units of their layer's root mean square, of
            biases in quarter periods.
        seed: of the order of samples.

    Raises:
        BittingError: if that is no training.
    """

    steps: int = 300
    batch: int = 64
    rate: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or not self.rate > 0:
            raise BittingError(
                f"training of {self.steps} steps, {self.batch} samples each, at a rate of {self.rate}; all must be positive"
            )


def fine_tuned(
    stolen: Stolen,
    target: Target,
    x: torch.Tensor,
    labels: np.ndarray,
    effort: Effort = Effort(),
    only: Collection[int] | None = None,
) -> Stolen:
    """Trained towards labels, all layers together.

    Args:
        stolen: where it begins; is left as it is.
        target: through whose arithmetic.
        x: (samples, input_words) activations.
        labels: (samples,) classes, 0 to the number of answers less one.
        effort: steps and rate.
        only: numbers of the layers that learn, the others stay as they are; by default all with trained weights.

    Returns:
        A network with real weights, to be converted to the same target.

    Raises:
        BittingError: if the samples and labels do not go together, or the target is a runtime, which has no gradients.
    """
    classes = sum(len(layer.written) for layer in stolen.layers if layer.emits)
    known = torch.as_tensor(np.asarray(labels)).long()
    if len(known) != len(x) or not len(x) or int(known.min()) < 0 or int(known.max()) >= classes:
        found = f"{len(x)} samples, {len(known)} labels" + (f" {int(known.min())}..{int(known.max())}" if len(known) else "")
        raise BittingError(f"{found}; as many labels as samples are needed, at least one, of 0..{classes - 1}")
    return _trained(stolen, target, x, torch.nn.functional.one_hot(known, classes).float(), effort, only)


def distilled(stolen: Stolen, target: Target, x: torch.Tensor, answers: torch.Tensor, effort: Effort = Effort()) -> Stolen:
    """Trained towards the answers of the exact unit, all layers together.

    Args:
        stolen: where it begins; is left as it is.
        target: through whose arithmetic.
        x: (samples, input_words) activations, without labels.
        answers: (samples, outputs) of the unit, in units of the accumulator. An exact emulator gives them to who has the model.
        effort: steps and rate.

    Returns:
        A network with real weights, to be converted to the same target.

    Raises:
        BittingError: if the samples and answers do not go together, or the target is a runtime.
    """
    if len(answers) != len(x) or not len(x):
        raise BittingError(f"{len(x)} samples have {len(answers)} answers; they must be as many, and at least one")
    scale = logit_scale(stolen.spec.acc_bits) * logit_gain(stolen.spec)
    return _trained(stolen, target, x, (answers * scale).float().softmax(1), effort)


def reconstructed(
    stolen: Stolen, target: Target, x: torch.Tensor, effort: Effort = Effort(), teacher: Stolen | None = None
) -> Stolen:
    """Trained layer by layer: each is to give, from what the target has before it, what it gives on the exact unit.

    Both ways are tried, towards what a layer writes and towards its sums before the wave, these at several rates, and that
    stays which answers the samples most often as the unit does. Behind a wave that folds many times gradients are useless. Sums
    lie in order; biases are reduced by periods first, so that none is far away, and scales and masks stay as they are found at
    the beginning. Where hardware has another wave, or can not reach the sums, what is written may be the better aim.

    Args:
        stolen: where it begins; is left as it is.
        target: through whose arithmetic.
        x: (samples, input_words) activations, without labels.
        effort: steps and rate, of each trial; every layer of trained weights has an equal share of the steps.
        teacher: whose exact sums and activations are wanted; by default those of `stolen`.

    Returns:
        A network with real weights, or with the target's own numbers, to be converted to the same target.

    Raises:
        BittingError: if there are no samples, or the target is a runtime.
    """
    _require(target, x)
    teacher = teacher or stolen
    reduced, reduced_teacher = with_reduced_biases(stolen), with_reduced_biases(teacher)
    answers = teacher(x).argmax(1)
    tried = [_by_layers(stolen, target, x, effort, teacher, before_wave=False)]
    for share in _SHARES:
        slower = replace(effort, rate=effort.rate * share)
        tried.append(_by_layers(reduced, target, x, slower, reduced_teacher, before_wave=True))
    return max(tried, key=lambda found: accuracy(target.run(found, x)(x), answers))


def _by_layers(stolen: Stolen, target: Target, x: torch.Tensor, effort: Effort, teacher: Stolen, before_wave: bool) -> Stolen:
    """Arguments as of `reconstructed`. `before_wave`: sums are wanted, else what is written, or the answers."""
    unit, own = teacher.scratch(x), stolen.scratch(x).float()
    student, generator = Student(stolen, target), torch.Generator().manual_seed(effort.seed)
    share = replace(effort, steps=max(1, effort.steps // max(1, len(student.learners))))
    for number, (layer, exactly) in enumerate(zip(teacher.layers, teacher.exact(), strict=True)):
        with torch.no_grad():
            sums = teacher.step(layer, exactly, unit)
            wanted = sums if before_wave else _given(stolen, layer, exactly, sums)
        if number in student.learners:
            _reconstruct(student, number, own, wanted.float(), share, generator, before_wave)
        with torch.no_grad():
            how = student.arithmetic_of(number)
            student.network.step(student.network.layers[number], how, own)
    return student.learnt(rounded=before_wave)


@torch.no_grad()
def random_weights(stolen: Stolen, target: Target, x: torch.Tensor, seed: int = 0, kept: int = 0) -> Stolen:
    """A network of the same shape that nothing was learnt in: where somebody begins who has not stolen the weights.

    Args:
        stolen: whose shape, and whose layers of constants.
        target: with whose wave sums are to have the spread that training begins with.
        x: (samples, input_words) activations, for that spread.
        seed: of the weights.
        kept: so many layers at the front stay as they are; 0 uses nothing that was learnt.

    Raises:
        BittingError: if there are no samples, or the target is a runtime.
    """
    _require(target, x)
    generator, wave = torch.Generator().manual_seed(seed), waves.Wave(target.wave, stolen.spec, target.gain)
    scratch, layers = stolen.scratch(x[:RANGED]), []
    for number, layer in enumerate(stolen.layers):
        if layer.kind is Kind.PRODUCT and number >= kept:
            weights = torch.randn(layer.weights.shape, generator=generator).to(layer.weights.dtype)
            layer = replace(layer, weights=weights, bias=torch.zeros_like(layer.bias))
            sums = stolen.step(layer, LayerArithmetic(layer.weights, layer.bias, wave), scratch.clone())
            spread = (_ANSWERS_SPREAD if layer.emits else _SPREAD) * layer.quarter
            layer = replace(layer, weights=weights * (spread / sums.std().clamp(min=1e-9)))
        stolen.step(layer, LayerArithmetic(layer.weights, layer.bias, wave), scratch)
        layers.append(layer)
    return replace(stolen, layers=tuple(layers))


def _require(target: Target, x: torch.Tensor) -> None:
    if target.engine != "bitting":
        raise BittingError(f"target {target.name} runs on {target.engine}, which has no gradients; train for one of bitting's")
    if not len(x):
        raise BittingError(f"there are no samples to train {target.name} with; give at least one")


def _trained(
    stolen: Stolen,
    target: Target,
    x: torch.Tensor,
    wanted: torch.Tensor,
    effort: Effort,
    only: Collection[int] | None = None,
) -> Stolen:
    """All layers together, or `only` some. `wanted`: (samples, outputs) probabilities."""
    _require(target, x)
    student, generator = Student(stolen, target, only), torch.Generator().manual_seed(effort.seed)
    scale, gain = logit_scale(stolen.spec.acc_bits), logit_gain(stolen.spec)  # those that the network was trained with
    front = Front(student, x)

    def loss(rows: torch.Tensor) -> torch.Tensor:
        logits = student.sums(front, rows) * scale
        return torch.nn.functional.cross_entropy(logits * gain, wanted[rows]) + range_penalty(logits)

    parameters = [each for learner in student.learners.values() for each in learner.parameters]
    minimise(loss, parameters, len(x), effort, generator, lambda: student.refresh(x))
    return student.learnt()


def _given(stolen: Stolen, layer: StolenLayer, how: LayerArithmetic, sums: torch.Tensor) -> torch.Tensor:
    """What a layer gives to others: activations, or answers."""
    return how.wave.answers(sums, layer.quarter) if layer.emits else stolen.activations(layer, how, sums)


def _reconstruct(
    student: Student,
    number: int,
    own: torch.Tensor,
    wanted: torch.Tensor,
    effort: Effort,
    generator: torch.Generator,
    before_wave: bool,
) -> None:
    """One layer. `own`: scratch memories before it; `wanted`: (channels, positions, samples), as of `_by_layers`."""
    learner, network = student.learners[number], student.network
    layer = network.layers[number]
    unit = wanted.square().mean().clamp(min=1e-9)

    def loss(rows: torch.Tensor) -> torch.Tensor:
        how = learner.arithmetic()
        found = network.step(layer, how, own[:, rows])
        if not before_wave and not layer.emits:
            found = network.activations(layer, how, found)
        return (found - wanted[..., rows]).square().mean() / unit

    def refresh() -> None:
        learner.refresh(own[:, :RANGED])

    if before_wave:  # a scale that moves would round all weights anew, and what was learnt of their errors would be lost
        refresh()
        minimise(loss, learner.parameters, own.shape[1], effort, generator)
    else:
        minimise(loss, learner.parameters, own.shape[1], effort, generator, refresh)


def minimise(
    loss: Callable[[torch.Tensor], torch.Tensor],
    parameters: Sequence[torch.Tensor],
    samples: int,
    effort: Effort,
    generator: torch.Generator,
    refresh: Callable[[], None] = lambda: None,
) -> None:
    """Adam on batches, a pass after another.

    Args:
        loss: of sample numbers.
        parameters: what learns.
        samples: how many there are.
        effort: steps, batch and rate.
        generator: of the order of samples.
        refresh: called now and then, and at the end.
    """
    optimiser = torch.optim.Adam(parameters, lr=effort.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, effort.steps)
    with torch.enable_grad():
        for step, rows in zip(range(effort.steps), _batches(samples, effort.batch, generator), strict=False):
            if step % _REFRESHED == 0:
                refresh()
            optimiser.zero_grad()
            loss(rows).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    refresh()


def _batches(samples: int, batch: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Numbers of samples without end, each once in a pass."""
    while True:
        yield from torch.randperm(samples, generator=generator).split(batch)
