"""What every command packet has around its fields: the header's type and length, and the CRC at the end."""

from amaranth import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.protocol import WORD_BITS, Packet
from bitting_rtl.engine.words import HEADER
from bitting_rtl.lib.crc import Crc32
from bitting_rtl.lib.ports import Port, Ports


class Framing(wiring.Component):
    """Count a packet's words and keep its checksum, while `bitting_rtl.engine.depacketise` reads its fields.

    The checksum sees each word a clock after it arrived: whether a word is taken is known too late in the word's own clock.
    """

    def __init__(self) -> None:
        super().__init__(
            Ports(
                {
                    "word": Port(In(WORD_BITS), "the command word that is offered"),
                    "header": Port(In(1), "`word` is taken, and is the header of a packet"),
                    "payload": Port(In(1), "`word` is taken, and is one of the payload"),
                    "last": Port(In(1), "the fields of the packet end with `word`, so its length must too", "with `payload`"),
                    "kind": Port(Out(Packet), "type of the packet", "from the clock after its header, until the next header"),
                    "remaining": Port(Out(16), "payload words still to come", "from the clock after the header"),
                    "bad_length": Port(Out(1), "the packet is longer or shorter than its fields", "with `payload`"),
                    "matches": Port(Out(1), "the word taken as CRC is the right one", "two clocks after it, for one clock"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = checksum = Crc32()
        header = data.View(HEADER, self.word)
        earlier = Signal.like(self.word)
        m.d.sync += [
            earlier.eq(self.word),
            checksum.valid.eq(self.header | self.payload),
            checksum.start.eq(self.header),
            self.matches.eq(earlier == checksum.crc),
        ]
        m.d.comb += [
            checksum.data.eq(earlier),
            self.bad_length.eq(self.payload & ((self.remaining == 0) | (self.last & (self.remaining != 1)))),
        ]
        with m.If(self.header):
            m.d.sync += [self.kind.eq(header.type), self.remaining.eq(header.length)]
        with m.Elif(self.payload):
            m.d.sync += self.remaining.eq(self.remaining - 1)
        return m
