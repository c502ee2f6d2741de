"""Run the exported engine under Icarus Verilog. A missing Icarus fails the test; scripts/get_icarus.sh fetches it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bitting.program.packets import WORDS
from bitting.sim import toolchain
from bitting.unit.protocol import fuse_words

BENCH = Path(__file__).parent / "icarus.v"


def simulate(folder: Path, verilog: str, commands: np.ndarray, expected: int, root: bytes) -> tuple[np.ndarray, str]:
    """Result words, and the bench's last line."""
    compiler, runtime = toolchain.require("iverilog"), toolchain.require("vvp")
    (folder / "engine.v").write_text(verilog)
    (folder / "commands.hex").write_text("\n".join(f"{int(word):08x}" for word in commands))
    (folder / "fuses.hex").write_text("\n".join(f"{word:08x}" for word in fuse_words(root)))
    # An unpacked Icarus does not know where its parts are.
    parts = next(iter(sorted(compiler.parent.parent.glob("lib*/**/ivl/ivl"))), None)
    base = ["-B", str(parts.parent)] if parts else []
    sizes = [f"-Picarus.COMMANDS={len(commands)}", f"-Picarus.EXPECTED={expected}"]
    toolchain.run(
        [str(compiler), *base, "-g2005", "-s", "icarus", *sizes, "-o", "bench", str(BENCH), "engine.v"], folder, "iverilog"
    )
    modules = ["-M", str(parts.parent)] if parts else []
    printed = toolchain.run([str(runtime), *modules, "bench"], folder, "vvp")
    words = [int(line, 16) for line in (folder / "results.hex").read_text().split()]
    return np.array(words, WORDS), printed.strip().splitlines()[-1]
