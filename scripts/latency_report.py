"""Where the clocks of a network go, layer by layer, and what each way to save some would bring: Markdown tables and JSON.

    python scripts/latency_report.py [--network resnet8] [--spec base:lanes=8,scratch_words=8192] [--stripes auto]
        [--activation fold] [--rtl] [--folder out/latency]

Weights are random (seed 0): with the fold Gaussian, as training begins; with `--activation relu` as PyTorch begins, rounded.
The columns `MAC` and `ends` add up to the timing law, exactly; gaps, waits and what begins a layer are of
`bitting.program.latency`. `--rtl` also runs one sample through the RTL, sealed, and prints its clocks.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

import bitting
from bitting.artefact.model import Model
from bitting.conversion.converter import convert
from bitting.conversion.exporting import export
from bitting.files import write_text
from bitting.network.graph import UnitNetwork
from bitting.network.layers import UnitProduct
from bitting.program import latency
from bitting.program.layers import Layer, Program
from bitting.sim.session import simulate
from bitting.training import architectures
from bitting.unit.spec import UnitSpec
from bitting.unit.timing import TILE_GAP, TILE_OVERHEAD

NETWORKS = {
    "lenet": (architectures.LeNet, (1, 28, 28)),
    "residual": (architectures.ResidualNetwork, (1, 28, 28)),
    "resnet8": (architectures.ResNet8, (3, 32, 32)),
}
#: What a clock may cost, in units of a weight's variance; values a standard deviation; Gaussian weights.
PRICES = (0.0, 0.001, 0.002, 0.004, 0.01, 0.03)
SCALES = range(12, 33, 2)
SAMPLES = 50_000
COLUMNS = (
    "layer", "tiles", "positions", "K", "clocks a code", "MAC", "ends", "gaps", "waits", "begins", "a tile comes in",
    "late tiles", "lanes", "of all",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A layer of weights, or all layers of constants between two of them.

    Attributes:
        name: of the layer.
        layers: gather layers.
        tiles: of all of them.
        positions: of a tile, the most.
        codes: K, the most.
        code_clocks: mean clocks of a code.
        zeros: MAC clocks of weights of 0.
        late_tiles: tiles that run shorter than the next takes to come.
        load: clocks in which one tile comes, the most.
        clocks: of `latency.LayerClocks`, summed.
        lanes: share of the lanes that work on an answer.
    """

    name: str
    layers: int
    tiles: int
    positions: int
    codes: int
    code_clocks: float
    zeros: int
    late_tiles: int
    load: int
    clocks: latency.LayerClocks
    lanes: float


def rows_of(network: UnitNetwork, program: Program) -> list[Row]:
    """In the order of the program."""
    names = [name for name, module in network.graph.items() if isinstance(module, UnitProduct)]
    cycles = program.tile_cycles(range(program.spec.codes))
    groups: list[tuple[str, list[int]]] = []
    for number, layer in enumerate(program.layers):
        if not layer.constant:
            groups.append((names.pop(0), [number]))
        elif groups and groups[-1][0].startswith("constants"):
            groups[-1][1].append(number)
        else:
            groups.append((f"constants before {names[0]}" if names else "constants at the end", [number]))
    rows = [_row(name, program, cycles, members) for name, members in groups]
    assert sum(row.clocks.tiles for row in rows) == sum(map(sum, cycles))
    assert sum(row.clocks.total for row in rows) == latency.clocks(program, cycles)
    return rows


def _row(name: str, program: Program, cycles: list[list[int]], members: list[int]) -> Row:
    layers = [program.layers[number] for number in members]
    parts = [latency.layer_clocks(layer, cycles[number]) for layer, number in zip(layers, members, strict=True)]
    summed = latency.LayerClocks(
        **{field: sum(getattr(part, field) for part in parts) for field in ("mac", "ends", "gaps", "waits", "begins")},
        load=max(part.load for part in parts),
    )
    late = [sum(part.load > count + TILE_GAP for count in cycles[number]) for part, number in zip(parts, members, strict=True)]
    macs = sum(layer.codes.size * layer.position_count for layer in layers)
    zero = program.spec.values.index(0)
    return Row(
        name, len(layers), sum(layer.tiles for layer in layers), max(layer.position_count for layer in layers),
        max(layer.tile_codes for layer in layers), summed.mac / macs,
        sum(int((layer.codes == (0 if layer.plain else zero)).sum()) * layer.position_count for layer in layers),
        sum(late), summed.load, summed, _working(program, layers),
    )  # fmt: skip


def _working(program: Program, layers: list[Layer]) -> float:
    """Lanes that work on an answer: one of a sample's after the bands were left, all before."""
    if program.bands == 1 or any(layer.band[1] or layer.constant for layer in layers):
        return 1.0
    return 1 / program.bands if layers[0].emits else 1.0


def ideas(program: Program, rows: list[Row]) -> dict[str, int]:
    """Clocks that each way to save some would save."""
    spec, products = program.spec, [layer for layer in program.layers if not layer.constant]
    clocks = [row.clocks for row in rows]
    cycles = zip(program.layers, program.tile_cycles(range(spec.codes)), strict=True)
    digits = {id(layer): sum(counts) - TILE_OVERHEAD * layer.tiles for layer, counts in cycles}
    halved = [layer for layer in program.layers if layer.positions[0] % 2 == 0 and layer.positions != (1, 1)]
    return {
        "gaps between tiles hidden": sum(each.gaps for each in clocks),
        "pipeline kept full from tile to tile": sum(each.ends for each in clocks),
        "every tile there in time": sum(each.waits for each in clocks),
        "layers begun without waiting": sum(each.begins for each in clocks),
        "the four above, of tiles of at most 32 codes": sum(
            row.clocks.total - row.clocks.mac for row in rows if row.codes <= 32
        ),
        "layers of constants for nothing": sum(row.clocks.total for row in rows if row.name.startswith("constants")),
        "weights of 0 for nothing": sum(row.zeros for row in rows),
        "two digits a clock (a second adder a lane; every code then takes one clock)": sum(
            digits[id(layer)] - layer.codes.size * layer.position_count for layer in products
        ),
        "two rows of a band at once (twice the lanes), where a lane has an even number": sum(
            digits[id(layer)] // 2 for layer in halved
        ),
    }  # fmt: skip


def thrift(spec: UnitSpec) -> list[tuple[float, float, float]]:
    """(price, clocks a code, RMS error) of Gaussian weights that are rounded to what is near and takes few clocks.

    A weight becomes the value with the least squared error plus `price` times its clocks, in units of the weights' variance.
    The scale is the one with the least error.
    """
    values, clocks = np.array(spec.values), np.array(spec.value_cycles)
    weights = np.random.default_rng(0).standard_normal(SAMPLES)
    found = []
    for price in PRICES:
        tries = []
        for scale in SCALES:
            cost = (weights[:, None] - values / scale) ** 2 + price * clocks
            chosen = cost.argmin(axis=1)
            error = float(np.sqrt(np.mean((values[chosen] / scale - weights) ** 2)))
            tries.append((error, float(clocks[chosen].mean())))
        error, mean = min(tries)
        found.append((price, mean, error))
    return found


def print_rows(program: Program, rows: list[Row]) -> None:
    """As a Markdown table."""
    whole = sum(row.clocks.total for row in rows)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for row in rows:
        each = row.clocks
        print(
            f"| {row.name} | {row.tiles} | {row.positions} | {row.codes} | {row.code_clocks:.2f} | {each.mac} | {each.ends} "
            f"| {each.gaps} | {each.waits} | {each.begins} | {each.load} | {row.late_tiles} | {100 * row.lanes:.0f}% "
            f"| {100 * each.total / whole:.1f}% |"
        )
    sums = [sum(getattr(row.clocks, name) for row in rows) for name in ("mac", "ends", "gaps", "waits", "begins")]
    print(f"| all, {whole} clocks | {sum(row.tiles for row in rows)} | | | | {' | '.join(map(str, sums))} | | | | 100% |")
    print(f"\nTiles by the timing law: {sum(sums[:2])}. Multiplications a lane: {program.macs}.\n")


def rtl_clocks(model: Model, x: np.ndarray) -> int:
    """Clocks of one sample on the RTL: challenge, input, program and answer, with a sealed device."""
    device = bitting.Device(model.program.spec, bytes(range(1, 17)), sealed=True)
    artefact = bitting.lock(model, device, "clock", "sealed-clocked")
    return simulate(artefact, device, model.interface.activations(x)).cycles


def main() -> None:
    """Both tables, and a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="resnet8")
    parser.add_argument("--spec", default="base:lanes=8,scratch_words=8192")
    parser.add_argument("--stripes", default="auto", help="lanes that share a sample")
    parser.add_argument("--activation", choices=("fold", "relu"), default="fold")
    parser.add_argument("--rtl", action="store_true", help="run a sample through the RTL too")
    parser.add_argument("--folder", type=Path, default=Path("out/latency"))
    arguments = parser.parse_args()
    make, shape = NETWORKS[arguments.network]
    torch.manual_seed(0)
    x = torch.rand(16, *shape)
    stripes = arguments.stripes if arguments.stripes == "auto" else int(arguments.stripes)
    keeps = arguments.activation == "relu"
    network = convert(
        make().eval(), arguments.spec, x, fresh=not keeps, activation=arguments.activation, reconstruct=False, stripes=stripes
    )
    program = network.to_program()
    rows = rows_of(network, program)
    print_rows(program, rows)
    whole, saved = sum(row.clocks.total for row in rows), ideas(program, rows)
    print("| would save | clocks | of all |\n|---|---|---|")
    for name, clocks in saved.items():
        print(f"| {name} | {clocks} | {100 * clocks / whole:.1f}% |")
    rounded = thrift(program.spec)
    print("\n| price of a clock | clocks a code | RMS error of a Gaussian weight |\n|---|---|---|")
    for price, mean, error in rounded:
        print(f"| {price} | {mean:.3f} | {error:.4f} |")
    result = {
        "spec": program.spec.name,
        "clocks": whole,
        "rows": [asdict(row) for row in rows],
        "saved": saved,
        "thrift": rounded,
    }
    if arguments.rtl:
        result["rtl"] = rtl_clocks(export(network, x), x.numpy()[: program.samples])
        print(f"\nRTL, one batch, sealed, with challenge, input and answer: {result['rtl']} clocks.")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    write_text(arguments.folder / "report.json", json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
