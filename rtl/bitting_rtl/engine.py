"""The whole engine: one command stream in, one result stream out."""

from collections.abc import Sequence

from amaranth import Cat, Module, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from bitting.protocol import WORD_BITS, ErrorCode
from bitting.spec import ADDRESS_FIELD_BITS, UnitSpec
from bitting_rtl.decode import Decode
from bitting_rtl.depacketise import Depacketise
from bitting_rtl.fold import Fold
from bitting_rtl.layouts import result_word_layout
from bitting_rtl.mac import Lane
from bitting_rtl.results import TILE_COUNT_BITS, TOTAL_CYCLE_BITS, Results
from bitting_rtl.sequencer import Sequencer
from bitting_rtl.tile_buffer import TileBuffer


class Engine(wiring.Component):
    """Stream processor for layer programs, packets as in `bitting.protocol`.

    L lanes hold L samples and step together; one unlocked code feeds them all. While a tile runs the next one is filled. A
    tile's cycles follow `bitting.timing`; the engine waits between tiles only, for codes or for the result stream.

    After the first error (`error` is not NONE) the engine stops, sends one FAULT packet after the packet in progress, swallows
    all further commands and sends nothing more until reset.
    """

    def __init__(self, spec: UnitSpec, table: Sequence[int]):
        """`table`: the device's bitting table, code -> value index."""
        self.spec = spec
        self._table = table
        super().__init__(
            {
                "cmd": In(stream.Signature(unsigned(WORD_BITS))),
                "result": Out(stream.Signature(result_word_layout())),
                "error": Out(ErrorCode),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec = self.spec
        m.submodules.depacketise = packets = Depacketise(spec)
        m.submodules.tile_buffer = buffer = TileBuffer(spec)
        m.submodules.sequencer = sequencer = Sequencer(spec)
        m.submodules.decode = decode = Decode(spec, self._table)
        m.submodules.results = results = Results(spec)
        m.submodules.offsets = offsets = Memory(shape=unsigned(ADDRESS_FIELD_BITS), depth=spec.tile_codes, init=[])
        m.submodules.scratch = scratch = Memory(
            shape=data.ArrayLayout(unsigned(spec.act_bits), spec.lanes), depth=spec.scratch_words, init=[]
        )

        connect(m, flipped(self.cmd), packets.cmd)
        connect(m, results.result, flipped(self.result))

        # Loading: codes pass from the packet to the buffer (an unlocker will sit between), offsets to their memory.
        offset_write = offsets.write_port()
        m.d.comb += [
            buffer.write.eq(packets.code_write),
            buffer.write_index.eq(packets.item_index),
            buffer.write_code.eq(packets.code_data),
            buffer.write_tile.eq(packets.tile),
            buffer.commit.eq(packets.tile_commit),
            packets.tile_free.eq(buffer.free),
            offset_write.addr.eq(packets.item_index),
            offset_write.data.eq(packets.offset_data),
            offset_write.en.eq(packets.offset_write),
        ]

        # Running: every stage is addressed by the sequencer and moves with its `step`.
        offset_read = offsets.read_port()
        scratch_read = scratch.read_port()
        m.d.comb += [
            sequencer.layer.eq(packets.layer),
            sequencer.tile.eq(buffer.tile),
            buffer.read_index.eq(sequencer.index),
            buffer.read_step.eq(sequencer.step),
            offset_read.addr.eq(sequencer.index),
            offset_read.en.eq(sequencer.step),
            sequencer.offset.eq(offset_read.data),
            decode.code.eq(buffer.read_code),
            decode.step.eq(sequencer.step),
            sequencer.digits.eq(decode.digits),
            scratch_read.addr.eq(sequencer.read_addr),
            scratch_read.en.eq(sequencer.step),
        ]
        folded = self._lanes(m, packets, buffer, sequencer, results, scratch_read.data)

        scratch_write = scratch.write_port()
        m.d.comb += [
            scratch_write.addr.eq(sequencer.write_addr),
            scratch_write.data.eq(folded),
            scratch_write.en.eq(sequencer.write & ~packets.layer.linear),
        ]
        with m.If(packets.act_write):  # only while no tile runs: the depacketiser waits for `idle`
            m.d.comb += [
                scratch_write.addr.eq(packets.act_addr),
                scratch_write.data.eq(packets.act_data),
                scratch_write.en.eq(1),
            ]
        self._control(m, packets, buffer, sequencer, results)
        return m

    def _lanes(
        self,
        m: Module,
        packets: Depacketise,
        buffer: TileBuffer,
        sequencer: Sequencer,
        results: Results,
        activations: data.View,
    ) -> Value:
        """L lanes, each with its fold; gives the folded activations of all lanes."""
        folded = []
        for index in range(self.spec.lanes):
            m.submodules[f"lane{index}"] = lane = Lane(self.spec)
            m.submodules[f"fold{index}"] = fold = Fold(self.spec)
            m.d.comb += [
                lane.x.eq(activations[index]),
                lane.exponent.eq(sequencer.exponent),
                lane.negative.eq(sequencer.negative),
                lane.zero.eq(sequencer.zero),
                lane.load.eq(sequencer.load),
                lane.accumulate.eq(sequencer.accumulate),
                lane.bias.eq(buffer.tile.bias),
                fold.acc.eq(lane.acc),
                fold.shift.eq(packets.layer.shift),
                results.accs[index].eq(lane.acc),
            ]
            folded.append(fold.act)
        return Cat(*folded)

    def _control(self, m: Module, packets: Depacketise, buffer: TileBuffer, sequencer: Sequencer, results: Results) -> None:
        """Start tiles, send results, count, and stop at the first error."""
        tiles = Signal(TILE_COUNT_BITS)
        total_cycles = Signal(TOTAL_CYCLE_BITS)
        halt = Signal()
        idle = Signal()
        m.d.comb += [
            halt.eq(self.error != ErrorCode.NONE),
            packets.halt.eq(halt),
            sequencer.halt.eq(halt),
            packets.idle.eq(idle),
            results.linear.eq(packets.layer.linear),
            results.tile_index.eq(tiles),
            results.cycles.eq(sequencer.cycles),
            results.total_cycles.eq(total_cycles),
            results.error.eq(self.error),
        ]
        with m.FSM(name="control") as fsm:
            m.d.comb += [
                idle.eq(fsm.ongoing("WAIT") & ~buffer.full & ~results.busy & ~packets.status_request),
                self.busy.eq(~idle | packets.busy),
            ]
            with m.State("WAIT"):
                with m.If(halt):
                    m.next = "FAULT"
                with m.Elif(buffer.full & ~results.busy):
                    m.d.comb += sequencer.start.eq(1)
                    m.next = "RUN"
                m.d.comb += results.send_status.eq(packets.status_request)
            with m.State("RUN"):
                with m.If(halt):
                    m.next = "FAULT"
                with m.Elif(sequencer.done):
                    m.next = "REPORT"
            with m.State("REPORT"):
                # The lanes and the cycle count hold still until the packet has left.
                m.d.sync += total_cycles.eq(total_cycles + sequencer.cycles)
                m.d.comb += [
                    buffer.release.eq(1),
                    results.send_tile.eq(packets.layer.linear | packets.layer.report),
                ]
                m.next = "COUNT"
            with m.State("COUNT"), m.If(~results.busy):
                m.d.sync += tiles.eq(tiles + 1)
                m.next = "WAIT"
            with m.State("FAULT"):
                m.d.comb += results.send_fault.eq(~results.busy)
                with m.If(~results.busy):
                    m.next = "SILENT"
            with m.State("SILENT"):
                pass
        with m.If(~halt):
            with m.If(packets.error != ErrorCode.NONE):
                m.d.sync += self.error.eq(packets.error)
            with m.Elif(sequencer.bad_address):
                m.d.sync += self.error.eq(ErrorCode.BAD_ADDRESS)
