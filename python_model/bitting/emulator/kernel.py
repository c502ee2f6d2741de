"""The native kernel: compiled when first wanted, from the C++ files beside this one, with a fallback in torch of the same bits.

Knows specs, programs and numpy; what it computes is said in `kernel.cpp`. Without g++, or with `BITTING_KERNEL=off`, the
callers take their torch path. A build is for the processor it was made on: its flags are part of its name in the cache, so
another processor that shares the cache builds its own.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bitting import files
from bitting.errors import BittingError, ToolError
from bitting.unit.spec import UnitSpec

_FOLDER = Path(__file__).parent
_COMPILED = ("kernel.cpp", "training.cpp")
_INCLUDED = ("vectors.h", "portable.h")
_LIBRARY = "kernel.so"
#: No fused multiply-add where the source has two roundings: torch has two.
_FLAGS = ("-O3", "-ffp-contract=off", "-march=native", "-fopenmp", "-fPIC", "-shared", "-std=c++17", "-w")
_FLOATS = _BYTES = _ADDRESS = ctypes.c_void_p  # addresses of contiguous arrays on the CPU: `tensor.data_ptr()`, None for none
_INT, _LONG, _FLOAT = ctypes.c_int32, ctypes.c_int64, ctypes.c_float
#: Arguments of the functions; see kernel.cpp and training.cpp.
_FUNCTIONS = {
    "bitting_run": (_ADDRESS, _INT, _BYTES, _LONG, _LONG, _LONG, _LONG, _BYTES, _LONG, _ADDRESS),
    "bitting_output": (_BYTES, _LONG, _ADDRESS, _LONG, _LONG, _INT, _BYTES),
    "bitting_lookup": (_FLOATS, _LONG, _FLOAT, _FLOAT, _INT, _FLOATS, _FLOATS),
    "bitting_integers": (_FLOATS, _LONG, _FLOAT, _INT, _INT, _FLOATS),
    "bitting_round": (_FLOATS, _LONG, _FLOAT, _INT, _FLOAT, _FLOATS),
    "bitting_fold": (_FLOATS, _LONG, _FLOAT, _INT, _FLOATS, _BYTES),
    "bitting_fold_backward": (_FLOATS, _BYTES, _LONG, _FLOAT, _FLOATS),
}
#: What `BITTING_KERNEL` may say: take the best; VNNI in vectors of 256 bits; AVX2 alone; loops without byte vectors; none.
#: Each must be possible here: on a processor without VNNI the second is AVX2.
CHOICES: dict[str, tuple[str, ...] | None] = {
    "auto": (),
    "vnni256": ("-DBITTING_256",),
    "avx2": ("-DBITTING_256", "-DBITTING_NO_VNNI", "-mno-avx512f"),
    "loops": ("-DBITTING_PORTABLE", "-mno-avx512f", "-mno-avx2"),
    "off": None,
}
#: Flags that only compilers for x86 know.
_X86 = ("-mno-avx512f", "-mno-avx2")


@dataclass(frozen=True)
class Kernel:
    """The compiled functions.

    Attributes:
        library: C functions as in kernel.cpp.
        isa: how it multiplies. 3: AVX-512 VNNI; 2: VNNI in 256 bits; 1: AVX2; 0: loops.
        block: samples side by side.
        rows: rows of weights multiplied together, of which `native` makes one stream.
    """

    library: ctypes.CDLL
    isa: int
    block: int
    rows: int

    def limb_bits(self, spec: UnitSpec) -> int:
        """Bits of the signed limbs that weights are cut into for a family; 32, whole ones, where the kernel is loops.

        AVX2 adds two products in 16 bits, and must not saturate: two of 127 x -128 do not, two of 255 x -128 would.
        """
        if self.isa == 0:
            return 32
        return 7 if self.isa == 1 and spec.act_bits > 7 else 8


def load() -> Kernel | None:
    """The kernel, built if need be; None if it is switched off or can not be compiled here.

    Raises:
        BittingError: if `BITTING_KERNEL` is not one of `CHOICES`.
    """
    return _load(os.environ.get("BITTING_KERNEL") or "auto")


@functools.cache
def _load(choice: str) -> Kernel | None:
    if choice not in CHOICES:
        raise BittingError(f"BITTING_KERNEL = {choice!r} is unknown; allowed: {', '.join(CHOICES)}")
    extra, compiler = CHOICES[choice], shutil.which("g++")
    if extra is None or compiler is None:
        return None
    if platform.machine() not in ("x86_64", "AMD64"):
        extra = tuple(flag for flag in extra if flag not in _X86)
    sources = [(_FOLDER / name).read_text() for name in (*_COMPILED, *_INCLUDED)]

    def make(work: Path, finished: Path) -> None:
        command = [compiler, *_FLAGS, *extra, *(str(_FOLDER / name) for name in _COMPILED), "-o", str(finished / _LIBRARY)]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ToolError(f"g++ can not compile the kernel: {done.stderr.strip().splitlines()[-1:]}")

    try:
        folder = files.built("kernel", (*sources, *_FLAGS, *extra, files.processor()), make)
        library = ctypes.CDLL(str(folder / _LIBRARY))
    except (ToolError, OSError):  # an old compiler, or no OpenMP: slower, not wrong
        return None
    for name, arguments in _FUNCTIONS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, None
    return Kernel(library, library.bitting_isa(), library.bitting_block(), library.bitting_rows())
