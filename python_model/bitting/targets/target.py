"""One unauthorised hardware: what it does to weights, activations, sums and the wave of a stolen network.

Level of claim: family. The thief has the model in clear, the public spec, and unlabelled inputs to calibrate on. Constants
(copies, means, maxima) he computes exactly by native operators, and biases stay wide, as on all hardware we know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from bitting.errors import BittingError
from bitting.network.metrics import accuracy
from bitting.targets import rounding, waves
from bitting.targets.accumulators import Accumulator
from bitting.targets.data_pruning import DataPruning
from bitting.targets.formats import Format, Grid, IntegerFormat, Quantiser
from bitting.targets.pruning import Pruning
from bitting.targets.stolen import Group, Kind, LayerArithmetic, Stolen, StolenLayer

ROUNDINGS = ("nearest", "adaround", "gptq", "gptq-tuned")
#: Who computes: the quantisers of this package, or a runtime in use (`bitting.targets.native`).
OWN_ENGINE = "bitting"
ENGINES = (OWN_ENGINE, "onnxruntime", "torchao")
#: Answers (samples, outputs), in units of the accumulator, of activations (samples, input_words).
Answers = Callable[[torch.Tensor], torch.Tensor]
#: Rows of a layer's inputs that rounding learns from.
_ROWS = 8192


@dataclass(frozen=True)
class Target:
    """Hardware, or a runtime, that the model was not made for.

    Attributes:
        name: unique among all.
        family: targets that differ in details share it; results are reported by it.
        weights: format of the trained weights; None: they stay as they are.
        activations: format of what is multiplied with them, one scale a layer; None: integers of the unit, which any hardware
            with formats of `act_bits` has.
        accumulator: how sums are held; None: wide enough.
        wave: what stands for the fold, one of `bitting.targets.waves.NAMES`.
        gain: of the wave.
        rounding: of weights to an integer format, one of `ROUNDINGS`.
        corrects_bias: means of sums are brought back to the unit's.
        pruning: weights that become 0 before anything else.
        pruning_by_data: in its place, by what the layer reads on calibration inputs.
        refits: before all that weights are fitted to the unit's sums on calibration inputs (`rounding.refitted`).
        reduces_biases: whole periods of the wave are taken off the biases first, so that sums are as small as they can be.
        engine: one of `ENGINES`.
        rotated: weights and what they are multiplied with are turned by a Hadamard matrix first (QuIP#, Tseng et al. 2024,
            arXiv 2402.04396, here without random signs): the product is the same, outliers are spread.
        spared: one layer of trained weights stays as it is, that with which calibration inputs are answered most often as by
            the unit: tools fall back so, layer by layer.
        method: what a runtime is asked for (`bitting.targets.native.METHODS`).

    Raises:
        BittingError: if these do not go together.
    """

    name: str
    family: str
    weights: Format | None = None
    activations: Format | None = None
    accumulator: Accumulator | None = None
    wave: str = "fold"
    gain: float = 1.0
    rounding: str = "nearest"
    corrects_bias: bool = False
    pruning: Pruning | None = None
    pruning_by_data: DataPruning | None = None
    refits: bool = False
    reduces_biases: bool = False
    rotated: bool = False
    spared: bool = False
    engine: str = "bitting"
    method: str = ""

    def __post_init__(self) -> None:
        if self.rounding not in ROUNDINGS:
            raise BittingError(f"target {self.name} rounds by {self.rounding!r}; allowed: {', '.join(ROUNDINGS)}")
        if self.rounding != "nearest" and not isinstance(self.weights, IntegerFormat):
            raise BittingError(f"target {self.name} has {self.rounding} without an integer format of weights; give it one")
        if self.rounding == "gptq-tuned" and isinstance(self.weights, IntegerFormat) and not self.weights.per_channel:
            raise BittingError(f"target {self.name} searches a range for each row; give it a format per channel")
        if self.pruning and self.pruning_by_data:
            raise BittingError(f"target {self.name} is pruned by magnitude and by data; allowed is one of both")
        if self.refits and not self.corrects_bias:
            raise BittingError(f"target {self.name} fits weights to sums about their means; it needs bias correction, too")
        if self.engine not in ENGINES:
            raise BittingError(f"target {self.name} runs on {self.engine!r}; allowed: {', '.join(ENGINES)}")
        if bool(self.method) != (self.engine != "bitting"):
            raise BittingError(
                f"target {self.name} on {self.engine} has method {self.method!r}; runtimes need one, others none"
            )
        own = (self.finds_in_data, self.refits, self.reduces_biases, self.corrects_bias, self.rotated, self.spared)
        if self.method and (any(own) or self.wave != "fold" or self.rounding != "nearest"):
            raise BittingError(f"target {self.name} runs on {self.engine}, which has its own formats; give it a method only")
        if self.rotated and (not self.weights or self.rounding != "nearest"):
            raise BittingError(f"target {self.name} is rotated; it needs a format of weights, and rounding to the nearest")
        if isinstance(self.activations, IntegerFormat) and self.activations.per_channel:
            raise BittingError(f"target {self.name} has activations per channel; allowed is one scale a layer")

    @property
    def finds_in_data(self) -> bool:
        """There are scales or masks to be found, for a network that learns on it."""
        return any((self.weights, self.activations, self.accumulator, self.pruning, self.pruning_by_data))

    def run(self, stolen: Stolen, calibration: torch.Tensor) -> Answers:
        """Convert a stolen network to this hardware.

        Args:
            stolen: the network.
            calibration: (samples, input_words) activations without labels, for scales and rounding.

        Returns:
            The converted network.

        Raises:
            BittingError: if there is nothing to calibrate on.
            ExtraError: if the runtime of this target is not installed.
        """
        if not len(calibration):
            raise BittingError(f"target {self.name} has no inputs to calibrate on; give it at least one")
        if self.engine != "bitting":
            from bitting.targets import native  # runtimes are heavy to load, and may not be installed

            return native.run(self.engine, self.method, stolen, calibration)
        arithmetic = self._with_one_spared(stolen, calibration) if self.spared else self.arithmetic(stolen, calibration)
        return lambda x: stolen(x, arithmetic)

    def _with_one_spared(self, stolen: Stolen, calibration: torch.Tensor) -> list[LayerArithmetic]:
        wanted = stolen(calibration).argmax(1)
        tried = [
            self.arithmetic(stolen, calibration, number)
            for number, layer in enumerate(stolen.layers)
            if layer.kind is Kind.PRODUCT
        ]
        return max(tried, key=lambda how: accuracy(stolen(calibration, how), wanted))

    @torch.no_grad()
    def arithmetic(self, stolen: Stolen, calibration: torch.Tensor, spared: int = -1) -> list[LayerArithmetic]:
        """How every layer is computed; arguments as of `run`. For targets of our own engine only. `spared`: stays as it is."""
        wave = waves.Wave(self.wave, stolen.spec, self.gain)
        unit, own = stolen.scratch(calibration), stolen.scratch(calibration)
        found = []
        for number, (layer, exactly) in enumerate(zip(stolen.layers, stolen.exact(), strict=True)):
            if self.reduces_biases and layer.kind is Kind.PRODUCT:
                layer = layer.with_reduced_bias()
                exactly = replace(exactly, bias=layer.bias)
            how = LayerArithmetic(layer.weights, layer.bias, wave)
            converted = layer.kind is Kind.PRODUCT and number != spared
            if converted:
                how = self._product(layer, how, unit, own)
            wanted = stolen.step(layer, exactly, unit)
            if converted:
                how = replace(how, leaving=self.leaving(layer, wanted))
            if self.corrects_bias and layer.kind is Kind.PRODUCT:
                # Sums of a copy: a layer that writes over its own inputs is to be run once only.
                sums = stolen.step(layer, how, own.clone())
                how = LayerArithmetic(
                    how.weights, rounding.corrected(layer.bias, wanted, sums), wave, how.entering, how.leaving
                )
            stolen.step(layer, how, own)
            found.append(how)
        return found

    def reading(self, layer: StolenLayer, own: torch.Tensor) -> Quantiser | None:
        """What is done to the activations that a layer multiplies. `own`: (words, samples) as this hardware has them."""
        if not self.activations:
            return None
        read = torch.cat([group.addresses.flatten() for group in layer.groups]).unique()
        return self.activations.grid(own[read])

    def leaving(self, layer: StolenLayer, seen: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """What is done to a layer's sums before the wave. `seen`: those on calibration inputs, of any shape."""
        return self.accumulator.leaving(layer.slope, layer.period, seen) if self.accumulator else None

    def mask(self, layer: StolenLayer, weights: torch.Tensor, own: torch.Tensor) -> torch.Tensor | None:
        """What pruning leaves of a layer's weights (channels, K); None: everything. `own`: as of `reading`."""
        if self.pruning:
            return self.pruning.mask(weights)
        if self.pruning_by_data:
            return self._pruned_by_data(self.pruning_by_data, layer, weights, self.reading(layer, own), own) != 0
        return None

    def _pruned_by_data(
        self, pruning: DataPruning, layer: StolenLayer, weights: torch.Tensor, entering: Quantiser | None, own: torch.Tensor
    ) -> torch.Tensor:
        pruned = weights.clone()
        for group in layer.groups:
            x = _inputs(group, own)
            pruned[group.channels] = pruning(weights[group.channels], entering(x) if entering else x)
        return pruned

    def _product(self, layer: StolenLayer, how: LayerArithmetic, unit: torch.Tensor, own: torch.Tensor) -> LayerArithmetic:
        """A layer of trained weights, with scratch memories as the unit and this hardware have left them."""
        entering = self.reading(layer, own)
        weights = how.weights
        if self.refits:
            weights = weights.clone()
            for group in layer.groups:
                exact, x = _inputs(group, unit), _inputs(group, own)
                sums = exact @ layer.weights[group.channels].t()
                weights[group.channels] = rounding.refitted(entering(x) if entering else x, sums)
        weights = self.pruning(weights) if self.pruning else weights
        if self.pruning_by_data:
            weights = self._pruned_by_data(self.pruning_by_data, layer, weights, entering, own)
        if self.weights:
            grid = self.weights.grid(weights)
            if self.rotated:
                return self._turned(how, weights, entering)
            if self.rounding == "nearest":
                weights = grid(weights)
            else:
                assert isinstance(grid, Grid)  # checked when the target was made
                weights = weights.clone()
                for group in layer.groups:
                    part = _rows(grid, group.channels)
                    exact, x = (_inputs(group, scratch) for scratch in (unit, own))
                    x = entering(x) if entering else x
                    weights[group.channels] = self._rounded(exact, x, weights[group.channels], part)
        return LayerArithmetic(weights, how.bias, how.wave, entering)

    def _turned(self, how: LayerArithmetic, weights: torch.Tensor, entering: Quantiser | None) -> LayerArithmetic:
        """In this format behind a Hadamard matrix, whose columns beyond the layer's read zeros."""
        assert self.weights
        count = weights.shape[1]
        turn = _hadamard(1 << (count - 1).bit_length()).to(weights.dtype)[:, :count]
        turned = self.weights(weights @ turn.t())
        return replace(how, weights=turned @ turn, entering=entering)

    def _rounded(self, exact: torch.Tensor, x: torch.Tensor, weights: torch.Tensor, grid: Grid) -> torch.Tensor:
        if self.rounding == "gptq":
            return rounding.gptq(x, weights, grid)
        wanted = exact @ weights.t()
        learnt = rounding.gptq_tuned if self.rounding == "gptq-tuned" else rounding.adaround
        return learnt(x, weights, grid, wanted)


def _hadamard(size: int) -> torch.Tensor:
    """(size, size) orthogonal, of plus and minus one over the root of the size, a power of two (Sylvester 1867)."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / size**0.5


def _rows(grid: Grid, channels: torch.Tensor) -> Grid:
    """The grid of some rows."""
    if len(grid.scale) == 1:
        return grid
    return Grid(grid.scale[channels], grid.zero[channels], grid.low, grid.high)


def _inputs(group: Group, scratch: torch.Tensor) -> torch.Tensor:
    """Up to `_ROWS` rows of what a group reads, evenly from all samples and positions: (rows, K)."""
    rows = scratch.shape[1] * len(group.addresses)
    chosen = torch.linspace(0, rows - 1, min(rows, _ROWS)).long()
    return scratch[group.addresses[chosen % len(group.addresses)], (chosen // len(group.addresses))[:, None]]
