"""The command stream: packets in, layer descriptors, codes, offsets and activations out, every mistake named."""

from enum import IntEnum

from amaranth import C, Cat, Module, Mux, Signal, unsigned
from amaranth.hdl import Shape, Value, ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.protocol import (
    ACTIVATIONS_PER_WORD,
    BIAS_FIELD_BITS,
    CHALLENGE_WORDS,
    CODES_PER_WORD,
    OFFSETS_PER_WORD,
    WORD_BITS,
    ErrorCode,
    FingerprintCode,
    LayerFlag,
    Packet,
    TransformCode,
)
from bitting.unit.spec import ADDRESS_FIELD_BITS, UnitSpec
from bitting_rtl.lib.crc import Crc32
from bitting_rtl.lib.layouts import layer_layout, tile_layout

_HEADER = data.StructLayout({"type": 8, "reserved": 8, "length": 16})
_LAYER_WORD = data.StructLayout({"codes": 16, "flags": 8, "shift": 8})
_CHALLENGE_WORD = data.StructLayout({"fingerprint": 8, "transform": 8, "reserved": 16})
_BIAS_WORD = data.StructLayout({"bias": BIAS_FIELD_BITS, "hold": 1, "resume": 1, "reserved": 6})
_PAIR = data.StructLayout({"low": ADDRESS_FIELD_BITS, "high": ADDRESS_FIELD_BITS})


class Depacketise(wiring.Component):
    """Parse the packets of `bitting.unit.protocol`, one word a clock where the receiver allows it.

    Codes leave one a clock if `code_ready` (`code_valid`), offsets likewise, activation vectors as their last word arrives. A
    tile is handed over (`tile_commit`), a layer becomes current and `unlock` comes only after the CRC matched. TILE waits
    for `tile_free` (its codes follow `tile_start`), LOCK_NOW for nothing, everything else for `idle`.

    The first mistake shows on `error` for one clock, the clock after. While `halt` is high every word is accepted and dropped.
    """

    def __init__(self, spec: UnitSpec, locks: bool = True):
        """`locks`: know the packets of the locks; without, they are unknown types."""
        self.spec = spec
        self.locks = locks
        index = Shape.cast(range(spec.tile_codes))
        super().__init__(
            {
                "cmd": In(stream.Signature(unsigned(WORD_BITS))),
                "halt": In(1),
                "idle": In(1),
                "error": Out(Shape.cast(ErrorCode)),
                "layer": Out(layer_layout(spec)),
                "layer_begin": Out(1),
                "offset_write": Out(1),
                "offset_data": Out(unsigned(spec.address_bits)),
                "code_valid": Out(1),
                "code_ready": In(1),
                "code_data": Out(unsigned(spec.slot_bits)),
                "item_index": Out(index),
                "tile": Out(tile_layout(spec)),
                "tile_free": In(1),
                "tile_start": Out(1),
                "tile_commit": Out(1),
                "act_write": Out(1),
                "act_addr": Out(Shape.cast(range(spec.scratch_words))),
                "act_data": Out(unsigned(spec.lanes * spec.act_bits)),
                "status_request": Out(1),
                "can_unlock": In(1),
                "challenge": Out(1),
                "fingerprint": Out(FingerprintCode),
                "transform": Out(TransformCode),
                "absorb": Out(stream.Signature(unsigned(WORD_BITS))),
                "unlock": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        parser = _Parser(self, m)
        with m.If(self.halt):
            m.d.comb += self.cmd.ready.eq(1)
        with m.Else(), m.FSM(name="parser") as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("HEADER"))
            parser.header()
            parser.barrier()
            parser.layer()
            parser.tile()
            parser.activations()
            parser.challenge()
            parser.crc()
        parser.compare_late()
        return m


class _Parser:
    """The states of the parser, a method for each packet; `io` is the component whose ports they drive."""

    def __init__(self, io: Depacketise, m: Module):
        self.io = io
        self.m = m
        self.spec = io.spec
        self.word = io.cmd.payload
        self.pair = data.View(_PAIR, self.word)
        m.submodules.crc = self.checksum = Crc32()

        self.kind = Signal(Packet)
        self.remaining = Signal(16)  # payload words still to come
        self.part = Signal(2)  # which code or offset of a word comes next
        self.layer_valid = Signal()
        self.last_item = Signal()  # `item_index` is the last of the packet
        self.fault = Signal(ErrorCode)
        # The checksum sees each word a clock later: whether a word is accepted comes too late in its own.
        self.counts = Signal()  # the word is one of those the checksum is of
        self.begins = Signal()
        earlier = Signal.like(self.word)
        m.d.sync += [earlier.eq(self.word), self.checksum.valid.eq(self.counts), self.checksum.start.eq(self.begins)]
        m.d.comb += self.checksum.data.eq(earlier)
        self.matches = Signal()
        m.d.sync += self.matches.eq(earlier == self.checksum.crc)
        self.bad_length = Signal()  # comes before any other fault: a wrong length makes every field suspect
        offset = Signal(ADDRESS_FIELD_BITS)
        self.wide_offset = offset[self.spec.address_bits :].any()
        self.wide = self.pair.low[self.spec.address_bits :].any() | self.pair.high[self.spec.address_bits :].any()
        m.d.comb += [
            offset.eq(self.word.word_select(self.part[0], ADDRESS_FIELD_BITS)),
            io.offset_data.eq(offset),
            io.code_data.eq(self.word.word_select(self.part, 8)[: self.spec.slot_bits]),
            io.absorb.payload.eq(self.word),
        ]
        # What is seen a clock later than its word was the first mistake all the same: comparisons take a clock of their own.
        self.late = Signal(ErrorCode)
        self.codes = Signal(16)  # of a layer, as its packet says
        self.reach = Signal(ADDRESS_FIELD_BITS + 1)  # one past the last address of activations
        self.shaped, self.ranged = Signal(name="shaped"), Signal(name="ranged")  # they came in the clock before
        now = Mux(self.bad_length, ErrorCode.BAD_LENGTH, self.fault)
        m.d.sync += [self.shaped.eq(0), self.ranged.eq(0), io.error.eq(Mux(self.late == ErrorCode.NONE, now, self.late))]

    def _take_payload_word(self, last: ValueLike) -> None:
        """Accept a payload word; `last`: the packet's fields end with it, and so must its length.

        In a state that always does, a valid word is an accepted one, and is asked for as such: `cmd.ready` comes late.
        """
        m = self.m
        m.d.comb += self.io.cmd.ready.eq(1)
        with m.If(self.io.cmd.valid):
            m.d.comb += [
                self.counts.eq(1),
                self.bad_length.eq((self.remaining == 0) | (last & (self.remaining != 1))),
            ]
            m.d.sync += self.remaining.eq(self.remaining - 1)

    def _address_pair(self) -> None:
        """Both halves of the word are addresses, or distances of such."""
        with self.m.If(self.wide):
            self.m.d.comb += self.fault.eq(ErrorCode.BAD_ADDRESS)

    def _take_items(self, per_word: int, valid: Signal, ready: ValueLike) -> None:
        """Hand on the items of the packet one a clock; each word leaves with its last item. Ends in state CRC."""
        m, io = self.m, self.io
        m.d.comb += valid.eq(io.cmd.valid)
        with m.If(io.cmd.valid & ready):
            m.d.sync += [io.item_index.eq(io.item_index + 1), self.part.eq(self.part + 1)]
            m.d.sync += self.last_item.eq(io.item_index + 1 == io.layer.last_code)
            with m.If(self.last_item | (self.part == per_word - 1)):
                self._take_payload_word(last=self.last_item)
                m.d.sync += self.part.eq(0)
                with m.If(self.last_item):
                    m.next = "CRC"

    def header(self) -> None:
        """Type and length; TILE waits for a free buffer, everything else for an idle engine."""
        m, io = self.m, self.io
        header = data.View(_HEADER, self.word)
        waiting = [Packet.LAYER, Packet.ACTIVATIONS, Packet.STATUS]
        if io.locks:
            waiting += [Packet.CHALLENGE, Packet.UNLOCK]
        with m.State("HEADER"):
            m.d.comb += io.cmd.ready.eq(1)
            with m.If(self.io.cmd.valid):
                m.d.comb += [self.begins.eq(1), self.counts.eq(1)]
                m.d.sync += [
                    self.kind.eq(header.type),
                    self.remaining.eq(header.length),
                    io.item_index.eq(0),
                    self.part.eq(0),
                ]
                with m.Switch(header.type):
                    with m.Case(*waiting):
                        m.next = "BARRIER"
                    with m.Case(*[Packet.LOCK_NOW] * io.locks):
                        m.d.comb += self.bad_length.eq(header.length != 0)
                        m.next = "CRC"
                    with m.Case(Packet.TILE):
                        m.next = "TILE_FREE"
                        with m.If(~self.layer_valid):
                            m.d.comb += self.fault.eq(ErrorCode.BAD_ORDER)
                    with m.Default():
                        m.d.comb += self.fault.eq(ErrorCode.BAD_TYPE)
                with m.If(header.reserved != 0):
                    m.d.comb += self.fault.eq(ErrorCode.BAD_FIELD)

    def barrier(self) -> None:
        """What changes shared state waits until no tile waits or runs."""
        m = self.m
        with m.State("BARRIER"), m.If(self.io.idle), m.Switch(self.kind):
            with m.Case(Packet.LAYER):
                m.d.comb += self.io.layer_begin.eq(1)
                m.d.sync += self.layer_valid.eq(0)
                m.next = "LAYER_SHAPE"
            with m.Case(Packet.ACTIVATIONS):
                m.next = "ACTIVATIONS_RANGE"
            with m.Case(Packet.CHALLENGE):
                m.d.comb += self.io.challenge.eq(1)
                m.d.sync += self.layer_valid.eq(0)
                m.next = "CHALLENGE_WORDS"
            with m.Default():
                with m.If((self.kind == Packet.UNLOCK) & ~self.io.can_unlock):
                    m.d.comb += self.fault.eq(ErrorCode.BAD_ORDER)
                m.d.comb += self.bad_length.eq(self.remaining != 0)
                m.next = "CRC"

    def layer(self) -> None:
        """Four fixed words, then the gather offsets."""
        m, spec, layer, pair = self.m, self.spec, self.io.layer, self.pair
        shape = data.View(_LAYER_WORD, self.word)
        unknown_flags = 0xFF & ~sum(flag.value for flag in LayerFlag)
        with m.State("LAYER_SHAPE"):
            self._take_payload_word(last=C(0))
            with m.If(self.io.cmd.valid):
                m.d.sync += [
                    layer.last_code.eq(shape.codes - 1),
                    layer.linear.eq((shape.flags & LayerFlag.EMIT).any()),
                    layer.report.eq((shape.flags & LayerFlag.REPORT).any()),
                    layer.binary.eq((shape.flags & LayerFlag.PLAIN_WEIGHTS).any()),
                    layer.public.eq((shape.flags & LayerFlag.CONSTANT).any()),
                    layer.shift.eq(shape.shift),
                ]
                m.d.sync += [self.codes.eq(shape.codes), self.shaped.eq(1)]
                m.next = "LAYER_POSITIONS"
                with m.If(
                    (shape.codes == 0)
                    | (shape.shift > spec.max_shift)
                    | (shape.flags & unknown_flags).any()
                    | ((shape.flags & (LayerFlag.CONSTANT | LayerFlag.PLAIN_WEIGHTS)) == LayerFlag.CONSTANT)
                ):
                    m.d.comb += self.fault.eq(ErrorCode.BAD_FIELD)
        with m.State("LAYER_POSITIONS"):
            self._take_payload_word(last=C(0))
            with m.If(self.io.cmd.valid):
                m.d.sync += [layer.last_x.eq(pair.low - 1), layer.last_y.eq(pair.high - 1)]
                m.next = "LAYER_STRIDES"
                one_position = (pair.low == 1) & (pair.high == 1)
                with m.If((pair.low == 0) | (pair.high == 0) | self.wide | (layer.linear & ~one_position)):
                    m.d.comb += self.fault.eq(ErrorCode.BAD_FIELD)
        with m.State("LAYER_STRIDES"):
            self._take_payload_word(last=C(0))
            with m.If(self.io.cmd.valid):
                self._address_pair()
                m.d.sync += [layer.stride_x.eq(pair.low), layer.stride_y.eq(pair.high)]
                m.next = "LAYER_OUT_STRIDES"
        with m.State("LAYER_OUT_STRIDES"):
            self._take_payload_word(last=C(0))
            with m.If(self.io.cmd.valid):
                self._address_pair()
                m.d.sync += [layer.out_stride_x.eq(pair.low), layer.out_stride_y.eq(pair.high)]
                m.d.sync += self.last_item.eq(layer.last_code == 0)
                m.next = "LAYER_OFFSETS"
        with m.State("LAYER_OFFSETS"):
            self._take_items(OFFSETS_PER_WORD, self.io.offset_write, C(1))
            with m.If(self.io.cmd.valid & self.wide_offset):
                m.d.comb += self.fault.eq(ErrorCode.BAD_ADDRESS)

    def tile(self) -> None:
        """Addresses, bias, then the codes."""
        m, tile, layer = self.m, self.io.tile, self.io.layer
        fields = data.View(_BIAS_WORD, self.word)
        with m.State("TILE_FREE"), m.If(self.io.tile_free):
            m.d.comb += self.io.tile_start.eq(1)
            m.next = "TILE_BASES"
        with m.State("TILE_BASES"):
            self._take_payload_word(last=C(0))
            with m.If(self.io.cmd.valid):
                self._address_pair()
                m.d.sync += [tile.in_base.eq(self.pair.low), tile.out_base.eq(self.pair.high)]
                m.next = "TILE_BIAS"
        with m.State("TILE_BIAS"):
            self._take_payload_word(last=C(0))
            with m.If(self.io.cmd.valid):
                m.d.sync += [tile.bias.eq(fields.bias), tile.hold.eq(fields.hold), tile.resume.eq(fields.resume)]
                m.d.sync += self.last_item.eq(layer.last_code == 0)
                m.next = "TILE_CODES"
                with m.If(fields.reserved.any() | ((fields.hold | fields.resume) & (layer.last_x | layer.last_y).any())):
                    m.d.comb += self.fault.eq(ErrorCode.BAD_FIELD)
        with m.State("TILE_CODES"):
            self._take_items(CODES_PER_WORD, self.io.code_valid, self.io.code_ready)

    def activations(self) -> None:
        """Address and count, then L / 4 words for each vector; it is written as its last word arrives."""
        m, io, spec, pair = self.m, self.io, self.spec, self.pair
        words = spec.lanes // ACTIVATIONS_PER_WORD
        vectors_left = Signal(spec.address_bits + 1)
        word_count = Signal(range(max(2, words)))  # a counter of no bits would be no Verilog
        last_word = Signal()
        earlier = Signal(words * WORD_BITS, reset_less=True)
        vector = Cat(earlier[WORD_BITS:], self.word)  # the newest word enters at the top
        m.d.comb += [
            last_word.eq(word_count == words - 1),
            io.act_data.eq(Cat(vector.word_select(lane, 8)[: spec.act_bits] for lane in range(spec.lanes))),
        ]
        with m.State("ACTIVATIONS_RANGE"):
            self._take_payload_word(last=C(0))
            with m.If(self.io.cmd.valid):
                m.d.sync += [io.act_addr.eq(pair.low), vectors_left.eq(pair.high)]
                m.next = "ACTIVATIONS_DATA"
                m.d.sync += [self.reach.eq(pair.low + pair.high), self.ranged.eq(pair.high != 0)]
                with m.If(pair.high == 0):
                    m.d.comb += self.fault.eq(ErrorCode.BAD_FIELD)
        with m.State("ACTIVATIONS_DATA"):
            self._take_payload_word(last=last_word & (vectors_left == 1))
            with m.If(io.cmd.valid):
                m.d.sync += [earlier.eq(vector), word_count.eq(word_count + 1)]
                with m.If(last_word):
                    m.d.comb += io.act_write.eq(1)
                    m.d.sync += [word_count.eq(0), io.act_addr.eq(io.act_addr + 1), vectors_left.eq(vectors_left - 1)]
                    with m.If(vectors_left == 1):
                        m.next = "CRC"

    def compare_late(self) -> None:
        """Layers with more codes than the buffer holds, activations that end beyond the memory."""
        with self.m.If(self.shaped & (self.codes > self.spec.tile_codes)):
            self.m.d.comb += self.late.eq(ErrorCode.BAD_FIELD)
        with self.m.If(self.ranged & (self.reach > self.spec.scratch_words)):
            self.m.d.comb += self.late.eq(ErrorCode.BAD_ADDRESS)

    def challenge(self) -> None:
        """What is locked and how, then the nonce; every word is absorbed, and so must wait until the vault takes it."""
        m, io = self.m, self.io
        fields = data.View(_CHALLENGE_WORD, self.word)
        count = Signal(range(CHALLENGE_WORDS))
        last = count == CHALLENGE_WORDS - 1
        with m.State("CHALLENGE_WORDS"):
            m.d.comb += io.absorb.valid.eq(io.cmd.valid)
            with m.If(io.absorb.ready):
                self._take_payload_word(last=last)
            with m.If(io.cmd.valid & io.absorb.ready):
                m.d.sync += count.eq(Mux(last, 0, count + 1))
                with m.If(count == 0):
                    m.d.sync += [io.fingerprint.eq(fields.fingerprint), io.transform.eq(fields.transform)]
                    with m.If(
                        ~_one_of(fields.fingerprint, FingerprintCode)
                        | ~_one_of(fields.transform, TransformCode)
                        | fields.reserved.any()
                    ):
                        m.d.comb += self.fault.eq(ErrorCode.BAD_FIELD)
                with m.If(last):
                    m.next = "CRC"

    def crc(self) -> None:
        """Only a packet with the right CRC takes effect, two clocks after its last word: the comparison takes one."""
        m, io = self.m, self.io
        with m.State("CRC"):
            m.d.comb += io.cmd.ready.eq(1)
            with m.If(self.io.cmd.valid):
                m.next = "COMPARE"
        with m.State("COMPARE"):
            m.next = "EFFECT"
        with m.State("EFFECT"):
            m.next = "HEADER"
            with m.If(~self.matches):
                m.d.comb += self.fault.eq(ErrorCode.BAD_CRC)
            with m.Else(), m.Switch(self.kind):
                with m.Case(Packet.LAYER):
                    m.d.sync += self.layer_valid.eq(1)
                with m.Case(Packet.TILE):
                    m.d.comb += io.tile_commit.eq(1)
                with m.Case(Packet.STATUS):
                    m.d.comb += io.status_request.eq(1)
                with m.Case(Packet.UNLOCK):
                    m.d.comb += io.unlock.eq(1)
                    m.d.sync += self.layer_valid.eq(0)
                with m.Case(Packet.LOCK_NOW):
                    m.d.comb += self.fault.eq(ErrorCode.LOCKED)


def _one_of(field: Value, kind: type[IntEnum]) -> Value:
    return Cat(field == item.value for item in kind).any()
