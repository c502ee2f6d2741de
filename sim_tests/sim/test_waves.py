"""The signals of a waveform: those of the save file and no others, so that no key is among them."""

import re

import pytest

from bitting.sim.waves import chosen, save_file
from bitting.unit.spec import PRESETS
from bitting_rtl.engine.export import TOP, engine_verilog
from tb.families import AES


@pytest.mark.parametrize("spec", [PRESETS["tiny"], AES["tiny"]], ids=["ascon", "aes"])
def test_only_signals_of_the_save_file_are_traced(spec):
    verilog = engine_verilog(spec)
    marked = chosen(verilog, TOP, spec.vault)
    comment = re.compile(r"^/\*verilator tracing_(on|off)\*/\n", re.M)
    assert comment.sub("", marked) == verilog, "comments only"
    traced, module, on = set(), "", False
    for line in marked.splitlines():
        if heading := re.match(r"module \\?([^\s(]+)", line):
            module, on = heading.group(1), True
        elif line.startswith("/*verilator"):
            on = "tracing_on" in line
        elif on and (signal := re.match(r"  (?:input|output|wire|reg) (?:\[[^]]*\] )?(\S+?)[ ;]", line)):
            traced.add(f"{module}.{signal.group(1)}")
    shown = re.findall(r"^bitting\.(.+?)(?:\[\d+:0\])?$", save_file(verilog, TOP, spec.vault), re.M)
    assert traced == set(shown)
    assert not [name for name in traced if "fuse" in name or name.endswith(("key", "seed", "table"))]
