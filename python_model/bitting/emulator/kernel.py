"""The native kernel: compiled when first wanted, from one C++ file, with a fallback in torch of the same bits.

Knows specs, programs and numpy; what it computes is said in `kernel.cpp`. Without g++, on another processor, or with
`BITTING_KERNEL=off`, the callers take their torch path.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bitting import files
from bitting.errors import BittingError, ToolError
from bitting.unit.spec import UnitSpec

_SOURCE = Path(__file__).parent / "kernel.cpp"
_LIBRARY = "kernel.so"
#: No fused multiply-add where the source has two roundings: torch has two.
_FLAGS = ("-O3", "-ffp-contract=off", "-march=native", "-fopenmp", "-fPIC", "-shared", "-std=c++17", "-w")
_FLOATS = _BYTES = _STRUCT = ctypes.c_void_p  # addresses of contiguous arrays on the CPU: `tensor.data_ptr()`, None for none
_INT, _LONG, _FLOAT = ctypes.c_int32, ctypes.c_int64, ctypes.c_float
#: Arguments of the functions that are always there, and of those that need vectors of bytes; see kernel.cpp.
_ALWAYS = {
    "bitting_lookup": (_FLOATS, _LONG, _FLOAT, _FLOAT, _INT, _FLOATS, _FLOATS),
    "bitting_integers": (_FLOATS, _LONG, _FLOAT, _INT, _INT, _FLOATS),
    "bitting_round": (_FLOATS, _LONG, _FLOAT, _INT, _FLOAT, _FLOATS),
    "bitting_fold": (_FLOATS, _LONG, _FLOAT, _INT, _FLOATS, _BYTES),
    "bitting_fold_backward": (_FLOATS, _BYTES, _LONG, _FLOAT, _FLOATS),
}
_VECTORS = {
    "bitting_layer": (_STRUCT, _BYTES, ctypes.c_void_p),
    "bitting_input": (_BYTES, _LONG, _LONG, _BYTES, _LONG, _INT),
}
#: What `BITTING_KERNEL` may say: take the best, do without AVX-512, do without vectors of bytes, do without any.
CHOICES = {"auto": (), "avx2": ("-mno-avx512f",), "loops": ("-mno-avx512f", "-mno-avx2"), "off": None}


@dataclass(frozen=True)
class Kernel:
    """The compiled functions.

    Attributes:
        library: C functions as in kernel.cpp.
        isa: 2: sums of bytes modulo 2^32; 1: modulo 2^16; 0: only what training needs.
        block: samples side by side; strides are multiples of it.
    """

    library: ctypes.CDLL
    isa: int
    block: int

    def computes(self, spec: UnitSpec, weight: int) -> bool:
        """Gather layers of a family, with weights up to `weight` in magnitude (127 at most: they are bytes), are exact."""
        if self.isa == 1:
            pair = 2 * ((1 << spec.act_bits) - 1) * weight
            return spec.acc_bits <= 16 and pair <= (1 << 15) - 1
        return self.isa == 2


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
    source = _SOURCE.read_text()

    def make(work: Path, finished: Path) -> None:
        command = [compiler, *_FLAGS, *extra, str(_SOURCE), "-o", str(finished / _LIBRARY)]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ToolError(f"g++ can not compile the kernel: {done.stderr.strip().splitlines()[-1:]}")

    try:
        folder = files.built("kernel", (source, *_FLAGS, *extra, files.processor()), make)
        library = ctypes.CDLL(str(folder / _LIBRARY))
    except (ToolError, OSError):  # an old compiler, or no OpenMP: slower, not wrong
        return None
    isa = library.bitting_isa()
    for name, arguments in (_ALWAYS | (_VECTORS if isa else {})).items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, None
    return Kernel(library, isa, library.bitting_block() if isa else 1)
