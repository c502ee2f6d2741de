"""The architecture, held to by reading the imports: rooms know only what lies below them, and the RTL knows the unit only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bitting
import bitting_rtl

#: Rooms of `bitting`, lower ones first: a room imports from itself and from those above it in this list.
ROOMS = (
    "errors", "files", "malloc", "unit", "program", "emulator", "locking", "puf", "artefact", "look", "data", "network",
    "conversion", "targets", "training", "sim", "fpga", "attack", "check", "suite", "report", "package", "cli",
)  # fmt: skip
#: Rooms that may import the RTL.
KNOW_RTL = ("sim", "fpga", "check", "package", "cli")
#: Rooms of `bitting_rtl`, lower ones first; of `bitting` they know the numbers both sides share.
RTL_ROOMS = ("lib", "unlock", "puf", "engine", "board")
RTL_KNOWS = (
    "bitting", "bitting.unit.bch", "bitting.unit.cxof", "bitting.unit.digits", "bitting.unit.flash_image",
    "bitting.unit.protocol",
    "bitting.unit.puf_clocks", "bitting.unit.puf_key", "bitting.unit.puf_spec", "bitting.unit.serial_protocol",
    "bitting.unit.spec",
)  # fmt: skip
#: What pure integers must not import.
NOT_IN_UNIT = ("numpy", "torch", "amaranth")


def imported(source: str) -> set[str]:
    """Every module that a source text imports, anywhere in it; `from a import b` counts as a.b, which may be a name of a."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "absolute imports are easier to follow"
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def room_of(module: str, package: str) -> str | None:
    """Room of a module of a package; None for the package itself and for other packages."""
    parts = module.split(".")
    return parts[1] if parts[0] == package and len(parts) > 1 else None


def complaints(module: str, source: str) -> list[str]:
    """What a module of `bitting` or `bitting_rtl` imports and must not."""
    if module in ("bitting", "bitting.__main__"):
        return []  # the front doors: they name what they load lazily, or are the command
    package = module.split(".")[0]
    rooms = ROOMS if package == "bitting" else RTL_ROOMS
    own = room_of(module, package)
    assert own in rooms, f"{module} lies in no room of {package}"
    wrong = []
    for name in sorted(imported(source)):
        top, room = name.split(".")[0], room_of(name, package)
        if (
            (room in rooms and rooms.index(room) > rooms.index(own))
            or (own == "unit" and top in NOT_IN_UNIT)
            or (package == "bitting" and top == "bitting_rtl" and own not in KNOW_RTL)
            or (package == "bitting" and top == "amaranth")
            or (package == "bitting_rtl" and top == "torch")
            or (package == "bitting_rtl" and top == "bitting" and name != "bitting" and not name.startswith(RTL_KNOWS[1:]))
        ):
            wrong.append(f"{module} imports {name}")
    return wrong


def sources():
    for package in (bitting, bitting_rtl):
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root.parent).with_suffix("").parts
            name = ".".join(parts).removesuffix(".__init__")
            if name != "bitting_rtl":
                yield name, path.read_text()


def test_rooms_know_only_what_lies_below_them():
    assert [complaint for name, text in sources() for complaint in complaints(name, text)] == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("bitting.unit.spec", "import numpy as np"),
        ("bitting.program.layers", "from bitting.emulator import emulate"),
        ("bitting.emulator.emulate", "from bitting_rtl.engine import export"),
        ("bitting.attack.mutants", "def f():\n    from bitting_rtl.engine.export import engine_verilog"),
        ("bitting.attack.mutants", "from bitting.check.verification import verify"),
        ("bitting.locking.device", "from bitting.artefact.model import Model"),
        ("bitting.locking.device", "from bitting.puf.extractor import Helper"),
        ("bitting_rtl.puf.bch_decoder", "from bitting.puf import bch"),
        ("bitting.look.learning", "from bitting.training import loop"),
        ("bitting.targets.stolen", "from bitting.attack.port import Port"),
        ("bitting.check.attacks", "from bitting.suite.runner import Processes"),
        ("bitting.suite.runner", "from bitting_rtl.engine.export import engine_verilog"),
        ("bitting.report.document", "from bitting.cli import console"),
        ("bitting_rtl.engine.engine", "from bitting.locking.device import Device"),
        ("bitting_rtl.lib.crc", "from bitting_rtl.engine import decode"),
        ("bitting_rtl.unlock.ascon", "from bitting_rtl.puf.small_cxof import SmallCxof"),
        ("bitting_rtl.engine.mac", "import torch"),
    ],
)
def test_a_planted_import_is_found(module, line):
    assert complaints(module, line), "this import points the wrong way"


def test_no_room_hides_a_public_name():
    assert not set(ROOMS) & set(bitting.__all__), "importing the room would replace the function"


@pytest.mark.parametrize(
    ("modules", "forbidden"),
    [
        ("bitting, bitting.cli", ("torch", "amaranth", "cocotb", "sklearn", "onnx")),
        (
            "bitting.unit.golden, bitting.unit.timing, bitting.unit.protocol, bitting.unit.bch, bitting.unit.cxof",
            ("torch", "amaranth", "numpy"),
        ),
        ("bitting_rtl.board.axi, bitting_rtl.puf.bch_decoder, bitting_rtl.puf.small_cxof", ("torch",)),
        ("bitting.puf.extractor", ("torch", "amaranth", "bitting_rtl")),
        ("bitting.artefact.artefact, bitting.sim.serial_link", ("torch", "amaranth", "cocotb")),
        ("bitting.look.learning, bitting.look.drawing", ("torch", "amaranth", "altair")),
        ("bitting.report.writing", ("torch", "amaranth", "numpy", "altair", "vl_convert", "playwright")),
        ("bitting.targets.judge", ("amaranth", "bitting_rtl", "onnx", "onnxruntime", "torchao")),
        ("bitting.training.loop, bitting.attack.wrong_keys, bitting.attack.screening", ("amaranth", "bitting_rtl")),
        ("bitting.attack.extraction, bitting.attack.tampering, bitting.attack.histograms", ("amaranth", "bitting_rtl")),
    ],
)
def test_what_an_import_pulls_in(modules, forbidden):
    code = f"import sys, {modules}; assert not set({forbidden!r}) & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
