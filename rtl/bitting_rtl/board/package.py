"""What is written beside the exported engine: the AXI wrapper, an example that instantiates it, a FuseSoC core file."""

from pathlib import Path

import bitting
from bitting.unit.spec import UnitSpec
from bitting_rtl.board import axi
from bitting_rtl.engine.top import TOP

_CORE = """CAPI=2:
# FuseSoC core file of one family. Depend on it with `depend: [bitting:npu:{name}:{version}]`.
name: bitting:npu:{name}:{version}
description: bitting engine, spec {spec} ({id}), with AXI4-Stream and AXI4-Lite
filesets:
  rtl:
    files: [{folder}{top}.v, {folder}{axi}.v]
    file_type: verilogSource
  example:
    files: [{folder}bitting_example.v]
    file_type: verilogSource
{filesets}targets:
  default: &default
    filesets: [rtl]
    toplevel: {axi}
  lint:
    <<: *default
    filesets: [rtl, example]
    toplevel: bitting_example
    default_tool: verilator
    tools:
      verilator:
        mode: lint-only
        verilator_options: [-Wno-fatal, -Wno-lint]
{targets}"""


def core(spec: UnitSpec, folder: str = "", filesets: str = "", targets: str = "") -> str:
    """The FuseSoC core file.

    Args:
        spec: of the engine.
        folder: where the Verilog lies beside it, with its slash.
        filesets: more of them, as text.
        targets: likewise.
    """
    preset, varied, _ = spec.name.replace(" ", "-").partition(":")
    names = {
        "name": f"{preset}-{spec.id[-8:]}" if varied else preset,  # two cores of one name would be one to FuseSoC
        "version": bitting.__version__,
        "spec": spec.name,
        "id": spec.id,
        "top": TOP,
        "axi": axi.TOP,
    }
    return _CORE.format(folder=folder, filesets=filesets, targets=targets, **names)


def example(fused: bool) -> str:
    """Verilog that instantiates the wrapper; `fused`: with a memory of fuses."""
    text = (Path(__file__).parent / "example.v").read_text()
    return text if fused else "".join(line for line in text.splitlines(keepends=True) if "otp_" not in line)


def files(spec: UnitSpec, fused: bool) -> dict[str, str]:
    """Name and text of each file; `fused`: the engine has ports for the fuses. None of them holds a secret."""
    return {f"{axi.TOP}.v": axi.axi_verilog(spec, fused), "bitting_example.v": example(fused), "bitting.core": core(spec)}
