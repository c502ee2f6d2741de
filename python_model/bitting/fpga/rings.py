"""The ring oscillators of a PUF after place and route: whether all are there, where, and how alike those of a pair are.

Nothing here knows what rings oscillate at. nextpnr's delays are one corner of a model that is the same in every tile, and of
the wires of a tile it tells only some apart. So what says that two rings are alike is that they take the same wires and
switches.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from bitting.errors import ToolError
from bitting.fpga import flow
from bitting.fpga.targets import Target
from bitting.unit.puf_spec import PufSpec
from bitting_rtl.lib.verilog import to_verilog
from bitting_rtl.puf.measurement import Response
from bitting_rtl.puf.rings import FAMILIES

TOP = "bitting_puf"
#: Fits the response to the pins: it has few ports.
WRAPPER = flow.Wrapper(
    f"""module puf_pins(input clk, rst, measure, forget, bits_ready, output busy, bits_valid, output [1:0] bits);
  {TOP} puf(.clk(clk), .rst(rst), .measure(measure), .forget(forget), .busy(busy),
    .bits__valid(bits_valid), .bits__ready(bits_ready), .bits__payload(bits));
endmodule
""",
    "puf_pins",
)
_CELL = re.compile(r"ring(\d+)_(first|second)_lut(\d+)(?:_LC)?$")
_PLACE = re.compile(r"X(\d+)/Y(\d+)/(.*)")
#: Of the SDF: the slowest corner of a wire, and of a LUT from an input to its output.
_WIRE = re.compile(r"\(INTERCONNECT (\S+)/\S+ (\S+)/(\S+) \(\d+:\d+:(\d+)\)")
_THROUGH = re.compile(r"\(IOPATH ([A-D]|I[0-3]) [FO] \(\d+:\d+:(\d+)\)")


@dataclass(frozen=True)
class Ring:
    """One ring as it was placed and routed.

    Attributes:
        tile: column and row of its LUTs.
        luts: of each stage, its place in the tile; last the LUT that leads out.
        wires: of each stage, the wires from its output to the next stage's input, relative to the tile; last those from the
            last stage to the LUT that leads out. Nothing else is connected to a ring.
        delay_ps: once around, by nextpnr's slowest corner; half a period.
    """

    tile: tuple[int, int]
    luts: tuple[str, ...]
    wires: tuple[tuple[str, ...], ...]
    delay_ps: int

    @property
    def mhz(self) -> float:
        """Frequency by nextpnr's delays: both edges go around once."""
        return 1e6 / (2 * self.delay_ps)


def verilog(puf: PufSpec, family: str) -> str:
    """Of rings, counters and measurement, with constants of zeros."""
    return to_verilog(Response(puf, family), TOP)


def implement(target: Target, puf: PufSpec, seed: int) -> tuple[flow.Placed, Path]:
    """Place and route the rings with what measures them; gives the run, and the folder of `flow.place`.

    Raises:
        ToolError: as `flow.place`.
    """
    return flow.place(target, verilog(puf, target.family), TOP, WRAPPER, seed, netlist=True, rings=True)


def counter_fmax(folder: Path) -> float:
    """In MHz, of the slower of the two counters that rings clock."""
    report = json.loads((folder / "report.json").read_text())
    return min(float(clock["achieved"]) for name, clock in report["fmax"].items() if flow.RING_CLOCK in name)


def read(folder: Path, family: str) -> dict[tuple[int, int], Ring]:
    """(pair, 0 or 1) -> ring, of a folder that `flow.place` wrote with `netlist`.

    Raises:
        ToolError: if a stage is missing, does not drive the next one, drives more than that and the way out, or lies in another
            tile than its ring.
    """
    (module,) = json.loads((folder / "routed.json").read_text())["modules"].values()
    cells = {name: cell for name, cell in module["cells"].items() if _CELL.search(name)}
    routes = {bit: net["attributes"].get("ROUTING", "") for net in module["netnames"].values() for bit in net["bits"]}
    wires, through = _delays(folder / "delays.sdf")
    stages: dict[tuple[int, int], dict[int, str]] = {}
    for name in cells:
        pair, which, stage = _named(name)
        stages.setdefault((pair, which), {})[stage] = name
    return {
        key: _ring(f"ring of pair {key[0]}", [of[stage] for stage in sorted(of)], cells, routes, wires, through, family)
        for key, of in sorted(stages.items())
    }


def check(folder: Path, family: str, pairs: int) -> dict[tuple[int, int], Ring]:
    """The same, if every ring of so many pairs is there, in its tile, on the wires that are named: those of a pair are alike.

    Raises:
        ToolError: if not.
    """
    named, found = FAMILIES[family], read(folder, family)
    expected = [(pair, second) for pair in range(pairs) for second in range(2)]
    if list(found) != expected:
        raise ToolError(f"after place and route there are {len(found)} rings of {pairs} pairs")
    wires = tuple(tuple(f"+0 +0 {wire}" for wire in way) for way in (*named.wires, named.out_wires))
    for (pair, second), ring in found.items():
        what, tile = f"the {'second' if second else 'first'} ring of pair {pair}", named.tile(pair, second)
        if (ring.tile, ring.luts) != (tile, named.bel):
            raise ToolError(f"{what} lies at {ring.tile}, {ring.luts}; named are {tile}, {named.bel}")
        if ring.wires != wires:
            raise ToolError(f"{what} takes other wires than those that are named: {ring.wires}")
    return found


def _named(name: str) -> tuple[int, int, int]:
    found = _CELL.search(name)
    assert found
    return int(found[1]), int(found[2] == "second"), int(found[3])


def _ring(
    what: str,
    names: list[str],
    cells: dict[str, Any],
    routes: dict[int, str],
    wires: dict[tuple[str, str], tuple[str, int]],
    through: dict[str, int],
    family: str,
) -> Ring:
    expected = len(FAMILIES[family].bel)
    if len(names) != expected:
        raise ToolError(f"a {what} has {len(names)} of {expected} LUTs after place and route: some were merged or removed")
    places = [_PLACE.fullmatch(cells[name]["attributes"]["NEXTPNR_BEL"]) for name in names]
    tiles = {(int(place[1]), int(place[2])) for place in places if place}
    if len(tiles) != 1:
        raise ToolError(f"a {what} lies in {len(tiles)} tiles; the attribute BEL of its LUTs names one")
    (tile,) = tiles
    paths, delay = [], 0
    *stages, out = names
    for name, after in [*pairwise([*stages, stages[0]]), (stages[-1], out)]:
        if (name, after) not in wires:
            raise ToolError(f"a {what} is open: {name} does not drive {after}")
        pin, wire = wires[name, after]
        path = _path(routes[_driven(cells[name])], tile, _sink(cells[after], pin, family))
        paths.append(path)
        delay += wire + through[_input(path[-2])] if after != out else 0
    named = {wire for path in paths for wire in path}
    for name in stages:
        if further := sorted({_relative(wire, tile) for wire in routes[_driven(cells[name])].split(";")[::3]} - named):
            raise ToolError(f"a {what} is loaded by more than its stages and its way out: {', '.join(further)}")
    return Ring(tile, tuple(place[3] for place in places if place), tuple(paths), delay)


def _driven(cell: dict[str, Any]) -> int:
    """The net that a LUT drives."""
    (net,) = cell["connections"]["F" if cell["type"] == "TRELLIS_COMB" else "O"]
    return int(net)


def _delays(sdf: Path) -> tuple[dict[tuple[str, str], tuple[str, int]], dict[str, int]]:
    """(from, to) -> input and ps, of wires between LUTs; input -> ps, through any LUT."""
    wires, through = {}, {}
    for line in sdf.read_text().splitlines():
        if found := _WIRE.search(line):
            wires[found[1], found[2]] = found[3], int(found[4])
        elif found := _THROUGH.search(line):
            through[found[1]] = int(found[2])
    return wires, through


def _input(wire: str) -> str:
    """The LUT's input that a wire in front of it leads to: nextpnr may give a net another input than its netlist says."""
    found = re.search(r"([A-D])\d$|in_(\d)$", wire)
    assert found
    return found[1] or f"I{found[2]}"


def _sink(cell: dict[str, Any], pin: str, family: str) -> str:
    """The wire of a LUT's input, in its tile."""
    place = cell["attributes"]["NEXTPNR_BEL"].rsplit("/", 1)[1]
    if family == "ecp5":
        return f"{pin}{2 * 'ABCD'.index(place[5]) + int(place[-1])}_SLICE"
    return f"lutff_{place.removeprefix('lc')}:in_{pin.removeprefix('I')}_lut"


def _path(routing: str, tile: tuple[int, int], sink: str) -> tuple[str, ...]:
    """Wires from a net's driver to a sink, each relative to the tile. nextpnr lists wire; switch that drives it; strength."""
    parts = routing.split(";")
    driven_by = dict(zip(parts[::3], parts[1::3], strict=False))
    wire, path = f"X{tile[0]}/Y{tile[1]}/{sink}", []
    while wire:
        path.append(_relative(wire, tile))
        wire = _source(driven_by[wire])
    return tuple(reversed(path))


def _source(switch: str) -> str:
    """The wire from which a switch leads on; none for a driver's own wire.

    The ECP5's are X3/Y4/1_0_FROM->0_0_TO, relative to the place in front; the iCE40's X3/Y4/3.4.FROM.->.5.6.TO.
    """
    if not switch:
        return ""
    found = _PLACE.fullmatch(switch)
    assert found
    if ".->." in found[3]:
        x, y, name = found[3].partition(".->.")[0].split(".", 2)
        return f"X{x}/Y{y}/{name}"
    x, y, name = found[3].partition("->")[0].split("_", 2)
    return f"X{int(found[1]) + int(x)}/Y{int(found[2]) + int(y)}/{name}"


def _relative(wire: str, tile: tuple[int, int]) -> str:
    found = _PLACE.fullmatch(wire)
    assert found
    return f"{int(found[1]) - tile[0]:+d} {int(found[2]) - tile[1]:+d} {found[3]}"
