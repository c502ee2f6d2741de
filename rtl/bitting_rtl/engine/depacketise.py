"""The command stream: packets in; layer descriptors, codes, offsets and activations out. Every mistake has an error code."""

from enum import IntEnum

from amaranth import C, Cat, Module, Mux, Signal, unsigned
from amaranth.hdl import Shape, Value, ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.protocol import (
    ACTIVATIONS_PER_WORD,
    CHALLENGE_WORDS,
    CODES_PER_WORD,
    OFFSETS_PER_WORD,
    WORD_BITS,
    ErrorCode,
    FingerprintCode,
    LayerFlag,
    Packet,
    TileFlag,
    TransformCode,
)
from bitting.unit.spec import ADDRESS_FIELD_BITS, UnitSpec
from bitting_rtl.engine import words
from bitting_rtl.engine.framing import Framing
from bitting_rtl.lib.layouts import layer_layout, tile_layout
from bitting_rtl.lib.ports import Port, Ports

#: Two addresses, counts or distances in a word.
_PAIR = data.StructLayout({"low": ADDRESS_FIELD_BITS, "high": ADDRESS_FIELD_BITS})


class Depacketise(wiring.Component):
    """Parse the packets of `bitting.unit.protocol`.

    A word is taken in every clock in which its receiver has room; a word of codes or offsets stays until its last item has
    left, and items leave one a clock.

    Packets wait before they change anything: TILE until `tile_free`, LOCK_NOW for nothing, every other type until `idle`.
    They take effect (`tile_commit`, `status_request`, `unlock`, the new layer) only after their CRC has matched.

    The first mistake shows on `error` for one clock, the clock after the word that has it. While `halt` is high every word is
    taken and dropped.
    """

    def __init__(self, spec: UnitSpec, locks: bool = True):
        """`locks`: know the packets of the locks; without, they are unknown types."""
        self.spec = spec
        self.locks = locks
        index = Shape.cast(range(spec.tile_codes))
        word = unsigned(WORD_BITS)
        taken, effect = "one clock, with the word it is in", "one clock, two after the packet's CRC word"
        super().__init__(
            Ports(
                {
                    "cmd": Port(In(stream.Signature(word)), "command words"),
                    "halt": Port(In(1), "the engine has stopped: take and drop every word"),
                    "idle": Port(In(1), "no tile waits or runs, no result leaves, the vault waits"),
                    "error": Port(Out(Shape.cast(ErrorCode)), "the first mistake; NONE while there is none", "one clock"),
                    "layer": Port(Out(layer_layout(spec)), "the current layer", "from its last fixed word to the next LAYER"),
                    "layer_begin": Port(Out(1), "a LAYER packet begins to replace `layer`", "one clock, before its fields"),
                    "offset_write": Port(Out(1), "there is a gather offset; `item_index` is its place", taken),
                    "offset_data": Port(Out(unsigned(spec.address_bits)), "the offset", "with `offset_write`"),
                    "code_valid": Port(Out(1), "there is a code; `item_index` is its place", "until `code_ready`"),
                    "code_ready": Port(In(1), "the code is taken", "with `code_valid`"),
                    "code_data": Port(Out(unsigned(spec.slot_bits)), "the code, as sent", "with `code_valid`"),
                    "item_index": Port(Out(index), "place of the code or offset in its packet", "with either's valid"),
                    "tile": Port(Out(tile_layout(spec)), "addresses, bias and flags of the tile", "from first code to commit"),
                    "tile_free": Port(In(1), "the tile buffer has room for a tile"),
                    "tile_start": Port(Out(1), "a TILE packet is let in; its codes follow", "one clock, before its fields"),
                    "tile_commit": Port(Out(1), "the tile is complete and its CRC matched", effect),
                    "act_write": Port(Out(1), "a vector of activations is complete", taken),
                    "act_addr": Port(Out(Shape.cast(range(spec.scratch_words))), "its address", "with `act_write`"),
                    "act_data": Port(Out(unsigned(spec.lanes * spec.act_bits)), "its activations", "with `act_write`"),
                    "status_request": Port(Out(1), "send a STATUS_REPLY", effect),
                    "can_unlock": Port(In(1), "an UNLOCK is allowed: a challenge is under way, or there is a lock key"),
                    "challenge": Port(Out(1), "a CHALLENGE begins", "one clock, before its first word"),
                    "fingerprint": Port(Out(FingerprintCode), "what of a challenge is absorbed", "from its first word"),
                    "transform": Port(Out(TransformCode), "what unlocks codes", "from its first word"),
                    "absorb": Port(Out(stream.Signature(word)), "words of the challenge, for the vault", "as they arrive"),
                    "unlock": Port(Out(1), "derive the lock key, or begin the program again", effect),
                    "busy": Port(Out(1), "a packet is under way", "from the clock after its header to its effect"),
                }
            )
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
        m.submodules.framing = self.framing = Framing()
        m.d.comb += self.framing.word.eq(self.word)
        self.part = Signal(2)  # which code or offset of a word comes next
        self.layer_valid = Signal()
        self.last_item = Signal()  # `item_index` is the last of the packet

        offset = Signal(ADDRESS_FIELD_BITS)
        self.wide_offset = offset[self.spec.address_bits :].any()
        self.wide = self.pair.low[self.spec.address_bits :].any() | self.pair.high[self.spec.address_bits :].any()
        m.d.comb += [
            offset.eq(self.word.word_select(self.part[0], ADDRESS_FIELD_BITS)),
            io.offset_data.eq(offset),
            io.code_data.eq(self.word.word_select(self.part, 8)[: self.spec.slot_bits]),
            io.absorb.payload.eq(self.word),
        ]
        # Mistakes of the word that is taken. A wrong length comes before any other: it makes every field suspect.
        self.fault = Signal(ErrorCode)
        self.bad_length = Signal()  # of a packet that must have no payload
        now = Mux(self.framing.bad_length | self.bad_length, ErrorCode.BAD_LENGTH, self.fault)
        # Two comparisons take a clock of their own. What they find belongs to the word before, so it was the first mistake.
        self.late = Signal(ErrorCode)
        self.codes = Signal(16)  # of a layer, as its packet says
        self.reach = Signal(ADDRESS_FIELD_BITS + 1)  # one past the last address of activations
        self.codes_came, self.reach_came = Signal(name="codes_came"), Signal(name="reach_came")  # in the clock before
        m.d.sync += [
            self.codes_came.eq(0),
            self.reach_came.eq(0),
            io.error.eq(Mux(self.late == ErrorCode.NONE, now, self.late)),
        ]

    def _take_payload_word(self, last: ValueLike) -> None:
        """Accept a payload word; `last`: the packet's fields end with it, and so must its length.

        Call it in states in which `cmd.ready` is 1 without further conditions. There a valid word is a taken one, so the state
        asks for `cmd.valid` alone, which is known early in the clock.
        """
        m = self.m
        m.d.comb += [self.io.cmd.ready.eq(1), self.framing.last.eq(last), self.framing.payload.eq(self.io.cmd.valid)]

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
        """Type and length; TILE goes on to wait for a free buffer, LOCK_NOW for nothing, everything else for an idle engine."""
        m, io = self.m, self.io
        header = data.View(words.HEADER, self.word)
        waiting = [Packet.LAYER, Packet.ACTIVATIONS, Packet.STATUS]
        if io.locks:
            waiting += [Packet.CHALLENGE, Packet.UNLOCK]
        with m.State("HEADER"):
            m.d.comb += io.cmd.ready.eq(1)
            with m.If(self.io.cmd.valid):
                m.d.comb += self.framing.header.eq(1)
                m.d.sync += [io.item_index.eq(0), self.part.eq(0)]
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
        with m.State("BARRIER"), m.If(self.io.idle), m.Switch(self.framing.kind):
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
                with m.If((self.framing.kind == Packet.UNLOCK) & ~self.io.can_unlock):
                    m.d.comb += self.fault.eq(ErrorCode.BAD_ORDER)
                m.d.comb += self.bad_length.eq(self.framing.remaining != 0)
                m.next = "CRC"

    def layer(self) -> None:
        """Four fixed words, then the gather offsets."""
        m, layer, pair = self.m, self.io.layer, self.pair
        self._layer_shape()
        with m.State("LAYER_POSITIONS"):
            self._take_payload_word(last=C(0))
            with m.If(self.io.cmd.valid):
                m.d.sync += [layer.last_x.eq(pair.low - 1), layer.last_y.eq(pair.high - 1)]
                m.next = "LAYER_STRIDES"
                one_position = (pair.low == 1) & (pair.high == 1)
                with m.If((pair.low == 0) | (pair.high == 0) | self.wide | (layer.emits & ~one_position)):
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

    def _layer_shape(self) -> None:
        """Number of codes, flags and shift: the first word of a LAYER."""
        m, layer = self.m, self.io.layer
        shape = data.View(words.LAYER_SHAPE, self.word)
        unknown_flags = 0xFF & ~sum(flag.value for flag in LayerFlag)
        with m.State("LAYER_SHAPE"):
            self._take_payload_word(last=C(0))
            with m.If(self.io.cmd.valid):
                m.d.sync += [
                    layer.last_code.eq(shape.codes - 1),
                    layer.emits.eq((shape.flags & LayerFlag.EMIT).any()),
                    layer.report.eq((shape.flags & LayerFlag.REPORT).any()),
                    layer.plain.eq((shape.flags & LayerFlag.PLAIN_WEIGHTS).any()),
                    layer.constant.eq((shape.flags & LayerFlag.CONSTANT).any()),
                    layer.shift.eq(shape.shift),
                ]
                m.d.sync += [self.codes.eq(shape.codes), self.codes_came.eq(1)]
                m.next = "LAYER_POSITIONS"
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
                m.d.sync += [
                    tile.bias.eq(fields.bias),
                    tile.hold.eq((fields.flags & TileFlag.HOLD).any()),
                    tile.resume.eq((fields.flags & TileFlag.RESUME).any()),
                ]
                m.d.sync += self.last_item.eq(layer.last_code == 0)
                m.next = "TILE_CODES"
                many_positions = (layer.last_x | layer.last_y).any()
                chained = (fields.flags & (TileFlag.HOLD | TileFlag.RESUME)).any()
                with m.If((fields.flags & words.UNKNOWN_TILE_FLAGS).any() | (chained & many_positions)):
                    m.d.comb += self.fault.eq(ErrorCode.BAD_FIELD)
        with m.State("TILE_CODES"):
            self._take_items(CODES_PER_WORD, self.io.code_valid, self.io.code_ready)

    def activations(self) -> None:
        """Address and count, then L / 4 words for each vector; it is written as its last word arrives."""
        m, io, spec, pair = self.m, self.io, self.spec, self.pair
        per_vector = spec.lanes // ACTIVATIONS_PER_WORD
        vectors_left = Signal(spec.address_bits + 1)
        word_count = Signal(range(max(2, per_vector)))  # a counter of no bits would be no Verilog
        last_word = Signal()
        earlier = Signal(per_vector * WORD_BITS, reset_less=True)
        vector = Cat(earlier[WORD_BITS:], self.word)  # the newest word enters at the top
        m.d.comb += [
            last_word.eq(word_count == per_vector - 1),
            io.act_data.eq(Cat(vector.word_select(lane, 8)[: spec.act_bits] for lane in range(spec.lanes))),
        ]
        with m.State("ACTIVATIONS_RANGE"):
            self._take_payload_word(last=C(0))
            with m.If(self.io.cmd.valid):
                m.d.sync += [io.act_addr.eq(pair.low), vectors_left.eq(pair.high)]
                m.next = "ACTIVATIONS_DATA"
                m.d.sync += [self.reach.eq(pair.low + pair.high), self.reach_came.eq(pair.high != 0)]
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

    def challenge(self) -> None:
        """What is locked and how, then the nonce. Every word is absorbed, so it waits until the vault takes it."""
        m, io = self.m, self.io
        fields = data.View(words.CHALLENGE_SCHEME, self.word)
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
            with m.If(~self.framing.matches):
                m.d.comb += self.fault.eq(ErrorCode.BAD_CRC)
            with m.Else(), m.Switch(self.framing.kind):
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

    def compare_late(self) -> None:
        """Layers with more codes than the buffer holds, activations that end beyond the memory."""
        with self.m.If(self.codes_came & (self.codes > self.spec.tile_codes)):
            self.m.d.comb += self.late.eq(ErrorCode.BAD_FIELD)
        with self.m.If(self.reach_came & (self.reach > self.spec.scratch_words)):
            self.m.d.comb += self.late.eq(ErrorCode.BAD_ADDRESS)


def _one_of(field: Value, kind: type[IntEnum]) -> Value:
    return Cat(field == item.value for item in kind).any()
