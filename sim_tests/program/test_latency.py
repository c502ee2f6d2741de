"""Where the clocks of a layer go: the parts add up to the timing law, and to what lies between tiles."""

import numpy as np
import pytest

from bitting.program import latency
from bitting.program.layers import multilayer_perceptron
from bitting.unit import timing
from bitting.unit.protocol import FRAME_WORDS, LAYER_FIXED_WORDS, TILE_FIXED_WORDS
from bitting.unit.spec import parse_spec
from tb.programs import random_program

SPEC = parse_spec("tiny")


@pytest.mark.parametrize("seed", range(4))
def test_the_parts_add_up_to_the_timing_law(seed):
    """Each tile's cycles by `timing`, one by one."""
    rng = np.random.default_rng(seed)
    program = random_program(SPEC, rng)
    table = rng.permutation(SPEC.codes).tolist()
    cycles, whole = program.tile_cycles(table), 0
    for layer, counts in zip(program.layers, cycles, strict=True):
        of_code = SPEC.decoding(table, layer.plain).cycles
        law = [timing.tile_cycles(of_code, codes, layer.position_count) for codes in layer.codes]
        parts = latency.layer_clocks(layer, counts)
        assert counts == law and parts.tiles == sum(law)
        assert parts.mac == layer.position_count * sum(of_code[code] for code in layer.codes.reshape(-1))
        assert (parts.ends, parts.gaps) == (timing.TILE_OVERHEAD * layer.tiles, timing.TILE_GAP * layer.tiles)
        load = layer.tile_codes + TILE_FIXED_WORDS + FRAME_WORDS
        waiting = sum(max(load, count + timing.TILE_GAP) for count in counts)
        clocks = LAYER_FIXED_WORDS + layer.tile_codes + load + waiting
        assert parts.total == clocks
        whole += clocks
    assert latency.clocks(program, cycles) == whole


def test_a_tile_that_runs_shorter_than_the_next_takes_to_come_waits():
    """Four codes of a clock each run 12 clocks, with the gap 15, and come in 8; chosen cycles, so that some wait."""
    (layer,) = multilayer_perceptron(SPEC, [np.zeros((3, 4), int)], [np.zeros(3)], [0]).layers
    parts = latency.layer_clocks(layer, [12, 12, 12])
    assert (parts.mac, parts.waits, parts.load) == (12, 0, 4 + TILE_FIXED_WORDS + FRAME_WORDS)
    assert latency.layer_clocks(layer, [2, 3, 12]).waits == max(0, parts.load - 5) + max(0, parts.load - 6)
