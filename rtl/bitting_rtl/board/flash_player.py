"""Plays a program from the board's flash to the engine; the host sends inputs only (`bitting.unit.flash_image`)."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.flash_image import FLASH_BYTES, HEADER_WORDS, MAGIC, OFFSET, FlashFault, Marker
from bitting.unit.protocol import TAG_WORDS, WORD_BITS, Packet
from bitting.unit.spec import UnitSpec, VaultKind
from bitting_rtl.board.flash_reader import ADDRESS_BITS, FlashReader, flash_pins
from bitting_rtl.lib.crc import CRC_OF_RIGHT, Crc32
from bitting_rtl.lib.ports import Port, Ports

_FIRST = OFFSET // 4  # the image's first word
_BLOCK_BITS = 14  # words of 64 KiB: the image's place and its room are whole blocks
_BLOCKS = (FLASH_BYTES - OFFSET) // 4 >> _BLOCK_BITS


class FlashPlayer(wiring.Component):
    """Between the host's words and the engine.

    After a reset it reads the image once and checks it; the host's words wait. Then it takes from the host, between batches,
    STATUS and ACTIVATIONS. The latter begin a batch: the program's words come from flash, and the host's in their place, if
    their first two are those that the image names. Anything else is `fault`: nothing more goes to the engine, and the host's
    words are taken and dropped. So it is when the engine reports an error.

    What is played is not trusted: the engine judges it as it judges what comes over a line. The check finds accidents, and
    sees to it that packets end where markers are: no packet is begun in flash and ended by the host.
    """

    def __init__(self, spec: UnitSpec):
        self._family = spec.id_word
        self._tag = TAG_WORDS if spec.vault == VaultKind.ASCON else 1
        super().__init__(
            Ports(
                {
                    "host": Port(In(stream.Signature(WORD_BITS)), "words of the host"),
                    "o": Port(Out(stream.Signature(WORD_BITS)), "words to the engine"),
                    "engine_failed": Port(In(1), "the engine has an error", "until reset"),
                    "fault": Port(Out(FlashFault), "what was wrong; 0: nothing", "until reset"),
                    **flash_pins(),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.reader = self._reader = reader = FlashReader()
        m.submodules.crc = self._crc = Crc32(bits=8)
        self._word = Signal(ADDRESS_BITS, init=_FIRST)  # number of the flash's word that comes
        self._entry = Signal(ADDRESS_BITS, init=_FIRST + HEADER_WORDS)  # of the one that the next batch begins with
        self._wrong = Signal(FlashFault)  # what is found wrong now
        dead = Signal()
        m.d.comb += [
            reader.address.eq(self._word),
            self._crc.data.eq(reader.byte),
            self._crc.valid.eq(reader.byte_valid),
            reader.flash_i.eq(self.flash_i),
            dead.eq(self.engine_failed | (self.fault != 0)),
        ]
        m.d.comb += [getattr(self, name).eq(getattr(reader, name)) for name in flash_pins() if name != "flash_i"]
        with m.If(reader.o.valid & reader.o.ready):
            m.d.sync += self._word.eq(self._word + 1)
        self._parse(m)
        with m.FSM(init="WAKE"):
            self._check(m)
            self._play(m)
            self._take_input(m)
        with m.If(dead):
            m.d.comb += [self.o.valid.eq(0), self.host.ready.eq(1), reader.o.ready.eq(0)]
        with m.Elif(self._wrong != 0):
            m.d.sync += self.fault.eq(self._wrong)
        return m

    def _parse(self, m: Module) -> None:
        """Where packets and markers begin and end, of the words that come from flash while `_parses`."""
        word = self._reader.o.payload
        kind = word[:8]
        # Words of the payload still to come; below zero, those of the CRC or the tag that came. INPUT is a packet here.
        self._left = left = Signal(17, init=-1)
        closing = Signal()  # the packet ends in a tag
        self._parses = Signal()
        self._begins = Signal()  # a packet, or a marker
        self._load = Signal()  # the packet is that long
        self._markers = Signal(range(len(Marker) + 1))  # how many came
        self._sealed = Signal()  # a program has begun: its packets end in a tag
        self._at_marker = Signal()
        self._misplaced = Signal()  # another marker than the next one; or AGAIN in a program, where no batch could begin
        m.d.comb += [
            self._begins.eq(left[2:].all() & Mux(closing, left[:2] == -self._tag % 4, left[:2] == 3)),
            self._at_marker.eq(self._begins & (word[4:16] == (Marker.AGAIN & 0xFFFF) >> 4)),
            self._misplaced.eq(
                Mux(
                    self._at_marker,
                    (word[:4] != self._markers) | (word[16:] != (self._markers == 1)) | ((self._markers == 0) & self._sealed),
                    # A batch has one input, the host's: of two programs in a batch he would take one's answers for the other's.
                    self._begins & (kind == Packet.ACTIVATIONS) & ((self._markers != 0) | self._sealed),
                )
            ),
        ]
        with m.If(self._parses & self._reader.o.valid & self._reader.o.ready):
            m.d.sync += left.eq(left - 1)
            with m.If(self._at_marker):
                m.d.sync += [self._markers.eq(self._markers + 1), left.eq(left)]
            with m.If(self._begins & ~(self._at_marker & (self._markers != 1))):
                m.d.comb += self._load.eq(1)
                tagged = (kind == Packet.PROGRAM) | self._sealed & ((kind == Packet.LAYER) | (kind == Packet.TILE))
                m.d.sync += [closing.eq(tagged), self._sealed.eq(self._sealed | (kind == Packet.PROGRAM))]
        with m.If(self._load):
            m.d.sync += left.eq(word[16:])

    def _check(self, m: Module) -> None:
        """Once after a reset: the whole image, in one read."""
        reader, word = self._reader, self._reader.o.payload
        bad = Signal()
        end = Signal(ADDRESS_BITS)  # of the CRC
        with m.State("WAKE"):
            m.d.comb += reader.start.eq(reader.idle)
            with m.If(reader.idle):
                m.next = "MAGIC"
        for state, following, right, fault in (
            ("MAGIC", "FAMILY", word == MAGIC, FlashFault.NO_IMAGE),
            ("FAMILY", "LENGTH", word == self._family, FlashFault.IMAGE_FAMILY),
            # Between four words, of which none is a packet, and all that lie between the image's place and the flash's end.
            ("LENGTH", "CHECK", (word[_BLOCK_BITS:] < _BLOCKS) & (word[2:] != 0), FlashFault.IMAGE_LENGTH),
        ):
            with m.State(state):
                m.d.comb += reader.o.ready.eq(1)
                with m.If(reader.o.valid):
                    m.d.sync += end.eq(word + (_FIRST - 1))
                    m.next = following
                    with m.If(~right):
                        m.d.comb += self._wrong.eq(fault)
        with m.State("CHECK"):
            m.d.comb += [reader.o.ready.eq(1), self._parses.eq(self._word != end)]
            with m.If(reader.o.valid):
                with m.If(~self._parses):  # the CRC; right before it END was, or not
                    m.d.sync += bad.eq(bad | ~self._begins | (self._markers != len(Marker)))
                    m.next = "VERDICT"
                with m.Else():
                    m.d.sync += bad.eq(bad | self._misplaced | (self._markers == len(Marker)))
        with m.State("VERDICT"):  # a clock after the last word, whose last byte the CRC has by now
            with m.If(self._crc.crc != CRC_OF_RIGHT):
                m.d.comb += self._wrong.eq(FlashFault.IMAGE_CRC)
            with m.Elif(bad):
                m.d.comb += self._wrong.eq(FlashFault.IMAGE_PACKETS)
            m.next = "END"

    def _play(self, m: Module) -> None:
        """Between batches what the host may send; in a batch the words from flash."""
        reader, host = self._reader, self.host
        passes = [self.o.payload.eq(host.payload), self.o.valid.eq(host.valid), host.ready.eq(self.o.ready)]
        with m.State("READY"):
            with m.If(host.valid):
                with m.If(host.payload == Packet.STATUS):
                    m.d.comb += passes
                    with m.If(self.o.ready):
                        m.next = "STATUS"
                with m.Elif(host.payload[:16] == Packet.ACTIVATIONS):
                    m.d.comb += reader.start.eq(reader.idle)
                    with m.If(reader.idle):
                        m.next = "PLAY"
                with m.Else():
                    m.d.comb += self._wrong.eq(FlashFault.HOST_PACKET)
        with m.State("STATUS"):
            m.d.comb += passes
            with m.If(host.valid & self.o.ready):
                m.next = "READY"
        with m.State("PLAY"):
            m.d.comb += [self.o.payload.eq(reader.o.payload), self._parses.eq(1)]
            with m.If(self._misplaced):
                m.d.comb += reader.o.ready.eq(1)
                with m.If(reader.o.valid):  # the flash is another one than when it was checked
                    m.d.comb += self._wrong.eq(FlashFault.IMAGE_PACKETS)
            with m.Elif(self._at_marker):
                m.d.comb += reader.o.ready.eq(1)
                with m.If(reader.o.valid):
                    with m.Switch(self._markers):
                        with m.Case(0):
                            m.d.sync += self._entry.eq(self._word)
                        with m.Case(1):
                            m.next = "HEADER"
                        with m.Default():
                            m.next = "END"
            with m.Else():
                m.d.comb += [self.o.valid.eq(reader.o.valid), reader.o.ready.eq(self.o.ready)]
        with m.State("END"):
            m.d.comb += reader.stop.eq(1)
            m.d.sync += [self._word.eq(self._entry), self._markers.eq(0), self._sealed.eq(0)]
            m.next = "READY"

    def _take_input(self, m: Module) -> None:
        """The host's packet, whose first two words the image names."""
        reader, host = self._reader, self.host
        for state, following in (("HEADER", "ADDRESS"), ("ADDRESS", "INPUT")):
            with m.State(state):
                m.d.comb += self.o.payload.eq(host.payload)
                with m.If(reader.o.valid & host.valid):
                    with m.If(reader.o.payload == host.payload):
                        m.d.comb += [self.o.valid.eq(1), host.ready.eq(self.o.ready), reader.o.ready.eq(self.o.ready)]
                        with m.If(self.o.ready):
                            if state == "HEADER":
                                m.d.comb += self._load.eq(1)
                            else:  # one word of the payload is over
                                m.d.sync += self._left.eq(self._left - 1)
                            m.next = following
                    with m.Else():
                        m.d.comb += self._wrong.eq(FlashFault.HOST_PACKET)
        with m.State("INPUT"):
            m.d.comb += self.o.payload.eq(host.payload)
            with m.If(self._begins):
                m.next = "PLAY"
            with m.Else():
                m.d.comb += [self.o.valid.eq(host.valid), host.ready.eq(self.o.ready)]
                with m.If(host.valid & self.o.ready):
                    m.d.sync += self._left.eq(self._left - 1)
