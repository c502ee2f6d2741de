"""The host in C, compiled and called from here, and a simulated engine at the other end of its link."""

from __future__ import annotations

import ctypes
import subprocess
from collections import deque
from pathlib import Path

import numpy as np

from bitting.artefact.packet_file import C_HOST
from bitting.sim.native import NativeEngine

STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
STATUSES = (
    "OK", "BAD_FILE", "BAD_CALL", "LINK", "SILENT", "BAD_ANSWER", "FAMILY", "FAULT", "REFUSED", "OTHER_DEVICE", "NO_SELF_TEST",
    "NO_ROOT",
)  # fmt: skip
_SHIM = """
#include "bitting_host.h"
size_t host_size(void);
size_t host_size(void) { return sizeof(struct bitting_host); }
"""
#: Words that the FIFO to the engine holds.
_FIFO = 512


_RESET = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_WRITE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32)
_READ = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint32))


class _Link(ctypes.Structure):
    _fields_ = (
        ("reset", _RESET),
        ("write", _WRITE),
        ("read", _READ),
        ("context", ctypes.c_void_p),
        ("patience", ctypes.c_uint32),
    )


def library(folder: Path) -> ctypes.CDLL:
    """The host as a shared library, compiled with sanitisers that stop at undefined behaviour."""
    (folder / "shim.c").write_text(_SHIM)
    flags = ["gcc", "-std=c99", *STRICT, "-fsanitize=undefined", "-fno-sanitize-recover=all", "-fPIC", "-shared"]
    sources = [str(folder / "shim.c"), str(C_HOST / "bitting_host.c")]
    subprocess.run([*flags, f"-I{C_HOST}", *sources, "-o", str(folder / "host.so")], check=True)
    loaded = ctypes.CDLL(str(folder / "host.so"))
    loaded.host_size.restype = ctypes.c_size_t
    loaded.bitting_message.restype = loaded.bitting_fault_name.restype = ctypes.c_char_p
    return loaded


class Fifos:
    """Two FIFOs before an engine; now and then they are full, or empty, for no reason."""

    #: Clocks in which nothing moves after which an engine has done all it could.
    quiet = 20_000

    def __init__(self, engine: NativeEngine, seed: int = 0):
        self._engine = engine
        self._rng = np.random.default_rng(seed)
        self._commands: deque[int] = deque()
        self._results: deque[int] = deque()
        self._asked = False

    def reset(self) -> int:
        self._engine.reset()
        self._commands.clear()
        self._results.clear()
        return 0

    def write(self, word: int) -> int:
        self._asked = False
        if len(self._commands) >= _FIFO:
            self._play()
        if len(self._commands) >= _FIFO or self._rng.random() < 0.1:
            return 0
        self._commands.append(word)
        return 1

    def read(self) -> int | None:
        """A word, or None."""
        if not self._results and self._asked:  # the host waits: so much time has passed
            self._play()
        self._asked = True
        return self._results.popleft() if self._results and self._rng.random() < 0.9 else None

    def _play(self) -> None:
        run = self._engine.run(np.array(self._commands, np.uint32), 1 << 14, quiet_limit=self.quiet)
        self._commands = deque(list(self._commands)[run.taken :])
        self._results.extend(run.words.tolist())


class MeasuringFifos(Fifos):
    """Before an engine with a PUF, which is silent as long as it measures."""

    quiet = 1 << 18


class CHost:
    """One `struct bitting_host`; calls give the name of the status they end with.

    Args:
        loaded: from `library`.
        fifos: with `reset`, `write` and `read` as `Fifos`.
        patience: calls that may do nothing.
    """

    def __init__(self, loaded: ctypes.CDLL, fifos: Fifos, patience: int = 50):
        self._library = loaded
        self._host = ctypes.create_string_buffer(loaded.host_size())

        def read(_context: int, word: ctypes._Pointer) -> int:
            came = fifos.read()
            if came is not None:
                word[0] = came
            return came is not None

        callbacks = _RESET(lambda _: fifos.reset()), _WRITE(lambda _, word: fifos.write(word)), _READ(read)
        self._link = _Link(*callbacks, None, patience)

    def open(self, data: bytes) -> str:
        self._file = ctypes.create_string_buffer(data, len(data))  # the host reads it where it lies
        return self._named(
            self._library.bitting_open(self._host, self._file, ctypes.c_size_t(len(data)), ctypes.byref(self._link))
        )

    def start(self) -> str:
        return self._named(self._library.bitting_start(self._host))

    def self_test(self) -> str:
        return self._named(self._library.bitting_self_test(self._host))

    def run(self, samples: np.ndarray, outputs: int) -> np.ndarray:
        """(samples, outputs) int32."""
        answers = np.zeros((len(samples), outputs), np.int32)
        assert self.status_of_run(samples, answers) == "OK"
        return answers

    def status_of_run(self, samples: np.ndarray, answers: np.ndarray) -> str:
        inputs = np.ascontiguousarray(samples, np.int8)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (inputs, answers)]
        return self._named(self._library.bitting_run(self._host, pointers[0], ctypes.c_uint32(len(samples)), pointers[1]))

    def _named(self, status: int) -> str:
        self.message = self._library.bitting_message(self._host, status).decode()
        return STATUSES[status]
