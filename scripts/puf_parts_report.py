"""What the parts of a PUF's boot cost by themselves, and how fast they are: `python scripts/puf_parts_report.py [TARGET ...]`.

The error correction for some numbers of errors, and the hash. For each FPGA: cells after synthesis, and the clocks that place
and route reaches over some seeds. Every port is a register in a chain from one pin to another, so that ports need no pins.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator

from amaranth.hdl import Shape
from amaranth.lib import wiring

from bitting.fpga import flow, targets
from bitting.unit.bch import BLOCK_M, BchCode, DecoderClocks
from bitting.unit.cxof import CxofClocks
from bitting.unit.protocol import PURPOSE_PUF
from bitting_rtl.lib.verilog import to_verilog
from bitting_rtl.puf.bch_decoder import BchDecoder
from bitting_rtl.puf.small_cxof import SmallCxof

_TOP = "part"


def chain(component: wiring.Component) -> flow.Wrapper:
    """Fits any component to four pins: inputs are shifted in, outputs are taken every other clock and shifted out between."""
    places: dict[wiring.Flow, list[str]] = {wiring.In: [], wiring.Out: []}
    sizes = dict.fromkeys(places, 0)
    for path, member, _ in component.signature.flatten(component):
        width, begins = Shape.cast(member.shape).width, sizes[member.flow]
        name, signals = "__".join(map(str, path)), "ins" if member.flow is wiring.In else "outs"
        places[member.flow].append(f".{name}({signals}[{begins + width - 1}:{begins}])")
        sizes[member.flow] += width
    ins, outs = sizes[wiring.In], sizes[wiring.Out]
    text = f"""module part_pins(input clk, rst, data_in, output data_out);
  reg [{ins - 1}:0] ins;
  reg [{outs - 1}:0] kept;
  reg takes;
  wire [{outs - 1}:0] outs;
  always @(posedge clk) begin
    ins <= {{ins[{ins - 2}:0], data_in}};
    takes <= ~takes & ~rst;
    kept <= takes ? outs : {{1'b0, kept[{outs - 1}:1]}};
  end
  assign data_out = kept[0];
  {_TOP} inner(.clk(clk), .rst(rst), {", ".join(places[wiring.In] + places[wiring.Out])});
endmodule
"""
    return flow.Wrapper(text, "part_pins")


def parts(errors: list[int], words: int) -> Iterator[tuple[str, wiring.Component]]:
    """What is measured: name and clocks, component."""
    for t in errors:
        code = BchCode(BLOCK_M, t)
        yield f"BCH({code.n}, {code.k}), t = {t}, {DecoderClocks.of(code).word} clocks a word", BchDecoder(code)
    clocks = CxofClocks.of(words)
    yield f"CXOF128, {clocks.message} + {clocks.clear} clocks for {words} words", SmallCxof(PURPOSE_PUF)


def report(target: targets.Target, name: str, component: wiring.Component, seeds: int) -> None:
    """Print what one part gives."""
    wrapper, text = chain(component), to_verilog(component, _TOP)
    area = flow.area(target, text, _TOP)
    runs = [flow.place(target, text, _TOP, wrapper, seed)[0].fmax for seed in range(1, seeds + 1)]
    print(
        f"{target.name}, {name}: {area.luts} LUT4 (adders {area.carry}), {area.ff} flip-flops, {area.bram} block RAMs; "
        f"median {statistics.median(runs):.1f} MHz of seeds {', '.join(f'{fmax:.1f}' for fmax in runs)}"
    )


def main() -> None:
    """Read the command line and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", default=["ecp5-25k", "ice40-up5k"])
    parser.add_argument("--errors", type=int, nargs="+", default=[4, 11, 27])
    parser.add_argument("--words", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    for target in map(targets.find, arguments.targets):
        for name, component in parts(arguments.errors, arguments.words):
            report(target, name, component, arguments.seeds)


if __name__ == "__main__":
    main()
