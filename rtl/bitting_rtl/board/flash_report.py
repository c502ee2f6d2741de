"""What a flash player found wrong, told to the host as a FAULT among the engine's results."""

from amaranth import Array, Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.flash_image import FlashFault
from bitting.unit.protocol import FAULT_WORDS, WORD_BITS, Result
from bitting_rtl.lib.crc import crc_of
from bitting_rtl.lib.ports import Port, Ports

#: A word of a result, and whether it is the packet's last.
RESULT = data.StructLayout({"word": WORD_BITS, "last": 1})


class FlashReport(wiring.Component):
    """Passes the engine's results, until there is a fault and the packet under way is over; then the fault, and silence."""

    def __init__(self) -> None:
        super().__init__(
            Ports(
                {
                    "i": Port(In(stream.Signature(RESULT)), "results of the engine"),
                    "fault": Port(In(FlashFault), "what was wrong; 0: nothing", "until reset"),
                    "o": Port(Out(stream.Signature(WORD_BITS)), "results for the host"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        inside = Signal()  # a packet of the engine
        told = Signal(range(4))
        header = Result.FAULT | FAULT_WORDS << 16
        crcs = Array(Const(crc_of((header, fault)), WORD_BITS) for fault in FlashFault)
        with m.If((self.fault != 0) & ~inside):
            m.d.comb += self.o.valid.eq(told != 3)
            with m.Switch(told):
                with m.Case(0):
                    m.d.comb += self.o.payload.eq(header)
                with m.Case(1):
                    m.d.comb += self.o.payload.eq(self.fault)
                with m.Default():
                    m.d.comb += self.o.payload.eq(crcs[self.fault[:3]])
            with m.If(self.o.valid & self.o.ready):
                m.d.sync += told.eq(told + 1)
        with m.Else():
            m.d.comb += [
                self.o.payload.eq(self.i.payload.word),
                self.o.valid.eq(self.i.valid),
                self.i.ready.eq(self.o.ready),
            ]
            with m.If(self.i.valid & self.o.ready):
                m.d.sync += inside.eq(~self.i.payload.last)
        return m
