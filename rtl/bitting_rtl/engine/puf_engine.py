"""An engine whose root secret no one stores: before it boots, helper data and silicon make the secret."""

from amaranth import Cat, ClockDomain, ClockSignal, DomainRenamer, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.protocol import FAULT_WORDS, PUF_REPLY_WORDS, WORD_BITS, ErrorCode, Packet, Result
from bitting.unit.puf_key import PufDesign
from bitting.unit.spec import UnitSpec
from bitting_rtl.engine import words
from bitting_rtl.engine.engine import Engine
from bitting_rtl.engine.intake import Intake
from bitting_rtl.lib.build_options import PORTABLE, BuildOptions
from bitting_rtl.lib.crc import Crc32
from bitting_rtl.lib.layouts import result_word_layout
from bitting_rtl.lib.one_hot import OneHot
from bitting_rtl.lib.ports import Port, Ports
from bitting_rtl.puf.root_maker import ROOT_WORDS, RootMaker

_STATES = ("TAKE", "PAYLOAD", "END", "MAKE", "HEADER", "WORDS", "CRC", "PASS", "SILENT")
#: What an engine with a PUF has in the place of ports for fuses.
PUF_PORTS = {"sealed": Port(In(1), "the fuse `sealed` is blown: no enrolment, sealed programs only", "constant")}
#: What is taken before there is a root secret. All other packets are out of order then.
_TAKEN = (Packet.HELPER, Packet.ENROL, Packet.STATUS, Packet.LOCK_NOW)


class PufEngine(wiring.Component):
    """Stands before an `Engine`, which it holds in reset until there is a root secret; from then on all words pass.

    Until then HELPER, ENROL, STATUS and LOCK_NOW are taken. HELPER is answered with a PUF_REPLY in any case, and may be sent
    again if the root secret could not be made: the next measurement has other errors. Everything else is an error like those of
    the engine: one FAULT, then silence until reset.

    The engine reads the root secret once, when it boots; then it is cleared here.
    """

    def __init__(self, spec: UnitSpec, design: PufDesign, family: str | None, options: BuildOptions = PORTABLE):
        """`design`, `family`: see `RootMaker`; `options`: see `Engine`."""
        self.maker = RootMaker(spec, design, family)
        self._spec = spec
        self._engine = Engine(spec, options=options)
        #: As of `bitting_rtl.puf.measurement.Response`.
        self.recorded = self.maker.recorded
        super().__init__(
            Ports(
                {
                    **PUF_PORTS,
                    "lock_now": Port(In(1), "wipe all keys and stop with error LOCKED"),
                    "cmd": Port(In(stream.Signature(unsigned(WORD_BITS))), "command words"),
                    "result": Port(Out(stream.Signature(result_word_layout())), "result words"),
                    "error": Port(Out(ErrorCode), "the first error; NONE while all is well", "until reset"),
                    "busy": Port(Out(1), "something is in progress, or there was an error"),
                    **self.recorded,
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.engine = domain = ClockDomain(local=True)
        self._holds = holds = Signal(init=1)  # the engine, in reset
        # Straight from a register, as the reset of an engine without a PUF is. A reset sets it: so it comes a clock later, and
        # lasts until there is a root secret.
        m.d.comb += [domain.clk.eq(ClockSignal()), domain.rst.eq(holds)]
        m.submodules.engine = DomainRenamer("engine")(self._engine)
        m.submodules.maker = self.maker
        m.submodules.intake = self._intake = Intake()
        m.d.comb += [getattr(self.maker, name).eq(getattr(self, name)) for name in self.recorded]
        self._states = OneHot(m, _STATES)
        self._error = Signal(ErrorCode)
        self._halt = Signal()  # there is an error of this, not of the engine
        self._refused = Signal(ErrorCode)
        self._kind = Signal(Packet)
        self._index = Signal(range(self.maker.design.key.helper_words))
        self._attempts = Signal(8)
        self._rooted = Signal()
        self._sends = Signal(Result)
        self._take(m)
        self._make(m)
        self._send(m)
        self._hand_over(m)
        self._first_error(m)
        self._states.connect()
        return m

    def _take(self, m: Module) -> None:
        """A packet. What is wrong with its header is said at once, all else when it has proved to be what was sent."""
        at, intake, key = self._states.at, self._intake, self.maker.design.key
        word, index, writes = intake.words.payload, self._index, Signal()
        header = data.View(words.HEADER, word.data)
        known = Cat(header.type == kind for kind in Packet).any()
        taken = Cat(header.type == kind for kind in _TAKEN).any()
        length = Mux(header.type == Packet.HELPER, key.helper_words, 0)
        m.d.comb += [
            intake.words.ready.eq(at["TAKE"] | writes),
            intake.halt.eq(self._halt),
            writes.eq(at["PAYLOAD"] & self.maker.helper_ready),
            self.maker.helper_write.eq(writes & intake.words.valid),
            self.maker.helper_address.eq(index),
            self.maker.helper_data.eq(word.data),
        ]
        with m.If(at["TAKE"] & self._halt):
            self._answer(m, "TAKE", Result.FAULT)
        with m.Elif(at["TAKE"] & intake.words.valid):
            m.d.sync += [self._kind.eq(header.type), index.eq(0)]
            with m.If(header.reserved != 0):
                m.d.comb += self._refused.eq(ErrorCode.BAD_FIELD)
            with m.Elif(~taken):
                m.d.comb += self._refused.eq(Mux(known, ErrorCode.BAD_ORDER, ErrorCode.BAD_TYPE))
            with m.Elif(header.length != length):
                m.d.comb += self._refused.eq(ErrorCode.BAD_LENGTH)
            with m.Else():
                self._states.go("TAKE", "PAYLOAD", instead=word.last, other="END")
        with m.If(at["PAYLOAD"] & self._halt):
            self._answer(m, "PAYLOAD", Result.FAULT)
        with m.Elif(writes & intake.words.valid):
            m.d.sync += index.eq(index + 1)
            with m.If(word.last):
                self._states.go("PAYLOAD", "END")

    def _make(self, m: Module) -> None:
        """What a packet asks for, and how that ends."""
        at, intake, maker = self._states.at, self._intake, self.maker
        acts, measures = Signal(), Signal()
        m.d.comb += [
            measures.eq((self._kind == Packet.HELPER) | (self._kind == Packet.ENROL)),
            acts.eq(at["END"] & ~self._halt & intake.complete & ~(measures & maker.busy)),
            intake.taken.eq(acts),
        ]
        with m.If(at["END"] & self._halt):
            self._answer(m, "END", Result.FAULT)
        with m.Elif(acts):
            with m.If(~intake.right):
                m.d.comb += self._refused.eq(ErrorCode.BAD_CRC)
                self._states.go("END", "TAKE")
            with m.Elif(self._kind == Packet.HELPER):
                m.d.comb += maker.make.eq(1)
                self._states.go("END", "MAKE")
            with m.Elif((self._kind == Packet.ENROL) & ~self.sealed):
                m.d.comb += maker.measure.eq(1)
                self._answer(m, "END", Result.SUMS)
            with m.Elif(self._kind == Packet.STATUS):
                self._answer(m, "END", Result.PUF_REPLY)
            with m.Else():
                m.d.comb += self._refused.eq(Mux(self._kind == Packet.ENROL, ErrorCode.BAD_ORDER, ErrorCode.LOCKED))
                self._states.go("END", "TAKE")
        with m.If(at["MAKE"] & self._halt):
            self._answer(m, "MAKE", Result.FAULT)
        with m.Elif(at["MAKE"] & maker.made):
            m.d.sync += [self._rooted.eq(maker.right), self._attempts.eq(self._attempts + ~self._attempts.all())]
            self._answer(m, "MAKE", Result.PUF_REPLY)

    def _answer(self, m: Module, here: str, kind: Result) -> None:
        m.d.sync += self._sends.eq(kind)
        self._states.go(here, "HEADER")

    def _send(self, m: Module) -> None:
        """One packet: header, words, CRC. One that has begun is finished whatever happens."""
        at, pairs = self._states.at, self.maker.design.key.pairs
        left = Signal(range(pairs + 1))
        word, sent, valid = Signal(WORD_BITS), Signal(), Signal()
        late, moved = Signal(WORD_BITS), Signal()
        m.submodules.crc = crc = Crc32()
        lengths = {Result.PUF_REPLY: PUF_REPLY_WORDS, Result.SUMS: pairs, Result.FAULT: FAULT_WORDS}
        sums = (self._sends == Result.SUMS) & at["WORDS"]
        m.d.comb += [
            # If the measurement was stopped, zeros follow.
            valid.eq(at["HEADER"] | (at["CRC"] & ~crc.valid) | (at["WORDS"] & (~sums | self.maker.sums.valid | self._halt))),
            sent.eq(valid & self.result.ready),
            self.maker.sums.ready.eq(sums & self.result.ready & ~self._halt),
            crc.clear.eq(~(at["HEADER"] | at["WORDS"] | at["CRC"])),
            crc.valid.eq(moved),
            crc.data.eq(late),
        ]
        # The CRC sees each word a clock later: what chooses the word takes most of one.
        m.d.sync += [late.eq(word), moved.eq(sent & ~at["CRC"])]
        with m.Switch(self._sends):
            for kind, length in lengths.items():
                with m.Case(kind), m.If(at["HEADER"]):
                    m.d.comb += word.eq(kind.value | length << 16)
                    m.d.sync += left.eq(length)
        state = Signal(words.PUF_STATE)
        m.d.comb += [state.rooted.eq(self._rooted), state.sealed.eq(self.sealed), state.attempts.eq(self._attempts)]
        with m.If(at["WORDS"]), m.Switch(self._sends):
            with m.Case(Result.PUF_REPLY):
                m.d.comb += word.eq(Mux(left == PUF_REPLY_WORDS, self._spec.id_word, state))
            with m.Case(Result.SUMS):
                m.d.comb += word.eq(self.maker.sums.payload & ~self._halt.replicate(WORD_BITS))
            with m.Case(Result.FAULT):
                m.d.comb += word.eq(self._error)
        with m.If(at["CRC"]):
            m.d.comb += word.eq(crc.crc)
        with m.If(sent):
            with m.If(at["HEADER"]):
                self._states.go("HEADER", "WORDS")
            with m.If(at["WORDS"]):
                m.d.sync += left.eq(left - 1)
                with m.If(left == 1):
                    self._states.go("WORDS", "CRC")
            with m.If(at["CRC"]):
                with m.If(self._sends == Result.FAULT):
                    self._states.go("CRC", "SILENT")
                with m.Else():
                    self._states.go("CRC", "TAKE", instead=self._rooted & ~self._halt, other="PASS")
        with m.If(~at["PASS"]):
            m.d.comb += [self.result.valid.eq(valid), self.result.payload.data.eq(word), self.result.payload.last.eq(at["CRC"])]

    def _hand_over(self, m: Module) -> None:
        """All words to the engine, and the root secret, until the engine has read its last word."""
        at, engine, maker = self._states.at, self._engine, self.maker
        m.d.sync += self._holds.eq(~at["PASS"] | self._halt)
        passes = at["PASS"] & ~self._holds
        m.d.comb += [
            engine.lock_now.eq(self.lock_now),
            engine.cmd.payload.eq(self.cmd.payload),
            self._intake.cmd.payload.eq(self.cmd.payload),
            engine.cmd.valid.eq(self.cmd.valid & passes),
            self._intake.cmd.valid.eq(self.cmd.valid & ~passes & ~at["PASS"]),
            self.cmd.ready.eq(Mux(passes, engine.cmd.ready, self._intake.cmd.ready & ~at["PASS"])),
            engine.result.ready.eq(self.result.ready & passes),
        ]
        with m.If(passes):
            m.d.comb += [self.result.payload.eq(engine.result.payload), self.result.valid.eq(engine.result.valid)]
        with m.If(at["PASS"] & self._halt):
            self._answer(m, "PASS", Result.FAULT)
        # A word that is read keeps its number for two clocks or more (`bitting_rtl.engine.top`): so once the last number has
        # stood for two and gone, all words have been read.
        last, before, stood, read = Signal(), Signal(), Signal(), Signal()
        m.d.comb += last.eq((engine.fuse_address == ROOT_WORDS - 1) & passes)
        m.d.sync += [before.eq(last), stood.eq(stood | (last & before)), read.eq(read | (stood & ~last))]
        over, told = Signal(), Signal()
        m.d.comb += [over.eq(read | self._halt | (engine.error != ErrorCode.NONE)), maker.forget.eq(over & ~told)]
        m.d.sync += told.eq(over)
        m.d.comb += [
            maker.root_address.eq(engine.fuse_address),
            engine.fuse_data.eq(Mux(engine.fuse_address == ROOT_WORDS, self.sealed, maker.root_data)),
        ]

    def _first_error(self, m: Module) -> None:
        """Of this, or of the engine. While the engine is in reset, `lock_now` is for this."""
        at = self._states.at
        with m.If(~self._halt):
            with m.If(self._refused != ErrorCode.NONE):
                m.d.sync += [self._error.eq(self._refused), self._halt.eq(1)]
            with m.Elif(self.lock_now & self._holds):
                m.d.sync += [self._error.eq(ErrorCode.LOCKED), self._halt.eq(1)]
        waits = at["TAKE"] & ~self._intake.busy
        m.d.comb += [
            self.error.eq(self._error | self._engine.error),
            self.busy.eq(Mux(at["PASS"], self._holds | self._engine.busy, ~waits)),
        ]
