"""The conventional int8 engine that costs are compared with: it must compute, or its size means nothing."""

import numpy as np
import pytest

from bitting.program import packets
from bitting.program.layers import Program, dense
from bitting.sim.native import NativeEngine, Stalls, library_of
from bitting_rtl.engine.baseline import Int8Engine, baseline_verilog
from bitting_rtl.engine.export import TOP
from tb.families import AES

SPEC = AES["wide"].replace(lanes=8, acc_bits=20, max_shift=8)


def dot(x: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """(samples, inputs), (outputs, inputs) -> (samples, outputs), clipped after every step as a saturating accumulator."""
    half = 1 << (SPEC.acc_bits - 1)
    sums = np.broadcast_to(bias, (len(x), len(bias))).astype(np.int64)
    for k in range(x.shape[1]):
        sums = np.clip(sums + x[:, k, None].astype(np.int64) * weights[:, k], -half, half - 1)
    return sums


@pytest.mark.slow
def test_two_layers_with_saturation_are_what_numpy_says():
    """Sums that clip, at both ends, on the way and at the end; ReLU windows at several shifts; one clock a code."""
    library = library_of(baseline_verilog(SPEC), TOP)
    for seed, shift, inputs in ((1, 0, 300), (2, 4, 64), (3, 8, 17)):
        rng = np.random.default_rng(seed)
        x = rng.integers(-128, 128, (SPEC.lanes, inputs)).astype(np.int8)
        first, last = rng.integers(-128, 128, (12, inputs)), rng.integers(-128, 128, (5, 12))
        first[0], first[1] = 127 * np.sign(x[0].astype(int)), -127 * np.sign(x[0].astype(int))  # far out, both ways
        bias = rng.integers(-1000, 1000, 12)
        clipped = dot(x, first, bias)[0, :2].tolist() == [(1 << SPEC.acc_bits - 1) - 1, -(1 << SPEC.acc_bits - 1)]
        assert clipped == (inputs == 300)
        hidden = np.clip(dot(x, first, bias) << shift >> (SPEC.acc_bits - SPEC.act_bits), 0, SPEC.act_max)
        wanted = dot(hidden, last, np.zeros(5))
        layers = (
            dense(first & 0xFF, bias, 0, inputs, shift, emits=False),
            dense(last & 0xFF, np.zeros(5, np.int64), inputs, 0, 0, emits=True),
        )
        commands = np.concatenate(
            [packets.activations_packet(SPEC, 0, x), packets.program_packets(Program(SPEC, layers, 0, inputs), report=True)]
        )
        with NativeEngine(library) as engine:
            run = engine.run(commands, packets.result_words(Program(SPEC, layers, 0, inputs)), Stalls(seed, 40, 40))
        assert run.error == 0
        tiles = packets.parse_results(run.words)
        found = np.array([tile.accumulators for tile in tiles if tile.accumulators is not None]).T
        assert np.array_equal(found, wanted), seed
        assert {tile.cycles - inputs for tile in tiles[:12]} == {tiles[0].cycles - inputs}
        assert tiles[0].cycles - tiles[-1].cycles == inputs - 12


@pytest.mark.filterwarnings("ignore:.*created but never used")
def test_it_wants_bytes():
    with pytest.raises(ValueError, match="codes of 8 bits"):
        Int8Engine(AES["tiny"])
