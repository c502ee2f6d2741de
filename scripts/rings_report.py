"""What the rings of a PUF cost, and how alike they are after place and route: `python scripts/rings_report.py [TARGET ...]`.

For each FPGA: cells after synthesis; over some seeds of placement, the clocks that place and route reaches, and the difference
of the rings of a pair, both with the wires that the RTL names and with those that nextpnr chooses; the time of a measurement.
"""

from __future__ import annotations

import argparse
import re
import statistics

from bitting.fpga import flow, rings, targets
from bitting.unit.puf_spec import PufSpec

_ROUTING = re.compile(r"\(\* ROUTING = .*? \*\)")


def spread(found: dict[tuple[int, int], rings.Ring]) -> str:
    """Of pairs: how many take the same wires, and the difference of their delays as a share of the mean."""
    pairs = [(found[pair, 0], found[pair, 1]) for pair, second in found if not second]
    mean = statistics.mean(ring.delay_ps for ring in found.values())
    differences = [(first.delay_ps - second.delay_ps) / mean for first, second in pairs]
    same = sum(first.wires == second.wires for first, second in pairs)
    return (
        f"same wires in {same} of {len(pairs)} pairs; difference within pairs: standard deviation "
        f"{100 * statistics.pstdev(differences):.2f}%, largest {100 * max(map(abs, differences)):.2f}% of the delay"
    )


def report(name: str, puf: PufSpec, seeds: int) -> None:
    """Print what one FPGA gives."""
    target = targets.find(name)
    text = rings.verilog(puf, target.family)
    area = flow.area(target, text, rings.TOP)
    print(f"{name}, {puf.pairs} pairs: {area.luts} LUT4 (of {target.luts}; adders {area.carry}), {area.ff} flip-flops")
    for part, cells in flow.by_module(target, text, rings.TOP).items():
        print(f"  {part}: {cells.luts} LUT4, {cells.ff} flip-flops")
    for wires, source in (("named", text), ("chosen by nextpnr", _ROUTING.sub("", text))):
        for seed in range(1, seeds + 1):
            run, folder = flow.place(target, source, rings.TOP, rings.WRAPPER, seed, netlist=True, rings=True)
            found = rings.read(folder, target.family)
            slowest, fastest = (choose(ring.mhz for ring in found.values()) for choose in (min, max))
            print(
                f"  wires {wires}, seed {seed}: clock {run.fmax:.1f} MHz, counters {rings.counter_fmax(folder):.1f} MHz, "
                f"rings {slowest:.1f}..{fastest:.1f} MHz; {spread(found)}"
            )
    print("  measurement: " + ", ".join(f"{puf.clocks / mhz / 1000:.0f} ms at {mhz} MHz" for mhz in (12, 24, 50, 100)))


def main() -> None:
    """Read the command line and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", default=["ecp5-25k", "ice40-up5k"])
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--reads", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    for name in arguments.targets:
        report(name, PufSpec(pairs=arguments.pairs, reads=arguments.reads), arguments.seeds)


if __name__ == "__main__":
    main()
