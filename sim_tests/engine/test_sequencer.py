"""The sequencer against a list of what happens in each clock of random tiles: addresses, digits, sums, writes.

A tile begins with `start` in clock 0. Code number j of the tile, counted over all positions, enters stage 6 in clock
`enters[j]`, and each stage before in the clock in which a code ahead of it enters stage 6: all move together.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from bitting_rtl.engine.decode import LATENCY
from bitting_rtl.engine.sequencer import TILE_OVERHEAD
from bitting_rtl.lib.layouts import digits_layout, layer_layout, tile_layout
from tb.units import SPEC, unit

LAYER, TILE, DIGITS = layer_layout(SPEC), tile_layout(SPEC), digits_layout(SPEC)
#: Stages that codes have gone through when they enter the lanes.
DIGIT_STAGE = 6
#: A base and a write address wrap here, and `bad_address` tells before.
WRAP = 2 * SPEC.scratch_words


@dataclass
class Tile:
    """A tile, its layer, and the digits of each of its codes: lists of (exponent, negative), none for the weight 0."""

    layer: dict[str, int]
    fields: dict[str, int]
    offsets: list[int]
    forms: list[list[tuple[int, int]]]

    def digits(self) -> list[int]:
        """What the decoder gives for each code."""
        bits = []
        for form in self.forms:
            pad = [(0, 0)] * (SPEC.slot_digits - len(form))
            digits = [{"exponent": exponent, "negative": negative} for exponent, negative in form + pad]
            bits.append(DIGITS.const({"digits": digits, "last": max(1, len(form)) - 1, "zero": not form}).as_bits())
        return bits


def random_tile(rng, chained):
    """Addresses may run out of the memory. Chained tiles have one position."""
    count = int(rng.integers(1, 8))
    rows, columns = (1, 1) if chained else (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    reach = SPEC.scratch_words // (8 if rng.random() < 0.8 else 2)
    strides = {name: int(rng.integers(0, reach)) for name in ("stride_x", "stride_y", "out_stride_x", "out_stride_y")}
    layer = {"last_code": count - 1, "last_x": columns - 1, "last_y": rows - 1, "emits": int(rng.random() < 0.3), **strides}
    fields = {
        "in_base": int(rng.integers(0, reach)),
        "out_base": int(rng.integers(0, reach)),
        "bias": int(rng.integers(0, 1 << SPEC.acc_bits)),
        "hold": int(chained and rng.random() < 0.5),
        "resume": int(chained and rng.random() < 0.5),
    }
    digit = lambda: (int(rng.integers(0, SPEC.max_exponent + 1)), int(rng.integers(0, 2)))  # noqa: E731
    forms = [[digit() for _ in range(rng.integers(0, SPEC.slot_digits + 1))] for _ in range(count)]
    return Tile(layer, fields, rng.integers(0, reach, count).tolist(), forms)


def expected_clocks(tile, held):
    """For each output the clocks in which it must have a value: {(clock, output): value}; and the tile's cycles."""
    layer, fields, count = tile.layer, tile.fields, len(tile.forms)
    positions = [(x, y) for y in range(layer["last_y"] + 1) for x in range(layer["last_x"] + 1)]
    codes = [(x, y, k) for x, y in positions for k in range(count)]
    lengths = [max(1, len(tile.forms[k])) for _, _, k in codes]
    # Before the first code nothing makes the stages wait, and behind the last one neither.
    enters = [DIGIT_STAGE + 1 + sum(lengths[:j]) for j in range(len(codes) + 1)]
    clock_of = lambda j: enters[j] if j >= 0 else enters[0] + j  # noqa: E731
    seen: dict[tuple[int, str], int] = {}
    ones = (1 << SPEC.acc_bits) - 1
    for j, (x, y, k) in enumerate(codes):
        final = (x, y) == positions[-1]
        for clock in range(clock_of(j - 6), clock_of(j - 5)):
            seen |= {(clock, "index"): k, (clock, "final"): final}
        address = (fields["in_base"] + x * layer["stride_x"] + y * layer["stride_y"]) % WRAP + tile.offsets[k]
        for clock in range(clock_of(j - 2), clock_of(j - 1)):
            seen[clock, "read_addr"] = address % SPEC.scratch_words
            seen[clock, "bad_address"] = address >= SPEC.scratch_words or seen.get((clock, "bad_address"), 0)
        for number, (exponent, negative) in enumerate(tile.forms[k]):
            seen |= {(enters[j] + number, "exponent"): exponent, (enters[j] + number, "negative"): negative}
        for number in range(lengths[j]):
            clock = enters[j] + number
            load = k == 0 and number == 0 and not (fields["resume"] and held)
            seen |= {(clock, "zero"): not tile.forms[k], (clock, "step"): number == lengths[j] - 1}
            seen |= {(clock + 1, "accumulate"): 1, (clock + 1, "load"): load}
            seen[clock + 1, "origin"] = fields["bias"] if load else ones
        if k == count - 1:
            clock = enters[j + 1] + 1
            written = (fields["out_base"] + x * layer["out_stride_x"] + y * layer["out_stride_y"]) % WRAP
            store = not (layer["emits"] or fields["hold"])
            seen |= {(clock, "write"): 1, (clock, "store"): store, (clock, "done"): final}
            if store:
                seen[clock, "write_addr"] = written % SPEC.scratch_words
                seen[clock, "bad_address"] = written >= SPEC.scratch_words or seen.get((clock, "bad_address"), 0)
    return seen, sum(lengths) + TILE_OVERHEAD


class Bench:
    """The sequencer with the memory of offsets (a step) and the decoder (some steps) around it."""

    def __init__(self, sequencer):
        self.sequencer = sequencer
        self.indices = [0] * (LATENCY + 1)  # what was fetched 1, 2.. steps ago

    def choose(self, tile):
        """What the memories hold from here on, and the ports that say so."""
        self.offsets, self.digits = tile.offsets, tile.digits()
        return {"layer": LAYER.const(tile.layer).as_bits(), "tile": TILE.const(tile.fields).as_bits()}

    def step(self, **inputs):
        digits = self.digits[self.indices[LATENCY] % len(self.digits)]
        self.sequencer.step(digits=digits, offset=self.offsets[self.indices[0] % len(self.offsets)], **inputs)
        if self.sequencer["step"]:
            self.indices = [self.sequencer["index"], *self.indices[:-1]]


def run(bench, tile, held):
    """A tile through the sequencer; every output in every clock."""
    seen, cycles = expected_clocks(tile, held)
    inputs = bench.choose(tile) | {"start": 1, "forget": 0}
    for clock in range(cycles + 1):
        bench.step(**inputs)
        inputs = {"start": 0}
        for output in ("accumulate", "write", "store", "done", "bad_address"):
            assert bench.sequencer[output] == seen.get((clock, output), 0), (clock, output, tile)
        assert bench.sequencer["running"] == (clock > 0)
        for output in ("index", "final", "read_addr", "exponent", "negative", "zero", "step", "load", "origin", "write_addr"):
            if (clock, output) in seen:
                assert bench.sequencer[output] == seen[clock, output], (clock, output, tile)
    return cycles


@pytest.mark.parametrize("chained", [False, True], ids=["positions", "chains"])
def test_every_output_in_every_clock_of_random_tiles(chained):
    """Back to back or with pauses between them: a tile takes its law's cycles, and none of the tile before can be seen."""
    rng = np.random.default_rng(5)
    held = False
    with unit("sequencer") as sequencer:
        bench = Bench(sequencer)
        for number in range(700):
            tile = random_tile(rng, chained)
            bench.choose(tile)
            forget = bool(rng.random() < 0.2)
            for pause in range(1 + int(rng.integers(0, 3))):
                bench.step(start=0, forget=forget and pause == 0)
                assert not (sequencer["running"] or sequencer["write"] or sequencer["accumulate"]), number
            held = held and not forget
            cycles = run(bench, tile, held)
            bench.step(start=0)
            assert (sequencer["running"], sequencer["cycles"]) == (0, cycles), number
            held = bool(tile.fields["hold"])


def test_halt_abandons_a_tile_at_once():
    """Wherever it is: no write, no address that is out of range, and it does not run any more."""
    rng = np.random.default_rng(6)
    for _ in range(200):
        with unit("sequencer") as sequencer:
            bench = Bench(sequencer)
            bench.step(**bench.choose(random_tile(rng, False)), start=1)
            for _ in range(int(rng.integers(1, 30))):
                bench.step(start=0)
            bench.step(halt=1)
            for clock in range(60):
                bench.step()
                # What is in stage 7 and 8 already is not called back.
                assert not sequencer["running"] and not (sequencer["write"] and clock > 1), clock
