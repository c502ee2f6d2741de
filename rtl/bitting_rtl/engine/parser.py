"""The states of `bitting_rtl.engine.depacketise`, which has the ports: what becomes of each word of a packet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

from amaranth import C, Cat, Module, Mux, Signal
from amaranth.hdl import Value, ValueLike
from amaranth.lib import data

from bitting.unit.protocol import (
    ACTIVATIONS_PER_WORD,
    BAND_FLAGS,
    CHALLENGE_WORDS,
    CODES_PER_WORD,
    OFFSETS_PER_WORD,
    SEALING_TRANSFORMS,
    WORD_BITS,
    ErrorCode,
    FingerprintCode,
    LayerFlag,
    Packet,
    TileFlag,
    TransformCode,
)
from bitting.unit.spec import ADDRESS_FIELD_BITS
from bitting_rtl.engine import words

if TYPE_CHECKING:
    from bitting_rtl.engine.depacketise import Depacketise

#: Two addresses, counts or distances in a word.
_PAIR = data.StructLayout({"low": ADDRESS_FIELD_BITS, "high": ADDRESS_FIELD_BITS})


class Parser:
    """The states of the parser, a method for each packet; `io` is the component whose ports they drive."""

    def __init__(self, io: Depacketise, m: Module):
        self.io = io
        self.m = m
        self.spec = io.spec
        self.word = io.words.payload.data
        self.last = io.words.payload.last
        self.valid = io.words.valid
        self.pair = data.View(_PAIR, self.word)
        self.kind = Signal(Packet)
        self.empty = Signal()  # the packet has no payload
        self.part = Signal(2)  # which code or offset of a word comes next
        self.layer_valid = Signal()
        self.last_item = Signal()  # `item_index` is the last of the packet
        self.input_end = Signal(self.spec.address_bits + 1)  # one past the last address of the program's input
        self.started = Signal()  # there is a program: `number` is not zero
        self.more_input = Signal()  # a part of its input has not come yet
        # Packets of a program that is sealed; the opposite are those of a challenge, and all of an engine that knows no seals.
        self.in_program = ~io.absorbing if io.seals else C(0, 1)

        # Whether a vector is written is known late in the clock, so it waits here for the next one. A sweep writes it too.
        self.vector = Signal(self.spec.lanes // ACTIVATIONS_PER_WORD * WORD_BITS)
        offset = Signal(ADDRESS_FIELD_BITS)
        self.wide_offset = offset[self.spec.address_bits :].any()
        self.wide = self.pair.low[self.spec.address_bits :].any() | self.pair.high[self.spec.address_bits :].any()
        m.d.comb += [
            offset.eq(self.word.word_select(self.part[0], ADDRESS_FIELD_BITS)),
            io.offset_data.eq(offset),
            io.code_data.eq(self.word.word_select(self.part, 8)[: self.spec.slot_bits]),
            io.act_data.eq(Cat(self.vector.word_select(lane, 8)[: self.spec.act_bits] for lane in range(self.spec.lanes))),
        ]
        self.refused = Signal(ErrorCode)  # an error at once
        self.spoiled = Signal(ErrorCode)  # the packet's first fault so far
        self.fault = Signal(ErrorCode)  # of the word that is taken; an error once the packet has proved right
        self.bad_length = Signal()  # likewise
        m.d.sync += io.act_write.eq(0)
        # Two comparisons take a clock of their own.
        self.codes = Signal(16)  # of a layer, as its packet says
        self.reach = Signal(ADDRESS_FIELD_BITS + 1)  # one past the last address of activations
        self.codes_came, self.reach_came = Signal(name="codes_came"), Signal(name="reach_came")  # in the clock before
        m.d.sync += [self.codes_came.eq(0), self.reach_came.eq(0)]

    def _field(self, following: str | None) -> None:
        """Take a word; go on in state `following`, or, if it is the last that the packet's fields have, to its end.

        Call it in states in which a word is taken without further conditions. There a valid word is a taken one.
        """
        m = self.m
        m.d.comb += self.io.words.ready.eq(1)
        with m.If(self.valid):
            self._leave(following)

    def _leave(self, following: str | None) -> None:
        """With a word that is taken."""
        m = self.m
        if following is not None:
            m.next = following
            with m.If(self.last):
                m.d.comb += self.bad_length.eq(1)
                m.next = "END"
        else:
            m.next = "END"
            with m.If(~self.last):
                m.d.comb += self.bad_length.eq(1)
                m.next = "SURPLUS"

    def _address_pair(self) -> None:
        """Both halves of the word are addresses, or distances of such."""
        with self.m.If(self.wide):
            self.m.d.comb += self.fault.eq(ErrorCode.BAD_ADDRESS)

    def _first_address(self) -> None:
        """Likewise, but the low half may lie before the layer's band, and be negative."""
        low, high = (half[self.spec.address_bits :] for half in (self.pair.low, self.pair.high))
        with self.m.If(high.any() | Mux(self.io.layer.banded, low.any() & ~low.all(), low.any())):
            self.m.d.comb += self.fault.eq(ErrorCode.BAD_ADDRESS)

    def _take_items(self, per_word: int, valid: Signal, ready: ValueLike) -> None:
        """Hand on the items of the packet one a clock; each word leaves with its last item."""
        m, io = self.m, self.io
        m.d.comb += valid.eq(self.valid)
        with m.If(self.valid & ready):
            m.d.sync += [io.item_index.eq(io.item_index + 1), self.part.eq(self.part + 1)]
            m.d.sync += self.last_item.eq(io.item_index + 1 == io.layer.last_code)
            with m.If(self.last_item | (self.part == per_word - 1)):
                m.d.comb += io.words.ready.eq(1)
                m.d.sync += self.part.eq(0)
                with m.If(self.last_item):
                    self._leave(None)
                with m.Elif(self.last):
                    m.d.comb += self.bad_length.eq(1)
                    m.next = "END"

    def header(self) -> None:
        """The type; TILE goes on to wait for a free buffer, LOCK_NOW for nothing more, everything else for an idle engine."""
        m, io = self.m, self.io
        header = data.View(words.HEADER, self.word)
        waiting = [Packet.LAYER, Packet.ACTIVATIONS, Packet.STATUS]
        if io.locks:
            waiting += [Packet.CHALLENGE, Packet.UNLOCK]
        if io.seals:
            waiting.append(Packet.PROGRAM)
        with m.State("HEADER"):
            m.d.comb += io.words.ready.eq(1)
            with m.If(self.valid):
                m.d.sync += [self.part.eq(0), self.kind.eq(header.type), self.empty.eq(self.last)]
                if not io.seals:
                    m.d.sync += io.item_index.eq(0)
                with m.Switch(header.type):
                    with m.Case(*waiting):
                        m.next = "BARRIER"
                    with m.Case(*[Packet.LOCK_NOW] * io.locks):
                        self._leave(None)
                    with m.Case(Packet.TILE):
                        m.next = "TILE_FREE"
                        with m.If(~self.layer_valid):
                            m.d.comb += self.refused.eq(ErrorCode.BAD_ORDER)
                    with m.Default():
                        m.d.comb += self.refused.eq(ErrorCode.BAD_TYPE)
                with m.If(header.reserved != 0):
                    m.d.comb += self.refused.eq(ErrorCode.BAD_FIELD)

    def barrier(self) -> None:
        """What changes shared state waits until no tile waits or runs, and must be allowed then."""
        m, io = self.m, self.io
        started = self.started if io.seals else C(0)
        with m.State("BARRIER"), m.If(io.idle), m.Switch(self.kind):
            with m.Case(Packet.LAYER):
                m.d.sync += self.layer_valid.eq(0)
                with self._begin("LAYER_SHAPE", ~self.in_program | (started & ~self.more_input)):
                    m.d.comb += io.layer_begin.eq(1)
            with m.Case(Packet.ACTIVATIONS):
                with self._begin("ACTIVATIONS_RANGE", ~self.in_program | self.more_input):
                    pass
            with m.Case(Packet.CHALLENGE):
                with self._begin("CHALLENGE_WORDS", io.can_challenge if io.seals else C(1)):
                    m.d.comb += io.challenge.eq(1)
            if io.seals:
                with m.Case(Packet.PROGRAM):
                    with self._begin("PROGRAM_INPUT", io.keyed & ~started):
                        pass
            with m.Default():
                with m.If(~self.empty):
                    m.d.comb += self.bad_length.eq(1)
                    m.next = "SURPLUS"
                with m.Elif((self.kind == Packet.UNLOCK) & ~io.can_unlock):
                    m.d.comb += self.refused.eq(ErrorCode.BAD_ORDER)
                with m.Else():
                    m.next = "END"

    @contextmanager
    def _begin(self, state: str, allowed: Value) -> Iterator[None]:
        """Go on to the first field, if the packet is allowed now."""
        m, io = self.m, self.io
        with m.If(~allowed):
            m.d.comb += self.refused.eq(ErrorCode.BAD_ORDER)
        with m.Else():
            m.next = state
            with m.If(self.empty):
                m.d.comb += self.bad_length.eq(1)
                m.next = "END"
            if io.seals:
                m.d.comb += io.admit.eq(1)
            yield

    def program(self) -> None:
        """Where its input goes."""
        m, io, pair = self.m, self.io, self.pair
        if not io.seals:
            return
        with m.State("PROGRAM_INPUT"):
            self._field(None)
            with m.If(self.valid):
                m.d.sync += [
                    io.act_addr.eq(pair.low),
                    self.input_end.eq(pair.low + pair.high),
                    self.more_input.eq(pair.high != 0),
                ]
                self._range()

    def _range(self) -> None:
        """The word is an address and a count of vectors."""
        m, pair = self.m, self.pair
        m.d.sync += [self.reach.eq(pair.low + pair.high), self.reach_came.eq(pair.high != 0)]
        with m.If(pair.high == 0):
            m.d.comb += self.fault.eq(ErrorCode.BAD_FIELD)

    def layer(self) -> None:
        """Four fixed words, then the gather offsets."""
        m, layer, pair = self.m, self.io.layer, self.pair
        self._layer_shape()
        with m.State("LAYER_POSITIONS"):
            self._field("LAYER_STRIDES")
            with m.If(self.valid):
                m.d.sync += [layer.last_x.eq(pair.low - 1), layer.last_y.eq(pair.high - 1)]
                one_position = (pair.low == 1) & (pair.high == 1)
                with m.If((pair.low == 0) | (pair.high == 0) | self.wide | (layer.emits & ~one_position)):
                    m.d.comb += self.fault.eq(ErrorCode.BAD_FIELD)
        with m.State("LAYER_STRIDES"):
            self._field("LAYER_OUT_STRIDES")
            with m.If(self.valid):
                self._address_pair()
                m.d.sync += [layer.stride_x.eq(pair.low), layer.stride_y.eq(pair.high)]
        with m.State("LAYER_OUT_STRIDES"):
            self._field("LAYER_OFFSETS")
            with m.If(self.valid):
                self._address_pair()
                m.d.sync += [layer.out_stride_x.eq(pair.low), layer.out_stride_y.eq(pair.high)]
                m.d.sync += self.last_item.eq(layer.last_code == 0)
                if self.spec.stripes > 1:
                    with m.If(layer.banded & ~self.last):
                        m.next = "LAYER_BAND"
        if self.spec.stripes > 1:
            self._layer_band()
        with m.State("LAYER_OFFSETS"):
            self._take_items(OFFSETS_PER_WORD, self.io.offset_write, C(1))
            with m.If(self.valid & self.wide_offset):
                m.d.comb += self.fault.eq(ErrorCode.BAD_ADDRESS)

    def _layer_band(self) -> None:
        """Where the bands of what a layer reads lie, and what is beyond the first and the last."""
        m, layer, pair = self.m, self.io.layer, self.pair
        with m.State("LAYER_BAND"):
            self._field("LAYER_EDGE")
            with m.If(self.valid):
                self._address_pair()
                m.d.sync += [layer.band_start.eq(pair.low), layer.band_words.eq(pair.high)]
        with m.State("LAYER_EDGE"):
            self._field("LAYER_OFFSETS")
            with m.If(self.valid):
                m.d.sync += layer.edge.eq(self.word)

    def _layer_shape(self) -> None:
        """Number of codes, flags and shift: the first word of a LAYER."""
        m, layer = self.m, self.io.layer
        shape = data.View(words.LAYER_SHAPE, self.word)
        unknown_flags = 0xFF & ~sum(flag.value for flag in LayerFlag if self.spec.stripes > 1 or flag not in BAND_FLAGS)
        with m.State("LAYER_SHAPE"):
            self._field("LAYER_POSITIONS")
            with m.If(self.valid):
                m.d.sync += [
                    layer.last_code.eq(shape.codes - 1),
                    layer.emits.eq((shape.flags & LayerFlag.EMIT).any()),
                    layer.report.eq((shape.flags & LayerFlag.REPORT).any()),
                    layer.plain.eq((shape.flags & LayerFlag.PLAIN_WEIGHTS).any()),
                    layer.constant.eq((shape.flags & LayerFlag.CONSTANT).any()),
                    layer.shift.eq(shape.shift),
                ]
                if self.spec.stripes > 1:
                    m.d.sync += [
                        layer.banded.eq((shape.flags & LayerFlag.BAND).any()),
                        layer.every_lane.eq((shape.flags & LayerFlag.EVERY_LANE).any()),
                        layer.band_words.eq(0),
                    ]
                m.d.sync += [self.codes.eq(shape.codes), self.codes_came.eq(1)]
                with m.If(
                    (shape.codes == 0)
                    | (shape.shift > self.spec.max_shift)
                    | (shape.flags & unknown_flags).any()
                    | ((shape.flags & (LayerFlag.CONSTANT | LayerFlag.PLAIN_WEIGHTS)) == LayerFlag.CONSTANT)
                ):
                    m.d.comb += self.fault.eq(ErrorCode.BAD_FIELD)

    def tile(self) -> None:
        """Addresses, bias, then the codes."""
        m, tile, layer = self.m, self.io.tile, self.io.layer
        fields = data.View(words.TILE_BIAS, self.word)
        with m.State("TILE_FREE"), m.If(self.io.tile_free):
            with self._begin("TILE_BASES", C(1)):
                m.d.comb += self.io.tile_start.eq(1)
        with m.State("TILE_BASES"):
            self._field("TILE_BIAS")
            with m.If(self.valid):
                if self.spec.stripes > 1:
                    self._first_address()
                else:
                    self._address_pair()
                m.d.sync += [tile.in_base.eq(self.pair.low), tile.out_base.eq(self.pair.high)]
        with m.State("TILE_BIAS"):
            self._field("TILE_CODES")
            with m.If(self.valid):
                m.d.sync += [
                    tile.bias.eq(fields.bias),
                    tile.hold.eq((fields.flags & TileFlag.HOLD).any()),
                    tile.resume.eq((fields.flags & TileFlag.RESUME).any()),
                ]
                m.d.sync += self.last_item.eq(layer.last_code == 0)
                many_positions = (layer.last_x | layer.last_y).any()
                chained = (fields.flags & (TileFlag.HOLD | TileFlag.RESUME)).any()
                with m.If((fields.flags & words.UNKNOWN_TILE_FLAGS).any() | (chained & many_positions)):
                    m.d.comb += self.fault.eq(ErrorCode.BAD_FIELD)
        with m.State("TILE_CODES"):
            self._take_items(CODES_PER_WORD, self.io.code_valid, self.io.code_ready)

    def activations(self) -> None:
        """Address and count, then L / 4 words for each vector; it is written in the clock after its last word."""
        m, io, pair, vector = self.m, self.io, self.pair, self.vector
        per_vector = self.spec.lanes // ACTIVATIONS_PER_WORD
        vectors_left = Signal(self.spec.address_bits + 1)
        word_count = Signal(range(max(2, per_vector)))  # a counter of no bits would be no Verilog
        last_word = Signal()
        m.d.comb += last_word.eq(word_count == per_vector - 1)
        writes = (vectors_left != 0) & (~self.in_program | self.more_input)
        with m.State("ACTIVATIONS_RANGE"):
            self._field("ACTIVATIONS_DATA")
            with m.If(self.valid):
                m.d.sync += vectors_left.eq(pair.high)
                self._range()
                # Whatever the packet says, a program's input goes where the program says.
                with m.If(~self.in_program):
                    m.d.sync += io.act_addr.eq(pair.low)
                with m.Elif(pair.low != io.act_addr):
                    m.d.comb += self.fault.eq(ErrorCode.BAD_ORDER)
        with m.State("ACTIVATIONS_DATA"):
            # `more_input` is known when a vector has been written; where each word is one, the next one waits for that.
            m.d.comb += io.words.ready.eq(~io.act_write if io.seals and per_vector == 1 else 1)
            with m.If(self.valid & io.words.ready):
                # The newest word enters at the top.
                m.d.sync += [vector.eq(Cat(vector[WORD_BITS:], self.word)), word_count.eq(word_count + 1)]
                with m.If(last_word):
                    m.d.sync += word_count.eq(0)
                    with m.If(self.in_program & ~self.more_input):
                        m.d.comb += self.fault.eq(ErrorCode.BAD_ORDER)
                    with m.If(writes):
                        m.d.sync += [io.act_write.eq(1), vectors_left.eq(vectors_left - 1)]
                with m.If(last_word & (vectors_left == 1)):
                    self._leave(None)
                with m.Elif(self.last):
                    m.d.comb += self.bad_length.eq(1)
                    m.next = "END"

    def challenge(self) -> None:
        """What is locked and how, then the nonce. Every word is absorbed, so it waits until the vault takes it."""
        m, io = self.m, self.io
        fields = data.View(words.CHALLENGE_SCHEME, self.word)
        count = Signal(range(CHALLENGE_WORDS))
        last = count == CHALLENGE_WORDS - 1
        with m.State("CHALLENGE_WORDS"):
            if io.seals:
                taken = self.valid
                m.d.comb += io.words.ready.eq(1)
            else:
                taken = self.valid & io.absorb.ready
                m.d.comb += [
                    io.absorb.payload.eq(self.word),
                    io.absorb.valid.eq(self.valid),
                    io.words.ready.eq(io.absorb.ready),
                ]
            with m.If(taken):
                m.d.sync += count.eq(Mux(last | self.last, 0, count + 1))
                with m.If(count == 0):
                    m.d.sync += [io.fingerprint.eq(fields.fingerprint), io.transform.eq(fields.transform)]
                    known = [code for code in TransformCode if (code in SEALING_TRANSFORMS) == io.seals]
                    with m.If(
                        ~_one_of(fields.fingerprint, FingerprintCode)
                        | ~_one_of(fields.transform, known)
                        | fields.reserved.any()
                    ):
                        m.d.comb += self.fault.eq(ErrorCode.BAD_FIELD)
                with m.If(last):
                    self._leave(None)
                with m.Elif(self.last):
                    m.d.comb += self.bad_length.eq(1)
                    m.next = "END"

    def end(self) -> None:
        """What is too much is taken; then only a packet that is right takes effect."""
        m, io = self.m, self.io
        with m.State("SURPLUS"):
            m.d.comb += io.words.ready.eq(1)
            with m.If(self.valid & self.last):
                m.next = "END"
        settled = Signal()  # the last word's fault is in `spoiled`
        m.d.sync += settled.eq(0)
        with m.State("END"):
            m.d.sync += settled.eq(1)
            with m.If(settled & io.complete):
                m.d.comb += io.done.eq(1)
                m.next = "HEADER"
                with m.If(~io.right):
                    m.d.comb += self.refused.eq(ErrorCode.BAD_CRC)
                    if io.seals:
                        with m.If(io.is_sealed):
                            m.d.comb += self.refused.eq(ErrorCode.BAD_TAG)
                with m.Elif(self.spoiled != ErrorCode.NONE):
                    m.d.comb += self.refused.eq(self.spoiled)
                with m.Else():
                    self._effect()

    def _effect(self) -> None:
        m, io = self.m, self.io
        if io.seals:
            with m.If(io.is_sealed):
                m.d.sync += [io.number.eq(io.number + 1), self.started.eq(1)]
        with m.Switch(self.kind):
            with m.Case(Packet.LAYER):
                m.d.sync += self.layer_valid.eq(1)
            with m.Case(Packet.TILE):
                m.d.comb += io.tile_commit.eq(1)
            with m.Case(Packet.STATUS):
                m.d.comb += io.status_request.eq(1)
            with m.Case(Packet.UNLOCK):
                m.d.comb += io.unlock.eq(1)
            with m.Case(Packet.LOCK_NOW):
                m.d.comb += self.refused.eq(ErrorCode.LOCKED)

    def count(self) -> None:
        """Addresses of activations and items. A sweep counts with them too, from 0 until they are 0 again."""
        m, io = self.m, self.io
        following = io.act_addr + 1
        with m.If(io.act_write | (io.sweep if io.seals else C(0))):
            m.d.sync += io.act_addr.eq(following)
        with m.If(io.act_write & (following == self.input_end)):
            m.d.sync += self.more_input.eq(0)
        if io.seals:
            with m.If(io.sweep):
                m.d.sync += io.item_index.eq(io.item_index + 1)
            with m.If(io.done | io.sweep_begins):
                m.d.sync += io.item_index.eq(0)
            with m.If(io.sweep_begins):
                m.d.sync += [io.act_addr.eq(0), self.vector.eq(0)]

    def begin_again(self) -> None:
        """A challenge, or a program that is begun again, finds no layer and no program. Stated last, so that it is a reset."""
        m, io = self.m, self.io
        begins = io.challenge | io.unlock
        with m.If(begins):
            m.d.sync += self.layer_valid.eq(0)
        if io.seals:
            # What begins shows late in its clock. The next header reaches the parser clocks later, for the intake waits after a
            # packet, and its FIFO takes three clocks. So the rest is done in the next clock.
            again = Signal()
            m.d.sync += again.eq(begins)
            with m.If(again):
                # Without REPORT, STATUS tells nothing until a layer asks for it.
                m.d.sync += [self.more_input.eq(0), io.number.eq(0), self.started.eq(0), io.layer.report.eq(0)]

    def judge(self) -> None:
        """The first fault of the packet, and the error."""
        m, io = self.m, self.io
        m.d.sync += io.error.eq(self.refused)
        late = Signal(ErrorCode)
        with m.If(self.codes_came & (self.codes > self.spec.tile_codes)):
            m.d.comb += late.eq(ErrorCode.BAD_FIELD)
        with m.If(self.reach_came & (self.reach > self.spec.scratch_words)):
            m.d.comb += late.eq(ErrorCode.BAD_ADDRESS)
        # Of the word that was taken in the clock before, like `late`.
        earlier, bad_length = Signal(ErrorCode), Signal()
        m.d.sync += [earlier.eq(self.fault), bad_length.eq(self.bad_length)]
        forget = Signal()  # a clock late: no word of the next packet has come by then
        m.d.sync += forget.eq(io.done)
        with m.If(forget):
            m.d.sync += self.spoiled.eq(ErrorCode.NONE)
        with m.Elif(self.spoiled == ErrorCode.NONE):
            with m.If(earlier != ErrorCode.NONE):
                m.d.sync += self.spoiled.eq(earlier)
            with m.Elif(bad_length):
                m.d.sync += self.spoiled.eq(ErrorCode.BAD_LENGTH)
            with m.Else():
                m.d.sync += self.spoiled.eq(late)


def _one_of(field: Value, kinds: Iterable[IntEnum]) -> Value:
    return Cat(field == item.value for item in kinds).any()
