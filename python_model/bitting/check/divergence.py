"""Where emulator and RTL first part: layer, channel, position, step, and the stage to blame.

Everything is asked through the engine's own command stream, so the same search works on a netlist or a board. A layer is
probed by running its tiles as emitting ones, a tile by running all its prefixes, an activation by a
tile of one code of weight 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import torch

from bitting.emulator.emulate import Emulator
from bitting.errors import SimulationError
from bitting.program import packets
from bitting.program.layers import Layer, Program
from bitting.sim.native import NativeEngine, Stalls
from bitting.unit import timing
from bitting.unit.golden import Unit, wrap
from bitting.unit.spec import UnitSpec


class Stage(StrEnum):
    """Whom to blame for a difference."""

    PROTOCOL = "protocol"
    UNLOCK = "unlock"
    BIAS_LOAD = "bias load"
    DECODE = "decode"
    ACTIVATION_READ = "activation read"
    MAC_LANE = "mac lane"
    SEQUENCER = "sequencer"
    TIMING = "timing"
    FOLD = "fold"
    RESULTS = "results"


@dataclass(frozen=True, eq=False)
class _Probe:
    """The engine under test, and the state every question starts from."""

    engine: NativeEngine
    program: Program
    table: Sequence[int]
    activations: np.ndarray
    stalls: Stalls

    def ask(self, before: Iterable[Layer], probes: Sequence[Layer]) -> tuple[np.ndarray, np.ndarray]:
        """Run layers for their effect, then probe layers: (tiles, L) accumulators and (tiles,) cycles of the probes."""
        spec = self.program.spec
        parts = [packets.activations_packet(spec, self.program.input_base, self.activations)]
        for layer in before:
            parts += [packets.layer_packet(layer, report=False), *packets.tile_packets(layer)]
        quiet = Program(spec, tuple(before), self.program.input_base, self.program.input_words)
        expected = packets.result_words(quiet, report=False)
        asked = Program(spec, tuple(probes), self.program.input_base, self.program.input_words)
        parts.append(packets.program_packets(asked))
        expected += packets.result_words(asked)
        self.engine.reset()
        run = self.engine.run(np.concatenate(parts), expected, self.stalls)
        results = [tile for tile in packets.parse_results(run.words) if tile.accumulators is not None]
        results = results[-sum(layer.channels for layer in probes) :]
        if len(run.words) != expected:
            raise SimulationError(f"the engine stopped after {len(run.words)} of {expected} result words")
        return np.array([tile.accumulators for tile in results]), np.array([tile.cycles for tile in results])


def emitting_probe(layer: Layer, spec: UnitSpec) -> Layer:
    """The same sums, one tile (or chain) a position, emitted instead of folded; ordered by channel, then position."""
    positions = layer.position_offsets()
    count = len(positions)
    return Layer(
        codes=np.repeat(layer.codes, count, axis=0),
        bias=np.repeat(layer.bias, count),
        offsets=layer.offsets,
        in_base=(layer.in_base[:, None] + positions[None, :]).reshape(-1),
        out_base=np.zeros(layer.tiles * count, np.int32),
        emits=True,
        plain=layer.plain,
        parts=layer.parts,
        **_lanes(layer, spec),
    )


def _lanes(layer: Layer | None, spec: UnitSpec) -> dict[str, Any]:
    """How a probe of a layer reads across lanes; all lanes answer."""
    reads = {"band": layer.band, "edge": layer.edge} if layer else {}
    return {**reads, "every_lane": spec.stripes > 1}


def locate(
    engine: NativeEngine,
    program: Program,
    table: Sequence[int],
    activations: np.ndarray,
    stalls: Stalls = Stalls(),
    keyed: bool = False,
) -> dict[str, Any]:
    """Describe the first difference between golden arithmetic and the engine on one batch.

    Args:
        engine: is reset before every question.
        program: in clear, for no key is used here.
        table: of the device: code -> value index.
        activations: (L, input_words), of every lane.
        stalls: random back-pressure on both streams.
        keyed: it was locked with a key when the difference was seen; if all is well in clear, the unlocking is to blame.

    Returns:
        At least `stage` (whom to blame) and `summary`; for a numeric difference also layer, channel, position, lane, step,
        code, digits, activation, accumulators (hex and value) and the cycle in the tile.
    """
    probe = _Probe(engine, program, table, activations, stalls)
    try:
        return _locate_layers(probe) or {
            "stage": Stage.UNLOCK if keyed else Stage.RESULTS,
            "summary": "in clear every tile is right: the fault is in the fingerprint, the key or the unlocking"
            if keyed
            else "probed alone, every tile is right: the fault is in the result packets or not repeatable",
        }
    except SimulationError as error:
        return {"stage": Stage.PROTOCOL, "summary": str(error)}


def _locate_layers(probe: _Probe) -> dict[str, Any] | None:
    program, table = probe.program, probe.table
    unit = Unit(program.spec, table)
    expected = Emulator(program, table).accumulators(torch.from_numpy(probe.activations))
    for index, layer in enumerate(program.layers):
        before = program.layers[:index]
        sums, _ = probe.ask(before, [emitting_probe(layer, program.spec)])
        wrong = np.argwhere(sums != expected[index].numpy().T)
        if len(wrong):
            tile, lane = (int(v) for v in wrong[0])
            channel, position = divmod(tile, layer.position_count)
            return _locate_step(probe, unit, index, channel, position, lane)
        if (difference := _locate_cycles(probe, unit, index)) is not None:
            return difference
        if not layer.emits and (difference := _locate_output(probe, index, expected[index].numpy())) is not None:
            return difference
    return None


def _locate_cycles(probe: _Probe, unit: Unit, index: int) -> dict[str, Any] | None:
    """Compare the cycles of a layer's tiles, as they really run."""
    layer = probe.program.layers[index]
    spec = probe.program.spec
    parts = [packets.activations_packet(spec, probe.program.input_base, probe.activations)]
    parts += [packets.layer_packet(layer, report=True), *packets.tile_packets(layer)]
    alone = Program(spec, (layer,), probe.program.input_base, probe.program.input_words)
    probe.engine.reset()
    run = probe.engine.run(np.concatenate(parts), packets.result_words(alone), probe.stalls)
    for channel, tile in enumerate(packets.parse_results(run.words)):
        law = unit.tile_cycles(layer, channel)
        if tile.cycles == law:
            continue
        first = _first_slow_code(probe, layer, channel)
        return {
            "stage": Stage.TIMING,
            "layer": index,
            "channel": channel,
            "expected_cycles": law,
            "found_cycles": tile.cycles,
            "step": first,
            "summary": f"layer {index}, channel {channel} took {tile.cycles} cycles, the timing law says {law}"
            + (f"; the first code off the law is step {first}" if first is not None else "; no single code is off the law"),
        }
    return None


def _first_slow_code(probe: _Probe, layer: Layer, channel: int) -> int | None:
    """First code of a tile whose prefix takes a time off the law."""
    _, cycles = probe.ask([], _prefixes(layer, probe.program.spec, channel, 0))
    law = np.cumsum(np.array(probe.program.spec.decoding(probe.table, layer.plain).cycles)[layer.codes[channel]])
    wrong = np.flatnonzero(cycles != law + timing.TILE_OVERHEAD)
    return int(wrong[0]) if len(wrong) else None


def _locate_output(probe: _Probe, index: int, accumulators: np.ndarray) -> dict[str, Any] | None:
    """Read a layer's activations back: accumulators are right, so a difference is the fold's or the write's."""
    program = probe.program
    layer = program.layers[index]
    addresses = layer.written()
    held = _read_back(probe, program.layers[: index + 1], addresses)
    wanted = _emulated(probe, program.layers[: index + 1], addresses)
    wrong = np.argwhere(held != wanted)
    if not len(wrong):
        return None
    word, lane = (int(v) for v in wrong[0])
    channel, position = divmod(word, layer.position_count)
    accumulator = int(accumulators[lane, word])
    return {
        "stage": Stage.FOLD,
        "layer": index,
        "channel": channel,
        "position": position,
        "lane": lane,
        "address": int(addresses[word]),
        "accumulator": _hex(accumulator, program.spec.acc_bits),
        "expected": int(wanted[word, lane]),
        "found": int(held[word, lane]),
        "summary": f"layer {index}, channel {channel}, position {position}, lane {lane}: accumulator "
        f"{_hex(accumulator, program.spec.acc_bits)} with shift {layer.shift} folds to {wanted[word, lane]}, "
        f"address {addresses[word]} holds {held[word, lane]}",
    }


def _locate_step(probe: _Probe, unit: Unit, index: int, channel: int, position: int, lane: int) -> dict[str, Any]:
    """Find the first code of a tile after which the accumulator is wrong, and say whose fault that looks like."""
    program, spec = probe.program, probe.program.spec
    layer = program.layers[index]
    before = program.layers[:index]
    chain = slice(channel * layer.parts, (channel + 1) * layer.parts)
    codes, bias = layer.codes[chain].reshape(-1), int(layer.bias[chain][0])
    addresses = (layer.in_base[chain, None] + layer.position_offsets()[position] + layer.offsets).reshape(-1)
    operands = _emulated(probe, before, addresses, layer)  # (K, L)
    sums = _sums_of_prefixes(probe, before, layer, channel, position)
    steps = [list(unit.steps(codes.tolist(), operands[:, i].tolist(), bias, layer.plain)) for i in range(spec.lanes)]
    # A code's last digit comes last, so it is the one that stays.
    after_code = [{step.k: step.after for step in lane_steps} for lane_steps in steps]
    after = np.array([[of_lane[k] for of_lane in after_code] for k in range(len(codes))])
    wrong = np.flatnonzero((sums != after).any(axis=1))
    place = f"layer {index}, channel {channel}, position {position}"
    if not len(wrong):
        return {
            "stage": Stage.SEQUENCER,
            "layer": index, "channel": channel, "position": position, "lane": lane,
            "summary": f"{place}: every prefix of the tile is right, the whole is not",
        }  # fmt: skip
    k = int(wrong[0])
    if sums[k, lane] == after[k, lane]:
        lane = int(np.flatnonzero(sums[k] != after[k])[0])
    mine = [step for step in steps[lane] if step.k == k]
    start = np.array([next(step.before for step in lane_steps if step.k == k) for lane_steps in steps])
    decoding = unit.decoding(layer.plain)
    law = timing.tile_cycles(decoding.cycles, codes[k // layer.tile_codes * layer.tile_codes : k + 1].tolist(), 1)
    read = int(_read_back(probe, before, addresses[k : k + 1], layer)[0, lane])
    # A lane that lies also lies about what it read, so a misreading counts only if it explains the sum.
    weight = decoding.values[mine[0].code]
    explained = wrap(int(start[lane]) + weight * read, spec.acc_bits) == sums[k, lane]
    stage = _blame(spec, sums[k], start, after[k], operands[k], read != operands[k, lane] and explained, k)
    digits = (
        [] if mine[0].digit is None else [f"{'-' if s.digit.negative else '+'}2^{s.digit.exponent}" for s in mine if s.digit]
    )
    width = spec.acc_bits
    return {
        "stage": stage,
        "layer": index, "channel": channel, "position": position, "lane": lane, "step": k,
        "code": mine[0].code, "value": weight, "digits": digits,
        "activation": _hex(int(operands[k, lane]), spec.act_bits), "activation_read_back": read,
        "before": _hex(int(start[lane]), width), "expected": _hex(int(after[k, lane]), width),
        "found": _hex(int(sums[k, lane]), width), "cycle": int(law),
        "summary": f"{place}, lane {lane}, step {k}: code {mine[0].code:#x} (value {weight}, digits "
        f"{' '.join(digits) or 'none'}) times activation {_hex(int(operands[k, lane]), spec.act_bits)} takes accumulator "
        f"{_hex(int(start[lane]), width)} to {_hex(int(sums[k, lane]), width)}, "
        f"not {_hex(int(after[k, lane]), width)}, in cycle {law}",
    }  # fmt: skip


def _blame(
    spec: UnitSpec, actual: np.ndarray, before: np.ndarray, expected: np.ndarray, x: np.ndarray, misread: bool, k: int
) -> Stage:
    """Name the stage from what all lanes saw in one step: (L,) accumulators and activations."""
    deltas = [wrap(int(f) - int(b), spec.acc_bits) for f, b in zip(actual, before, strict=True)]
    offsets = {wrap(int(f) - int(e), spec.acc_bits) for f, e in zip(actual, expected, strict=True)}
    if k == 0 and len(offsets) == 1:
        return Stage.BIAS_LOAD
    limit = 1 << (spec.max_exponent + 2)
    if any(
        all(wrap(weight * int(v), spec.acc_bits) == d for v, d in zip(x, deltas, strict=True))
        for weight in range(-limit, limit)
    ):
        return Stage.DECODE  # every lane multiplied by the same, wrong, weight
    return Stage.ACTIVATION_READ if misread else Stage.MAC_LANE


def _sums_of_prefixes(probe: _Probe, before: Iterable[Layer], layer: Layer, channel: int, position: int) -> np.ndarray:
    """(K, L) accumulators after the first 1, 2, ..., K codes of a sum; of a chain, with zeros for the codes that follow."""
    if layer.parts == 1:
        base = int(layer.in_base[channel] + layer.position_offsets()[position])
        return probe.ask(before, _prefixes(layer, probe.program.spec, channel, base))[0]
    chain = slice(channel * layer.parts, (channel + 1) * layer.parts)
    zero = 0 if layer.plain else list(probe.table).index(probe.program.spec.values.index(0))
    codes = layer.codes[chain].reshape(-1)
    kept = np.tri(len(codes), dtype=bool)
    return probe.ask(
        before,
        [
            replace(
                layer, emits=True, every_lane=probe.program.spec.stripes > 1,
                codes=np.where(row, codes, np.uint8(zero)).reshape(layer.parts, -1),
                **{name: getattr(layer, name)[chain] for name in ("bias", "in_base", "out_base")},
            )
            for row in kept
        ],
    )[0]  # fmt: skip


def _prefixes(layer: Layer, spec: UnitSpec, tile: int, base: int) -> list[Layer]:
    """The first 1, 2, ..., K codes of a tile as emitting layers."""
    lanes = _lanes(layer, spec)
    return [
        Layer(
            codes=layer.codes[tile : tile + 1, : k + 1],
            bias=layer.bias[tile : tile + 1],
            offsets=layer.offsets[: k + 1],
            in_base=np.array([base], np.int32),
            out_base=np.zeros(1, np.int32),
            emits=True,
            plain=layer.plain,
            **lanes,
        )
        for k in range(layer.tile_codes)
    ]


def _reader(probe: _Probe, addresses: np.ndarray, like: Layer | None) -> Layer:
    """A layer that emits the activations at some scratch addresses: one code of weight 1 a tile. `like`: read as it does."""
    one = list(probe.table).index(probe.program.spec.values.index(1))
    count = len(addresses)
    return Layer(
        codes=np.full((count, 1), one, np.uint8),
        bias=np.zeros(count, np.int32),
        offsets=np.zeros(1, np.int32),
        in_base=addresses.astype(np.int32),
        out_base=np.zeros(count, np.int32),
        emits=True,
        **_lanes(like, probe.program.spec),
    )


def _read_back(probe: _Probe, before: Iterable[Layer], addresses: np.ndarray, like: Layer | None = None) -> np.ndarray:
    """(addresses, L) activations in the engine's scratch memory after some layers, as the layer `like` finds them."""
    return probe.ask(before, [_reader(probe, addresses, like)])[0]


def _emulated(probe: _Probe, before: Sequence[Layer], addresses: np.ndarray, like: Layer | None = None) -> np.ndarray:
    """(addresses, L) activations that should be there."""
    earlier = tuple(layer for layer in before if not layer.emits)
    program = replace(probe.program, layers=(*earlier, _reader(probe, addresses, like)), picture=None)
    return Emulator(program, probe.table)(torch.from_numpy(probe.activations)).numpy().T


def _hex(value: int, bits: int) -> str:
    """A signed value as two's-complement hex and decimal."""
    return f"{value & ((1 << bits) - 1):#0{2 + (bits + 3) // 4}x} ({value})"
