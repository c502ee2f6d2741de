"""Commands about FPGAs: what the engine costs there, and its bitstream."""

from __future__ import annotations

import json as json_format
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from bitting import files
from bitting.cli import console
from bitting.cli.options import JsonOption, SpecOption
from bitting.errors import BittingError, missing_extra
from bitting.look import drawing
from bitting.unit.puf_key import DEFAULT_DESIGN
from bitting.unit.spec import VaultKind, parse_spec

TargetOption = Annotated[str, typer.Option("--target", help="ecp5-25k, ecp5-85k or ice40-up5k.")]
SeedsOption = Annotated[int, typer.Option("--seeds", min=0, help="Runs of place and route; 0: synthesis only.")]
HistoryOption = Annotated[Path, typer.Option("--history", help="JSON file to which the result is appended.")]
_HISTORY = Path("out/fpga.json")


def synth(
    spec: SpecOption = "base",
    lock: Annotated[str, typer.Option("--lock", help="full, or none: the unlocked twin.")] = "full",
    target: TargetOption = "ecp5-25k",
    seeds: SeedsOption = 3,
    puf: Annotated[bool, typer.Option("--puf", help="Ring oscillators make the root secret, in the place of fuses.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write the bitstream.")] = None,
    history: HistoryOption = _HISTORY,
    json: JsonOption = False,
) -> None:
    """Synthesise, place and route the engine behind a byte-wide port; print what it costs and what sets its clock.

    The root secret is shifted in through a pin, so the bitstream holds none. Results are cached.
    """
    with missing_extra("synth", "fpga"):
        from bitting.fpga import design, targets
        from bitting_rtl.unlock.aes import cipher_timing

    family, device = parse_spec(spec), targets.find(target)
    if lock not in ("full", "none"):
        raise BittingError(f"unknown lock {lock!r}; allowed: full, none")
    if puf and lock == "none":
        raise BittingError("--puf makes the root secret of a locked engine; --lock none has none")
    if output and not seeds:
        raise BittingError("--output wants a bitstream, which --seeds 0 does not make")
    made = DEFAULT_DESIGN if puf else None
    with console.progress(f"{family.name} on {target}", max(1, seeds)) as done:
        report = design.implement(device, family, lock == "full", range(1, seeds + 1), done, made)
    facts = {"spec": family.to_dict(), "spec_id": family.id, "lock": lock, **report.to_dict()}
    if made:
        facts["puf"] = made.to_dict()
    cipher = cipher_timing(device.build.compact) if lock == "full" and family.vault == VaultKind.AES else None
    if cipher:
        facts["aes"] = cipher._asdict()
    if output:
        files.write_bytes(output, Path(report.bitstream).read_bytes())
    _remember(history, "synth", facts)
    if json:
        console.emit_json(facts)
        return
    area = report.area
    rows: list[tuple[str, object]] = [
        (
            "LUT4",
            f"{area.luts} ({100 * area.luts / device.luts:.0f}% of the device): {area.lut} of logic, {area.carry} of adders",
        ),
        ("flip-flops", area.ff),
        ("block RAM, distributed RAM, DSP", f"{area.bram}, {area.lutram}, {area.dsp}"),
    ]
    if cipher:
        rows.append(("AES-128", f"{cipher.period / cipher.blocks:g} clocks a block, {cipher.latency} from start to result"))
    if report.placed:
        low, high = report.spread
        rows.append(("Fmax", f"{report.fmax:.1f} MHz, median of {seeds} seeds ({low:.1f} to {high:.1f})"))
        slowest = min(report.placed, key=lambda run: run.fmax)
        rows.append((f"critical path (seed {slowest.seed})", f"from {slowest.critical[0][2]} to {slowest.critical[-1][3]}"))
        rows.append(("bitstream", output or report.bitstream))
    title = f"{family.name} ({family.id}), lock {lock}{f', {made.key.pairs} pairs of oscillators' if made else ''}, on {target}"
    console.table(title, ("", ""), rows)


def overhead(
    spec: SpecOption = "base",
    lanes: Annotated[str, typer.Option("--lanes", help="Comma-separated numbers of lanes.")] = "8,16,32,64",
    target: TargetOption = "ecp5-85k",
    seeds: SeedsOption = 0,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw LUT4s against lanes: .svg, .png or .html.")] = None,
    history: HistoryOption = _HISTORY,
    json: JsonOption = False,
) -> None:
    """The lock against the unlocked twin, by lanes: the same lanes and memories, a plain fixed table, no lock logic."""
    with missing_extra("overhead", "fpga"):
        from bitting.fpga import overhead as costs
        from bitting.fpga import targets

    device = targets.find(target)
    if plot:
        drawing.require(plot, "--plot")
    try:
        counts = [int(item) for item in lanes.split(",")]
    except ValueError:
        raise BittingError(f"--lanes {lanes!r} is no list of numbers like 8,16,32,64") from None
    families = [parse_spec(spec).replace(lanes=count) for count in counts]
    measured = []
    with console.progress(f"{spec} on {target}", len(families)) as done:
        for number, family in enumerate(families):
            measured.append(costs.measure(device, family, range(1, seeds + 1)))
            done(number + 1)
    facts = {"spec": spec, "target": target, "seeds": seeds, "rows": [asdict(row) for row in measured]}
    _remember(history, "overhead", facts)
    if plot:
        costs.plot(plot, measured, f"{spec} on {target}")
    if json:
        console.emit_json(facts)
        return
    rows = [
        (
            row.lanes, row.lane, row.twin, row.locked, _share(row.table, row.twin), _share(row.unlocking, row.twin),
            _share(row.locked_area.luts - row.twin_area.luts, row.twin_area.luts),
            f"{row.twin_fmax:.0f} / {row.locked_fmax:.0f}" if row.twin_fmax and row.locked_fmax else "-",
            f"{row.twin_area.bram} / {row.locked_area.bram}",
            f"{row.int8_area.luts} + {row.int8_area.dsp} DSP, or {row.int8_logic_area.luts}",
        )
        for row in measured
    ]  # fmt: skip
    head = ("lanes", "a lane", "twin", "locked", "table, fingerprint", "unlocking", "flattened", "MHz", "block RAM", "int8")
    console.table(f"LUT4s of {spec} on {target}, modules apart", head, rows)
    console.out.print(f"a fold takes {measured[0].fold} LUT4s, a saturating ReLU of the same widths {measured[0].relu}")


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.1f}%)"


def _remember(path: Path, kind: str, facts: dict[str, Any]) -> None:
    """Append a result to a JSON history; a file that is none is not touched.

    Raises:
        BittingError: if the file holds something else.
    """
    entries: Any = []
    if path.exists():
        try:
            entries = json_format.loads(path.read_text())
        except ValueError:
            entries = None
        if not isinstance(entries, list):
            raise BittingError(f"{path} is no history of `bitting synth`; give another with --history")
    entries.append({"kind": kind, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **facts})
    files.write_text(path, json_format.dumps(entries, indent=1) + "\n")
