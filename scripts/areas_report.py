"""Areas of engines with each vault, each beside its unlocked twin: the hardware's cost of a lock in the attack suite.

    python scripts/areas_report.py

Synthesises (minutes; results are cached) and writes python_model/bitting/suite/areas.json, which is committed: a suite must not
wait for a synthesis. Area depends on the vault and not on fingerprint or transform: one engine takes every lock of its vault.
The file is always written whole, so there is nothing to choose: `SPECS` and `TARGET` say what is in it.
Commit first: the file names the commit that it was made from. `pytest sim_tests/suite -k areas` says when it is out of date.
"""

import argparse
import hashlib
import json
import subprocess
from pathlib import Path

from bitting.files import write_text
from bitting.fpga import design, flow, targets, tools
from bitting.suite import areas
from bitting.unit.spec import parse_spec, spec_text

#: What the matrix locks by default, the vault `aes`, the family of the soft lock, and ResNet8's, whose lanes share samples.
SPECS = ("base", "base:vault=aes", "soft", "base:lanes=8,scratch_words=8192,stripes=8")
TARGET = "ecp5-25k"


def main() -> None:
    """Synthesise, and write the file."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    target, engines = targets.find(TARGET), []
    for name in SPECS:
        spec = parse_spec(name)
        row: dict[str, str | int] = {"spec": spec_text(spec), "spec_id": spec.id}
        for locked, suffix in ((True, ""), (False, "_twin")):
            verilog, top = design.engine(spec, locked, target)
            cells = flow.area(target, verilog, top)
            row |= {
                f"lut4{suffix}": cells.luts,
                f"ff{suffix}": cells.ff,
                f"ram_bits{suffix}": cells.bram * flow.BLOCK_BITS[target.family],
                f"dsp{suffix}": cells.dsp,
                f"verilog{suffix}": hashlib.sha256(verilog.encode()).hexdigest()[:16],
            }
        engines.append(row)
        print(json.dumps(row), flush=True)
    asked = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    made = {
        "commit": commit,
        "target": target.name,
        "yosys": tools.find("yosys")[1],
        "command": "python scripts/areas_report.py",
    }
    write_text(areas.FILE, json.dumps({"format": areas.FORMAT, "made": made, "engines": engines}, indent=1) + "\n")


if __name__ == "__main__":
    main()
