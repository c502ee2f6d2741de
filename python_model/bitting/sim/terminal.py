"""A pseudo-terminal with a simulated board at its other end: hosts open it as they open the serial port of a board."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import tty
from collections.abc import Iterator

from bitting.sim.serial_port import SimulatedPort

#: Looks at a silent line, some 16 000 clocks apart, until the board's clock is slowed down to spare the processor:
#: an engine that works may be silent for tens of millions of clocks.
_PATIENCE = 20_000
_PAUSE_SECONDS = 0.01
_CHUNK = 4096


@contextlib.contextmanager
def terminal(port: SimulatedPort) -> Iterator[str]:
    """The name of a terminal, whose bytes are carried to the board and back by a thread while the context lasts.

    What a host left unread there is lost with the context. POSIX only.
    """
    board, host = os.openpty()
    tty.setraw(host)  # no echo of the board's bytes to the board before a host has opened it
    os.set_blocking(board, False)
    over = threading.Event()
    carrier = threading.Thread(target=_carry, args=(port, board, over), daemon=True)
    carrier.start()
    try:
        yield os.ttyname(host)
    finally:
        over.set()
        carrier.join()
        os.close(board)
        os.close(host)


def _carry(port: SimulatedPort, board: int, over: threading.Event) -> None:
    """Bytes from the terminal to the board and back, until it is over."""
    answers, quiet = b"", 0
    while not over.is_set():
        came = b""
        with contextlib.suppress(BlockingIOError):  # the host has nothing to say now
            came = os.read(board, _CHUNK)
        port.write(came)
        answered = port.read_now()
        answers += answered
        quiet = 0 if came or answered else quiet + 1
        with contextlib.suppress(BlockingIOError):  # or does not take more now
            answers = answers[os.write(board, answers) :]
        if quiet > _PATIENCE:
            select.select([board], [], [], _PAUSE_SECONDS)
