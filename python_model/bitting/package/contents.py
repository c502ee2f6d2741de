"""All files of a package, by their paths in it. No key goes in and no secret comes out."""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import PurePosixPath

import bitting
from bitting.artefact import packet_file
from bitting.artefact.artefact import Artefact
from bitting.errors import BittingError
from bitting.package import bench, constraints
from bitting.package.golden import boot_clocks, sessions
from bitting.sim.build import HARNESS
from bitting.sim.toolchain import MAKE_VARIABLES
from bitting.unit import timing
from bitting.unit.spec import UnitSpec
from bitting_rtl.board import axi, register_map
from bitting_rtl.board import package as board
from bitting_rtl.engine.export import engine_verilog, sidecar
from bitting_rtl.engine.top import TOP, Top
from bitting_rtl.lib.readable import readable

#: The packet file of an artefact.
PACKETS = "words.bin"
_LICENSE = "SPDX-License-Identifier: Apache-2.0"
#: How a line of comment begins and ends, by the end of a file's name. Other files have none: numbers, JSON, the license.
_COMMENTS = {
    **dict.fromkeys((".v", ".vh", ".vlt", ".rdl"), ("// ", "")),
    **dict.fromkeys((".sdc", ".lpf", ".core", "Makefile"), ("# ", "")),
    **dict.fromkeys((".c", ".h"), ("/* ", " */")),
    ".md": ("<!-- ", " -->"),
}
_CORE_FILES = """  testbench:
    files:
      - test/bitting_test.v: {file_type: verilogSource}
      - test/golden.vh: {file_type: verilogSource, is_include_file: true}
      - test/commands.hex: {file_type: user, copyto: test/commands.hex}
      - test/answers.hex: {file_type: user, copyto: test/answers.hex}
      - test/sessions.hex: {file_type: user, copyto: test/sessions.hex}
"""
_CORE_TARGETS = """  sim:
    <<: *default
    filesets: [rtl, testbench]
    toplevel: bitting_test
    default_tool: icarus
    tools:
      icarus:
        iverilog_options: [-g2005]
"""


def contents(spec: UnitSpec, artefact: Artefact | None = None, megahertz: float = 100) -> dict[str, bytes]:
    """Path and bytes of each file.

    Args:
        spec: of the engine.
        artefact: one of the same spec whose packets go in too; its signature was checked before.
        megahertz: the clock of the constraints.

    Raises:
        BittingError: for a clock that is none.
    """
    if not 0 < megahertz <= 10_000:
        raise BittingError(f"a clock of {megahertz} MHz is none; allowed is more than 0 and up to 10000")
    wrapper = axi.AxiEngine(spec)
    texts = {
        "README.md": _readme(spec, artefact, megahertz),
        "LICENSE": _license(),
        "Makefile": _filled(
            "Makefile", {"rtl": f"rtl/{TOP}.v rtl/{axi.TOP}.v", "top": axi.TOP, "make_variables": " ".join(MAKE_VARIABLES)}
        ),
        "bitting.core": board.core(spec, "rtl/", _CORE_FILES, _CORE_TARGETS),
        f"rtl/{TOP}.v": readable(engine_verilog(spec), Top(spec), TOP),
        f"rtl/{TOP}.json": json.dumps(sidecar(spec, baked=False), indent=2) + "\n",
        f"rtl/{axi.TOP}.v": readable(axi.axi_verilog(spec), wrapper, axi.TOP),
        "rtl/bitting_example.v": board.example(fused=True),
        f"registers/{axi.TOP}.rdl": register_map.systemrdl(spec),
        f"registers/{axi.TOP}.h": register_map.c_header(spec),
        f"constraints/{axi.TOP}.sdc": constraints.sdc(wrapper.signature.ports, megahertz),
        f"constraints/{axi.TOP}.lpf": constraints.lpf(megahertz),
        **{f"test/{name}": text for name, text in bench.files(spec).items()},
        "test/bitting.vlt": (HARNESS / "lint.vlt").read_text(),
        **{f"host/{name}": text for name, text in packet_file.c_host().items()},
    }
    written = {path: _licensed(path, text).encode() for path, text in texts.items()}
    return written | ({PACKETS: packet_file.contents(artefact)} if artefact else {})


def _licensed(path: str, text: str) -> str:
    """With the licence as its first line; of a FuseSoC core the first says what it is."""
    name = PurePosixPath(path)
    begin, end = _COMMENTS.get(name.suffix or name.name, ("", ""))
    if not begin:
        return text
    first, rest = text.split("\n", 1) if name.suffix == ".core" else ("", text)
    return f"{first}\n{begin}{_LICENSE}{end}\n{rest}".lstrip("\n")


def _license() -> str:
    """Of bitting, as it was installed.

    Raises:
        BittingError: if it is not there.
    """
    # A checkout may have metadata of its own beside the installation's, without the text.
    texts = (found.read_text("licenses/LICENSE") for found in importlib.metadata.distributions(name="bitting"))
    text = next(filter(None, texts), None)
    if text is None:
        raise BittingError(
            "the installation of bitting has no LICENSE, without which nothing may be given away; install it again"
        )
    return text


def _network(artefact: Artefact) -> str:
    """What the packets compute, as the file says it in clear."""
    said = artefact.interface
    names = f": {', '.join(said.names)}" if said.names else ""
    return (
        f"\nThe network ({said.task}) takes inputs of shape {said.shape}, as activations from {said.low} to {said.high},\n"
        f"and gives {artefact.program.outputs} answers{names}. `bitting_units.c` makes activations of numbers in the user's\n"
        "units, and answers of sums. How many clocks a batch takes is seen on the chip, or by `bitting verify` with its key.\n"
    )


def _filled(name: str, values: dict[str, str]) -> str:
    """A file of `files/` with `@name@` replaced."""
    return re.sub(r"@(\w+)@", lambda found: values[found[1]], (bench.FILES / name).read_text())


def _readme(spec: UnitSpec, artefact: Artefact | None, megahertz: float) -> str:
    has_packets = f"\n| `{PACKETS}` | the packet file of an artefact: what the host sends, and its self-test; not signed |"
    questions = len(artefact.self_test.questions) if artefact and artefact.self_test else 0
    tested = _network(artefact) if artefact else ""
    tested += (
        f"\nThe packets in `{PACKETS}` are for one chip with a secret of its own, which is not in here, so the testbench does\n"
        f"not run them. The file has {questions} questions with the answers that only this chip gives; `bitting_self_test` of\n"
        "the host asks them.\n"
    )
    return _filled(
        "README.md",
        {
            "top": axi.TOP,
            "engine": TOP,
            "spec": spec.name,
            "id": spec.id,
            "lanes": str(spec.lanes),
            "version": bitting.__version__,
            "mhz": f"{megahertz:g}",
            "boot": str(boot_clocks(spec)),
            "digits": str(spec.max_digits),
            "overhead": str(timing.TILE_OVERHEAD),
            "gap": str(timing.TILE_GAP),
            "packets": has_packets if artefact else "",
            "sessions": "\n".join(f"* {session.name}: {session.meaning}" for session in sessions(spec)),
            "tested": tested if artefact else "",
        },
    )
