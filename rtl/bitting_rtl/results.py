"""The result stream: what leaves the engine, packed with a CRC."""

from amaranth import C, Cat, Module, Mux, Signal, signed, unsigned
from amaranth.hdl import ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bitting.protocol import (
    CYCLE_COUNT_BITS,
    FAULT_WORDS,
    STATUS_WORDS,
    TILE_DONE_FIXED_WORDS,
    WORD_BITS,
    ErrorCode,
    Fingerprint,
    Result,
)
from bitting.spec import UnitSpec
from bitting_rtl.crc import Crc32
from bitting_rtl.layouts import result_word_layout
from bitting_rtl.sequencer import CYCLE_BITS

#: Width of the count of tiles.
TILE_COUNT_BITS = 32


class Results(wiring.Component):
    """Send one packet of `bitting.protocol` at a time, one word a clock unless the receiver holds back.

    `send_tile`, `send_status` and `send_fault` (one clock) are taken only while `busy` is low; a packet once begun is finished.
    The sources (`accs`, `cycles`, counters) must not change while `busy`.

    While `divert` is high a tile's words do not leave the engine: those that are the `fingerprint` go to `absorb` instead.
    """

    def __init__(self, spec: UnitSpec):
        self.spec = spec
        super().__init__(
            {
                "result": Out(stream.Signature(result_word_layout())),
                "send_tile": In(1),
                "send_status": In(1),
                "send_fault": In(1),
                "busy": Out(1),
                "divert": In(1),
                "fingerprint": In(Fingerprint),
                "absorb": Out(stream.Signature(unsigned(WORD_BITS))),
                "lock_state": In(4),
                "linear": In(1),
                "accs": In(data.ArrayLayout(signed(spec.acc_bits), spec.lanes)),
                "tile_index": In(unsigned(TILE_COUNT_BITS)),
                "cycles": In(unsigned(CYCLE_BITS)),
                "total_cycles": In(unsigned(CYCLE_COUNT_BITS)),
                "error": In(ErrorCode),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec = self.spec
        m.submodules.crc = crc = Crc32()

        kind = Signal(Result)
        length = Signal(range(TILE_DONE_FIXED_WORDS + spec.lanes + 1))
        index = Signal.like(length)
        word = Signal(WORD_BITS)
        sent = Signal()
        m.d.comb += [
            sent.eq(self.result.valid & self.result.ready),
            crc.data.eq(word),
            self.result.payload.data.eq(word),
            self.absorb.payload.eq(word),
        ]
        # The lanes' sums leave through a multiplexer of their own, for a binary address makes it half the size.
        self._lane = Signal(range(spec.lanes))
        self._acc = Signal(signed(spec.acc_bits))
        m.d.comb += self._acc.eq(Cat(self.accs).word_select(self._lane, spec.acc_bits))
        with m.FSM(name="sender") as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.sync += [index.eq(0), self._lane.eq(0)]
                with m.If(self.send_tile):
                    m.d.sync += [
                        kind.eq(Result.TILE_DONE),
                        length.eq(TILE_DONE_FIXED_WORDS + Mux(self.linear, spec.lanes, 0)),
                    ]
                    m.next = "HEADER"
                    with m.If(self.divert):
                        m.next = "DIVERT"
                with m.Elif(self.send_status):
                    m.d.sync += [kind.eq(Result.STATUS_REPLY), length.eq(STATUS_WORDS)]
                    m.next = "HEADER"
                with m.Elif(self.send_fault):
                    m.d.sync += [kind.eq(Result.FAULT), length.eq(FAULT_WORDS)]
                    m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += [
                    self.result.valid.eq(1),
                    word.eq(kind | (length << 16)),
                    crc.start.eq(sent),
                    crc.valid.eq(sent),
                ]
                with m.If(sent):
                    m.next = "PAYLOAD"
            with m.State("PAYLOAD"):
                m.d.comb += [self.result.valid.eq(1), crc.valid.eq(sent)]
                self._payload(m, kind, index, word)
                with m.If(sent):
                    self._advance(m, index)
                    with m.If(index == length - 1):
                        m.next = "CRC"
            self._divert(m, kind, index, length, word)
            with m.State("CRC"):
                m.d.comb += [self.result.valid.eq(1), self.result.payload.last.eq(1)]
                m.d.comb += self.result.payload.data.eq(crc.crc)
                with m.If(sent):
                    m.next = "IDLE"
        return m

    def _divert(self, m: Module, kind: Signal, index: Signal, length: Signal, word: Signal) -> None:
        """A tile's cycles, or its accumulators, to the vault; the other words to nobody."""
        with m.State("DIVERT"):
            wanted = Signal()
            m.d.comb += [
                wanted.eq(Mux(self.fingerprint == Fingerprint.CLOCK, index == 1, index >= TILE_DONE_FIXED_WORDS)),
                self.absorb.valid.eq(wanted),
            ]
            self._payload(m, kind, index, word)
            with m.If(self.absorb.ready | ~wanted):
                self._advance(m, index)
                with m.If(index == length - 1):
                    m.next = "IDLE"

    def _advance(self, m: Module, index: Signal) -> None:
        m.d.sync += [index.eq(index + 1), self._lane.eq(Mux(index < TILE_DONE_FIXED_WORDS, 0, self._lane + 1))]

    def _payload(self, m: Module, kind: Signal, index: Signal, word: Signal) -> None:
        """Put payload word number `index` of the packet on `word`."""
        contents: dict[Result, list[ValueLike]] = {
            Result.TILE_DONE: [self.tile_index, self.cycles],
            Result.STATUS_REPLY: [
                C(int(self.spec.id, 16) & 0xFFFFFFFF, WORD_BITS),
                self.tile_index,
                self.total_cycles[:WORD_BITS],
                self.total_cycles[WORD_BITS:],
                self.lock_state,
            ],
            Result.FAULT: [self.error | (self.tile_index << 8)],
        }
        with m.Switch(kind):
            for result, words in contents.items():
                with m.Case(result), m.Switch(index):
                    for number, value in enumerate(words):
                        with m.Case(number):
                            m.d.comb += word.eq(value)
                    if result is Result.TILE_DONE:
                        with m.Default():
                            m.d.comb += word.eq(self._acc)
