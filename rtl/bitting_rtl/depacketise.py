"""The command stream: packets in, layer descriptors, codes, offsets and activations out, every mistake named."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.hdl import Shape
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out
from bitting.protocol import (
    ACTIVATIONS_PER_WORD,
    CODES_PER_WORD,
    OFFSETS_PER_WORD,
    WORD_BITS,
    ErrorCode,
    LayerFlag,
    Packet,
)
from bitting.spec import ADDRESS_FIELD_BITS, UnitSpec

from bitting_rtl.layouts import layer_layout, tile_layout

_HEADER = data.StructLayout({"type": 8, "reserved": 8, "length": 16})
_LAYER_WORD = data.StructLayout({"codes": 16, "flags": 8, "shift": 8})
_PAIR = data.StructLayout({"low": ADDRESS_FIELD_BITS, "high": ADDRESS_FIELD_BITS})


class Depacketise(wiring.Component):
    """Parse the packets of `bitting.protocol`, one word a clock where the receiver allows it.

    Codes leave one a clock (`code_write`), offsets likewise, activation vectors as their last word arrives. A tile is handed
    over (`tile_commit`) and a layer becomes current only after its CRC matched. LAYER, ACTIVATIONS and STATUS wait for
    `idle`, TILE waits for `tile_free`; everything else is accepted at once.

    The first mistake shows on `error` for one clock. While `halt` is high every word is accepted and dropped.
    """

    def __init__(self, spec: UnitSpec):
        self.spec = spec
        index = Shape.cast(range(spec.tile_codes))
        super().__init__(
            {
                "cmd": In(stream.Signature(unsigned(WORD_BITS))),
                "halt": In(1),
                "idle": In(1),
                "error": Out(Shape.cast(ErrorCode)),
                "layer": Out(layer_layout(spec)),
                "offset_write": Out(1),
                "offset_data": Out(unsigned(ADDRESS_FIELD_BITS)),
                "code_write": Out(1),
                "code_data": Out(unsigned(spec.code_bits)),
                "item_index": Out(index),
                "tile": Out(tile_layout(spec)),
                "tile_free": In(1),
                "tile_commit": Out(1),
                "act_write": Out(1),
                "act_addr": Out(Shape.cast(range(spec.scratch_words))),
                "act_data": Out(unsigned(spec.lanes * spec.act_bits)),
                "status_request": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec = self.spec
        m.submodules.crc = crc = catalog.CRC32_ISO_HDLC(data_width=WORD_BITS).create()

        word = self.cmd.payload
        header = data.View(_HEADER, word)
        layer_word = data.View(_LAYER_WORD, word)
        pair = data.View(_PAIR, word)

        kind = Signal(Packet)
        remaining = Signal(16)  # payload words still to come
        part = Signal(2)  # which code, offset or activation word of a group comes next
        layer_valid = Signal()
        vector = Signal(spec.lanes // ACTIVATIONS_PER_WORD * WORD_BITS, reset_less=True)
        vectors_left = Signal(ADDRESS_FIELD_BITS)

        accepted = Signal()  # a word leaves the stream
        payload_done = Signal()  # it is the last word this packet should have
        fault = Signal(ErrorCode)
        m.d.comb += [
            accepted.eq(self.cmd.valid & self.cmd.ready),
            crc.data.eq(word),
            self.offset_data.eq(word.word_select(part[0], ADDRESS_FIELD_BITS)),
            self.code_data.eq(word.word_select(part, 8)[: spec.code_bits]),
            self.error.eq(Mux(self.halt, ErrorCode.NONE, fault)),
        ]

        def take_payload_word(last: object) -> None:
            """Accept a payload word; `last`: the packet's fields end with it."""
            m.d.comb += [self.cmd.ready.eq(1), payload_done.eq(last)]
            with m.If(accepted):
                m.d.comb += crc.valid.eq(1)
                m.d.sync += remaining.eq(remaining - 1)
                with m.If((remaining == 0) | (payload_done & (remaining != 1))):
                    m.d.comb += fault.eq(ErrorCode.BAD_LENGTH)

        last_item = Signal()
        m.d.comb += last_item.eq(self.item_index == self.layer.last_code)

        with m.If(self.halt):
            m.d.comb += self.cmd.ready.eq(1)
        with m.Else(), m.FSM(name="parser") as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("HEADER"))
            with m.State("HEADER"):
                m.d.comb += self.cmd.ready.eq(1)
                with m.If(accepted):
                    m.d.comb += [crc.start.eq(1), crc.valid.eq(1)]
                    m.d.sync += [kind.eq(header.type), remaining.eq(header.length), self.item_index.eq(0), part.eq(0)]
                    with m.Switch(header.type):
                        with m.Case(Packet.LAYER, Packet.ACTIVATIONS, Packet.STATUS):
                            m.next = "BARRIER"
                        with m.Case(Packet.TILE):
                            m.next = "TILE_FREE"
                            with m.If(~layer_valid):
                                m.d.comb += fault.eq(ErrorCode.BAD_ORDER)
                        with m.Default():
                            m.d.comb += fault.eq(ErrorCode.BAD_TYPE)
                    with m.If(header.reserved != 0):
                        m.d.comb += fault.eq(ErrorCode.BAD_FIELD)
            with m.State("BARRIER"):
                with m.If(self.idle):
                    with m.Switch(kind):
                        with m.Case(Packet.LAYER):
                            m.d.sync += layer_valid.eq(0)
                            m.next = "LAYER_SHAPE"
                        with m.Case(Packet.ACTIVATIONS):
                            m.next = "ACTIVATIONS_RANGE"
                        with m.Default():
                            m.next = "CRC"
                            with m.If(remaining != 0):
                                m.d.comb += fault.eq(ErrorCode.BAD_LENGTH)

            with m.State("LAYER_SHAPE"):
                take_payload_word(last=0)
                with m.If(accepted):
                    m.d.sync += [
                        self.layer.last_code.eq(layer_word.codes - 1),
                        self.layer.linear.eq((layer_word.flags & LayerFlag.LINEAR).any()),
                        self.layer.report.eq((layer_word.flags & LayerFlag.REPORT).any()),
                        self.layer.shift.eq(layer_word.shift),
                    ]
                    m.next = "LAYER_POSITIONS"
                    with m.If(
                        (layer_word.codes == 0)
                        | (layer_word.codes > spec.tile_codes)
                        | (layer_word.shift > spec.max_shift)
                        | (layer_word.flags & ~(LayerFlag.LINEAR | LayerFlag.REPORT).value & 0xFF).any()
                    ):
                        m.d.comb += fault.eq(ErrorCode.BAD_FIELD)
            with m.State("LAYER_POSITIONS"):
                take_payload_word(last=0)
                with m.If(accepted):
                    m.d.sync += [self.layer.last_x.eq(pair.low - 1), self.layer.last_y.eq(pair.high - 1)]
                    m.next = "LAYER_STRIDES"
                    one_position = (pair.low == 1) & (pair.high == 1)
                    with m.If((pair.low == 0) | (pair.high == 0) | (self.layer.linear & ~one_position)):
                        m.d.comb += fault.eq(ErrorCode.BAD_FIELD)
            with m.State("LAYER_STRIDES"):
                take_payload_word(last=0)
                with m.If(accepted):
                    m.d.sync += [self.layer.stride_x.eq(pair.low), self.layer.stride_y.eq(pair.high)]
                    m.next = "LAYER_OFFSETS"
            with m.State("LAYER_OFFSETS"), m.If(self.cmd.valid):
                m.d.comb += self.offset_write.eq(1)
                m.d.sync += [self.item_index.eq(self.item_index + 1), part.eq(part + 1)]
                with m.If(last_item | (part == OFFSETS_PER_WORD - 1)):
                    take_payload_word(last=last_item)
                    m.d.sync += part.eq(0)
                    with m.If(last_item):
                        m.next = "CRC"

            with m.State("TILE_FREE"), m.If(self.tile_free):
                m.next = "TILE_BASES"
            with m.State("TILE_BASES"):
                take_payload_word(last=0)
                with m.If(accepted):
                    m.d.sync += [self.tile.in_base.eq(pair.low), self.tile.out_base.eq(pair.high)]
                    m.next = "TILE_BIAS"
            with m.State("TILE_BIAS"):
                take_payload_word(last=0)
                with m.If(accepted):
                    m.d.sync += self.tile.bias.eq(word)
                    m.next = "TILE_CODES"
            with m.State("TILE_CODES"), m.If(self.cmd.valid):
                m.d.comb += self.code_write.eq(1)
                m.d.sync += [self.item_index.eq(self.item_index + 1), part.eq(part + 1)]
                with m.If(last_item | (part == CODES_PER_WORD - 1)):
                    take_payload_word(last=last_item)
                    m.d.sync += part.eq(0)
                    with m.If(last_item):
                        m.next = "CRC"

            with m.State("ACTIVATIONS_RANGE"):
                take_payload_word(last=0)
                with m.If(accepted):
                    m.d.sync += [self.act_addr.eq(pair.low), vectors_left.eq(pair.high)]
                    m.next = "ACTIVATIONS_DATA"
                    with m.If(pair.high == 0):
                        m.d.comb += fault.eq(ErrorCode.BAD_FIELD)
                    with m.Elif(pair.low + pair.high > spec.scratch_words):
                        m.d.comb += fault.eq(ErrorCode.BAD_ADDRESS)
            with m.State("ACTIVATIONS_DATA"):
                self._collect_vector(m, word, vector, accepted, vectors_left, take_payload_word)

            with m.State("CRC"):
                m.d.comb += self.cmd.ready.eq(1)
                with m.If(accepted):
                    m.next = "HEADER"
                    with m.If(word != crc.crc):
                        m.d.comb += fault.eq(ErrorCode.BAD_CRC)
                    with m.Else(), m.Switch(kind):
                        with m.Case(Packet.LAYER):
                            m.d.sync += layer_valid.eq(1)
                        with m.Case(Packet.TILE):
                            m.d.comb += self.tile_commit.eq(1)
                        with m.Case(Packet.STATUS):
                            m.d.comb += self.status_request.eq(1)
        return m

    def _collect_vector(self, m, word, vector, accepted, vectors_left, take_payload_word) -> None:  # type: ignore[no-untyped-def]
        """Gather L / 4 words into one scratch word; the write happens as the last of them arrives."""
        spec = self.spec
        words = spec.lanes // ACTIVATIONS_PER_WORD
        word_count = Signal(range(words), name="vector_word")
        last_word = Signal(name="vector_last_word")
        whole = Cat(vector[WORD_BITS:], word)  # the newest word enters at the top
        m.d.comb += [
            last_word.eq(word_count == words - 1),
            self.act_data.eq(Cat(whole.word_select(lane, 8)[: spec.act_bits] for lane in range(spec.lanes))),
        ]
        take_payload_word(last=last_word & (vectors_left == 1))
        with m.If(accepted):
            m.d.sync += [vector.eq(whole), word_count.eq(word_count + 1)]
            with m.If(last_word):
                m.d.comb += self.act_write.eq(1)
                m.d.sync += [word_count.eq(0), self.act_addr.eq(self.act_addr + 1), vectors_left.eq(vectors_left - 1)]
                with m.If(vectors_left == 1):
                    m.next = "CRC"
