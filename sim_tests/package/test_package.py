"""The package for a hardware engineer: it passes its own testbench alone in a folder, finds a wrong word, holds no secret."""

import inspect
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bitting as library
from bitting import files
from bitting.artefact import packet_file, signature
from bitting.errors import BittingError
from bitting.locking.device import Device
from bitting.package import constraints
from bitting.package.contents import PACKETS, contents
from bitting.package.golden import TEST_ROOT
from bitting.program.layers import multilayer_perceptron
from bitting.sim import toolchain
from bitting.unit.protocol import fuse_words
from bitting.unit.spec import PRESETS
from bitting_rtl.board import axi
from bitting_rtl.board.engine_instance import EngineInstance
from bitting_rtl.board.registers import REGISTERS
from bitting_rtl.engine.export import engine_verilog
from bitting_rtl.engine.top import PORTS, TOP
from bitting_rtl.lib.ports import components
from tb import icarus
from tb.c_host import STRICT
from tb.command import bitting, error_of

TINY = PRESETS["tiny"]
#: Verilog by the line: name, ports and body of a module; an instance; names and other words.
BODY = re.compile(r"^module (\S+) ?\((.*?)\);\n(.*?)^endmodule", re.MULTILINE | re.DOTALL)
INSTANCE = re.compile(r"^  \S+ +\S+ +\($")
WORD = re.compile(r"\\\S+|[A-Za-z_$][\w$]*|\d+'\w+|\S")
NAME = re.compile(r"[\\A-Za-z_]")
MODULE = re.compile(r"^((?://[^\n]*\n)+)module (\w+) \((.*?)\);", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def packed() -> dict[str, str]:
    return {path: data.decode() for path, data in contents(TINY).items()}


def make(folder: Path, target: str) -> tuple[bool, str]:
    """Whether `make` ended well, and what it printed; its simulators are named as the README says."""
    compiler, runtime = icarus.commands()
    named = {"IVERILOG": shlex.join(compiler), "VVP": shlex.join(runtime), "VERILATOR": str(toolchain.require("verilator"))}
    command = ["make", target, *(f"{name}={value}" for name, value in named.items())]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def ports_of(text: str) -> set[str]:
    return set(re.findall(r"\w+", BODY.findall(text)[0][1]))


def changed(path: Path, line: int) -> None:
    """The last hexadecimal digit of a line becomes another one."""
    lines = path.read_text().splitlines(keepends=True)
    last = lines[line - 1][-2]
    lines[line - 1] = f"{lines[line - 1][:-2]}{int(last, 16) ^ 1:x}\n"
    path.write_text("".join(lines))


@pytest.mark.slow
def test_base_passes_its_testbench_alone_in_a_folder_under_both_simulators_and_finds_a_wrong_word(tmp_path):
    folder = tmp_path / "alone"
    bitting("package", "--spec", "base", "-o", folder)
    told = []
    for target in ("icarus", "verilator"):
        passed, printed = make(folder, target)
        assert passed and "\nPASS\n" in printed and "Warning" not in printed, printed
        told.append(re.findall(r"^session .*|^  \d+ command words.*", printed, re.MULTILINE))
    assert told[0] == told[1] and len(told[0]) > 2, "both count the same clocks"
    answers = folder / "test" / "answers.hex"
    line = int(np.random.default_rng(7).integers(1, 100))  # an early one: the testbench stops there
    changed(answers, line)
    passed, printed = make(folder, "icarus")
    assert not passed and f"answers.hex, line {line})" in printed and "\nFAIL\n" in printed and "\nPASS\n" not in printed


def test_the_testbench_looks_at_every_register_and_at_the_vault_aes(tmp_path):
    bitting("package", "--spec", "tiny:vault=aes", "-o", tmp_path / "package")
    calls = re.findall(
        r'expect_(read|write)\("(\w+)", ADDRESS_(\w+),', (tmp_path / "package" / "test" / "golden.vh").read_text()
    )
    assert sorted(calls) == sorted((way, r.name, r.name) for r in REGISTERS for way in ("read", "write"))
    for target in ("lint", "icarus"):
        passed, printed = make(tmp_path / "package", target)
        assert passed and "Warning" not in printed, printed
    assert "every register answers" in printed
    wrapper = tmp_path / "package" / "rtl" / f"{axi.TOP}.v"
    value = "32'd1112101972"  # "BITT"
    assert wrapper.read_text().count(value) == 1
    wrapper.write_text(wrapper.read_text().replace(value, "32'd1112101973"))
    passed, printed = make(tmp_path / "package", "icarus")
    assert not passed and "register ID reads" in printed, printed


def test_names_are_readable_and_modules_say_what_they_are(packed):
    kinds = [*components(), EngineInstance]
    summaries = {kind.__name__: (inspect.getdoc(kind) or "").partition("\n\n")[0].split() for kind in kinds}
    for top, ports in ((TOP, set(PORTS)), (axi.TOP, ports_of(axi.axi_verilog(TINY)))):
        text = packed[f"rtl/{top}.v"]
        assert "\\" not in text and not re.search(r"\w\$\w", text)
        modules = MODULE.findall(text)
        assert len(modules) == len(re.findall("^module", text, re.MULTILINE)) == len({name for _, name, _ in modules})
        assert set(re.findall(r"\w+", next(listed for _, name, listed in modules if name == top))) == ports
        for comment, name, listed in modules:
            kind, colon, summary = " ".join(line.removeprefix("// ") for line in comment.splitlines()).partition(": ")
            assert colon and summary.split() == summaries[kind], name
            assert name == top or name.startswith(f"{top}_")
            assert "__" not in listed
    instances = re.findall(r"^  (bitting_engine_lane) (\w+) \($", packed[f"rtl/{TOP}.v"], re.MULTILINE)
    assert len(instances) == TINY.lanes and packed[f"rtl/{TOP}.v"].count("module bitting_engine_lane (") == 1


@pytest.mark.parametrize("top", [TOP, axi.TOP])
def test_other_names_are_the_same_logic(packed, top):
    """From the top down, each module is what Yosys wrote, word for word, under a renaming of one to one."""
    original = engine_verilog(TINY) if top == TOP else axi.axi_verilog(TINY)
    modules, rewritten = ({name: rest for name, *rest in BODY.findall(text)} for text in (original, packed[f"rtl/{top}.v"]))
    reached = set()

    def renaming(old: str, new: str) -> dict[str, str]:
        reached.add(new)
        (ports, body), (new_ports, new_body) = modules[old], rewritten[new]
        pairs = list(zip(WORD.findall(ports), WORD.findall(new_ports), strict=True))
        inner: dict[str, str] = {}
        for line, other in zip(body.splitlines(), new_body.splitlines(), strict=True):
            words, others = WORD.findall(line), WORD.findall(other.partition("  //")[0])
            if (instance := INSTANCE.match(line)) and words[0] in modules:
                inner = renaming(words[0], others[0])
                words, others = words[1:], others[1:]
            if line.startswith("    ."):  # a connection: the port is one of the module inside
                assert others[1] == inner.get(words[1], words[1])
                words, others = words[2:], others[2:]
            elif not instance:
                inner = inner if line == "  );" else {}
            pairs += zip(words, others, strict=True)
        assert len(set(pairs)) == len(dict(pairs)) == len({other for _, other in pairs}), f"{old} and {new}"
        assert all(word == other for word, other in pairs if not NAME.match(word)), old
        return dict(pairs)

    renaming(top, top)
    assert reached == set(rewritten) and len(modules) >= len(rewritten)


def test_every_source_begins_with_its_licence(packed):
    assert packed["LICENSE"] == (Path(__file__).parents[2] / "LICENSE").read_text()
    without = {path for path, text in packed.items() if "SPDX-License-Identifier: Apache-2.0" not in text.partition("\n\n")[0]}
    assert {Path(path).suffix for path in without} == {"", ".hex", ".json"}, "what has no comments"


def test_the_page_is_a_page_names_what_is_there_and_its_code_compiles(packed, tmp_path):
    page = packed["README.md"]
    assert len(page.splitlines()) < 90 and "@" not in page
    for path in re.findall(r"`([\w./]+)`", page):
        if "/" in path:
            assert [name for name in packed if name.startswith(path)], path
    for name in ("host/bitting_host.h", f"registers/{axi.TOP}.h"):
        (tmp_path / Path(name).name).write_text(packed[name])
    (snippet,) = re.findall(r"^```c\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "npu.c").write_text(f"{snippet}struct bitting_link npu_link = {{npu_reset, npu_write, npu_read, NULL, 0}};\n")
    subprocess.run(["gcc", "-std=c99", *STRICT, "-c", "npu.c"], cwd=tmp_path, check=True)


def test_constraints_ask_for_the_clock(packed):
    sdc, lpf = (packed[f"constraints/{axi.TOP}.{kind}"] for kind in ("sdc", "lpf"))
    for text, megahertz in ((sdc, 100), (constraints.sdc({}, 62.5), 62.5)):
        ((port, period),) = re.findall(r"^create_clock -name (\w+) -period ([\d.]+) \[get_ports aclk\]$", text, re.MULTILINE)
        assert f"input {port};" in packed[f"rtl/{axi.TOP}.v"] and float(period) == 1000 / megahertz
    for text, frequency in ((lpf, "100"), (constraints.lpf(62.5), "62.5")):
        assert re.findall(r'^FREQUENCY PORT "aclk" ([\d.]+) MHZ;$', text, re.MULTILINE) == [frequency]
    delayed = re.findall(r"^set_(in|out)put_delay -clock aclk \S+ \[get_ports {?(\w+)(?:\[\*\]})?\]$", sdc, re.MULTILINE)
    declared = re.findall(r"^  (in|out)put (?:\[\d+:0\] )?(\w+);", BODY.findall(packed[f"rtl/{axi.TOP}.v"])[0][2], re.MULTILINE)
    assert set(delayed) == set(declared) - {("in", "aclk")} and len(delayed) == len(set(delayed))
    assert " 100 MHz" in packed["README.md"]


def test_an_artefact_adds_its_packets_and_no_secret(tmp_path):
    """What a package holds beside the packet file is made without any key, and is that of the family."""
    spec, rng = TINY, np.random.default_rng(3)
    codes = [rng.integers(0, spec.codes, shape) for shape in ((9, 16), (3, 9))]
    model = library.Model(multilayer_perceptron(spec, codes, [np.zeros(9), np.zeros(3)], [1, 0]))
    device = Device.new(spec)
    artefact = library.lock(model, device, self_test=2)
    public = signature.new_owner(tmp_path / "owner.key")
    path = tmp_path / "artefact.safetensors"
    artefact.save(path, signature.load_private(tmp_path / "owner.key"))
    assert "nobody vouches for" in error_of("package", path, "-o", tmp_path / "out")
    bitting("package", path, "--owner", public, "-o", tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*") if path.is_file()}
    family = contents(spec)
    assert set(found) == {*family, PACKETS}
    assert found[PACKETS].read_bytes() == packet_file.contents(artefact)
    differing = {path for path, data in family.items() if found[path].read_bytes() != data}
    assert differing == {"README.md"}
    for path in found.values():
        data = path.read_bytes()
        assert device.root not in data and device.fingerprint_key() not in data, path
        text = data.decode(errors="replace").lower()
        assert device.root.hex() not in text and not any(f"{word:08x}" in text for word in fuse_words(device.root)[:4]), path


def test_the_name_of_a_family_stands_where_the_documentation_says_and_changes_nothing_else(packed):
    other = {path: data.decode() for path, data in contents(replace(TINY, name="quokka")).items()}
    differing = {Path(path).name for path, text in packed.items() if other[path] != text}
    page = (Path(__file__).parents[2] / "docs" / "package.md").read_text()
    (said,) = re.findall(r"no part of a family's id\. It stands in the page,(.*?);", page, re.DOTALL)
    assert differing == {"README.md", *re.findall(r"`(.*?)`", said)}
    assert {path: text.replace("quokka", TINY.name) for path, text in other.items()} == packed
    for path, text in packed.items():
        if path.endswith((".v", ".rdl", ".h", ".vh")):
            lines = zip(text.splitlines(), other[path].splitlines(), strict=True)
            assert all(one.startswith(("// ", "/* ")) for one, another in lines if one != another)


def test_the_device_that_is_played_says_that_it_is_public(packed):
    played = {tuple(line.split()[:4]) for line in packed["test/sessions.hex"].splitlines()}
    assert played == {tuple(f"{word:08x}" for word in fuse_words(TEST_ROOT)[:4])}
    assert "never burn it" in packed["README.md"] and f"{TEST_ROOT[0]:02x} {TEST_ROOT[1]:02x}" in packed["README.md"]


def test_mistakes_end_in_one_line_and_change_nothing(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "mine").write_text("mine")
    assert "is not empty" in error_of("package", "--spec", "tiny", "-o", kept)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"] and (kept / "mine").read_text() == "mine"
    with pytest.raises(BittingError, match="is a file"):
        files.write_folder(kept / "mine", {"a": b""})
    assert "0.0 MHz" in error_of("package", "--spec", "tiny", "--clock", 0, "-o", tmp_path / "new")
    assert "leave one of them out" in error_of("package", "a.safetensors", "--spec", "tiny", "-o", tmp_path / "new")
    assert "bitting[sim]" in error_of("package", "--spec", "tiny", "-o", tmp_path / "new", without=["amaranth"])
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
