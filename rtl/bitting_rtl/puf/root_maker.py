"""A root secret from silicon and helper data: measure, keep, correct, hash, compare. `bitting.puf.extractor` says what and why.

Everything goes one after another, a bit or a word at a time, for oscillators take far longer than all that follows them:

    FETCH PUBLIC      mask and syndromes, out of the memory of helper data, into the hash
    SELECT KEEP BIT   a bit of the response, if the mask keeps it, into the decoder; zeros into the rest of its word
    DRAIN WORD        the corrected word, into the hash; then the next word of the code, or
    REST              what else is measured, of which nothing is kept
    CHECK DIGEST      four words are compared with the check; four, if those were equal, are kept as the root secret
"""

from amaranth import C, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bitting.unit.protocol import FUSE_WORDS, PURPOSE_PUF, WORD_BITS
from bitting.unit.puf_key import PufDesign
from bitting.unit.spec import UnitSpec
from bitting_rtl.lib.layouts import UNCHECKED
from bitting_rtl.lib.one_hot import OneHot
from bitting_rtl.lib.ports import Port, Ports
from bitting_rtl.puf.bch_decoder import BchDecoder
from bitting_rtl.puf.measurement import Response
from bitting_rtl.puf.small_cxof import SmallCxof

#: Words of a root secret.
ROOT_WORDS = FUSE_WORDS - 1
_STATES = (
    "CLEAR", "IDLE", "SUMS", "FETCH", "PUBLIC", "SELECT", "KEEP", "BIT", "DRAIN", "WORD", "REST", "CHECK", "DIGEST", "MADE",
    "END",
)  # fmt: skip
#: Bits of the number of a bit in a 32-bit word.
_PLACE_BITS = (WORD_BITS - 1).bit_length()


class RootMaker(wiring.Component):
    """Makes the root secret when told to, or says that it could not. Of the response nothing else leaves, but for `sums`.

    From `make` to `made` it takes the same clocks for every response, right or wrong, with the same helper data, and those are
    public. Behind it every register and memory of the response is cleared; the root secret stays until `forget`.

    Args:
        spec: of the unit; its id is hashed.
        design: what is measured, and how it becomes a key.
        family: of FPGAs, whose rings are measured; None: recorded frequencies (`bitting_rtl.puf.counting`).
    """

    def __init__(self, spec: UnitSpec, design: PufDesign, family: str | None):
        self.design = design
        self.response = Response(design.measured, family, design.constants)
        self.decoder = BchDecoder(design.key.code)
        self.hash = SmallCxof(PURPOSE_PUF, design.key.prefix(spec))
        #: As of `Response`.
        self.recorded = self.response.recorded
        depth = 1 << (design.key.helper_words + ROOT_WORDS - 1).bit_length()
        #: Helper data; in its last words the root secret, if there is one.
        self.memory = Memory(shape=unsigned(WORD_BITS), depth=depth, init=[], attrs=UNCHECKED)
        super().__init__(
            Ports(
                {
                    "helper_ready": Port(Out(1), "helper data may be written"),
                    "helper_write": Port(In(1), "write a word of helper data", "while `helper_ready`"),
                    "helper_address": Port(In(range(design.key.helper_words)), "which word", "with `helper_write`"),
                    "helper_data": Port(In(WORD_BITS), "the word", "with `helper_write`"),
                    "make": Port(In(1), "measure, and make the root secret", "one clock, while `busy` is low"),
                    "measure": Port(In(1), "measure for an enrolment: `sums` leave", "one clock, while `busy` is low"),
                    "forget": Port(In(1), "stop, and forget the root secret and all that was measured"),
                    "busy": Port(Out(1), "something of this is under way"),
                    "made": Port(Out(1), "what `make` began has ended", "one clock"),
                    "right": Port(Out(1), "there is a root secret", "with `made`"),
                    "sums": Port(Out(stream.Signature(unsigned(WORD_BITS))), "of each pair, sign-extended", "after `measure`"),
                    "root_address": Port(
                        In(range(ROOT_WORDS)), "which word of the root secret is wanted", "while `busy` is low"
                    ),
                    "root_data": Port(
                        Out(WORD_BITS), "that word; zeros if there is no root secret", "a clock after its address"
                    ),
                    **self.recorded,
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        key = self.design.key
        m.submodules.response, m.submodules.decoder, m.submodules.hash = self.response, self.decoder, self.hash
        m.d.comb += [getattr(self.response, name).eq(getattr(self, name)) for name in self.recorded]
        self._states = OneHot(m, _STATES)
        at = self._states.at
        self._failed = Signal()  # a word could not be corrected, or the check differs
        self._over = Signal()  # the last pair has been measured
        self._pair = Signal(range(WORD_BITS * key.mask_words))  # whose bit comes next
        self._position = Signal(max(key.code.m, _PLACE_BITS))  # of a bit in its word of the code
        self._block = Signal(range(key.blocks))  # which word of the code
        self._collected = Signal(WORD_BITS)  # bits of a corrected word, the last one uppermost
        self._memory(m)
        self._begin(m)
        self._bits(m)
        self._drain(m)
        self._digest(m)
        m.d.comb += [
            self.helper_ready.eq(at["IDLE"]),
            self.busy.eq(~at["IDLE"] | self.hash.busy | self.response.busy),
            self.response.forget.eq(at["END"] | self.forget),
            self.decoder.wipe.eq(at["END"] | self.forget),
            self.hash.wipe.eq(self.forget),
        ]
        with m.If(self.decoder.failed):
            m.d.sync += self._failed.eq(1)
        with m.If(at["END"] | self.forget):
            registers = (self._failed, self._over, self._pair, self._position, self._block, self._collected, self._keeps)
            m.d.sync += [register.eq(0) for register in registers]
        with m.If(self.forget):
            m.d.sync += self._index.eq(self._root_at)
        self._states.connect(forced=self.forget, there="CLEAR")
        return m

    def _memory(self, m: Module) -> None:
        """Which word of the memory is read, and which is written."""
        key, at = self.design.key, self._states.at
        m.submodules.words = self.memory
        read, write = self.memory.read_port(), self.memory.write_port()
        depth = self.memory.data.depth
        self._root_at = depth - ROOT_WORDS
        # Of a word that is hashed, compared or written. Reset clears the root secret first of all.
        self._index = index = Signal(range(depth), init=self._root_at)
        self._syndrome = syndrome = Signal(range(depth))  # of the word of a syndrome that comes next
        self._word = read.data
        self._stores = index >= self._root_at
        stored = self.hash.digest.payload & ~self._failed.replicate(WORD_BITS)
        stores = at["DIGEST"] & self.hash.digest.valid & self._stores
        m.d.comb += [
            read.addr.eq(index),
            write.addr.eq(Mux(at["IDLE"], self.helper_address, index)),
            write.data.eq(Mux(at["IDLE"], self.helper_data, stored & at["DIGEST"].replicate(WORD_BITS))),
            write.en.eq((at["IDLE"] & self.helper_write) | at["CLEAR"] | stores),
            self.root_data.eq(read.data & at["IDLE"].replicate(WORD_BITS)),
        ]
        with m.If(at["IDLE"]):
            m.d.comb += read.addr.eq(Cat(self.root_address, C(-1, len(index) - len(self.root_address))))
            m.d.sync += [index.eq(0), syndrome.eq(key.mask_words)]
        with m.If(at["SELECT"]):
            m.d.comb += read.addr.eq(self._pair[_PLACE_BITS:])
        with m.If(at["KEEP"] | at["BIT"]):
            m.d.comb += read.addr.eq(syndrome)
        with m.If(self.decoder.sketch.valid & self.decoder.sketch.ready):
            m.d.sync += syndrome.eq(syndrome + 1)
        with m.If(at["CLEAR"]):
            m.d.sync += index.eq(index + 1)
            with m.If(index.all()):
                self._states.go("CLEAR", "IDLE")

    def _begin(self, m: Module) -> None:
        """What is told to begin, and the public part of what is hashed."""
        at, key = self._states.at, self.design.key
        with m.If(at["IDLE"] & (self.make | self.measure)):
            m.d.comb += [self.response.measure.eq(1), self.hash.start.eq(self.make)]
            self._states.go("IDLE", "FETCH", instead=~self.make, other="SUMS")
        with m.If(at["SUMS"]):
            m.d.comb += [
                self.sums.valid.eq(self.response.bits.valid),
                self.sums.payload.eq(self.response.sum.as_signed()),
                self.response.bits.ready.eq(self.sums.ready),
            ]
            with m.If(self.sums.valid & self.sums.ready & self.response.bits.payload.last):
                self._states.go("SUMS", "END")
        with m.If(at["FETCH"]):
            self._states.go("FETCH", "PUBLIC")
        m.d.comb += [
            self.hash.words.valid.eq(at["PUBLIC"] | at["WORD"]),
            self.hash.words.payload.data.eq(Mux(at["PUBLIC"], self._word, self._collected)),
        ]
        with m.If(at["PUBLIC"] & self.hash.words.ready):
            m.d.sync += self._index.eq(self._index + 1)
            last = self._index == key.mask_words + key.syndrome_words - 1
            self._states.go("PUBLIC", "FETCH", instead=last, other="SELECT")

    def _bits(self, m: Module) -> None:
        """A word of the code: bits that the mask keeps, as long as there are any and it has room for them, then zeros."""
        at, key = self._states.at, self.design.key
        bits, word = self.response.bits, self.decoder.word
        self._keeps = keeps = Signal()  # the mask keeps the pair
        pads, full = Signal(), Signal()
        m.d.sync += full.eq(self._position >= key.kept)  # the position has stood for two clocks when it counts
        m.d.comb += [pads.eq(self._over | full), self.decoder.sketch.payload.eq(self._word)]
        with m.If(at["SELECT"]):
            self._states.go("SELECT", "KEEP")
        with m.If(at["KEEP"]):
            m.d.sync += keeps.eq(self._word.bit_select(self._pair[:_PLACE_BITS], 1))
            self._states.go("KEEP", "BIT")
        taken, fed = Signal(), Signal()
        m.d.comb += [
            self.decoder.sketch.valid.eq(at["BIT"]),
            word.valid.eq(at["BIT"] & (pads | (bits.valid & keeps))),
            word.payload.eq(bits.payload.bit & ~pads),
            fed.eq(word.valid & word.ready),
            taken.eq(at["BIT"] & ~pads & bits.valid & (fed | ~keeps)),
        ]
        with m.If(at["BIT"] | at["REST"]):
            m.d.comb += bits.ready.eq(taken | at["REST"])
        with m.If(bits.valid & bits.ready & bits.payload.last):
            m.d.sync += self._over.eq(1)
        with m.If(taken):
            m.d.sync += self._pair.eq(self._pair + 1)
        with m.If(at["BIT"] & (taken | fed)):
            last = fed & (self._position == key.code.n - 1)
            self._states.go("BIT", "SELECT", instead=last, other="DRAIN")
            with m.If(fed):
                m.d.sync += self._position.eq(Mux(last, 0, self._position + 1))
            # With a mask that keeps too few pairs, the rest of the bits are zeros, which whoever made the mask knows: he could
            # make a check that fits, and ask for one bit of the response at a time.
            with m.If(fed & ~full & self._over):
                m.d.sync += self._failed.eq(1)

    def _drain(self, m: Module) -> None:
        """A corrected word of the code, in words of the hash; zeros behind its last bit."""
        at, key, corrected = self._states.at, self.design.key, self.decoder.corrected
        behind = Signal()  # a clock late: between two bits of a word there are many, and behind the last one nothing hurries
        m.d.sync += behind.eq(self._position >= key.code.n)
        with m.If(at["DRAIN"]):
            m.d.comb += corrected.ready.eq(~behind)
            with m.If(corrected.valid | behind):
                m.d.sync += [
                    self._collected.eq(Cat(self._collected[1:], corrected.payload & ~behind)),
                    self._position.eq(self._position + 1),
                ]
                with m.If(self._position[:_PLACE_BITS].all()):
                    self._states.go("DRAIN", "WORD")
        last_of_word = self._position == 0
        last = last_of_word & (self._block == key.blocks - 1)
        m.d.comb += self.hash.words.payload.last.eq(at["WORD"] & last)
        with m.If(at["WORD"] & self.hash.words.ready):
            with m.If(last):
                self._states.go("WORD", "REST")
            with m.Elif(last_of_word):
                m.d.sync += self._block.eq(self._block + 1)
                self._states.go("WORD", "SELECT")
            with m.Else():
                self._states.go("WORD", "DRAIN")

    def _digest(self, m: Module) -> None:
        """The check, word by word, and the root secret behind it."""
        at, index, digest = self._states.at, self._index, self.hash.digest
        with m.If(at["REST"] & self._over):
            self._states.go("REST", "CHECK")
        with m.If(at["CHECK"]):
            self._states.go("CHECK", "DIGEST")
        m.d.comb += digest.ready.eq(at["DIGEST"])
        with m.If(at["DIGEST"] & digest.valid):
            m.d.sync += index.eq(index + 1)
            with m.If(~self._stores & (digest.payload != self._word)):
                m.d.sync += self._failed.eq(1)
            with m.If(index == self.design.key.helper_words - 1):
                m.d.sync += index.eq(self._root_at)
            self._states.go("DIGEST", "CHECK", instead=index.all(), other="MADE")
        m.d.comb += [self.made.eq(at["MADE"]), self.right.eq(at["MADE"] & ~self._failed)]
        with m.If(at["MADE"]):
            self._states.go("MADE", "END")
        with m.If(at["END"]):
            self._states.go("END", "IDLE")
