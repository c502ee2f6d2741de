"""The board's top on a simulated serial line, the host's end of it, and bitstreams of boards."""

import contextlib
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitting as package
from bitting.artefact import signature
from bitting.artefact.packet_file import C_HOST
from bitting.cli.boards import board as board_command
from bitting.data import datasets
from bitting.errors import EXTRAS, BittingError, ExtraError, ToolError
from bitting.fpga import boards, flow, rings, targets
from bitting.locking.device import Device
from bitting.locking.sealed_program import SealedProgram
from bitting.program import packets
from bitting.program.packets import ExpectedResults
from bitting.sim.serial_link import SerialLink
from bitting.sim.serial_port import SimulatedPort
from bitting.sim.terminal import terminal
from bitting.unit.bch import BchCode
from bitting.unit.puf_key import DEFAULT_KEY, DEFAULT_READS, PufDesign, PufKey
from bitting.unit.puf_spec import PufSpec, window_for
from bitting.unit.serial_protocol import BUFFER_BYTES, ESCAPE, RESET
from bitting_rtl.puf.rings import FAMILIES
from tb.command import bitting, error_of
from tb.families import AES
from tb.programs import golden_run, random_activations, random_program

TINY = AES["tiny"]
CHIP = Device(TINY, bytes(range(1, 17)))


@pytest.fixture(scope="module")
def port():
    with_board = SimulatedPort(CHIP)
    yield with_board
    with_board.close()


def job(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    program = random_program(TINY, rng)
    x = random_activations(TINY, rng, TINY.lanes, program.input_words)
    commands = np.concatenate([packets.activations_packet(TINY, program.input_base, x), packets.program_packets(program)])
    table = CHIP.table()
    return commands, ExpectedResults.of(program, program.tile_cycles(table)).words(golden_run(program, table, x))


@pytest.mark.slow
def test_programs_pass_the_line_unchanged(port):
    """Longer than the board's buffer, with every byte there is, escaped ones too; golden's answers."""
    link = SerialLink(port)
    seen = set()
    for seed in range(12):
        commands, expected = job(seed)
        seen |= set(commands.astype("<u4").tobytes())
        link.reset()
        assert np.array_equal(link.run(commands, len(expected)), expected), seed
    assert ESCAPE in seen and 4 * len(commands) > 0
    long = np.concatenate([packets.status_packet()] * 100)
    assert 4 * len(long) > BUFFER_BYTES
    link.reset()
    answer = link.run(packets.status_packet(), 7)
    assert np.array_equal(link.run(long, 700), np.tile(answer, 100))


@pytest.mark.slow
def test_a_host_that_overruns_nothing_waits_for_credit(port):
    """The board's buffer is full while the engine waits for its results to leave; not a byte is lost."""
    link = SerialLink(port)
    link.reset()
    commands, expected = job(3)
    assert np.array_equal(link.run(commands, len(expected)), expected)
    many = np.concatenate([packets.status_packet()] * (BUFFER_BYTES // 4))  # answers are longer than questions
    assert len(link.run(many, 7 * BUFFER_BYTES // 4)) == 7 * BUFFER_BYTES // 4


@pytest.mark.slow
def test_a_reset_works_in_the_middle_of_anything(port):
    commands, expected = job(4)
    raw = commands.astype("<u4").tobytes()
    for cut in (1, 2, 7, len(raw) // 2):
        port.write(raw[:cut].replace(bytes((ESCAPE,)), bytes((ESCAPE, 0xDC))))
        port.write(bytes((ESCAPE,)))  # half an escape
        link = SerialLink(port)
        link.reset()
        assert np.array_equal(link.run(commands, len(expected)), expected), cut
    port.write(bytes((ESCAPE, RESET)) * 3)
    link = SerialLink(port)
    link.reset()
    assert np.array_equal(link.run(commands, len(expected)), expected)


@pytest.mark.slow
@pytest.mark.parametrize("sealed", [False, True])
def test_a_board_has_the_fuse_sealed_or_not(sealed):
    port = SimulatedPort(Device(TINY.replace(vault="ascon"), CHIP.root, sealed=sealed))
    link = SerialLink(port)
    link.reset()
    ((_, payload),) = packets.split(link.run(packets.status_packet(), 7))
    port.close()
    assert payload[4] >> 4 & 1 == sealed


class Silence:
    """A line with nobody at its other end."""

    in_waiting = 0

    def write(self, data: bytes, /) -> int:
        return len(data)

    def read(self, size: int = 1, /) -> bytes:
        return b""


def test_silence_is_an_error():
    with pytest.raises(BittingError, match="does not answer a reset"):
        SerialLink(Silence()).reset()


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    """A folder: keys A and B of `tiny` and digits locked for each; S with the vault `ascon`, and digits sealed for it."""
    folder = tmp_path_factory.mktemp("board")
    for name, spec in (("A", "tiny:vault=aes"), ("B", "tiny:vault=aes"), ("S", "tiny:vault=ascon")):
        bitting("device", "new", folder / f"{name}.key", "--spec", spec)
    bitting("owner", "new", folder / "owner")
    bitting("train", "-o", folder / "model", "--data", "digits", "--spec", "tiny:vault=aes", "--epochs", 1, "--seed", 0)
    model = package.Model.load(folder / "model")
    owner = signature.load_private(folder / "owner")
    for name, transform in (("A", "aes-clocked"), ("B", "aes-clocked"), ("S", "sealed-clocked")):
        device = Device.load(folder / f"{name}.key")
        program = replace(model.program, spec=device.spec)  # the vault is no part of the arithmetic
        unlocked = package.Model(program, model.claims, model.interface)
        locked = package.lock(unlocked, device, "clock", transform, allow_reproducible=True)
        locked.save(folder / f"for-{name}", owner)
    return folder


@pytest.fixture(scope="module")
def board(artefact):
    """The simulated board of a device, by name; each is built once."""
    built: dict[str, SimulatedPort] = {}

    def of(name: str) -> SimulatedPort:
        if name not in built:
            built[name] = SimulatedPort(Device.load(artefact / f"{name}.key"))
        return built[name]

    yield of
    for port in built.values():
        port.close()


@pytest.mark.slow
def test_an_artefact_runs_on_the_simulated_board(artefact):
    arguments = ("run", artefact / "for-A", "--device", artefact / "A.key", "--allow-unsigned", "--samples", 6)
    found = json.loads(bitting(*arguments, "--port", "simulated", "--json").stdout)
    assert found["wrong_logits"] == found["wrong_cycles"] == 0 and found["samples"] == 6 and found["self_test"] == "passed"


@pytest.mark.slow
def test_without_torch_a_run_says_that_nothing_was_compared(artefact, board):
    """A host that has no emulator shows the accuracy, and never a comparison that did not take place."""
    arguments = ["run", "for-A", "--expect-device", "A.key", "--allow-unsigned", "--samples", "2", "--port"]
    with served(board("A")) as url:
        done = bitting(*arguments, url, without=["torch"], cwd=artefact)
    told = [[cell.strip() for cell in line.strip("│").split("│")] for line in done.stdout.splitlines() if line.startswith("│")]
    assert ["wrong logits", "not compared"] in told and ["wrong cycles", "not compared"] in told
    assert done.stderr.strip().splitlines()[-1].startswith("not compared with the emulator, which needs torch; to get it: pip")
    with served(board("A")) as url:
        found = json.loads(bitting(*arguments, url, "--json", without=["torch"], cwd=artefact).stdout)
    assert found["wrong_logits"] is found["wrong_cycles"] is None and 0 <= found["accuracy"] <= 1


@contextlib.contextmanager
def served(port: SimulatedPort) -> Iterator[str]:
    """The URL of a simulated board, for one connection."""
    with socket.create_server(("localhost", 0)) as server:
        line = threading.Thread(target=serve, args=(server, port))
        line.start()
        yield f"socket://localhost:{server.getsockname()[1]}"
        line.join()


def serve(server: socket.socket, port: SimulatedPort) -> None:
    connection, _ = server.accept()
    connection.settimeout(0.001)
    with connection:
        while True:
            try:
                came = connection.recv(4096)
                if not came:
                    break
                port.write(came)
            except TimeoutError:
                pass
            if answer := port.read_now():
                connection.sendall(answer)


def run(port: SimulatedPort, *arguments: object, status: int = 0, **named: Any) -> dict[str, Any]:
    """What `bitting run` says at the other end of a socket."""
    with served(port) as url:
        common = ("--samples", 4, "--json", "--port", url)
        return json.loads(bitting("run", *arguments, *common, status=status, **named).stdout)


@pytest.mark.slow
def test_pyserial_at_the_other_end_of_a_socket(artefact, board):
    """The way a real board goes, through pyserial, with no key file; a board that is not the device it should be is told."""
    options, own, other = ("--owner", artefact / "owner.pub"), artefact / "for-A", artefact / "for-B"
    found = run(board("A"), own, *options)
    assert found["self_test"] == "passed" and found["wrong_logits"] is None and len(found["logits"]) == 4
    compared = run(board("A"), own, *options, "--expect-device", artefact / "A.key")
    assert compared["wrong_logits"] == compared["wrong_cycles"] == 0
    told = run(board("A"), other, *options, status=1)
    assert told["self_test"] == "failed" and "answers to the self-test are wrong" in told["reason"]
    unasked = run(board("A"), other, *options, "--no-self-test", "--expect-device", artefact / "B.key", status=1)
    assert unasked["self_test"] == "not asked" and unasked["wrong_logits"] > 0 and unasked["logits"] != found["logits"]
    with served(board("A")) as url:
        assert "of the family whose id ends in" in error_of("run", artefact / "for-S", *options, "--port", url)


@pytest.mark.slow
def test_the_command_serves_a_simulated_board_until_it_is_interrupted(artefact):
    command = [sys.executable, "-m", "bitting", "board", "simulated", "--device", artefact / "S.key"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        assert serving.stdout and serving.stderr
        arguments = ("run", artefact / "for-S", "--allow-unsigned", "--expect-device", artefact / "S.key", "--samples", 2)
        found = json.loads(bitting(*arguments, "--port", serving.stdout.readline().strip(), "--json").stdout)
        serving.send_signal(signal.SIGINT)
        assert serving.wait() == 0 and "Traceback" not in serving.stderr.read()
    assert found["wrong_logits"] == 0 and found["self_test"] == "passed"


@pytest.mark.slow
def test_a_sealed_artefact_runs_without_torch_and_without_any_key(artefact, board, tmp_path):
    """All that a host has: the artefact, the owner's public key, images, and what comes with `bitting[board]`."""
    for name in ("for-S", "owner.pub"):
        (tmp_path / name).write_bytes((artefact / name).read_bytes())
    images = np.random.default_rng(5).integers(0, 256, (6, 8, 8)).astype(np.uint8)
    (tmp_path / "mnist").mkdir()
    for part in ("train", "t10k"):
        for kind, data in (("images-idx3", images), ("labels-idx1", np.arange(6, dtype=np.uint8))):
            head = struct.pack(f">4B{data.ndim}I", 0, 0, 8, data.ndim, *data.shape)
            (tmp_path / "mnist" / f"{part}-{kind}-ubyte").write_bytes(head + data.tobytes())
    host = {"without": [name for name, extra in EXTRAS.items() if extra != "board"], "cwd": tmp_path}
    arguments = ("for-S", "--owner", "owner.pub", "--data", "mnist")
    found = run(board("S"), *arguments, **host, BITTING_DATA=str(tmp_path))
    model = package.Model.load(artefact / "model").program
    x = datasets.activations(model.spec, images[:4].reshape(4, 64))
    assert found["self_test"] == "passed" and found["wrong_logits"] is found["wrong_cycles"] is None
    assert found["logits"] == package.Emulator(model, range(model.spec.codes))(x).tolist()
    owner = run(board("S"), *arguments, "--expect-device", artefact / "S.key", cwd=tmp_path, BITTING_DATA=str(tmp_path))
    assert owner["wrong_logits"] == 0 and owner["wrong_cycles"] is None, "a sealed device tells no cycles"

    changed = package.Artefact.load(artefact / "for-S")
    assert isinstance(changed.program, SealedProgram)
    changed.program.words[-40] ^= 1
    changed.save(tmp_path / "changed")
    for asked, result in (((), "failed"), (("--no-self-test",), "not asked")):
        refused = run(board("S"), "changed", "--allow-unsigned", "--data", "mnist", *asked, status=1, **host,
                      BITTING_DATA=str(tmp_path))  # fmt: skip
        assert refused["self_test"] == result and "BAD_TAG" in refused["reason"]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The example host in C for POSIX, compiled from what `bitting packets` writes."""
    folder = tmp_path_factory.mktemp("c")
    for source in C_HOST.iterdir():
        (folder / source.name).write_bytes(source.read_bytes())
    sources = ["example.c", "bitting_host.c", "bitting_units.c"]
    subprocess.run(["gcc", "-std=c99", "-O2", *sources, "-o", "host"], cwd=folder, check=True)
    return folder / "host"


def at_a_terminal(port: SimulatedPort, program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The program, whose first argument is the serial port of a simulated board."""
    with terminal(port) as name:
        command = [str(program), name, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_host_in_c_answers_as_the_emulator_on_a_board(artefact, board, program, tmp_path):
    """Digits of both vaults, over a serial line, to the bit. Answers tell another device, a tag tells a changed word."""
    model = package.Model.load(artefact / "model").program
    images = datasets.load("digits").test_x[:6]
    x = datasets.activations(model.spec, images).astype(np.int8)
    (tmp_path / "inputs").write_bytes(x.tobytes())
    expected = package.Emulator(model, range(model.spec.codes))(x).tolist()
    for name in ("A", "B", "S"):
        bitting("packets", artefact / f"for-{name}", "-o", tmp_path / name, "--owner", artefact / "owner.pub")
    for name in ("A", "S"):
        done = at_a_terminal(board(name), program, tmp_path / name, tmp_path / "inputs")
        assert done.returncode == 0, done.stderr
        assert [[int(answer) for answer in line.split()] for line in done.stdout.splitlines()] == expected
    trained = package.Model.load(artefact / "model")
    (tmp_path / "pixels").write_bytes(images.astype("<f4").tobytes())
    in_units = at_a_terminal(board("S"), program, tmp_path / "S", tmp_path / "pixels", "floats")
    assert in_units.returncode == 0, in_units.stderr
    logits = np.array([[np.float32(value) for value in line.split()] for line in in_units.stdout.splitlines()])
    assert np.array_equal(logits, trained(images)), "pixels in, logits out, to the bit"
    other = at_a_terminal(board("A"), program, tmp_path / "B", tmp_path / "inputs")
    assert other.returncode == 1 and not other.stdout and "this is not the device" in other.stderr
    words = np.frombuffer((tmp_path / "S").read_bytes(), "<u4").copy()
    words[16 + words[10:13].sum() + 100] ^= 1 << 31
    words[-1] = zlib.crc32(words[:-1].tobytes())
    (tmp_path / "changed").write_bytes(words.tobytes())
    changed = at_a_terminal(board("S"), program, tmp_path / "changed")
    assert changed.returncode == 1 and "BAD_TAG" in changed.stderr


@pytest.mark.slow
def test_commands_put_a_program_into_flash_and_both_hosts_send_inputs_only(artefact, program, tmp_path):
    key, own = artefact / "S.key", ("--owner", artefact / "owner.pub")
    told = bitting("flash", artefact / "for-S", *own, "-o", tmp_path / "image").stdout
    assert "iceprog" in told and "openFPGALoader" in told and "0x400000" in told
    packets_of = ("packets", artefact / "for-S", *own, "-o")
    bitting(*packets_of, tmp_path / "all")
    bitting(*packets_of, tmp_path / "inputs-only", "--flash")
    model, images = package.Model.load(artefact / "model").program, datasets.load("digits").test_x[:2]
    x = datasets.activations(model.spec, images).astype(np.int8)
    (tmp_path / "inputs").write_bytes(x.tobytes())
    expected = package.Emulator(model, range(model.spec.codes))(x).tolist()
    command = [sys.executable, "-m", "bitting", "board", "simulated", "--device", key, "--flash", "--image", tmp_path / "image"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        assert serving.stdout and serving.stderr
        port = serving.stdout.readline().strip()
        ran = ("run", artefact / "for-S", *own, "--samples", 2, "--port", port, "--json")
        found = json.loads(bitting(*ran, "--flash").stdout)
        in_c = [
            subprocess.run([program, port, tmp_path / file, tmp_path / "inputs"], capture_output=True, text=True, check=False)
            for file in ("inputs-only", "all")
        ]
        sent = error_of(*ran)
        serving.send_signal(signal.SIGINT)
        assert serving.wait() == 0 and "Traceback" not in serving.stderr.read()
    assert found["self_test"] == "passed" and found["logits"] == expected
    assert in_c[0].returncode == 0, in_c[0].stderr
    assert [[int(answer) for answer in line.split()] for line in in_c[0].stdout.splitlines()] == expected
    assert in_c[1].returncode == 1 and "HOST_PACKET" in in_c[1].stderr, "a program over the line is refused"
    assert "HOST_PACKET" in sent and "(--flash)" in sent


def test_keys_are_asked_for_where_a_chip_is_built_and_nowhere_else(artefact):
    """All of it is said before a port is opened: there is none of that name."""
    arguments = ("run", artefact / "for-A", "--allow-unsigned", "--port")
    assert "give --device" in error_of(*arguments, "simulated")
    assert "--expect-device" in error_of(*arguments, "/dev/nothing-here", "--device", artefact / "A.key")
    assert "is not for this device" in error_of(*arguments, "/dev/nothing-here", "--expect-device", artefact / "B.key")
    assert "--port /dev/nothing-here" in error_of(*arguments, "/dev/nothing-here", "--expect-device", artefact / "A.key")


@pytest.mark.slow
@pytest.mark.parametrize(("key", "spec"), [("S", "tiny"), pytest.param("A", "tiny:vault=aes", marks=pytest.mark.thorough)])
def test_the_icebreaker_gets_its_bitstream(artefact, key, spec):
    """Locked `tiny` with its serial line fits the iCE40UP5K, and runs at the board's clock."""
    output, keyed = artefact / "board.bin", ("--spec", spec, "--device", artefact / f"{key}.key")
    facts = json.loads(bitting("board", "icebreaker", *keyed, "-o", output, "--json").stdout)
    assert output.stat().st_mode & 0o777 == 0o600 and output.stat().st_size > 100_000
    used, available = facts["placed"][0]["utilisation"]["ICESTORM_LC"]
    assert used <= available and facts["fmax"] >= 12


#: Few pairs, for the time it takes; all else is there.
FEW = PufDesign(PufKey(BchCode(4, 1), pairs=16), PufSpec.suited(16, 1, Fraction(2), Fraction(25)))


@pytest.mark.slow
def test_a_bitstream_with_a_puf_holds_rings_as_they_are_named(tmp_path, monkeypatch):
    """`tiny` on a ULX3S, as the command makes it: readable for everybody, sealed, at the board's clock and pins."""
    made = []

    def implement(*arguments, **named):
        made.append(real(*arguments, **named))
        return made[-1]

    real = flow.implement
    monkeypatch.setattr(boards, "puf_design", lambda: FEW)
    monkeypatch.setattr(flow, "implement", implement)
    output = tmp_path / "board.bit"
    board_command("ulx3s-25f", puf=True, output=output, spec="tiny")
    (report,) = made
    assert output.stat().st_mode & 0o777 == 0o644 and output.read_bytes() == Path(report.bitstream).read_bytes()
    folder = Path(report.bitstream).parent
    assert list(rings.check(folder, "ecp5", 16)) == [(pair, second) for pair in range(16) for second in range(2)]
    assert report.placed[0].fmax > 25 and rings.counter_fmax(folder) > 1.4 * FAMILIES["ecp5"].mhz
    (module,) = json.loads((folder / "routed.json").read_text())["modules"].values()
    pads = {cell["attributes"].get("LOC") for cell in module["cells"].values() if cell["type"] == "TRELLIS_IO"}
    assert pads > {"G2", "M1", "L4"}, "clock and serial line, as the board's schematic has them"


@pytest.mark.parametrize("enrolment", [False, True])
def test_only_for_an_enrolment_a_board_with_a_puf_is_not_sealed(enrolment, tmp_path, monkeypatch, capsys):
    """What is asked of place and route, and what the factory is told; with no key file, and none made."""
    asked = []

    def implement(target, verilog, top, wrapper, seeds, progress, private, rings):
        asked.append((wrapper.text, private, rings))
        raise ToolError("enough")

    monkeypatch.setattr(flow, "implement", implement)
    with pytest.raises(ToolError, match="enough"):
        board_command("icebreaker", puf=True, enrolment=enrolment, output=tmp_path / "board.bin")
    ((wrapper, private, ringed),) = asked
    assert private is None and ringed, "no secret: it may be cached"
    assert set(re.findall(r"connect \\sealed 1'(.)", wrapper)) == {str(int(not enrolment))}
    monkeypatch.setattr(boards, "implement", lambda *arguments: flow.Report("", AREA, [RUN], __file__, []))
    board_command("icebreaker", puf=True, enrolment=enrolment, output=tmp_path / "board.bin")
    assert ("tells its oscillators to anybody" in " ".join(capsys.readouterr().out.split())) == enrolment


AREA = flow.Area(lut=1, carry=0, ff=0, lutram=0, bram=0, dsp=0)
RUN = flow.Placed(1, 50.0, [], {})


def test_the_design_of_all_boards_suits_each():
    """Its crystal, and rings from half to four times the speed that nextpnr says; none has constants yet."""
    found = boards.puf_design()
    assert found.key == DEFAULT_KEY and found.measured.reads == DEFAULT_READS and not any(found.constants)
    for wanted in boards.BOARDS.values():
        assert wanted.resources().default_clk_frequency == wanted.clock_mhz * 1_000_000
        rate = Fraction(FAMILIES[targets.find(wanted.target).family].mhz, wanted.clock_mhz)
        assert found.measured.window >= window_for(rate / 2)
        assert found.measured.slowest <= rate / 2 and found.measured.fastest >= 4 * rate


def test_mistakes_are_named(artefact):
    arguments = ("--device", artefact / "A.key", "-o", artefact / "never")
    assert "allowed: icebreaker, ulx3s-25f" in error_of("board", "arty", *arguments)
    assert "spec" in error_of("board", "ulx3s-25f", *arguments)  # a key of `tiny` on a board of `base`
    never = ("-o", artefact / "never")
    assert "--device, or --puf" in error_of("board", "icebreaker", *never)
    assert "give one of them" in error_of("board", "icebreaker", "--puf", *arguments)
    assert "add --puf" in error_of("board", "icebreaker", "--enrolment", *arguments)
    assert "give --device, not --puf" in error_of("board", "simulated", "--puf")
    assert "--output FILE" in error_of("board", "icebreaker", "--puf")
    assert not (artefact / "never").exists()
    with pytest.raises(ExtraError, match=r"needs the package amaranth_boards, .*bitting\[fpga\]"):
        boards.Board("x", "ecp5-25k", "amaranth_boards.none", "None", "base", 25, "R2", "W2 V2 Y2 W1").resources()
