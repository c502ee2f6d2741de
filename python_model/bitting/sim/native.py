"""The native harness: the Verilated engine in this process, through ctypes. Calls release the GIL: threads run in parallel."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from bitting.errors import SimulationError
from bitting.locking.device import ROOT_BYTES
from bitting.program.packets import WORDS
from bitting.sim import build
from bitting.sim.training_run import training_run
from bitting.sim.waves import chosen
from bitting.unit.protocol import fuse_words
from bitting.unit.puf_key import PufDesign
from bitting.unit.spec import UnitSpec

#: Clocks without any word moving after which the engine counts as stopped: idle or in an error, and while it says that it is
#: busy. A tile of a convolution has all positions of an image: those of ResNet8 take 240 000 clocks. An engine is busy too
#: while it waits for the rest of a packet.
QUIET_LIMIT, BUSY_LIMIT = 1 << 16, 1 << 22

_BOTH_EDGES = "#define BITTING_BOTH_EDGES 1\n"


@dataclass(frozen=True, eq=False)
class Run:
    """What one run gave: result words, clocks, the `error` port, and how many command words were taken."""

    words: np.ndarray
    cycles: int
    error: int
    taken: int


@dataclass(frozen=True)
class Stalls:
    """Random back-pressure: probability (of 256) that a clock offers no command word, or accepts no result word."""

    seed: int = 0
    command: int = 0
    result: int = 0


class NativeEngine:
    """One simulated engine. Not shared between threads: each takes its own from the same library.

    Args:
        root: 16 bytes, burnt into its fuses; by default unblown ones.
        sealed: the fuse of that name is blown too (vault `ascon`).
    """

    def __init__(self, library: Path, root: bytes = bytes(ROOT_BYTES), sealed: bool = False):
        self._library = ctypes.CDLL(str(library))
        self._library.engine_new.restype = ctypes.c_void_p
        self._library.engine_run.restype = ctypes.c_uint64
        self._handle = ctypes.c_void_p(self._library.engine_new())
        self.burn(root, sealed)

    def __enter__(self) -> NativeEngine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free the simulation and end its waveform; only `close` may be called after it."""
        if self._handle:
            self._library.engine_trace_close(self._handle)
            self._library.engine_free(self._handle)
            self._handle = ctypes.c_void_p()

    def burn(self, root: bytes, sealed: bool) -> None:
        """Burn other fuses, and reset."""
        words = np.array(fuse_words(root, sealed), WORDS)
        self._library.engine_fuse(self._handle, ctypes.c_void_p(words.ctypes.data))
        self.reset()

    def set_oscillators(self, increments: np.ndarray) -> None:
        """Put silicon into a simulation with a PUF, and reset; arguments and errors of `load`."""
        self.load(increments)
        self.reset()

    def load(self, increments: np.ndarray) -> None:
        """The same without a reset: the silicon has changed.

        Args:
            increments: (pairs, reads, 2) of the oscillators of each pair in each read (`bitting.puf.counting.increment`).

        Raises:
            SimulationError: if the library has no PUF.
        """
        words = np.ascontiguousarray(increments, WORDS)
        if not self._library.engine_oscillators(
            self._handle, ctypes.c_void_p(words.ctypes.data), ctypes.c_uint64(words.size // 2)
        ):
            raise SimulationError("this build of the simulation has no oscillators; take one with a PUF: `puf_library`")

    def reset(self) -> None:
        """Hold the reset for two clocks. The engine boots in the clocks that follow, in `run`."""
        self._library.engine_reset(self._handle)

    def trace(self, path: Path) -> None:
        """Write a waveform from here on.

        Raises:
            SimulationError: if the library was built without.
        """
        if not self._library.engine_trace(self._handle, str(path).encode()):
            raise SimulationError("this build of the simulation writes no waveforms")

    def run(self, commands: np.ndarray, expected: int, stalls: Stalls = Stalls(), quiet_limit: int | None = None) -> Run:
        """Feed command words until they are all taken and `expected` result words came, or nothing moves any more.

        Args:
            commands: (words,) uint32.
            expected: result words to wait for.
            stalls: when words are held back.
            quiet_limit: clocks without any word moving after which the engine counts as stopped, whatever it says; by default
                `QUIET_LIMIT`, and `BUSY_LIMIT` while it is busy.
        """
        quiet, busy = (QUIET_LIMIT, BUSY_LIMIT) if quiet_limit is None else (quiet_limit, quiet_limit)
        commands = np.ascontiguousarray(commands, WORDS)
        # A few words more than expected fit, so that a babbling engine is seen.
        capacity = expected + 64
        results = np.empty(capacity, WORDS)
        taken, received, error = ctypes.c_uint64(), ctypes.c_uint64(), ctypes.c_uint32()
        u64, u32 = ctypes.c_uint64, ctypes.c_uint32
        cycles = self._library.engine_run(
            self._handle, ctypes.c_void_p(commands.ctypes.data), u64(len(commands)),
            ctypes.c_void_p(results.ctypes.data), u64(capacity), u64(expected), u64(quiet), u64(busy),
            u64(stalls.seed), u32(stalls.command), u32(stalls.result),
            ctypes.byref(taken), ctypes.byref(received), ctypes.byref(error),
        )  # fmt: skip
        return Run(results[: received.value].copy(), cycles, error.value, taken.value)


def engine_library(
    spec: UnitSpec,
    waves: str | None = None,
    profiled: bool = False,
    table: Sequence[int] | None = None,
    every_signal: bool = False,
) -> Path:
    """The shared library of a family's engine, the same for all its devices, built or from the cache.

    Args:
        spec: of the unit.
        waves: it can write waveforms: None, "vcd" or "fst"; of a locked engine, unless `every_signal`, of the signals that
            `bitting.sim.waves` chooses.
        profiled: compiled with a profile: it takes two or three times as long to build, and runs faster.
        table: an unlocked twin instead, with this bitting table. The build is cached: it must be no device's secret one.
        every_signal: waveforms show all there is, keys too.

    Raises:
        LockError: if a profile is wanted of an engine that is too small for a challenge.
        ToolError: if a tool is missing or fails.
    """
    from bitting_rtl.engine.export import TOP  # slow to import

    verilog = _family_verilog(spec, None if table is None else tuple(table))
    if waves:  # which show the clock as it is
        return library_of(verilog if every_signal or table is not None else chosen(verilog, TOP, spec.vault), TOP, waves)
    training = training_run(spec, locks=table is None) if profiled else None
    return build.shared_library(_on_both_edges(verilog), TOP, _BOTH_EDGES + build.harness("stream.cpp"), training=training)


def engine_digest(spec: UnitSpec) -> str:
    """Changes with the RTL of a family's engine, and with nothing else."""
    return hashlib.sha256(_family_verilog(spec, None).encode()).hexdigest()


def puf_library(spec: UnitSpec, design: PufDesign) -> Path:
    """The same of an engine with a PUF, whose oscillators are a memory (`NativeEngine.set_oscillators`)."""
    from bitting_rtl.engine.export import TOP  # slow to import

    return build.shared_library(_on_both_edges(_puf_verilog(spec, design)), TOP, _BOTH_EDGES + build.harness("stream.cpp"))


@functools.cache
def _puf_verilog(spec: UnitSpec, design: PufDesign) -> str:
    """As `puf_verilog` gives, which takes seconds too."""
    from bitting_rtl.engine.export import puf_verilog  # slow to import

    return puf_verilog(spec, design, None)


@functools.cache
def _family_verilog(spec: UnitSpec, table: tuple[int, ...] | None) -> str:
    """As `engine_verilog` gives, which takes seconds: many verifications of a process are of one family."""
    from bitting_rtl.engine.export import engine_verilog  # slow to import

    return engine_verilog(spec, table=table)


def _on_both_edges(verilog: str) -> str:
    """An engine that takes a clock with every edge, up or down: so each call of Verilator's model is a clock, not half of one.

    Nothing else of it changes. The harness then looks at outputs only after an edge, which is right for the engine as it is
    exported, for all that the harness looks at comes straight from registers; other Verilog may differ.
    """
    return re.sub(r"always @\(posedge (\w*clk)\)", r"always @(edge \1)", verilog)


def library_of(verilog: str, top: str, waves: str | None = None, private: Path | None = None, brief: bool = False) -> Path:
    """The shared library of any Verilog with the engine's ports. `private`, `brief`: see `build.shared_library`."""
    return build.shared_library(verilog, top, build.harness("stream.cpp"), waves, private, brief=brief)
