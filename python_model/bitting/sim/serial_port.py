"""A board without a board: its top under Verilator, at the other end of a serial line that is played bit by bit."""

from __future__ import annotations

import ctypes
from enum import IntFlag

import numpy as np

from bitting import files
from bitting.errors import DeviceError
from bitting.locking.device import Device
from bitting.sim import build
from bitting.unit.flash_image import FLASH_BYTES, OFFSET, WORD_CLOCKS
from bitting.unit.spec import VaultKind

#: Clocks a bit of the simulated line: the fewest the receiver takes make the shortest simulation.
DIVISOR = 4
#: Clocks of silence after which `read` gives what came, beside those of a measurement.
_TIMEOUT_CLOCKS = 1 << 20
_STEP_CLOCKS = 1 << 14
#: As many more do for any batch of a board that plays: nothing comes or goes while it computes (`SimulatedPort.patience`).
PLAYED_CLOCKS = 1 << 25


class FlashState(IntFlag):
    """How a flash is found when the board is configured; harness/flash.h has the same numbers."""

    #: As an iCE40 leaves it.
    POWER_DOWN = 1
    #: As a design left it that read without sending commands.
    CONTINUOUS = 2
    #: As a design left it that read in bursts of 8 bytes.
    WRAPS = 4
    #: Made by ISSI: its quad enable is another bit.
    ISSI = 8
    #: Not there: the pins are pulled up.
    ABSENT = 16
    #: All pins are low.
    STUCK_LOW = 32


class SimulatedPort:
    """`bitting.sim.serial_link.Port` of the simulated board of a device.

    Args:
        device: whose board it is. If it has a PUF, the board holds no secret of it, and every boot measures the same.
        increments: of the oscillators, (pairs, reads, 2), if it has (`bitting.puf.silicon.increments`).
        flash: what lies in its flash at the image's place (`bitting.artefact.flash_file`); None: no player.

    Raises:
        DeviceError: if it has a PUF, and there are no increments, or a flash.
    """

    def __init__(self, device: Device, increments: np.ndarray | None = None, flash: bytes | None = None):
        if device.puf and increments is None:
            raise DeviceError("the device has a PUF, so its board can not be simulated without its oscillators; give them too")
        if device.puf and flash is not None:
            raise DeviceError("a board with a PUF wants its helper data over the line, and plays from no flash; leave one out")
        self._begin(_with_puf(device) if device.puf else _with_fuses(device, flash is not None), DIVISOR)
        self._quiet += 2 * device.puf.design.measured.clocks if device.puf else 0
        if device.puf and increments is not None:
            words = np.ascontiguousarray(increments, np.uint32)
            pointer, count = ctypes.c_void_p(words.ctypes.data), ctypes.c_uint64(words.size // 2)
            self._library.serial_oscillators(self._handle, pointer, count)
        if flash is not None:
            self.insert(flash)

    @classmethod
    def for_host(cls, device: Device, increments: np.ndarray | None = None, flash: bytes | None = None) -> SimulatedPort:
        """A board for a host, who waits as long as a player computes. Arguments as of the class."""
        port = cls(device, increments, flash)
        port.patience = PLAYED_CLOCKS if flash is not None else 0
        return port

    @classmethod
    def of_library(cls, library: ctypes.CDLL, divisor: int) -> SimulatedPort:
        """A board that was built elsewhere, with harness/serial.cpp; `divisor`: clocks a bit."""
        port = cls.__new__(cls)
        port._begin(library, divisor)
        return port

    def _begin(self, library: ctypes.CDLL, divisor: int) -> None:
        self._library = library
        library.serial_new.restype = ctypes.c_void_p
        library.serial_run.restype = library.serial_flash_fights.restype = ctypes.c_uint64
        self._handle = ctypes.c_void_p(library.serial_new(ctypes.c_uint32(divisor)))
        self._quiet = _TIMEOUT_CLOCKS
        self._checked = 0  # clocks in which a player checks its image
        self._outgoing = bytearray()
        self._incoming = bytearray()
        self.clocks = 0
        self.patience = 0  #: clocks of silence beside the usual ones: a player sends nothing while a batch is computed

    def insert(self, image: bytes, state: FlashState = FlashState.POWER_DOWN) -> None:
        """Put another flash in its place, with this image in it; the board notices at its next reset.

        Raises:
            DeviceError: if the flash has no room for so much.
        """
        if len(image) > FLASH_BYTES - OFFSET:
            raise DeviceError(f"an image of {len(image)} bytes; the flash has room for {FLASH_BYTES - OFFSET}")
        self._checked = len(image) // 4 * WORD_CLOCKS
        self._library.serial_flash(
            self._handle, image, ctypes.c_uint64(len(image)), ctypes.c_uint64(OFFSET), ctypes.c_uint32(state)
        )

    @property
    def flash_fights(self) -> int:
        """Clocks in which board and flash both drove the pins between them: none, if the board is right."""
        return int(self._library.serial_flash_fights(self._handle))

    def close(self) -> None:
        """Free the simulation; only `close` may be called after it."""
        if self._handle:
            self._library.serial_free(self._handle)
            self._handle = ctypes.c_void_p()

    def write(self, data: bytes, /) -> int:
        """Only queue the bytes: they move when something is read. Gives their number."""
        self._outgoing += data
        return len(data)

    @property
    def in_waiting(self) -> int:
        """How many bytes came already; does not play the line."""
        return len(self._incoming)

    def read(self, size: int = 1, /) -> bytes:
        """Play the line until `size` bytes came, or until nothing moves for a while."""
        quiet = 0
        while len(self._incoming) < size and (self._outgoing or quiet < self._quiet + self._checked + self.patience):
            came = self._play(size - len(self._incoming))
            quiet = 0 if came else quiet + _STEP_CLOCKS
        return self._give(size)

    def read_now(self) -> bytes:
        """What comes within a short time."""
        self._play(1 << 12)
        return self._give(len(self._incoming))

    def _give(self, size: int) -> bytes:
        given = bytes(self._incoming[:size])
        del self._incoming[:size]
        return given

    def _play(self, wanted: int) -> int:
        outgoing = np.frombuffer(bytes(self._outgoing), np.uint8)
        buffer = np.empty(4096, np.uint8)
        received, u64 = ctypes.c_uint64(), ctypes.c_uint64
        sent = self._library.serial_run(
            self._handle, ctypes.c_void_p(outgoing.ctypes.data), u64(len(outgoing)), ctypes.c_void_p(buffer.ctypes.data),
            u64(len(buffer)), u64(wanted), u64(_STEP_CLOCKS), ctypes.byref(received),
        )  # fmt: skip
        self.clocks += _STEP_CLOCKS
        del self._outgoing[:sent]
        self._incoming += buffer[: received.value].tobytes()
        return int(received.value)


def _with_fuses(device: Device, flash: bool) -> ctypes.CDLL:
    """The board with the device's secret in it, and a player if it has a flash."""
    from bitting_rtl.board import serial_engine  # slow to import
    from bitting_rtl.engine.export import engine_verilog
    from bitting_rtl.lib.build_options import COMPACT

    engine = engine_verilog(device.spec, options=COMPACT)
    verilog = engine + serial_engine.serial_verilog(DIVISOR, device.root, device.sealed, flash=device.spec if flash else None)
    with files.private_folder() as folder:  # the root secret is baked in; once loaded, the file need not be there
        return ctypes.CDLL(str(build.shared_library(verilog, serial_engine.TOP, board_harness(), private=folder)))


def board_harness() -> str:
    """The harness of a board."""
    return build.harness("flash.h", "serial.cpp")


def _with_puf(device: Device) -> ctypes.CDLL:
    """The board of a device with a PUF. The vault `aes` knows no fuse `sealed`; its PUF refuses enrolment all the same."""
    from bitting_rtl.board import serial_engine  # slow to import
    from bitting_rtl.engine.export import puf_verilog
    from bitting_rtl.lib.build_options import COMPACT

    assert device.puf is not None
    engine = puf_verilog(device.spec, device.puf.design, None, COMPACT)
    sealed = device.sealed or device.spec.vault == VaultKind.AES
    verilog = engine + serial_engine.serial_verilog(DIVISOR, None, sealed, device.puf.design)
    return ctypes.CDLL(str(build.shared_library(verilog, serial_engine.TOP, board_harness())))
