"""Builds that are compiled with a profile, and engines that clock on both edges: the same answers in the same clocks."""

import ctypes

import numpy as np
import pytest

from bitting import files
from bitting.errors import ToolError
from bitting.locking.device import Device
from bitting.sim import build, toolchain
from bitting.sim.native import NativeEngine, Stalls, engine_library, library_of
from bitting.sim.training_run import can_train, training_run
from bitting.unit.protocol import FUSE_WORDS
from bitting.unit.spec import PRESETS, parse_spec
from bitting_rtl.engine.export import TOP, engine_verilog

SPEC = parse_spec("tiny")
#: A design, and a harness with the functions that the trainer calls, that a compiler takes a second for.
DESIGN = "module blink(input clk, output reg [3:0] b); always @(posedge clk) b <= b + 1; endmodule"
HARNESS = """#include "Vtop.h"
extern "C" {
int answer() { return 42; }
void engine_fuse(void*, const uint32_t*) {}
void* engine_new() { return nullptr; }
void engine_free(void*) {}
void engine_reset(void*) {}
uint64_t engine_run(void*, const uint32_t*, uint64_t, uint32_t*, uint64_t, uint64_t expected, uint64_t, uint64_t, uint32_t,
                    uint32_t, uint64_t*, uint64_t* received, uint32_t*) { *received = expected; return 1; }
}
"""
TRAINING = bytes(4 * (FUSE_WORDS + 1))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """An empty one, in which Verilator's runtime is compiled but once for all tests."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BITTING_CACHE", str(folder))
        yield folder


@pytest.fixture
def builds(cache):
    """Looks at all files of builds."""
    return lambda: {path for path in (cache / "native").rglob("*") if path.is_file()}


def test_a_profiled_build_is_cached_beside_the_other_and_leaves_no_counts(builds, monkeypatch):
    libraries = [build.shared_library(DESIGN, "blink", HARNESS, training=training) for training in (None, TRAINING)]
    assert len(set(libraries)) == 2
    assert all(ctypes.CDLL(str(library)).answer() == 42 for library in libraries)
    assert builds() == set(libraries), "neither the counts nor what was run for them"
    monkeypatch.setattr(toolchain, "run", lambda *_: pytest.fail("it was built before"))
    assert build.shared_library(DESIGN, "blink", HARNESS, training=TRAINING) == libraries[1]


def test_a_private_build_with_a_profile_leaves_nothing_in_the_cache(builds):
    before = builds()
    with files.private_folder() as folder:
        library = build.shared_library(DESIGN, "blink", HARNESS, private=folder, training=TRAINING)
        assert folder in library.parents and ctypes.CDLL(str(library)).answer() == 42
    assert not folder.exists() and builds() == before


def test_a_training_run_that_fails_leaves_no_build(builds):
    before = builds()
    failing = HARNESS.replace("*received = expected", "*received = 0")
    with pytest.raises(ToolError, match="training gave 0 of 7 result words"):
        build.shared_library(DESIGN, "blink", failing, training=TRAINING[:-4] + (7).to_bytes(4, "little"))
    assert builds() == before


@pytest.mark.parametrize(
    "spec", [*PRESETS.values(), parse_spec("tiny:vault=aes"), parse_spec("base:vault=aes")], ids=lambda spec: spec.name
)
def test_a_training_run_is_the_same_every_time(spec):
    """So it holds nothing of any device."""
    assert can_train(spec) and training_run(spec) == training_run(spec)


@pytest.mark.slow
@pytest.mark.parametrize("stalls", [Stalls(), Stalls(3, 90, 90)], ids=["at once", "with back-pressure"])
def test_every_build_answers_alike_in_as_many_clocks(stalls):
    """The engine as it is exported, the same on both edges of its clock, and that with a profile."""
    device = Device(SPEC, bytes(range(1, 17)), sealed=True)
    run = np.frombuffer(training_run(SPEC), "<u4")
    commands, expected = run[FUSE_WORDS + 1 :], int(run[FUSE_WORDS])
    libraries = library_of(engine_verilog(SPEC), TOP), engine_library(SPEC), engine_library(SPEC, profiled=True)
    assert len(set(libraries)) == 3
    seen = []
    for library in libraries:
        with NativeEngine(library, run[: FUSE_WORDS - 1].tobytes(), sealed=True) as engine:
            seen.append(engine.run(commands, expected, stalls))
            engine.burn(device.root, sealed=True)
            seen.append(engine.run(commands, expected, stalls))
    right, refused = seen[:2]
    assert len(right.words) == expected and not right.error and refused.error
    for number, other in enumerate(seen):
        first = seen[number % 2]
        assert np.array_equal(other.words, first.words)
        assert (other.cycles, other.error, other.taken) == (first.cycles, first.error, first.taken)
