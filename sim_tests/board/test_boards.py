"""The board's top on a simulated serial line, the host's end of it, and bitstreams of boards."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitting.errors import BittingError, ExtraError
from bitting.fpga import boards
from bitting.locking.device import Device
from bitting.program import packets
from bitting.program.packets import ExpectedResults
from bitting.sim.serial_link import SerialLink
from bitting.sim.serial_port import SimulatedPort
from bitting.unit.serial_protocol import BUFFER_BYTES, ESCAPE, RESET
from bitting.unit.spec import PRESETS
from tb.command import bitting, error_of
from tb.programs import golden_run, random_activations, random_program

TINY = PRESETS["tiny"]
CHIP = Device(TINY, bytes(range(1, 17)))


@pytest.fixture
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
    folder = tmp_path_factory.mktemp("board")
    for name in ("A", "B"):
        bitting("device", "new", folder / f"{name}.key", "--spec", "tiny")
    bitting("train", "-o", folder / "model", "--data", "digits", "--spec", "tiny", "--epochs", 1, "--seed", 0)
    bitting("lock", folder / "model", "--allow-reproducible", "--device", folder / "A.key", "-o", folder / "locked",
            "--fingerprint", "clock", "--transform", "aes-clocked")  # fmt: skip
    return folder


@pytest.mark.slow
def test_an_artefact_runs_on_the_simulated_board(artefact):
    arguments = ("run", artefact / "locked", "--device", artefact / "A.key", "--allow-unsigned", "--samples", 6)
    found = json.loads(bitting(*arguments, "--port", "simulated", "--json").stdout)
    assert found["wrong_logits"] == found["wrong_cycles"] == 0 and found["samples"] == 6 and found["self_test"] == "passed"


@pytest.mark.slow
def test_without_torch_a_run_says_that_nothing_was_compared(artefact):
    """A host that has no emulator shows the accuracy, and never a comparison that did not take place."""
    arguments = ["run", "locked", "--device", "A.key", "--allow-unsigned", "--samples", "2", "--port", "simulated"]
    done = bitting(*arguments, without=["torch"], cwd=artefact)
    told = [[cell.strip() for cell in line.strip("│").split("│")] for line in done.stdout.splitlines() if line.startswith("│")]
    assert ["wrong logits", "not compared"] in told and ["wrong cycles", "not compared"] in told
    assert done.stderr.strip().splitlines()[-1].startswith("not compared with the emulator, which needs torch; to get it: pip")
    found = json.loads(bitting(*arguments, "--json", without=["torch"], cwd=artefact).stdout)
    assert found["wrong_logits"] is found["wrong_cycles"] is None and 0 <= found["accuracy"] <= 1


@contextlib.contextmanager
def board_of(key: Path) -> Iterator[str]:
    """The URL of a simulated board, for one connection."""
    with socket.create_server(("localhost", 0)) as server:
        board = threading.Thread(target=serve, args=(server, SimulatedPort(Device.load(key))))
        board.start()
        yield f"socket://localhost:{server.getsockname()[1]}"
        board.join()


def run(folder: Path, key: str, *arguments: object, status: int = 0, **named: Any) -> dict[str, Any]:
    """`bitting run` at the other end of a socket from a board that has a key."""
    with board_of(folder / f"{key}.key") as url:
        common = ("run", folder / "locked", "--allow-unsigned", "--samples", 4, "--json", "--port", url)
        return json.loads(bitting(*common, *arguments, status=status, **named).stdout)


def test_pyserial_at_the_other_end_of_a_socket(artefact):
    """The way a real board goes, through pyserial, with no key file; a board that is not the device it should be is told."""
    found = run(artefact, "A")
    assert found["self_test"] == "passed" and found["wrong_logits"] is None and len(found["logits"]) == 4
    assert run(artefact, "A", "--expect-device", artefact / "A.key")["wrong_logits"] == 0
    other = run(artefact, "B", status=1)
    assert other["self_test"] == "failed" and "answers to the self-test are wrong" in other["reason"]
    unasked = run(artefact, "B", "--no-self-test")
    assert unasked["self_test"] == "not asked" and unasked["logits"] != found["logits"]
    assert run(artefact, "B", "--no-self-test", "--expect-device", artefact / "A.key", status=1)["wrong_logits"] > 0


def test_keys_are_asked_for_where_a_chip_is_built_and_nowhere_else(artefact):
    """All of it is said before a port is opened: there is none of that name."""
    arguments = ("run", artefact / "locked", "--allow-unsigned", "--port")
    assert "give --device" in error_of(*arguments, "simulated")
    assert "--expect-device" in error_of(*arguments, "/dev/nothing-here", "--device", artefact / "A.key")
    assert "is not for this device" in error_of(*arguments, "/dev/nothing-here", "--expect-device", artefact / "B.key")
    assert "--port /dev/nothing-here" in error_of(*arguments, "/dev/nothing-here", "--expect-device", artefact / "A.key")


def serve(server: socket.socket, port: SimulatedPort) -> None:
    """A simulated board, for one connection."""
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
    port.close()


@pytest.mark.slow
def test_the_icebreaker_gets_its_bitstream(artefact):
    """Locked `tiny` with its serial line fits the iCE40UP5K, and runs at the board's clock."""
    output = artefact / "board.bin"
    facts = json.loads(bitting("board", "icebreaker", "--device", artefact / "A.key", "-o", output, "--json").stdout)
    assert output.stat().st_mode & 0o777 == 0o600 and output.stat().st_size > 100_000
    used, available = facts["placed"][0]["utilisation"]["ICESTORM_LC"]
    assert used <= available and facts["fmax"] >= 12


def test_mistakes_are_named(artefact):
    arguments = ("--device", artefact / "A.key", "-o", artefact / "never")
    assert "allowed: icebreaker, ulx3s-25f" in error_of("board", "arty", *arguments)
    assert "spec" in error_of("board", "ulx3s-25f", *arguments)  # a key of `tiny` on a board of `base`
    assert not (artefact / "never").exists()
    with pytest.raises(ExtraError, match=r"needs the package amaranth_boards, .*bitting\[fpga\]"):
        boards.Board("x", "ecp5-25k", "amaranth_boards.none", "None", "base").resources()
