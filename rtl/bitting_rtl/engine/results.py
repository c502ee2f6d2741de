"""The result stream: what leaves the engine, packed with a CRC."""

from amaranth import C, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.hdl import ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.protocol import (
    CYCLE_COUNT_BITS,
    FAULT_WORDS,
    STATUS_WORDS,
    TILE_DONE_FIXED_WORDS,
    WORD_BITS,
    ErrorCode,
    FingerprintCode,
    Result,
)
from bitting.unit.spec import UnitSpec
from bitting_rtl.engine import words
from bitting_rtl.engine.sequencer import CYCLE_BITS
from bitting_rtl.lib.crc import Crc32
from bitting_rtl.lib.layouts import result_word_layout
from bitting_rtl.lib.ports import Port, Ports

#: Width of the count of tiles.
TILE_COUNT_BITS = 32


#: Where lanes share samples.
_LANES = {
    "every_lane": Port(In(1), "the accumulators of all lanes are sent, not only those of a sample's first", "while `busy`"),
}


class Results(wiring.Component):
    """Send one packet of `bitting.unit.protocol` at a time, one word a clock unless the receiver holds back.

    A request (`send_tile`, `send_status` or `send_fault`, one clock) is taken only while `busy` is low. Its packet begins in
    the clock after and is finished whatever happens. What it is made of (`accs`, `cycles`, the counters) must hold
    still while `busy` is high.

    With `divert`, a tile's words do not leave the engine. Those that are the `fingerprint` go to `absorb` instead.
    """

    def __init__(self, spec: UnitSpec):
        self.spec = spec
        super().__init__(
            Ports(
                {
                    "result": Port(Out(stream.Signature(result_word_layout())), "result words", "from the clock after it"),
                    "send_tile": Port(In(1), "send a TILE_DONE", "one clock, while `busy` is low"),
                    "send_status": Port(In(1), "send a STATUS_REPLY", "one clock, while `busy` is low"),
                    "send_fault": Port(In(1), "send a FAULT", "one clock, while `busy` is low"),
                    "send_sums": Port(In(1), "the TILE_DONE carries the accumulators", "with `send_tile`"),
                    "busy": Port(Out(1), "a packet is being sent or diverted", "from the clock after the request"),
                    "divert": Port(
                        In(1), "no word of the TILE_DONE leaves, but the fingerprint by `absorb`", "with `send_tile`"
                    ),
                    "fingerprint": Port(In(FingerprintCode), "what the fingerprint is: cycles or accumulators", "while `busy`"),
                    "absorb": Port(Out(stream.Signature(unsigned(WORD_BITS))), "words of the fingerprint", "while `busy`"),
                    "lock_state": Port(In(words.LOCK_STATE), "state of the locks, for a STATUS_REPLY", "while `busy`"),
                    "accs": Port(In(data.ArrayLayout(signed(spec.acc_bits), spec.lanes)), "the accumulators", "while `busy`"),
                    "tile_index": Port(In(unsigned(TILE_COUNT_BITS)), "tiles since reset", "while `busy`"),
                    "cycles": Port(In(unsigned(CYCLE_BITS)), "cycles of the last tile", "while `busy`"),
                    "total_cycles": Port(In(unsigned(CYCLE_COUNT_BITS)), "cycles of all tiles", "while `busy`"),
                    "error": Port(In(ErrorCode), "the first error", "while `busy`"),
                    "untold": Port(In(1), "of what leaves, put zeros in the place of tiles and cycles", "with the request"),
                    **(_LANES if spec.stripes > 1 else {}),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec = self.spec
        m.submodules.crc = crc = Crc32()

        self._kind = Signal(Result)
        self._length = length = Signal(range(TILE_DONE_FIXED_WORDS + spec.lanes + 1))
        self._index = index = Signal.like(length)  # payload words that have been loaded into `word`
        self._word = word = Signal(WORD_BITS)  # the word that leaves; choosing it takes a clock, hence a register
        self._load = load = Signal()  # the next payload word
        self._blank = Signal()  # it is 0
        self._untold = Signal()  # as it was when the packet began: an error may come while it waits to leave
        sent = Signal()
        m.d.comb += [
            sent.eq(self.result.valid & self.result.ready),
            crc.data.eq(word),
            self.absorb.payload.eq(word),
        ]
        self._payload(m)
        with m.FSM(name="sender") as fsm:
            m.d.comb += [self.busy.eq(~fsm.ongoing("IDLE")), crc.clear.eq(fsm.ongoing("IDLE"))]
            self._idle(m)
            with m.State("HEADER"):
                self._offer(m, word)
                m.d.comb += [crc.valid.eq(sent), load.eq(sent)]
                with m.If(sent):
                    m.next = "PAYLOAD"
            with m.State("PAYLOAD"):
                self._offer(m, word)
                m.d.comb += [crc.valid.eq(sent), load.eq(sent)]
                with m.If(sent & (index == length)):
                    m.next = "CRC"
            self._divert(m)
            with m.State("CRC"):
                self._offer(m, crc.crc)
                m.d.comb += self.result.payload.last.eq(1)
                with m.If(sent):
                    m.next = "IDLE"
        with m.If(self._blank):  # after all else, so that it is a reset
            m.d.sync += word.eq(0)
        return m

    def _offer(self, m: Module, word: Value) -> None:
        """A word for outside. In all other clocks there are zeros: the pins show what is there, valid or not."""
        m.d.comb += [self.result.valid.eq(1), self.result.payload.data.eq(word)]

    def _sums(self) -> ValueLike:
        """How many accumulators a TILE_DONE carries."""
        if self.spec.stripes == 1:
            return self.spec.lanes
        return Mux(self.every_lane, self.spec.lanes, self.spec.samples)

    def _step(self) -> ValueLike:
        """Lanes from an accumulator to the next."""
        return Mux(self.every_lane, 1, self.spec.stripes) if self.spec.stripes > 1 else 1

    def _idle(self, m: Module) -> None:
        """Take a packet to send, and put its header on `word`."""
        sends = {
            Result.TILE_DONE: (self.send_tile, TILE_DONE_FIXED_WORDS + Mux(self.send_sums, self._sums(), 0)),
            Result.STATUS_REPLY: (self.send_status, STATUS_WORDS),
            Result.FAULT: (self.send_fault, FAULT_WORDS),
        }
        with m.State("IDLE"):
            m.d.sync += [self._index.eq(0), self._untold.eq(self.untold)]
            for kind, (wanted, length) in sends.items():
                with m.If(wanted):
                    m.d.sync += [self._kind.eq(kind), self._length.eq(length), self._word.eq(kind.value | (length << 16))]
                    m.next = "HEADER"
            with m.If(self.send_tile & self.divert):
                m.next = "DIVERT"

    def _divert(self, m: Module) -> None:
        """Load one payload word after another, and offer the vault those that are the fingerprint: cycles or accumulators."""
        with m.State("DIVERT"):
            wanted = Signal()
            m.d.comb += [
                wanted.eq(
                    Mux(self.fingerprint == FingerprintCode.CLOCK, self._index == 2, self._index > TILE_DONE_FIXED_WORDS)
                ),
                self.absorb.valid.eq(wanted),
            ]
            with m.If(self.absorb.ready | ~wanted):
                m.d.comb += self._load.eq(1)
                with m.If(self._index == self._length):
                    m.next = "IDLE"

    def _payload(self, m: Module) -> None:
        """Load payload word number `index` of the packet.

        The accumulators have a multiplexer of their own, addressed by a binary number: that makes it half the size.
        """
        contents: dict[Result, list[ValueLike]] = {
            Result.TILE_DONE: [self.tile_index, self.cycles],
            Result.STATUS_REPLY: [
                C(self.spec.id_word, WORD_BITS),
                self.tile_index,
                self.total_cycles[:WORD_BITS],
                self.total_cycles[WORD_BITS:],
                self.lock_state,
            ],
            Result.FAULT: [self.error | (self.tile_index << words.FAULT["tiles"].offset)],
        }
        lane = Signal(range(self.spec.lanes))
        acc = Signal(signed(self.spec.acc_bits))
        m.d.comb += acc.eq(Cat(self.accs).word_select(lane, self.spec.acc_bits))
        with m.If(self._load):
            m.d.sync += [
                self._index.eq(self._index + 1),
                lane.eq(Mux(self._index < TILE_DONE_FIXED_WORDS, 0, lane + self._step())),
                self._word.eq(0),
            ]
            with m.Switch(self._kind):
                for result, payload in contents.items():
                    with m.Case(result), m.Switch(self._index):
                        for number, value in enumerate(payload):
                            with m.Case(number):
                                m.d.sync += self._word.eq(value)
                        if result == Result.TILE_DONE:
                            with m.Default(), m.If(self._index != self._length):
                                m.d.sync += self._word.eq(acc)
            # Of a TILE_DONE the first words; of a STATUS_REPLY all but the first and the last.
            counts = (self._kind == Result.TILE_DONE) & ~self.divert & (self._index < TILE_DONE_FIXED_WORDS)
            counts |= (self._kind == Result.STATUS_REPLY) & (self._index != 0) & (self._index != STATUS_WORDS - 1)
            m.d.comb += self._blank.eq(self._untold & counts)
