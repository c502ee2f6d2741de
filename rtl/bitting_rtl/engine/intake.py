"""The wire's side of the command stream: where packets begin and end, and whether they are what was sent."""

from amaranth import C, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.protocol import SEALED_PACKETS, WORD_BITS, Packet
from bitting_rtl.engine.words import HEADER
from bitting_rtl.lib.block_fifo import BlockFifo
from bitting_rtl.lib.crc import CRC_OF_RIGHT, Crc32
from bitting_rtl.lib.one_hot import OneHot
from bitting_rtl.lib.ports import Port, Ports

#: Words that may be deciphered ahead of the parser: four blocks, so that it parses while others are made.
FIFO_WORDS = 16 + BlockFifo.BEHIND

_WORD = unsigned(WORD_BITS)


def packet_word_layout() -> data.StructLayout:
    """A word of a packet's header and payload; `last` is the last one."""
    return data.StructLayout({"data": _WORD, "last": 1})


def _common_ports() -> dict[str, Port]:
    return {
        "cmd": Port(In(stream.Signature(_WORD)), "command words, as they come"),
        "halt": Port(In(1), "the engine has stopped: take and drop every word from the next clock on", "until reset"),
        "words": Port(Out(stream.Signature(packet_word_layout())), "headers and payloads, in clear"),
        "complete": Port(Out(1), "the packet has ended, and was compared", "some clocks after its last word, until `taken`"),
        "right": Port(Out(1), "its CRC or its tag is the right one", "with `complete`"),
        "taken": Port(In(1), "the parser has done with the packet", "one clock, with `complete`"),
        "busy": Port(Out(1), "a packet is under way", "from the clock after its header until `taken`"),
    }


class Intake(wiring.Component):
    """Cut the command stream into packets and check their CRCs. Headers and payloads pass at once; CRCs do not."""

    def __init__(self) -> None:
        super().__init__(Ports(_common_ports()))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        check = _CrcCheck(m, self.cmd.payload)
        header = data.View(HEADER, self.cmd.payload)
        remaining = Signal(16)  # payload words still to come
        passes = self.cmd.valid & self.words.ready
        m.d.comb += self.words.payload.data.eq(self.cmd.payload)
        with m.If(self.halt):
            m.d.comb += self.cmd.ready.eq(1)
        with m.Else(), m.FSM(name="intake") as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("HEADER"))
            with m.State("HEADER"):
                empty = header.length == 0
                m.d.comb += [
                    self.words.valid.eq(self.cmd.valid),
                    self.words.payload.last.eq(empty),
                    self.cmd.ready.eq(self.words.ready),
                    check.takes.eq(passes),
                ]
                with m.If(passes):
                    m.d.sync += remaining.eq(header.length)
                    m.next = "PAYLOAD"
                    with m.If(empty):
                        m.next = "CRC"
            with m.State("PAYLOAD"):
                last = remaining == 1
                m.d.comb += [
                    self.words.valid.eq(self.cmd.valid),
                    self.words.payload.last.eq(last),
                    self.cmd.ready.eq(self.words.ready),
                    check.takes.eq(passes),
                ]
                with m.If(passes):
                    m.d.sync += remaining.eq(remaining - 1)
                    with m.If(last):
                        m.next = "CRC"
            with m.State("CRC"):
                m.d.comb += [self.cmd.ready.eq(1), check.takes.eq(self.cmd.valid)]
                with m.If(self.cmd.valid):
                    m.next = "COMPARE"
            with m.State("COMPARE"), m.If(check.done):
                m.next = "COMPLETE"
            with m.State("COMPLETE"):
                m.d.comb += [self.complete.eq(1), self.right.eq(check.matches)]
                with m.If(self.taken):
                    m.d.comb += check.clears.eq(1)
                    m.next = "HEADER"
        return m


class SealedIntake(wiring.Component):
    """The same for packets of which some are sealed: enciphered, with a tag instead of a CRC.

    Payloads of sealed packets wait for `admit`, and the vault deciphers them. All other words pass its bus as they are, so
    a header waits until the vault does nothing. From the payload of a CHALLENGE, which waits for `admit` too, to START's
    header the vault absorbs every word, nothing is sealed, and a header also waits for the answers to the packet before. A
    word in clear takes two clocks, for so many its CRC takes. What comes out waits in a FIFO for the parser.
    """

    def __init__(self) -> None:
        super().__init__(
            Ports(
                {
                    **_common_ports(),
                    "admit": Port(In(1), "the sealed packet, or the CHALLENGE, may go on", "one clock, after its header"),
                    "absorbing": Port(In(1), "a challenge is under way"),
                    "idle": Port(In(1), "nothing else is under way"),
                    "absorb": Port(Out(1), "the vault absorbs the word on its bus: the challenge's", "while `vault_ready`"),
                    "vault_ready": Port(In(1), "the vault waits, for a header or a word to absorb", "until it gets one"),
                    "is_sealed": Port(Out(1), "the packet is sealed", "from the clock after its header came"),
                    "empty": Port(Out(1), "the packet has no payload", "with `is_sealed`"),
                    "sealed": Port(Out(stream.Signature(packet_word_layout())), "sealed payload, for the vault"),
                    "opened": Port(In(_WORD), "the word, in clear", "the same clock"),
                    "tag": Port(Out(stream.Signature(_WORD)), "words of a tag, for the vault, which takes four"),
                    "checked": Port(In(1), "the vault has compared the tag", "one clock"),
                    "authentic": Port(In(1), "the tag is right", "with `checked`"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word = self.cmd.payload
        m.submodules.fifo = self._fifo = BlockFifo(WORD_BITS + 1, FIFO_WORDS - BlockFifo.BEHIND)
        self._check = _CrcCheck(m, word, halves=True)
        self._left = Signal(16)  # words of the payload behind the next one
        self._absorbed = Signal()  # its words are part of a challenge
        self._changed = Signal()  # its header did while it waited
        self._passes = Signal()  # a word in clear goes from `cmd` to the FIFO
        self._last = Signal()  # the word that goes there is the packet's last
        m.d.comb += [
            self._fifo.w_data.eq(Cat(self.opened, self._last)),
            Value.cast(self.words.payload).eq(self._fifo.r_data),
            self.words.valid.eq(self._fifo.r_rdy),
            self._fifo.r_en.eq(self.words.ready),
            self.sealed.payload.data.eq(word),
            self.sealed.payload.last.eq(self._last),
            self.tag.payload.eq(word),
        ]
        self._states = OneHot(
            m, ("HEADER", "ADMIT", "PAYLOAD", "CRC", "COMPARE", "COMPARED", "SEALED", "TAG", "COMPLETE", "GAP", "HALTED")
        )
        m.d.comb += self.busy.eq(~self._states.at["HEADER"])
        self._header(m)
        self._payload(m)
        self._end(m)
        self._counts(m)
        with m.If(self._states.at["HALTED"]):
            m.d.comb += self.cmd.ready.eq(1)
        # For ever, so what else happens in a clock of `halt` is of no effect: parser and vault stop too.
        self._states.connect(forced=self.halt, there="HALTED")
        return m

    def _counts(self, m: Module) -> None:
        """Which word of a header and its payload is the last one."""
        left = Mux(self._states.at["HEADER"], data.View(HEADER, self.cmd.payload).length, self._left)
        m.d.comb += self._last.eq(left == 0)
        with m.If(self._fifo.w_en):
            m.d.sync += self._left.eq(left - 1)

    def _pass(self, m: Module, free: Value, absorbed: Value) -> None:
        """Hand on the word as it is, once it is free to go; if it is absorbed, the vault takes it in the same clock."""
        m.d.comb += [
            self.cmd.ready.eq(free),
            self._passes.eq(self.cmd.valid & free),
            self._fifo.w_en.eq(self._passes),
            self._check.takes.eq(self._passes),
            self.absorb.eq(self._passes & absorbed),
        ]

    def _header(self, m: Module) -> None:
        """Which kind of packet it is, and whether it must wait. FIFO and CRC have done with the packet before."""
        header = data.View(HEADER, self.cmd.payload)
        sealed = Cat(header.type == kind for kind in SEALED_PACKETS).any() & ~self.absorbing
        # In a challenge a header is looked at a clock before it is taken, while all is idle: what the vault does then does not
        # wait for that, or for its type. Nothing but good manners keeps the word from changing in between. If it does, the
        # packet is refused: else one could pass that was taken for START, and so was not absorbed.
        seen, start = Signal(), Signal()
        starts = header.type == Packet.START
        m.d.sync += [seen.eq(self._states.at["HEADER"] & self.cmd.valid & self.idle), start.eq(starts)]
        absorbed = self.absorbing & ~start
        challenge = header.type == Packet.CHALLENGE
        with m.If(self._states.at["HEADER"]):
            # Words in clear pass the vault's bus too, while it does nothing.
            self._pass(m, self.vault_ready & (seen | ~self.absorbing), absorbed)
            with m.If(self._passes):
                m.d.sync += [
                    self.empty.eq(self._last),
                    self._absorbed.eq(absorbed | challenge),
                    self.is_sealed.eq(sealed),
                    self._changed.eq(self.absorbing & (start != starts)),
                ]
                with m.If(sealed | challenge):
                    self._states.go("HEADER", "ADMIT")
                with m.Else():
                    self._states.go("HEADER", "PAYLOAD", instead=self._last, other="CRC")
        with m.If(self._states.at["ADMIT"] & self.admit):
            with m.If(self.is_sealed):
                self._states.go("ADMIT", "SEALED", instead=self.empty, other="TAG")
            with m.Else():
                self._states.go("ADMIT", "PAYLOAD", instead=self.empty, other="CRC")

    def _payload(self, m: Module) -> None:
        """Payload in clear, or by way of the vault."""
        ready = self.vault_ready | ~self._absorbed
        with m.If(self._states.at["PAYLOAD"]):
            self._pass(m, self._fifo.w_rdy & self._check.free & ready, self._absorbed)
            with m.If(self._passes & self._last):
                self._states.go("PAYLOAD", "CRC")
        with m.If(self._states.at["SEALED"]):
            m.d.comb += [
                self.sealed.valid.eq(self.cmd.valid & self._fifo.w_rdy),
                self.cmd.ready.eq(self.sealed.ready & self._fifo.w_rdy),
                self._fifo.w_en.eq(self.sealed.valid & self.sealed.ready),
            ]
            with m.If(self._fifo.w_en & self._last):
                self._states.go("SEALED", "TAG")

    def _end(self, m: Module) -> None:
        """What follows the payload, and the comparison."""
        with m.If(self._states.at["CRC"]):
            free = self._check.free & (self.vault_ready | ~self._absorbed)
            taken = self.cmd.valid & free
            m.d.comb += [self.cmd.ready.eq(free), self.absorb.eq(taken & self._absorbed), self._check.takes.eq(taken)]
            with m.If(taken):
                self._states.go("CRC", "COMPARE")
        with m.If(self._states.at["COMPARE"] & self._check.done):
            self._states.go("COMPARE", "COMPARED")
        with m.If(self._states.at["COMPARED"]):
            m.d.sync += self.right.eq(self._check.matches & ~self._changed)
            self._states.go("COMPARED", "COMPLETE")
        with m.If(self._states.at["TAG"]):
            m.d.comb += [self.tag.valid.eq(self.cmd.valid), self.cmd.ready.eq(self.tag.ready)]
            with m.If(self.checked):
                m.d.sync += self.right.eq(self.authentic)
                self._states.go("TAG", "COMPLETE")
        with m.If(self._states.at["COMPLETE"]):
            m.d.comb += self.complete.eq(1)
            with m.If(self.taken):
                m.d.comb += self._check.clears.eq(1)
                # What a packet in clear begins shows on `idle` a clock later, and headers of a challenge wait for that.
                self._states.go("COMPLETE", "GAP", instead=self.is_sealed, other="HEADER")
        with m.If(self._states.at["GAP"]):
            self._states.go("GAP", "HEADER")


class _CrcCheck:
    """CRC-32 over a packet's words and the CRC behind them. It sees each a clock after it came: whether it is taken shows late.

    Attributes:
        takes: the word is taken. To be driven.
        free: a word may come.
        clears: another packet begins. To be driven.
        done: all words that were taken have been seen.
        matches: the last one is the right CRC of those before it; from the clock after `done`.
    """

    def __init__(self, m: Module, word: Value, halves: bool = False):
        """`halves`: a word takes two clocks and half the logic."""
        m.submodules.crc = crc = Crc32(WORD_BITS // 2 if halves else WORD_BITS)
        self.takes, self.clears, self.matches, low = (Signal(name=name) for name in ("takes", "clears", "matches", "low"))
        earlier = Signal(WORD_BITS)
        m.d.sync += [low.eq(self.takes), self.matches.eq(crc.crc == CRC_OF_RIGHT)]
        self.free, self.done = C(1, 1), ~crc.valid
        m.d.comb += [crc.data.eq(earlier), crc.valid.eq(low), crc.clear.eq(self.clears)]
        if halves:
            high = Signal()
            self.free = ~low
            m.d.sync += high.eq(low)
            m.d.comb += [crc.data.eq(earlier.word_select(high, WORD_BITS // 2)), crc.valid.eq(low | high)]
        with m.If(self.free):
            m.d.sync += earlier.eq(word)
