"""Run the exported engine under Icarus Verilog. A missing Icarus fails the test; scripts/get_icarus.sh fetches it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bitting.program.packets import WORDS
from bitting.sim import toolchain
from bitting.unit.protocol import fuse_words

BENCH = Path(__file__).parent / "icarus.v"


def commands() -> tuple[list[str], list[str]]:
    """How compiler and runtime are called. An unpacked Icarus does not know where its parts are."""
    compiler, runtime = toolchain.require("iverilog"), toolchain.require("vvp")
    parts = next(iter(sorted(compiler.parent.parent.glob("lib*/**/ivl/ivl"))), None)
    if not parts:
        return [str(compiler)], [str(runtime)]
    return [str(compiler), "-B", str(parts.parent)], [str(runtime), "-M", str(parts.parent)]


def simulate(folder: Path, verilog: str, words: np.ndarray, expected: int, root: bytes) -> tuple[np.ndarray, str]:
    """Result words, and the bench's last line."""
    compiler, runtime = commands()
    (folder / "engine.v").write_text(verilog)
    (folder / "commands.hex").write_text("\n".join(f"{int(word):08x}" for word in words))
    (folder / "fuses.hex").write_text("\n".join(f"{word:08x}" for word in fuse_words(root)))
    sizes = [f"-Picarus.COMMANDS={len(words)}", f"-Picarus.EXPECTED={expected}"]
    toolchain.run([*compiler, "-g2005", "-s", "icarus", *sizes, "-o", "bench", str(BENCH), "engine.v"], folder, "iverilog")
    printed = toolchain.run([*runtime, "bench"], folder, "vvp")
    found = [int(line, 16) for line in (folder / "results.hex").read_text().split()]
    return np.array(found, WORDS), printed.strip().splitlines()[-1]
