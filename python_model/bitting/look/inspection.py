"""What is in a model or an artefact: layers, clocks, who has which words of the scratch memory when, and what the lock hides.

Of an artefact everything is said without its key. What the key would be needed for is bounded, or left open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.artefact.model import Model
from bitting.locking.kinds import Transform
from bitting.locking.sealed_program import SealedProgram
from bitting.look.hiding import Hiding, hidings
from bitting.program import latency
from bitting.program.layers import Layer, Program
from bitting.unit import timing
from bitting.unit.protocol import BAND_WORDS, CODES_PER_WORD, LAYER_FIXED_WORDS, OFFSETS_PER_WORD, TILE_FIXED_WORDS, Packet
from bitting.unit.spec import UnitSpec

if TYPE_CHECKING:
    from bitting.program.choosing import Choice


@dataclass(frozen=True)
class Bound:
    """A number that lies from `least` to `most`; most None: nobody can say without the key."""

    least: int
    most: int | None

    @property
    def known(self) -> bool:
        """It is one number."""
        return self.least == self.most

    def __add__(self, other: Bound) -> Bound:
        open_end = self.most is None or other.most is None
        return Bound(self.least + other.least, None if open_end else (self.most or 0) + (other.most or 0))

    def __str__(self) -> str:
        if self.most is None:
            return f"at least {self.least}"
        return str(self.least) if self.known else f"{self.least}..{self.most}"


@dataclass(frozen=True)
class LayerFacts:
    """One layer; what is None is sealed.

    Attributes:
        kind: in words: dense, window, chains, gather, and of constants zeros, fill, copy and sum; or sealed.
        shape: in words: codes of a sum -> channels x rows x columns.
        tiles: how many.
        codes: of a tile.
        positions: (rows, columns).
        macs: multiply-accumulates of a sample.
        cycles: of all tiles, by the timing law.
        reads, writes: scratch words, each counted once.
        constant: its weights are known to everyone.
    """

    kind: str
    shape: str | None
    tiles: int
    codes: Bound
    positions: tuple[int, int] | None
    macs: int | None
    cycles: Bound
    reads: int | None
    writes: int | None
    constant: bool = False


@dataclass(frozen=True)
class Tenant:
    """Who has scratch words: the input, or what a layer writes.

    Attributes:
        who: in words.
        first, last: addresses of the first and last of its words; others may lie in between.
        words: how many it has.
        since, until: layers that write it (the input: -1) and read it last (None: sealed; nobody: the one that writes it).
    """

    who: str
    first: int
    last: int
    words: int
    since: int
    until: int | None


@dataclass(frozen=True)
class Inspection:
    """What is in a file.

    Attributes:
        kind: model or artefact.
        spec: of the unit.
        task, input_shape, outputs: what it is asked, of the interface.
        layers: in order.
        tenants: of the scratch memory; of a sealed program the input only.
        clocks: of a batch of L samples, about: see `bitting.program.latency`; without challenge, input and answers.
        lock: fingerprint x transform of an artefact; of a model the transform that was asked about.
        level, caution: of an artefact's lock.
        hidings: what the lock hides.
        signed_by: whose signature an artefact has, hex; nobody vouches for it here.
        questions: of its self-test.
        samples: of a batch.
        choices: what other numbers of lanes a sample would mean, as a model claims whose training counted them.
    """

    kind: str
    spec: UnitSpec
    task: str
    input_shape: tuple[int, ...]
    outputs: int
    layers: tuple[LayerFacts, ...]
    tenants: tuple[Tenant, ...]
    clocks: Bound
    lock: str
    hidings: tuple[Hiding, ...]
    level: str = ""
    caution: str = ""
    signed_by: str = ""
    questions: int = 0
    samples: int = 0
    choices: tuple[Choice, ...] = ()

    @property
    def cycles(self) -> Bound:
        """Of all tiles."""
        return _total(self.layers)

    def share(self, layer: LayerFacts) -> float | None:
        """Of all cycles, if they are known."""
        return layer.cycles.least / self.cycles.least if self.cycles.known else None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; `spec` by its name, id and parameters."""
        told = asdict(self) | {"spec": self.spec.to_dict() | {"id": self.spec.id}, "cycles": asdict(self.cycles)}
        for layer, facts in zip(told["layers"], self.layers, strict=True):
            layer["share"] = self.share(facts)
        return told


def of_model(model: Model, transform: Transform) -> Inspection:
    """Everything is known; `transform`: the lock whose effect is to be told."""
    program = model.program
    cycles = program.tile_cycles(range(program.spec.codes))
    clocks = latency.clocks(program, cycles)
    return Inspection(
        Model.KIND, program.spec, model.interface.task, model.interface.shape, program.outputs,
        tuple(_facts(layer, Bound(sum(c), sum(c))) for layer, c in zip(program.layers, cycles, strict=True)),
        tuple(tenants(program)), Bound(clocks, clocks), transform, hidings(transform),
        samples=program.samples, choices=_choices(model),
    )  # fmt: skip


def of_artefact(artefact: Artefact) -> Inspection:
    """What anybody can say who has the file, and no key."""
    program, scheme = artefact.program, artefact.scheme
    if isinstance(program, SealedProgram):
        first, words = program.input_base, program.input_words
        layers = tuple(_sealed_layers(program))
        living: tuple[Tenant, ...] = (Tenant("input", first, first + words - 1, words, -1, None),)
        clocks = _total(layers) + Bound(program.tiles * timing.TILE_GAP, None)
    else:
        cycles = [_bounded_cycles(program, at) for at in (min, max)]
        layers = tuple(_facts(layer, Bound(sum(a), sum(b))) for layer, a, b in zip(program.layers, *cycles, strict=True))
        living = tuple(tenants(program))
        clocks = Bound(*(latency.clocks(program, counts) for counts in cycles))
    return Inspection(
        Artefact.KIND, program.spec, artefact.interface.task, artefact.interface.shape, program.outputs,
        layers, living, clocks, f"{scheme.fingerprint} x {scheme.transform}", hidings(scheme.transform),
        scheme.level, scheme.caution, artefact.signed_by.hex() if artefact.signed_by else "",
        len(artefact.self_test.questions) if artefact.self_test else 0, program.samples,
    )  # fmt: skip


def tenants(program: Program) -> Iterator[Tenant]:
    """The input, and every layer that writes, with the words that it had from when until it was read last."""
    owner = np.full(program.spec.scratch_words, -1)
    spans: list[tuple[np.ndarray, int]] = [(np.arange(program.input_base, program.input_base + program.input_words), -1)]
    owner[spans[0][0]] = 0
    last = [-1]
    for number, layer in enumerate(program.layers):
        for read in np.unique(owner[layer.read()]):
            if read >= 0:
                last[read] = number
        if not layer.emits:
            written = np.unique(layer.written())
            owner[written] = len(spans)
            spans.append((written, number))
            last.append(number)
    for (words, since), until in zip(spans, last, strict=True):
        who = "input" if since < 0 else f"layer {since}"
        yield Tenant(who, int(words[0]), int(words[-1]), len(words), since, until)


def _choices(model: Model) -> tuple[Choice, ...]:
    """Nothing depends on claims: what is malformed is not there."""
    from bitting.program.choosing import Choice  # slow to import, and the command is imported at every start

    try:
        found = tuple(Choice(**each) for each in model.claims.get("stripes", ()))
    except TypeError:
        return ()
    nothing = asdict(Choice(1))
    right = all(isinstance(value, type(nothing[name]) | int) for each in found for name, value in asdict(each).items())
    return found if right else ()


def _total(layers: Iterable[LayerFacts]) -> Bound:
    return sum((layer.cycles for layer in layers), Bound(0, 0))


def _facts(layer: Layer, cycles: Bound) -> LayerFacts:
    rows, columns = layer.positions
    sizes = f" x {rows} x {columns}" if layer.position_count > 1 else ""
    return LayerFacts(
        kind=_kind(layer) + ", emits" * layer.emits,
        shape=f"{layer.parts * layer.tile_codes} -> {layer.channels}{sizes}",
        tiles=layer.tiles,
        codes=Bound(layer.tile_codes, layer.tile_codes),
        positions=layer.positions,
        macs=layer.codes.size * layer.position_count,
        cycles=cycles,
        reads=len(layer.read()),
        writes=0 if layer.emits else len(np.unique(layer.written())),
        constant=layer.constant,
    )


def _kind(layer: Layer) -> str:
    """What a gather layer looks like; constants are what lowering makes of copies, means, sums and maxima."""
    if layer.constant:
        starts = bool(layer.bias.any())
        if not layer.codes.any():
            return "fill" if starts else "zeros"
        return "copy" if layer.tile_codes == 1 and not starts else f"sum of {layer.tile_codes}"
    if layer.parts > 1:
        return f"chains of {layer.parts}"
    if layer.position_count > 1:
        return "window"
    return "dense" if (np.diff(layer.offsets) == 1).all() and (layer.in_base == layer.in_base[0]).all() else "gather"


def _bounded_cycles(program: Program, pick: Callable[[Sequence[int]], int]) -> list[list[int]]:
    """Cycles of every tile if each code that needs a key took as many as the fewest, or most, of any weight of the family."""
    a_code = pick(program.spec.value_cycles)
    counted = program.tile_cycles(range(program.spec.codes))  # right for constants, whose weights are in clear
    return [
        counts if layer.constant else [a_code * layer.tile_codes * layer.position_count + timing.TILE_OVERHEAD] * layer.tiles
        for layer, counts in zip(program.layers, counted, strict=True)
    ]


def _sealed_layers(program: SealedProgram) -> Iterator[LayerFacts]:
    """What the headers of the packets tell: a layer's packet has its offsets in pairs, a tile's its codes in fours."""
    sizes: list[tuple[int, list[int]]] = []
    for packet in program.packets():
        kind, words = int(packet[0]) & 0xFF, int(packet[0]) >> 16
        if kind == Packet.LAYER:
            sizes.append((words - LAYER_FIXED_WORDS, []))
        elif kind == Packet.TILE:
            sizes[-1][1].append(words - TILE_FIXED_WORDS)
    fewest = min(program.spec.value_cycles)
    hidden = BAND_WORDS if program.spec.stripes > 1 else 0  # a layer may have a band: that is sealed
    for offsets, tiles in sizes:
        most = min(OFFSETS_PER_WORD * offsets, *(CODES_PER_WORD * words for words in tiles))
        least = max(1, OFFSETS_PER_WORD * (offsets - hidden - 1) + 1, *(CODES_PER_WORD * (words - 1) + 1 for words in tiles))
        cycles = Bound(len(tiles) * (fewest * least + timing.TILE_OVERHEAD), None)  # at one position; who knows how many
        yield LayerFacts("sealed", None, len(tiles), Bound(least, most), None, None, cycles, None, None)
