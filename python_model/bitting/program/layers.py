"""Layer programs: gather lists with codes, and the checks that a spec can hold them. Knows specs and numpy.

A program is what an artefact carries and what the engine runs. Its `codes` mean nothing without a bitting table; with the
identity table they are value indices (an unlocked model).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bitting.errors import ProgramError
from bitting.program import bands
from bitting.program.bands import Shape, SharedLanes
from bitting.unit import timing
from bitting.unit.digits import Decoding
from bitting.unit.protocol import LayerFlag, TileFlag
from bitting.unit.spec import UnitSpec

#: Most tiles of one layer; far beyond what a scratch memory can ask for.
MAX_TILES = 1 << 24


@dataclass(frozen=True, eq=False)
class Layer:
    """One gather layer of M tiles (output channels) with K codes each.

    Attributes:
        codes: (M, K) uint8.
        bias: (M,) int32, start of the accumulator.
        offsets: (K,) int32, added to a position's base address.
        in_base, out_base: (M,) int32, scratch addresses of a tile's first position: read and written. With `band` a first
            address may lie before it, and be negative.
        positions: (rows, columns); a tile's codes run once per position.
        strides: (row, column) steps of the base address between positions.
        out_strides: (row, column) steps of the address that is written.
        shift: left shift before the fold.
        emits: emit raw accumulators instead of writing activations; needs positions (1, 1).
        plain: codes are weights in two's complement, a byte each, and need no bitting table.
        constant: codes are constants that no key touches; such a layer is plain.
        parts: every so many tiles in turn make one sum: the first starts at its bias, the last folds or emits. More than one
            needs positions (1, 1).
        band: (address, words) of the band of the tensor that is read, if lanes share samples: addresses before and after it lie
            in the bands of the neighbouring lanes. Words 0: every lane reads its own scratch only.
        edge: the activation that is read beyond a sample's first and last band.
        every_lane: an emitting layer's sums leave from all lanes, not only from a sample's first.
    """

    codes: np.ndarray
    bias: np.ndarray
    offsets: np.ndarray
    in_base: np.ndarray
    out_base: np.ndarray
    positions: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (0, 0)
    out_strides: tuple[int, int] = (0, 1)
    shift: int = 0
    emits: bool = False
    plain: bool = False
    constant: bool = False
    parts: int = 1
    band: tuple[int, int] = (0, 0)
    edge: int = 0
    every_lane: bool = False

    @property
    def tiles(self) -> int:
        """M, the rows of `codes`."""
        return int(self.codes.shape[0])

    @property
    def tile_codes(self) -> int:
        """K, the columns of `codes`."""
        return int(self.codes.shape[1])

    @property
    def position_count(self) -> int:
        """How often the codes of a tile run: rows times columns."""
        return self.positions[0] * self.positions[1]

    @property
    def flags(self) -> int:
        """The packet flags that change what the layer computes."""
        named = (
            (self.emits, LayerFlag.EMIT),
            (self.plain, LayerFlag.PLAIN_WEIGHTS),
            (self.constant, LayerFlag.CONSTANT),
            (self.band[1] > 0, LayerFlag.BAND),
            (self.every_lane, LayerFlag.EVERY_LANE),
        )
        return sum(flag.value for is_set, flag in named if is_set)

    def tile_cycles(self, decoding: Decoding) -> list[int]:
        """Clock cycles of every tile, if its codes mean `decoding`."""
        of_code = np.asarray(decoding.cycles)
        cycles: list[int] = (of_code[self.codes].sum(axis=1) * self.position_count + timing.TILE_OVERHEAD).tolist()
        return cycles

    @property
    def channels(self) -> int:
        """Number of sums: tiles, or chains of tiles."""
        return self.tiles // self.parts

    def tile_flags(self) -> np.ndarray:
        """(tiles,) flags of the TILE packets."""
        part = np.arange(self.tiles) % self.parts
        return np.where(part > 0, TileFlag.RESUME.value, 0) | np.where(part < self.parts - 1, TileFlag.HOLD.value, 0)

    def position_offsets(self) -> np.ndarray:
        """(positions,) base address of each position, relative to `in_base`."""
        return _steps(self.positions, self.strides)

    def out_position_offsets(self) -> np.ndarray:
        """(positions,) address each position is written to, relative to `out_base`."""
        return _steps(self.positions, self.out_strides)

    def reached(self) -> np.ndarray:
        """(words,) addresses as they are computed, each once, ascending; those beyond the band are a neighbour's."""
        gathered = np.unique(self.position_offsets()[:, None] + self.offsets[None, :])
        return np.unique(np.unique(self.in_base)[:, None] + gathered[None, :])

    def read(self) -> np.ndarray:
        """(words,) addresses that are read, in a lane's own scratch or a neighbour's, each once, ascending."""
        start, words = self.band
        reached = self.reached()
        if not words:
            return reached
        return np.unique(
            np.where(reached < start, reached + words, np.where(reached < start + words, reached, reached - words))
        )

    def written(self) -> np.ndarray:
        """(channels * positions,) addresses that are written, ordered by channel, then position."""
        return (self.out_base[self.parts - 1 :: self.parts, None] + self.out_position_offsets()).reshape(-1)

    @property
    def last_read(self) -> int:
        """Furthest address that is read."""
        furthest = int(self.in_base.max() + self.position_offsets().max() + self.offsets.max())
        return min(furthest, sum(self.band) - 1) if self.band[1] else furthest

    @property
    def last_written(self) -> int:
        """Furthest address that is written, or would be."""
        return int(self.out_base.max() + self.out_position_offsets().max())


def _steps(positions: tuple[int, int], strides: tuple[int, int]) -> np.ndarray:
    rows, columns = (np.arange(count) * stride for count, stride in zip(positions, strides, strict=True))
    return (rows[:, None] + columns[None, :]).reshape(-1)


@dataclass(frozen=True, eq=False)
class Program(SharedLanes):
    """Layers in order, the scratch addresses of the input, and the number of logits (sums of emitting layers).

    No layer writes a word that it reads, but for a position that writes where the same position read. Where lanes share samples
    (`spec.stripes`), a layer with a `band` writes no word of it.

    Attributes:
        spec: of the unit.
        layers: in order.
        input_base, input_words: scratch addresses of the input of a lane.
        picture: (channels, rows, columns) of a sample's input, if lanes share samples; see `bitting.program.bands`. None: every
            lane has an input of its own, also where `spec.stripes` is more than 1.
    """

    spec: UnitSpec
    layers: tuple[Layer, ...]
    input_base: int
    input_words: int
    picture: Shape | None = None

    @property
    def secret(self) -> tuple[Layer, ...]:
        """The layers that are not constants."""
        return tuple(layer for layer in self.layers if not layer.constant)

    @property
    def outputs(self) -> int:
        """Logits of one sample."""
        return sum(layer.channels for layer in self.layers if layer.emits)

    @property
    def parameters(self) -> int:
        """Number of codes that are not constants."""
        return sum(layer.codes.size for layer in self.layers if not layer.constant)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample."""
        return sum(layer.codes.size * layer.position_count for layer in self.layers)

    @property
    def reach(self) -> int:
        """Scratch words up to the last one that is read or written."""
        ends = [self.input_base + self.input_words]
        for layer in self.layers:
            ends.append(1 + layer.last_read)
            ends.append(0 if layer.emits else 1 + layer.last_written)
        return max(ends)

    def tile_cycles(self, table: Sequence[int]) -> list[list[int]]:
        """Clock cycles of every tile of every layer, on a device with this bitting table."""
        decodings = [self.spec.decoding(table, plain) for plain in (False, True)]
        return [layer.tile_cycles(decodings[layer.plain]) for layer in self.layers]

    def map_codes(self, permutation: Sequence[int]) -> Program:
        """The same program with every code c replaced by permutation[c], but for constants."""
        lookup = np.asarray(permutation, dtype=np.uint8)
        return self.map_secret(lambda layer: replace(layer, codes=lookup[layer.codes]))

    def map_secret(self, change: Callable[[Layer], Layer]) -> Program:
        """The same program with every layer changed, but for constants."""
        return replace(self, layers=tuple(layer if layer.constant else change(layer) for layer in self.layers))

    def unwritten(self) -> list[tuple[int, int]]:
        """(layer, address) of the first word that each layer reads, and neither the input nor a layer before has written."""
        written = np.zeros(self.spec.scratch_words, bool)
        written[self.input_base : self.input_base + self.input_words] = True
        first = []
        for number, layer in enumerate(self.layers):
            reads = layer.read()
            if not written[reads].all():
                first.append((number, int(reads[np.argmin(written[reads])])))
            if not layer.emits:
                written[layer.written()] = True
        return first

    def validate(self) -> None:
        """Check every field against the spec.

        Raises:
            ProgramError: naming the layer, what was found and what is allowed.
        """
        spec = self.spec
        _within(self.input_words, 1, spec.scratch_words, "the input", "words")
        _within(self.input_base, 0, spec.scratch_words - self.input_words, "the input", "base address")
        if not self.outputs:
            raise ProgramError("the program has no layer that emits, so it would give no result; let the last layer emit")
        bands.validate(spec, self.picture, self.input_words)
        told = {layer.every_lane for layer in self.layers if layer.emits}
        if spec.stripes > 1 and told != {self.picture is None}:
            raise ProgramError(
                "the layers that emit must do so from every lane if no lanes share a sample, else from a sample's first lane"
            )
        for index, layer in enumerate(self.layers):
            _validate_layer(spec, index, layer)


def dense(
    codes: np.ndarray, bias: np.ndarray, in_base: int, out_base: int, shift: int, emits: bool = False, every_lane: bool = False
) -> Layer:
    """A dense layer: one position and consecutive offsets. `codes` (M, K), `bias` (M,)."""
    tiles, count = codes.shape
    return Layer(
        codes=codes.astype(np.uint8),
        bias=bias.astype(np.int32),
        offsets=np.arange(count, dtype=np.int32),
        in_base=np.full(tiles, in_base, np.int32),
        out_base=out_base + np.arange(tiles, dtype=np.int32) * (not emits),
        shift=shift,
        emits=emits,
        every_lane=every_lane,
    )


def multilayer_perceptron(
    spec: UnitSpec, weights: Sequence[np.ndarray], biases: Sequence[np.ndarray], shifts: Sequence[int]
) -> Program:
    """Dense layers one after another, each but the last folded; activations lie one after another in the scratch memory.

    Every lane has a sample of its own: there are no rows to share.
    """
    layers = []
    in_base, out_base = 0, int(weights[0].shape[1])
    for index, (codes, bias, shift) in enumerate(zip(weights, biases, shifts, strict=True)):
        last = index == len(weights) - 1
        layers.append(dense(codes, bias, in_base, 0 if last else out_base, shift, last, last and spec.stripes > 1))
        in_base, out_base = out_base, out_base + codes.shape[0]
    program = Program(spec, tuple(layers), input_base=0, input_words=int(weights[0].shape[1]))
    program.validate()
    return program


def _within(value: int, low: int, high: int, where: str, what: str) -> None:
    if not low <= value <= high:
        raise ProgramError(f"{where} has {what} {value}; this spec allows {low}..{high}")


def _validate_layer(spec: UnitSpec, index: int, layer: Layer) -> None:
    where = f"layer {index}"
    if layer.codes.ndim != 2:
        raise ProgramError(f"{where} has codes of shape {layer.codes.shape}; allowed (tiles, codes)")
    tiles, count = layer.codes.shape
    _within(tiles, 1, MAX_TILES, where, "tiles")
    _within(count, 1, spec.tile_codes, where, "codes a tile")
    shapes: tuple[tuple[str, Callable[[Layer], np.ndarray], int], ...] = (
        ("bias", lambda item: item.bias, tiles),
        ("offsets", lambda item: item.offsets, count),
        ("in_base", lambda item: item.in_base, tiles),
        ("out_base", lambda item: item.out_base, tiles),
    )
    for name, get, size in shapes:
        if get(layer).shape != (size,):
            raise ProgramError(f"{where} has {name} of shape {get(layer).shape}; allowed ({size},)")
    if layer.constant and not layer.plain:
        raise ProgramError(f"{where} is constant but not plain: constants are plain weights")
    if layer.parts < 1 or tiles % layer.parts or (layer.parts > 1 and layer.positions != (1, 1)):
        raise ProgramError(
            f"{where} has {tiles} tiles in chains of {layer.parts} at positions {layer.positions}; chains must come out even, "
            "at positions (1, 1)"
        )
    _within(int(layer.codes.max()), 0, 255 if layer.plain else spec.codes - 1, where, "a code")
    _within(layer.shift, 0, spec.max_shift, where, "shift")
    half = 1 << (spec.acc_bits - 1)
    _within(int(layer.bias.min()), -half, half - 1, where, "a bias")
    _within(int(layer.bias.max()), -half, half - 1, where, "a bias")
    field = spec.scratch_words - 1  # addresses and their distances have as many bits
    for positions, *strides in zip(layer.positions, layer.strides, layer.out_strides, strict=True):
        _within(positions, 1, field, where, "positions")
        for stride in strides:
            _within(stride, 0, field, where, "a stride")
    if layer.emits and layer.positions != (1, 1):
        raise ProgramError(f"{where} emits with positions {layer.positions}; allowed (1, 1)")
    _within(int(layer.offsets.min()), 0, field, where, "an offset")
    if layer.band[1] or layer.every_lane or layer.edge:
        _validate_band(spec, where, layer)
    if not layer.band[1]:
        _within(int(layer.in_base.min()), 0, field, where, "an input address")
    _within(layer.last_read, 0, spec.scratch_words - 1, where, "a furthest input address")
    _within(int(layer.out_base.min()), 0, field, where, "an output address")
    _within(layer.last_written, 0, spec.scratch_words - 1, where, "a last output address")


def _validate_band(spec: UnitSpec, where: str, layer: Layer) -> None:
    """What a layer says of lanes that share a sample."""
    if spec.stripes == 1:
        raise ProgramError(
            f"{where} reads the bands of neighbouring lanes, or emits from every lane; spec {spec.name!r} has stripes = 1"
        )
    if layer.every_lane and not layer.emits:
        raise ProgramError(f"{where} is to emit from every lane, and does not emit")
    start, words = layer.band
    _within(layer.edge, spec.act_min, spec.act_max, where, "an activation beyond the bands")
    _within(start, 0, spec.scratch_words - 1, where, "a band's address")
    _within(words, 0, spec.scratch_words - 1 - start, where, "words of a band")
    if words:
        reached = layer.reached()
        _within(int(reached[0]), start - words, start + words, where, "a first address, at most a band before its own,")
        _within(int(reached[-1]), start, start + 2 * words - 1, where, "a last address, at most a band after its own,")
