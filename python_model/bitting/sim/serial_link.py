"""The host's end of a serial line to a board: words out, words in, no byte lost (`bitting.unit.serial_protocol`)."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from bitting.errors import BittingError
from bitting.program.packets import WORDS
from bitting.unit.serial_protocol import BUFFER_BYTES, CREDIT, CREDIT_BYTES, ESCAPE, RESET, STUFFED

#: Bytes that are written at once: a reply is looked for in between.
_CHUNK = 64


class Port(Protocol):
    """What is used of `serial.Serial`: `read` gives what came until its timeout."""

    def write(self, data: bytes, /) -> int | None:
        """Take all of it; what is returned is not looked at."""

    def read(self, size: int = 1, /) -> bytes:
        """At most `size` bytes; none if none came until the timeout."""

    @property
    def in_waiting(self) -> int:
        """How many bytes `read` would give without waiting."""


class SerialLink:
    """One board. `reset` first."""

    def __init__(self, port: Port):
        self._port = port
        self._escaped = False
        self._data = bytearray()  # received, not asked for yet
        self._credit = 0
        self._greeted = False

    def reset(self) -> None:
        """Reset the engine; all that came before is forgotten.

        Raises:
            BittingError: if no board answers.
        """
        self._greeted = False
        self._port.write(bytes((ESCAPE, RESET)))
        while not self._greeted:
            self._receive("a reset")
        self._credit = BUFFER_BYTES

    def run(self, commands: np.ndarray, expected: int) -> np.ndarray:
        """Send command words, and receive up to `expected` result words: fewer if the board falls silent.

        Raises:
            BittingError: if the board stops taking commands.
        """
        raw = np.ascontiguousarray(commands, "<u4").tobytes()
        sent = 0
        while sent < len(raw):
            while not self._credit:
                self._receive(f"command byte {sent} of {len(raw)}")
            part = raw[sent : sent + min(self._credit, _CHUNK)]
            self._port.write(part.replace(bytes((ESCAPE,)), bytes((ESCAPE, STUFFED))))
            sent += len(part)
            self._credit -= len(part)
            if self._port.in_waiting:
                self._take(self._port.read(self._port.in_waiting))
        while len(self._data) < 4 * expected:
            came = self._port.read(max(1, self._port.in_waiting))
            if not came:
                break
            self._take(came)
        whole = min(len(self._data) // 4, expected) * 4
        words = np.frombuffer(bytes(self._data[:whole]), "<u4").astype(WORDS)
        del self._data[:whole]
        return words

    def _receive(self, what: str) -> None:
        came = self._port.read(max(1, self._port.in_waiting))
        if not came:
            raise BittingError(
                f"the board does not answer {what}: is it on this port, and does it hold a `bitting board` bitstream?"
            )
        self._take(came)

    def _take(self, came: bytes) -> None:
        for byte in came:
            if self._escaped:
                self._escaped = False
                if byte == RESET:
                    self._greeted = True
                    self._data.clear()
                elif byte == CREDIT:
                    self._credit = min(BUFFER_BYTES, self._credit + CREDIT_BYTES)
                elif byte == STUFFED:
                    self._data.append(ESCAPE)
            elif byte == ESCAPE:
                self._escaped = True
            else:
                self._data.append(byte)
