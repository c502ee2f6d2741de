"""A serial line: bytes in and out, eight bits, no parity, one stop bit."""

from amaranth import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from bitting_rtl.lib.ports import Port, Ports


class UartReceiver(wiring.Component):
    """`valid` for a clock with each byte; a byte without stop bit is dropped. `divisor`: clocks a bit, at least 4."""

    def __init__(self, divisor: int):
        if divisor < 4:
            raise ValueError(f"divisor = {divisor}; a bit must last at least 4 clocks")
        self._divisor = divisor
        super().__init__(
            Ports(
                {
                    "rx": Port(In(1, init=1), "the line; high while idle", "not synchronous to the clock"),
                    "data": Port(Out(8), "the byte", "with `valid`"),
                    "valid": Port(Out(1), "a byte has arrived", "one clock"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.rx, line, init=1)
        clocks = Signal(range(2 * self._divisor))
        bits = Signal(range(10))
        shift = Signal(9)
        with m.If(bits == 0):  # idle: the falling edge begins a start bit, whose middle is half a bit away
            with m.If(~line):
                m.d.sync += [bits.eq(9), clocks.eq(self._divisor // 2 + self._divisor - 2)]
        with m.Elif(clocks != 0):
            m.d.sync += clocks.eq(clocks - 1)
        with m.Else():
            m.d.sync += [shift.eq(Cat(shift[1:], line)), bits.eq(bits - 1), clocks.eq(self._divisor - 1)]
        done = Signal()
        m.d.sync += done.eq((bits == 1) & (clocks == 0))
        m.d.comb += [self.data.eq(shift[:8]), self.valid.eq(done & shift[8])]
        return m


class UartTransmitter(wiring.Component):
    """Sends the bytes of `i`. `divisor`: clocks a bit."""

    def __init__(self, divisor: int):
        self._divisor = divisor
        super().__init__(
            Ports(
                {
                    "tx": Port(Out(1, init=1), "the line; high while idle", "a bit lasts `divisor` clocks"),
                    "i": Port(In(stream.Signature(8)), "bytes to send", "one every 10 bits at most"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clocks = Signal(range(self._divisor))
        bits = Signal(range(11))
        shift = Signal(9, init=1)
        m.d.comb += self.i.ready.eq(bits == 0)
        m.d.sync += self.tx.eq((bits == 0) | shift[0])
        with m.If(bits == 0):
            with m.If(self.i.valid):
                m.d.sync += [shift.eq(Cat(0, self.i.payload)), bits.eq(10), clocks.eq(self._divisor - 1)]
        with m.Elif(clocks != 0):
            m.d.sync += clocks.eq(clocks - 1)
        with m.Else():
            m.d.sync += [shift.eq(Cat(shift[1:], 1)), bits.eq(bits - 1), clocks.eq(self._divisor - 1)]
        return m
