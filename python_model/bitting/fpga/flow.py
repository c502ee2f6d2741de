"""Synthesis, place and route, bitstream: each step cached by a hash of all that goes in.

All files are named relative to the folder a tool runs in: the tools of the wheels see a /tmp of their own.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bitting import files
from bitting.errors import ToolError
from bitting.fpga import tools
from bitting.fpga.targets import Target

#: Cells of each family by what they count as; a carry cell of the ECP5 takes two LUTs.
CELLS = {
    "ecp5": {
        "lut": {"LUT4": 1},
        "carry": {"CCU2C": 2},
        "ff": {"TRELLIS_FF": 1},
        "lutram": {"TRELLIS_DPR16X4": 1},
        "bram": {"DP16KD": 1, "PDPW16KD": 1},
        "dsp": {"MULT18X18D": 1},
    },
    "ice40": {
        "lut": {"SB_LUT4": 1},
        "carry": {"SB_CARRY": 1},
        "ff": {"SB_DFF": 1},
        "lutram": {},
        "bram": {"SB_RAM40": 1},
        "dsp": {"SB_MAC16": 1},
    },
}

#: Bits of a block RAM, parity among them: of the ECP5 as in its memory guide (FPGA-TN-02204), of the iCE40 as in its own
#: (FPGA-TN-02002).
BLOCK_BITS = {"ecp5": 18 * 1024, "ice40": 4 * 1024}
#: In the name of every clock that a ring oscillator makes (`bitting_rtl.puf.ring_counting`).
RING_CLOCK = "ring_clock"
#: To write a memory under a condition is, for Yosys, to write x where it does not hold, and it decides late that x is 0. So the
#: condition would stand before the address and the data of every memory; with this it goes to the enable only.
_READ = "read_verilog design.v; proc; opt_expr -mux_undef; opt_clean"
#: A line of nextpnr's log: cells of a kind that are used, and there.
_UTILISATION = re.compile(r"(\w+): +(\d+)/ *(\d+) +\d+%")
#: Option of nextpnr that names the file of pins.
_CONSTRAINTS = {"ecp5": "--lpf", "ice40": "--pcf"}


@dataclass(frozen=True)
class Area:
    """Cells after synthesis. `lut` and `carry` are LUT4s of logic and of adders; both take LUTs of the device on the ECP5."""

    lut: int
    carry: int
    ff: int
    lutram: int
    bram: int
    dsp: int

    @property
    def luts(self) -> int:
        """LUT4s altogether."""
        return self.lut + self.carry + 6 * self.lutram  # a DPR16X4 takes four LUTs and two for its writing

    @classmethod
    def of(cls, family: str, cells: dict[str, int]) -> Area:
        """From Yosys' counts by type; the iCE40's flip-flops and memories have many types with one prefix."""
        totals = {}
        for kind, weights in CELLS[family].items():
            totals[kind] = sum(
                weight * count
                for name, weight in weights.items()
                for cell, count in cells.items()
                if cell == name or (family == "ice40" and cell.startswith(name))
            )
        return cls(**totals)


@dataclass(frozen=True)
class Wrapper:
    """What fits a module to the pins.

    Attributes:
        text: its source, in which the module is a black box.
        top: name of its top module.
        reader: Yosys' command that reads it.
        constraints: pins, in the language of the family's place and route (LPF, PCF); without, they go anywhere.
    """

    text: str
    top: str
    reader: str = "read_verilog"
    constraints: str = ""


@dataclass(frozen=True)
class Placed:
    """One run of place and route. `critical`: (ns, what, from, to) of each step of the slowest path."""

    seed: int
    fmax: float
    critical: list[tuple[float, str, str, str]]
    utilisation: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Report:
    """What a design costs on a target."""

    target: str
    area: Area
    placed: list[Placed]
    bitstream: str
    tools: list[str]

    @property
    def fmax(self) -> float:
        """Median over the seeds, in MHz."""
        return statistics.median(run.fmax for run in self.placed)

    @property
    def spread(self) -> tuple[float, float]:
        """Slowest and fastest clock over the seeds, in MHz."""
        return min(run.fmax for run in self.placed), max(run.fmax for run in self.placed)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, `fmax` in MHz (None if nothing was placed) and `luts`, ready for JSON."""
        return {**asdict(self), "fmax": self.fmax if self.placed else None, "luts": self.area.luts}


def synthesise(target: Target, verilog: str, top: str) -> Path:
    """Folder with `netlist.il`, `netlist.v` and `stat.json` of one module, without pads.

    Raises:
        ToolError: if Yosys is missing or fails.
    """
    pads = ("-noiopad",) if target.family == "ecp5" else ()
    flat = " ".join((f"synth_{target.family}", *target.synthesis, *pads, "-top", top))

    def make(work: Path, finished: Path) -> None:
        (work / "design.v").write_text(verilog)
        script = (
            f"{_READ}; {flat}; tee -q -o {finished.name}/stat.json stat -json; "
            f"write_verilog -noattr {finished.name}/netlist.v; select {top}; write_rtlil -selected {finished.name}/netlist.il"
        )
        tools.run("yosys", ["-q", "-l", "yosys.log", "-p", script], work)

    return files.built("synthesis", [verilog, _READ, flat, tools.find("yosys")[1]], make)


def area(target: Target, verilog: str, top: str) -> Area:
    """Cells of a module, flattened."""
    counts = json.loads((synthesise(target, verilog, top) / "stat.json").read_text())
    return Area.of(target.family, counts["design"]["num_cells_by_type"])


def by_module(target: Target, verilog: str, top: str) -> dict[str, Area]:
    """Cells of each module by itself, optimised apart from the others; instances of one module are counted together."""
    pads = ("-noiopad",) if target.family == "ecp5" else ()
    script = " ".join((f"synth_{target.family}", *target.synthesis, *pads, "-noflatten", "-top", top))

    def make(work: Path, finished: Path) -> None:
        (work / "design.v").write_text(verilog)
        command = f"{_READ}; {script}; tee -q -o {finished.name}/stat.json stat -json"
        tools.run("yosys", ["-q", "-l", "yosys.log", "-p", command], work)

    folder = files.built("synthesis-by-module", [verilog, _READ, script, tools.find("yosys")[1]], make)
    modules = json.loads((folder / "stat.json").read_text())["modules"]
    return {name.lstrip("\\"): Area.of(target.family, module["num_cells_by_type"]) for name, module in modules.items()}


def place(
    target: Target,
    verilog: str,
    top: str,
    wrapper: Wrapper,
    seed: int,
    netlist: bool = False,
    private: Path | None = None,
    rings: bool = False,
) -> tuple[Placed, Path]:
    """Place and route a module inside a wrapper that fits the pins.

    The wrapper is synthesised with the module as a black box, then joined with the module's own netlist: what is placed is
    what was counted. A wrapper with a root secret in it wants `private`, a folder to build in instead of the cache.
    With `rings`, nextpnr may leave loops of logic out of its times (`--ignore-loops`), which ring oscillators are.

    Returns:
        The run, and the folder with `bitstream.bin`; if `netlist`, also with what was placed, in Yosys' JSON (`routed.json`),
        and nextpnr's delays of it (`delays.sdf`).

    Raises:
        ToolError: if a tool is missing or fails, or the design does not fit.
    """
    synthesised = synthesise(target, verilog, top)
    program = f"nextpnr-{target.family}"
    around = " ".join((f"synth_{target.family}", *target.synthesis, "-top", wrapper.top))

    script = (
        f"read_rtlil netlist.il; blackbox {top}; {wrapper.reader} wrapper; {around}; "
        f"delete {top}; read_rtlil netlist.il; "
        f"hierarchy -top {wrapper.top}; flatten; opt_clean; write_json joined.json"
    )

    def make(work: Path, finished: Path) -> None:
        (work / "wrapper").write_text(wrapper.text)
        (work / "pins").write_text(wrapper.constraints)
        shutil.copy(synthesised / "netlist.il", work)
        tools.run("yosys", ["-q", "-l", "yosys.log", "-p", script], work)
        routed = "--textcfg" if target.family == "ecp5" else "--asc"
        common = ["--json", "joined.json", "--freq", str(target.goal), "--seed", str(seed), "--timing-allow-fail"]
        report = ["--report", "report.json", "--log", "nextpnr.log", "-q", routed, "routed.txt"]
        extra = [_CONSTRAINTS[target.family], "pins"] if wrapper.constraints else []
        extra += ["--write", "routed.json", "--sdf", "delays.sdf"] if netlist else []
        extra += ["--ignore-loops"] if rings else []
        extra += ["--pcf-allow-unconstrained"] if target.family == "ice40" else []
        try:
            tools.run(program, [*target.options, *common, *report, *extra], work)
        except ToolError as error:
            if full := overfull((work / "nextpnr.log").read_text(errors="replace")):
                raise ToolError(f"the design does not fit on {target.name}: it wants {full}") from error
            raise
        packer = "ecppack" if target.family == "ecp5" else "icepack"
        tools.run(packer, ["routed.txt", f"{finished.name}/bitstream.bin"], work)
        for name in ("report.json", *["routed.json", "delays.sdf"] * netlist):
            (work / name).rename(finished / name)

    versions = [tools.find(name)[1] for name in ("yosys", program)]
    parts = [
        verilog,
        wrapper.text,
        wrapper.reader,
        wrapper.constraints,
        _READ,
        script,
        *target.options,
        str(target.goal),
        str(seed),
        *versions,
        f"netlist and delays {netlist}, rings {rings}",
    ]
    folder = files.built("placed", parts, make, private)
    return _placed(json.loads((folder / "report.json").read_text()), seed), folder


def overfull(log: str) -> str:
    """Of which cells a design has more than the device, by nextpnr's log: `7000 of 5280 ICESTORM_LC`; nothing if of none."""
    found = {name: (int(used), int(there)) for name, used, there in _UTILISATION.findall(log)}
    return ", ".join(f"{used} of {there} {name}" for name, (used, there) in found.items() if used > there)


def _placed(report: dict[str, Any], seed: int) -> Placed:
    clocks = {name: clock for name, clock in report["fmax"].items() if RING_CLOCK not in name}
    if len(clocks) != 1:
        raise ToolError(f"nextpnr reports {len(clocks)} clocks ({', '.join(clocks)}); the design was made with one")
    critical = []
    for path in report["critical_paths"]:
        # Clock to clock; the paths from and to pins say only how far away the pins are. What leads from a ring's clock to the
        # system's is read when that clock stands still.
        ends = path["from"], path["to"]
        if all(end.startswith("posedge") and RING_CLOCK not in end for end in ends):
            critical = [(step["delay"], step["type"], step["from"]["cell"], step["to"]["cell"]) for step in path["path"]]
            break
    used = {name: (row["used"], row["available"]) for name, row in report["utilization"].items() if row["used"]}
    return Placed(seed, float(next(iter(clocks.values()))["achieved"]), critical, used)


def implement(
    target: Target,
    verilog: str,
    top: str,
    wrapper: Wrapper,
    seeds: Sequence[int],
    progress: Callable[[int], None] = lambda done: None,
    private: Path | None = None,
    rings: bool = False,
) -> Report:
    """Synthesise, then place and route with each seed; the bitstream is the fastest run's.

    Args:
        target: device, and options of the tools.
        verilog: source of the module and of all that it consists of.
        top: name of the module.
        wrapper: fits it to the pins.
        seeds: of place and route, a run for each; without any the module is only synthesised.
        progress: called with the number of finished runs.
        private: where to build if the wrapper holds a root secret; the bitstream is there then, and nothing of it in the cache.
        rings: there are ring oscillators in it; what was placed lies beside the bitstream (`place`, with `netlist`).

    Raises:
        ToolError: see `place`.
    """
    placed: list[tuple[Placed, Path]] = []
    for done, seed in enumerate(seeds):
        placed.append(place(target, verilog, top, wrapper, seed, netlist=rings, private=private, rings=rings))
        progress(done + 1)
    best = max(placed, key=lambda item: item[0].fmax)[1] / "bitstream.bin" if placed else ""
    return Report(
        target.name,
        area(target, verilog, top),
        [run for run, _ in placed],
        str(best),
        [tools.find(name)[1] for name in ("yosys", f"nextpnr-{target.family}")],
    )
