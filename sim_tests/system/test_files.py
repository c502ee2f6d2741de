"""Who may read what is written, and whose builds are run."""

import ctypes
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

import bitting
from bitting import files
from bitting.data import datasets
from bitting.emulator import kernel
from bitting.errors import BittingError, CacheError, ToolError
from bitting.fpga import flow, targets
from bitting.locking.device import Device
from bitting.program.layers import multilayer_perceptron
from bitting.sim import build, serial_port, session
from bitting.training import loop
from bitting.training.recipes import TrainConfig
from bitting.unit.spec import PRESETS
from tb.command import error_of

SPEC = PRESETS["tiny"]
ROOT = bytes(range(1, 17))
#: A design and a harness for it that a compiler takes a second for.
DESIGN = "module blink(input clk, output reg [3:0] b); always @(posedge clk) b <= b + 1; endmodule"
HARNESS = '#include "Vtop.h"\nextern "C" int answer() { return 42; }\n'


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("BITTING_CACHE", str(folder))
    return folder


@pytest.fixture(params=[0o022, 0o002, 0o000], ids="umask {:03o}".format)
def umask(request):
    """The user's own, however open."""
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def model():
    codes = [np.arange(24).reshape(2, 12) % SPEC.codes]
    return bitting.Model(multilayer_perceptron(SPEC, codes, [np.zeros(2)], [0]), {"dataset": "digits"})


@pytest.fixture
def seen(monkeypatch):
    """(name, mode, mode of the folder) of each temporary file, as it is when its writer begins and when it has ended."""
    found = []
    replacing = files.replacing

    @files.contextlib.contextmanager
    def watched(path, *arguments):
        with replacing(path, *arguments) as temporary:
            found.append((path.name, mode(temporary), mode(temporary.parent)))
            yield temporary
            found.append((path.name, mode(temporary), mode(temporary.parent)))

    monkeypatch.setattr(files, "replacing", watched)
    return found


def assert_private(path: Path, seen: list[tuple[str, int, int]]) -> None:
    assert mode(path) == 0o600
    temporary = [(own, folder) for name, own, folder in seen if name == path.name]
    assert temporary and all(own == 0o600 and folder == 0o700 for own, folder in temporary)


def test_a_model_is_for_its_owner_only(model, tmp_path, umask, seen):
    path = tmp_path / "model.safetensors"
    path.touch(0o666)  # an old one, open to all
    model.save(path)
    assert_private(path, seen)
    artefact = tmp_path / "artefact.safetensors"
    bitting.lock(model, Device(SPEC, ROOT)).save(artefact)
    assert mode(artefact) == 0o644, "what ships is for everyone"


def test_a_checkpoint_is_for_its_owner_only(tmp_path, umask, seen):
    checkpoint, modes = tmp_path / "checkpoint", []
    config = TrainConfig(hidden=(8,), epochs=1, seed=0)
    loop.train(SPEC, datasets.load("digits"), config, checkpoint, lambda *_: modes.append(mode(checkpoint)))
    assert modes == [0o600, 0o600] and {own for _, own, _ in seen} == {0o600}
    torch.set_num_threads(1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pytest.param("vcd", marks=pytest.mark.thorough), "fst"])
def test_a_waveform_is_for_its_owner_only(model, tmp_path, umask, kind, monkeypatch):
    """It shows the keys. GTKWave's file beside it names only signals, but tells of what there is to see."""
    device, waves = Device(SPEC, ROOT), tmp_path / f"run.{kind}"
    shown: list[tuple[bool, int]] = []
    batches = session._batches

    def looking(*arguments):
        outcome = batches(*arguments)
        shown.extend((path.is_dir(), mode(path)) for path in tmp_path.iterdir())
        return outcome

    monkeypatch.setattr(session, "_batches", looking)
    try:
        session.simulate(bitting.lock(model, device), device, np.zeros((1, 12), np.int8), waves=waves)
    except ToolError as error:  # a machine without the headers that this format needs: it is told, and nothing is left
        assert kind == "fst" and "FST needs" in str(error)
        assert not shown and not list(tmp_path.iterdir())
        return
    assert shown == [(True, 0o700)], "all of it begins in a private folder"
    assert {path.name: mode(path) for path in tmp_path.iterdir()} == {waves.name: 0o600, "run.gtkw": 0o600}


@pytest.mark.slow
def test_a_build_that_is_private_leaves_nothing_in_the_cache(cache, umask):
    with files.private_folder() as folder:
        assert mode(folder) == 0o700
        library = build.shared_library(DESIGN, "blink", HARNESS, private=folder)
        assert ctypes.CDLL(str(library)).answer() == 42
        made = [path for path in folder.rglob("*") if path.is_file()]
        assert library in made and not [path for path in made if path.stat().st_mode & 0o077]
    assert not folder.exists() and not (cache / "native").exists()
    build.shared_library(DESIGN, "blink", HARNESS)
    assert (cache / "native").exists(), "others are cached"


def test_files_of_a_private_build_are_never_open_to_others(cache, umask):
    found = []

    def make(work, finished):
        (work / "netlist.il").write_text("")
        (finished / "bitstream.bin").write_bytes(b"")
        found.extend([mode(work), mode(work / "netlist.il"), mode(finished / "bitstream.bin")])

    with files.private_folder() as folder:
        files.built("placed", ["a"], make, folder)
    assert found == [0o700, 0o600, 0o600] and not cache.exists()


def test_the_simulated_board_is_not_cached(cache, monkeypatch):
    """Its Verilog holds the root secret."""
    built = []

    def shared_library(verilog, top, harness, waves=None, private=None, **_):
        built.append(private)
        raise ToolError("enough")

    monkeypatch.setattr(build, "shared_library", shared_library)
    monkeypatch.setattr("bitting_rtl.board.serial_engine.serial_verilog", lambda divisor, root, sealed, flash: root.hex())
    with pytest.raises(ToolError, match="enough"):
        serial_port.SimulatedPort(Device(SPEC, ROOT))
    assert built[0] is not None and cache not in built[0].parents and not built[0].exists()


def test_the_bitstream_of_a_board_is_not_cached(cache):
    """A small design in a wrapper that stands for one with a root secret."""
    wrapper = flow.Wrapper("module top(input clk, output [3:0] b); blink inner(.clk(clk), .b(b)); endmodule", "top")
    target = targets.find("ice40-up5k")
    with files.private_folder() as folder:
        report = flow.implement(target, DESIGN, "blink", wrapper, [1], private=folder)
        bitstream = Path(report.bitstream)
        assert folder in bitstream.parents and bitstream.stat().st_size > 100_000 and mode(bitstream) == 0o600
    assert not (cache / "placed").exists() and (cache / "synthesis").exists()


def test_new_folders_of_the_cache_are_the_users_own(cache, umask):
    assert mode(files.cache_folder()) == 0o700
    folder = files.built("kind", ["a"], lambda work, finished: (finished / "library.so").touch(0o777))
    assert mode(folder) == mode(folder.parent) == 0o700 and not mode(folder / "library.so") & 0o022
    assert files.built("kind", ["a"], lambda *_: pytest.fail("it was built before")) == folder


@pytest.mark.parametrize("place", ["", "kind", "kind/HASH", "kind/HASH/library.so"])
@pytest.mark.parametrize("open_to", [0o020, 0o002])
def test_what_others_may_write_to_is_not_used(cache, place, open_to):
    folder = files.built("kind", ["a"], lambda work, finished: (finished / "library.so").touch())
    open_place = cache / place.replace("HASH", folder.name)
    open_place.chmod(mode(open_place) | open_to)
    with pytest.raises(CacheError) as refused:
        files.built("kind", ["a"], lambda *_: None)
    said = str(refused.value)
    assert said.startswith(f"{open_place} has mode") and "allowed is" in said and said.endswith(f"chmod -R go-w {open_place}")
    open_place.chmod(mode(open_place) & ~open_to)
    assert files.built("kind", ["a"], lambda *_: None) == folder


def test_what_belongs_to_another_user_is_not_used(cache, monkeypatch):
    files.built("kind", ["a"], lambda *_: None)
    monkeypatch.setattr(os, "getuid", lambda: cache.stat().st_uid + 1)
    with pytest.raises(CacheError, match=r"belongs to user \d+, .*; allowed is .*: remove it, or .*BITTING_CACHE"):
        files.cache_folder()


def test_no_library_of_an_open_cache_is_loaded(cache):
    """By no way in: the kernel, which can do without, does not pass over it in silence."""
    cache.mkdir()
    cache.chmod(0o777)
    kernel._load.cache_clear()
    for load in (kernel.load, lambda: build.shared_library(DESIGN, "blink", HARNESS)):
        with pytest.raises(BittingError, match="has mode 0777"):
            load()
    assert "chmod -R go-w" in error_of("doctor", BITTING_CACHE=str(cache))
    kernel._load.cache_clear()
