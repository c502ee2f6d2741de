"""What a PUF adds to an engine as a whole, and how long it boots: `python scripts/puf_boot_report.py [SPEC@TARGET ...]`.

For each family and FPGA: the clocks of a boot; cells after synthesis with fuses and with a PUF, and of each part; over some
seeds of place and route the system's clock of both, and whether every ring was placed and routed as it is named.
"""

from __future__ import annotations

import argparse
import statistics

from bitting.errors import ToolError
from bitting.fpga import boards, design, flow, rings, targets
from bitting.unit.puf_clocks import boot_clocks
from bitting.unit.puf_key import DEFAULT_DESIGN, PufDesign
from bitting.unit.spec import UnitSpec, parse_spec

#: Parts by the beginning of a module's name, the longest first.
_PARTS = {
    "bitting_engine.engine.maker.response.counting.rings": "rings and trees",
    "bitting_engine.engine.maker.response": "counters, measurement",
    "bitting_engine.engine.maker.decoder": "decoder",
    "bitting_engine.engine.maker.hash": "hash",
    "bitting_engine.engine.maker": "helper data, order of it all",
    "bitting_engine.engine.engine": "the engine itself",
    "bitting_engine.engine": "packets before boot",
    "bitting_engine": "ports",
}


def cells(area: flow.Area) -> str:
    """Of an engine or a part."""
    return f"{area.luts} LUT4, {area.ff} flip-flops, {area.bram} block RAMs"


def clocks(puf: PufDesign) -> None:
    """Print how long a boot takes: the masks that keep the first pairs and the last ones."""
    first = [int(pair < puf.key.bits) for pair in range(puf.key.pairs)]
    for name, mask in (("first", first), ("last", first[::-1])):
        total = boot_clocks(puf, mask)
        times = ", ".join(f"{total / mhz / 1000:.0f} ms at {mhz} MHz" for mhz in (12, 25, 50, 100))
        print(f"boot, the {name} pairs kept: {total} clocks, of which {puf.measured.clocks} measure; {times}")


def areas(spec: UnitSpec, target: targets.Target, puf: PufDesign) -> None:
    """Print cells of the wholes and of the parts, and how many pairs would fit."""
    fused, whole = (flow.area(target, *design.engine(spec, True, target, made)) for made in (None, puf))
    print(f"  with fuses: {cells(fused)}; with a PUF: {cells(whole)} (of {target.luts} LUT4)")
    try:
        modules = flow.by_module(target, *design.engine(spec, True, target, puf))
    except ToolError as error:  # Yosys 0.62 stops on the iCE40 with a failed assertion
        print(f"    parts: not known, {error}")
    else:
        parts: dict[str, list[flow.Area]] = {}
        for name, area in modules.items():
            parts.setdefault(next(part for prefix, part in _PARTS.items() if name.startswith(prefix)), []).append(area)
        for part, found in parts.items():
            luts, ff, bram = (sum(getattr(area, kind) for area in found) for kind in ("luts", "ff", "bram"))
            print(f"    {part}: {luts} LUT4, {ff} flip-flops, {bram} block RAMs (optimised apart)")
    ringed = flow.by_module(target, rings.verilog(puf.measured, target.family), rings.TOP)[f"{rings.TOP}.counting.rings"].luts
    left = target.luts - (whole.luts - ringed)
    print(f"    rings and trees take {ringed / puf.key.pairs:.1f} LUT4 a pair; beside all else {left} LUT4 are left")


def place(spec: UnitSpec, target: targets.Target, puf: PufDesign | None, seeds: int) -> None:
    """Print the clocks of each seed."""
    name = "with a PUF" if puf else "with fuses"
    try:
        runs = [design.place(target, spec, seed, puf) for seed in range(1, seeds + 1)]
    except ToolError as error:
        print(f"  {name}: not placed: {error}")
        return
    fmax = [run.fmax for run, _ in runs]
    used = ", ".join(f"{kind} {count} of {available}" for kind, (count, available) in runs[0][0].utilisation.items())
    print(
        f"  {name}: median {statistics.median(fmax):.1f} MHz of seeds {', '.join(f'{mhz:.1f}' for mhz in fmax)}; placed {used}"
    )
    for seed, (run, folder) in enumerate(runs, start=1):
        print(f"    seed {seed}: slowest path from {run.critical[0][2]} to {run.critical[-1][3]}")
        if puf:
            found = rings.check(folder, target.family, puf.key.pairs)
            print(f"      {len(found)} rings where and as they are named; counters {rings.counter_fmax(folder):.1f} MHz")


def main() -> None:
    """Read the command line and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("wholes", nargs="*", default=["base@ecp5-25k", "tiny@ecp5-25k", "tiny@ice40-up5k"])
    parser.add_argument("--seeds", type=int, default=3, help="of place and route; 0: synthesis only")
    arguments = parser.parse_args()
    for name, puf in (("of `bitting synth --puf`", DEFAULT_DESIGN), ("of boards", boards.puf_design())):
        print(f"PUF {name}: {puf.key.pairs} pairs, {puf.measured.reads} reads, window {puf.measured.window}")
        clocks(puf)
    for whole in arguments.wholes:
        spec, target = parse_spec(whole.partition("@")[0]), targets.find(whole.partition("@")[2])
        print(whole)
        areas(spec, target, DEFAULT_DESIGN)
        for made in (None, DEFAULT_DESIGN) if arguments.seeds else ():
            place(spec, target, made, arguments.seeds)


if __name__ == "__main__":
    main()
