"""The number format of a family as a page: widths, extremes, codes, cycles, sizes. All derived from the spec."""

from __future__ import annotations

import math
from typing import Any

from bitting.unit import timing
from bitting.unit.digits import Digit
from bitting.unit.spec import UnitSpec


def facts(spec: UnitSpec) -> dict[str, Any]:
    """Everything the page shows, as plain data."""
    cycles = spec.value_cycles
    largest = max(abs(v) for v in spec.values)
    term = largest * -spec.act_min
    return {
        "name": spec.name,
        "id": spec.id,
        "parameters": spec.parameters(),
        "weights": {
            "codes": spec.codes,
            "smallest": spec.values[0],
            "largest": spec.values[-1],
            "gaussian_sigma": spec.value_set.sigma,
            "table_bits": round(math.log2(math.factorial(spec.codes)), 1),
        },
        "activations": {"smallest": spec.act_min, "largest": spec.act_max},
        "accumulator": {
            "period": 1 << spec.acc_bits,
            "smallest": -(1 << (spec.acc_bits - 1)),
            "largest": (1 << (spec.acc_bits - 1)) - 1,
            "fold_quarter_period": 1 << (spec.acc_bits - 2),
            "products_until_it_may_wrap": (1 << (spec.acc_bits - 1)) // term,
        },
        "cycles": {
            "per_code_smallest": min(cycles),
            "per_code_mean": round(sum(cycles) / spec.codes, 4),
            "per_code_largest": max(cycles),
            "per_tile_overhead": timing.TILE_OVERHEAD,
        },
        "memories_bits": {
            "tile_buffer": 2 * spec.tile_codes * spec.code_bits,
            "offsets": spec.tile_codes * 16,
            "scratch": spec.scratch_words * spec.lanes * spec.act_bits,
            "bitting_table": spec.codes * spec.code_bits,
        },
        "values": [
            {"index": index, "value": value, "digits": digit_text(spec.value_digits[index]), "cycles": cycles[index]}
            for index, value in enumerate(spec.values)
        ],
    }


def digit_text(form: tuple[Digit, ...]) -> str:
    """Signed digits as text, most significant first: "+2^5 -2^3"; "0" for none."""
    return " ".join(f"{'-' if d.negative else '+'}2^{d.exponent}" for d in reversed(form)) or "0"


def text(spec: UnitSpec) -> str:
    """The page as plain text."""
    data = facts(spec)
    lines = [f"family {data['name']}   id {data['id']}", ""]
    for section in ("parameters", "weights", "activations", "accumulator", "cycles", "memories_bits"):
        lines.append(section.replace("_", " "))
        lines += [f"  {key.replace('_', ' '):<28} {value}" for key, value in data[section].items()]
        lines.append("")
    lines.append("value table of the family (a device permutes the codes)")
    cells = [f"{v['index']:>3} {v['value']:>5}  {v['digits']:<18} {v['cycles']}" for v in data["values"]]
    columns = 3
    rows = -(-len(cells) // columns)
    lines.append("   ".join(["idx value  digits      cycles "] * columns))
    lines += ["   ".join(cells[row::rows]) for row in range(rows)]
    return "\n".join(lines)
