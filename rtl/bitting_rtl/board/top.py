"""The top of a board of amaranth-boards: its serial line, its clock, two lamps."""

from typing import Any

from amaranth import Elaboratable, Module

from bitting.unit.puf_key import PufDesign
from bitting.unit.serial_protocol import BAUD
from bitting_rtl.board.serial_engine import SerialEngine


class BoardTop(Elaboratable):
    """`SerialEngine` on the resources `uart` 0, `led` 0 (busy) and `led` 1 (failed), clocked by the board's own crystal."""

    def __init__(self, root: bytes | None, sealed: bool = False, puf: PufDesign | None = None, family: str | None = None):
        """See `SerialEngine`; without recorded frequencies: a PUF wants a family."""
        self._device = root, sealed, puf, family

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.engine = engine = SerialEngine(round(platform.default_clk_frequency / BAUD), *self._device)
        uart, busy, failed = platform.request("uart"), platform.request("led", 0), platform.request("led", 1)
        m.d.comb += [
            engine.rx.eq(uart.rx.i),
            uart.tx.o.eq(engine.tx),
            busy.o.eq(engine.busy),
            failed.o.eq(engine.failed),
        ]
        return m
