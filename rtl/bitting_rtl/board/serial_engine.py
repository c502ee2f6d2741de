"""The engine behind a serial line, as on a board: `bitting.unit.serial_protocol`."""

from amaranth import Array, Cat, ClockDomain, ClockSignal, DomainRenamer, Module, ResetInserter, ResetSignal, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from bitting.unit.protocol import WORD_BITS, fuse_words
from bitting.unit.puf_key import PufDesign
from bitting.unit.serial_protocol import BUFFER_BYTES, CREDIT, CREDIT_BYTES, ESCAPE, RESET, STUFFED
from bitting.unit.spec import UnitSpec
from bitting_rtl.board.engine_instance import EngineInstance
from bitting_rtl.board.flash_player import FlashPlayer
from bitting_rtl.board.flash_reader import flash_pins
from bitting_rtl.board.flash_report import FlashReport
from bitting_rtl.board.uart import UartReceiver, UartTransmitter
from bitting_rtl.lib.ports import Port, Ports
from bitting_rtl.lib.verilog import to_verilog

#: Name of the wrapper's module.
TOP = "bitting_serial"
#: Clocks that a reset lasts: the engine wants two.
_RESET_CLOCKS = 3


class SerialEngine(wiring.Component):
    """`rx` and `tx` are the line; `failed` and `busy` are for lamps.

    Args:
        divisor: clocks a bit.
        root: root secret of the device, baked in; None for an engine without fuses (the unlocked twin, or one with a PUF).
        sealed: the fuse of that name is blown (vault `ascon`, or a PUF).
        puf: what makes the root secret instead; at most one of both.
        family: see `EngineInstance`; the ports of recorded frequencies are those of this, too.
        flash: play the program from flash, to an engine of this family; the host sends inputs. None: there is no flash.
    """

    def __init__(
        self,
        divisor: int,
        root: bytes | None,
        sealed: bool = False,
        puf: PufDesign | None = None,
        family: str | None = None,
        flash: UnitSpec | None = None,
    ):
        self._flash = flash
        self._divisor = divisor
        self._fuses = None if root is None else fuse_words(root, sealed)
        self._sealed = sealed
        self._engine = EngineInstance(root is not None, puf, family)
        super().__init__(
            Ports(
                {
                    "rx": Port(In(1, init=1), "the line to the board", "not synchronous to the clock"),
                    "tx": Port(Out(1, init=1), "the line from the board"),
                    "failed": Port(Out(1), "the engine has an error; for a lamp", "until reset"),
                    "busy": Port(Out(1), "the engine is busy; for a lamp"),
                    **self._engine.recorded,
                    **(flash_pins() if flash else {}),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.engine = inner = ClockDomain(local=True)
        # Clocks of reset to come. An FPGA may come up without a reset of its own, so this begins with one.
        self._resets = resets = Signal(range(_RESET_CLOCKS + 1), init=_RESET_CLOCKS)
        self._fault = Signal()  # of the player
        engine = self._engine
        m.submodules.unit = DomainRenamer("engine")(engine)
        m.d.comb += [
            inner.clk.eq(ClockSignal()),
            inner.rst.eq(ResetSignal(allow_reset_less=True) | (resets != 0)),
            self.failed.eq((engine.error != 0) | self._fault),
            self.busy.eq(engine.busy),
        ]
        if self._fuses is not None:
            m.d.comb += engine.fuse_data.eq(Array(self._fuses)[engine.fuse_address])
        if "sealed" in engine.ports:
            m.d.comb += engine.sealed.eq(self._sealed)
        m.d.comb += [engine.ports[name].eq(getattr(self, name)) for name in engine.recorded]
        with m.If(resets != 0):
            m.d.sync += resets.eq(resets - 1)
        self._commands = stream.Signature(WORD_BITS).create()  # what the line gives, and takes
        self._results = stream.Signature(WORD_BITS).create()
        if self._flash:
            self._play(m, self._flash)
        else:
            m.d.comb += [
                engine.cmd_data.eq(self._commands.payload),
                engine.cmd_valid.eq(self._commands.valid),
                self._commands.ready.eq(engine.cmd_ready),
                self._results.payload.eq(engine.result_data),
                self._results.valid.eq(engine.result_valid),
                engine.result_ready.eq(self._results.ready),
            ]
        self._send(m, self._receive(m))
        return m

    def _play(self, m: Module, spec: UnitSpec) -> None:
        """A player between line and engine. What it finds wrong locks the engine, and the host is told."""
        engine, reset = self._engine, ResetInserter(self._resets != 0)
        m.submodules.player = player = reset(FlashPlayer(spec))
        m.submodules.report = report = reset(FlashReport())
        m.d.comb += [
            player.host.payload.eq(self._commands.payload),
            player.host.valid.eq(self._commands.valid),
            self._commands.ready.eq(player.host.ready),
            self._results.payload.eq(report.o.payload),
            self._results.valid.eq(report.o.valid),
            report.o.ready.eq(self._results.ready),
            engine.cmd_data.eq(player.o.payload),
            engine.cmd_valid.eq(player.o.valid),
            player.o.ready.eq(engine.cmd_ready),
            player.engine_failed.eq(engine.error != 0),
            engine.lock_now.eq(self._fault),
            self._fault.eq(player.fault != 0),
            report.fault.eq(player.fault),
            report.i.payload.eq(Cat(engine.result_data, engine.result_last)),
            report.i.valid.eq(engine.result_valid),
            engine.result_ready.eq(report.i.ready),
            player.flash_i.eq(self.flash_i),
        ]
        m.d.comb += [getattr(self, name).eq(getattr(player, name)) for name in flash_pins() if name != "flash_i"]

    def _receive(self, m: Module) -> Signal:
        """Bytes from the line to command words; gives when another `CREDIT_BYTES` have been taken."""
        m.submodules.receiver = receiver = UartReceiver(self._divisor)
        m.submodules.fifo = fifo = ResetInserter(self._resets != 0)(SyncFIFOBuffered(width=8, depth=BUFFER_BYTES))
        escaped = Signal()
        m.d.comb += [receiver.rx.eq(self.rx), fifo.w_data.eq(receiver.data)]
        with m.If(receiver.valid):
            m.d.sync += escaped.eq(receiver.data == ESCAPE)
            with m.If(~escaped):
                m.d.comb += fifo.w_en.eq(receiver.data != ESCAPE)
            with m.Elif(receiver.data == STUFFED):
                m.d.comb += [fifo.w_en.eq(1), fifo.w_data.eq(ESCAPE)]
            with m.Elif(receiver.data == RESET):
                m.d.sync += self._resets.eq(_RESET_CLOCKS)

        word = Signal(WORD_BITS)
        have = Signal(range(5))
        taken = Signal(range(CREDIT_BYTES))
        credit = Signal()
        m.d.comb += [
            self._commands.payload.eq(word),
            self._commands.valid.eq(have == 4),
            fifo.r_en.eq(have != 4),
            credit.eq(fifo.r_en & fifo.r_rdy & (taken == CREDIT_BYTES - 1)),
        ]
        with m.If(fifo.r_en & fifo.r_rdy):
            m.d.sync += [word.eq(Cat(word[8:], fifo.r_data)), have.eq(have + 1), taken.eq(taken + 1)]
        with m.Elif(self._commands.valid & self._commands.ready):
            m.d.sync += have.eq(0)
        with m.If(self._resets != 0):
            m.d.sync += [have.eq(0), taken.eq(0)]
        return credit

    def _send(self, m: Module, credit: Signal) -> None:
        """Result words, credits and the answer to a reset to the line."""
        m.submodules.transmitter = transmitter = UartTransmitter(self._divisor)
        results, line = self._results, transmitter.i
        word = Signal(WORD_BITS)
        left = Signal(range(5))
        credits = Signal(range(BUFFER_BYTES // CREDIT_BYTES + 2))
        greeting = Signal()  # a reset is to be answered
        second = Signal(8)  # the byte after ESCAPE
        pending = Signal()
        crediting = Signal()
        m.d.comb += [
            self.tx.eq(transmitter.tx),
            results.ready.eq(left == 0),
            line.valid.eq((pending | greeting | (credits != 0) | (left != 0)) & (self._resets == 0)),
            line.payload.eq(ESCAPE),
        ]
        m.d.sync += credits.eq(credits + credit - crediting)
        with m.If(results.valid & results.ready):
            m.d.sync += [word.eq(results.payload), left.eq(4)]
        with m.If(pending):
            m.d.comb += line.payload.eq(second)
        with m.Elif(~greeting & (credits == 0)):
            m.d.comb += line.payload.eq(word[:8])
        with m.If(line.valid & line.ready):
            with m.If(pending):
                m.d.sync += pending.eq(0)
            with m.Elif(greeting):
                m.d.sync += [greeting.eq(0), pending.eq(1), second.eq(RESET)]
            with m.Elif(credits != 0):
                m.d.comb += crediting.eq(1)
                m.d.sync += [pending.eq(1), second.eq(CREDIT)]
            with m.Else():
                m.d.sync += [word.eq(word >> 8), left.eq(left - 1), pending.eq(word[:8] == ESCAPE), second.eq(STUFFED)]
        with m.If(self._resets != 0):
            m.d.sync += [greeting.eq(1), credits.eq(0), left.eq(0)]


def serial_verilog(
    divisor: int,
    root: bytes | None,
    sealed: bool = False,
    puf: PufDesign | None = None,
    family: str | None = None,
    flash: UnitSpec | None = None,
) -> str:
    """The wrapper without the engine's own module; see `SerialEngine`. With a root secret it is as secret as the device."""
    return to_verilog(SerialEngine(divisor, root, sealed, puf, family, flash), TOP)
