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
from typing import Any

from bitting import files
from bitting.errors import BittingError, ToolError
from bitting.spec import UnitSpec

_SOURCE = Path(__file__).parent / "kernel.cpp"
_LIBRARY = "kernel.so"
#: No fused multiply-add where the source has two roundings: torch has two.
_FLAGS = ("-O3", "-ffp-contract=off", "-march=native", "-fopenmp", "-fPIC", "-shared", "-std=c++17", "-w")
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
    return Kernel(library, isa, library.bitting_block() if isa else 1)


def address(tensor: Any) -> ctypes.c_void_p:
    """Of a contiguous torch tensor on the CPU."""
    return ctypes.c_void_p(tensor.data_ptr())
