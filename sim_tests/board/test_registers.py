"""The register map: SystemRDL, C header, page and wrapper say the same."""

import re
import subprocess
from pathlib import Path

import pytest
from systemrdl import RDLCompiler
from systemrdl.node import RegNode

from bitting.unit.spec import PRESETS
from bitting_rtl.board import axi
from bitting_rtl.board.register_map import C_PREFIX, c_header, systemrdl
from bitting_rtl.board.registers import REGISTERS, Register, constants
from tb.c_host import STRICT

SPEC = PRESETS["base"]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> dict[str, RegNode]:
    """Registers by name, as an independent compiler reads them; it refuses overlaps and what has no meaning."""
    path = tmp_path_factory.mktemp("rdl") / "map.rdl"
    path.write_text(systemrdl(SPEC))
    compiler = RDLCompiler()
    compiler.compile_file(str(path))
    return {node.inst_name: node for node in compiler.elaborate(axi.TOP).top.registers()}


def test_systemrdl_says_what_the_map_says(compiled):
    assert set(REGISTERS) == set(Register)
    assert {name: node.absolute_address for name, node in compiled.items()} == {r.name: r.value for r in Register}
    for register, info in REGISTERS.items():
        fields = {field.inst_name: field for field in compiled[register.name].fields()}
        assert {name: (f.low, f.width) for name, f in fields.items()} == {f.name: (f.low, f.width) for f in info.fields}
        for field in info.fields:
            node = fields[field.name]
            assert (node.is_sw_readable, node.is_sw_writable) == (not info.pulses, info.pulses)
            assert node.get_property("desc") == field.meaning
            names = node.get_property("encode")
            assert {i.name: i.value for i in names or ()} == {i.name: i.value for i in field.names or ()}
    wholes = {name: node.get_child_by_name("VALUE") for name, node in compiled.items()}
    resets = {name: whole.get_property("reset") for name, whole in wholes.items() if whole}
    never_change = {name: value for name, value in resets.items() if value is not None}
    assert never_change == {register.name: value for register, value in constants(SPEC).items()}


def test_the_c_header_says_what_systemrdl_says(compiled, tmp_path):
    """Macros as a C compiler evaluates them."""
    wanted = {}
    for name, node in compiled.items():
        macro = f"{C_PREFIX}_{name}"
        wanted[macro] = node.absolute_address
        for field in node.fields():
            if field.width < 32:
                wanted |= {f"{macro}_{field.inst_name}_LOW": field.low}
                wanted[f"{macro}_{field.inst_name}_MASK"] = (1 << field.high + 1) - (1 << field.low)
                wanted |= {f"{macro}_{field.inst_name}_{i.name}": i.value for i in field.get_property("encode") or ()}
            elif (reset := field.get_property("reset")) is not None:
                wanted[f"{macro}_IS"] = reset
    text = c_header(SPEC)
    defined = set(re.findall(r"^#define (\w+) ", text, re.MULTILINE))
    assert defined == set(wanted)
    (tmp_path / "map.h").write_text(text)
    prints = "".join(f'    printf("{name} %lu\\n", (unsigned long)({name}));\n' for name in defined)
    (tmp_path / "main.c").write_text(f'#include <stdio.h>\n#include "map.h"\nint main(void)\n{{\n{prints}    return 0;\n}}\n')
    subprocess.run(["gcc", "-std=c99", *STRICT, "main.c", "-o", "main"], cwd=tmp_path, check=True)
    printed = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout
    assert {name: int(value) for name, value in map(str.split, printed.splitlines())} == wanted


def test_the_page_names_every_register_at_its_address():
    rows = re.findall(r"^\| (0x[^|]*) \| ([A-Z_, ]+) \|", (ROOT / "docs" / "boards.md").read_text(), re.MULTILINE)
    shown: dict[str, int] = {}
    for addresses, names in rows:
        pairs = zip(names.split(","), addresses.split(","), strict=True)
        shown |= {name.strip(): int(address, 16) for name, address in pairs}
    assert shown == {register.name: register.value for register in Register}
