"""The whole engine: one command stream in, one result stream out."""

from collections.abc import Sequence
from typing import Any

from amaranth import C, Cat, Module, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from bitting.unit.protocol import FUSE_WORDS, WORD_BITS, ErrorCode
from bitting.unit.spec import UnitSpec, VaultKind
from bitting_rtl.engine.aes_locks import connect_aes
from bitting_rtl.engine.control import Control
from bitting_rtl.engine.decode import Decode
from bitting_rtl.engine.depacketise import Depacketise
from bitting_rtl.engine.fold import Fold
from bitting_rtl.engine.intake import Intake, SealedIntake
from bitting_rtl.engine.mac import Lane
from bitting_rtl.engine.neighbours import Neighbours
from bitting_rtl.engine.parts import Parts
from bitting_rtl.engine.results import Results
from bitting_rtl.engine.scratch import Scratch
from bitting_rtl.engine.sealed_locks import connect_sealed
from bitting_rtl.engine.sequencer import Sequencer
from bitting_rtl.engine.sweep import Sweep
from bitting_rtl.engine.tile_buffer import TileBuffer
from bitting_rtl.lib.build_options import PORTABLE, BuildOptions
from bitting_rtl.lib.layouts import UNCHECKED, result_word_layout
from bitting_rtl.lib.ports import Port, Ports
from bitting_rtl.unlock.ascon_vault import AsconVault
from bitting_rtl.unlock.vault import Vault


class Engine(wiring.Component):
    """Stream processor for layer programs, packets as in `bitting.unit.protocol`.

    L lanes hold L samples and step together; one unlocked code feeds them all. While a tile runs, the tile buffer is filled
    with the next one. A tile's cycles follow `bitting.unit.timing`: nothing can stall a tile that runs. The engine waits only
    between tiles, for codes or for the result stream.

    After the first error (`error` is not NONE) the engine stops and wipes its keys. It finishes the result packet it is
    sending, sends one FAULT packet, and then takes and drops every command and sends nothing until reset. `lock_now` is an
    error like any other.

    Boot, after reset, reads the fuses and derives all keys and the bitting table from them.

    Args:
        spec: of the unit.
        table: a fixed bitting table, code -> value index, for an engine without any lock (the unlocked twin).
        options: of the build; they change no packet and no tile's cycles.
    """

    def __init__(self, spec: UnitSpec, table: Sequence[int] | None = None, options: BuildOptions = PORTABLE):
        self.spec = spec
        self._table = table
        self._options = options
        super().__init__(
            Ports(
                {
                    "fuse_address": Port(Out(range(FUSE_WORDS)), "word of the fuses that is wanted", "after reset"),
                    "fuse_data": Port(In(WORD_BITS), "that word", "from a clock after its address, until that changes"),
                    "lock_now": Port(In(1), "wipe all keys and stop with error LOCKED"),
                    "cmd": Port(In(stream.Signature(unsigned(WORD_BITS))), "command words"),
                    "result": Port(Out(stream.Signature(result_word_layout())), "result words"),
                    "error": Port(Out(ErrorCode), "the first error; NONE while all is well", "until reset"),
                    "busy": Port(Out(1), "a packet, a tile or a result is in progress, or there was an error"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec = self.spec
        locks = self._table is None
        m.submodules.depacketise = self._packets = Depacketise(spec, locks)
        m.submodules.tile_buffer = self._buffer = TileBuffer(spec, locks and spec.vault == VaultKind.AES)
        m.submodules.sequencer = self._sequencer = Sequencer(spec)
        m.submodules.decode = self._decode = self._decoder(self._table)
        m.submodules.results = self._results = Results(spec)
        m.submodules.control = self._control = Control()
        seals = locks and spec.vault == VaultKind.ASCON
        m.submodules.intake = self._intake = SealedIntake() if seals else Intake()
        connect(m, flipped(self.cmd), self._intake.cmd)
        connect(m, self._intake.words, self._packets.words)
        connect(m, self._results.result, flipped(self.result))

        self._sweep: Sweep | None = None
        if seals:
            m.submodules.sweep = self._sweep = Sweep(spec)
        self._loading(m)
        self._running(m)
        self._controlling(m)
        parts = Parts(
            spec,
            self._options,
            self._intake,
            self._packets,
            self._buffer,
            self._sequencer,
            self._decode,
            self._results,
            self._control,
        )
        if not locks:
            self._unlocked(m, parts)
            return m
        if self._sweep:
            vault: AsconVault | Vault = connect_sealed(m, parts, self._sweep)
        else:
            vault = connect_aes(m, parts)
        m.d.comb += [self.fuse_address.eq(vault.fuse_address), vault.fuse_data.eq(self.fuse_data)]
        return m

    def _decoder(self, table: Sequence[int] | None) -> Any:
        """What gives the digits of a code."""
        return Decode(self.spec, table, self._options.compact)

    def _loading(self, m: Module) -> None:
        """From packets to the tile buffer (codes by way of the unlocker) and the memory of offsets."""
        packets, buffer = self._packets, self._buffer
        m.submodules.offsets = self._offsets = Memory(
            shape=unsigned(self.spec.address_bits), depth=self.spec.tile_codes, init=[], attrs=UNCHECKED
        )
        offset_write = self._offsets.write_port()
        m.d.comb += [
            buffer.write_index.eq(packets.item_index),
            buffer.write_tile.eq(packets.tile),
            buffer.commit.eq(packets.tile_commit),
            packets.tile_free.eq(buffer.free),
            packets.complete.eq(self._intake.complete),
            packets.right.eq(self._intake.right),
            self._intake.taken.eq(packets.done),
            offset_write.addr.eq(packets.item_index),
            offset_write.data.eq(packets.offset_data),
            offset_write.en.eq(packets.offset_write),
        ]
        if self._sweep:
            with m.If(self._sweep.active):
                m.d.comb += [
                    buffer.sweep.eq(1),
                    offset_write.data.eq(0),
                    offset_write.en.eq(1),
                ]

    def _controlling(self, m: Module) -> None:
        """What control is told and what it decides."""
        packets, buffer, sequencer = self._packets, self._buffer, self._sequencer
        results, control = self._results, self._control
        # What the parser makes of a packet shows late in its clock, and what is sent is chosen at once.
        m.d.sync += control.status_request.eq(packets.status_request)
        m.d.comb += [
            control.packet_error.eq(packets.error),
            control.packet_busy.eq(packets.busy | self._intake.busy),
            control.emits.eq(packets.layer.emits),
            control.report.eq(packets.layer.report),
            control.hold.eq(buffer.tile.hold),
            control.tile_waits.eq(buffer.full),
            control.bad_address.eq(sequencer.bad_address),
            control.done.eq(sequencer.done),
            control.cycles.eq(sequencer.cycles),
            control.results_busy.eq(results.busy),
            control.lock_now.eq(self.lock_now),
            packets.halt.eq(control.halt),
            self._intake.halt.eq(control.halt),
            packets.idle.eq(control.idle),
            sequencer.halt.eq(control.halt),
            sequencer.start.eq(control.start),
            buffer.release.eq(control.ended),
            results.send_tile.eq(control.send_tile),
            results.send_status.eq(control.send_status),
            results.send_fault.eq(control.send_fault),
            results.send_sums.eq(control.send_sums),
            results.tile_index.eq(control.tiles),
            results.cycles.eq(sequencer.cycles),
            results.total_cycles.eq(control.total_cycles),
            results.error.eq(control.error),
            self.error.eq(control.error),
            self.busy.eq(control.busy),
        ]

    def _running(self, m: Module) -> None:
        """Every stage is addressed by the sequencer and moves with its `step`; folded activations go back to the scratch."""
        packets, buffer, sequencer, decode = self._packets, self._buffer, self._sequencer, self._decode
        offset_read = self._offsets.read_port()
        m.submodules.scratch = scratch = Scratch(self.spec, self._options.ecp5)
        activations = Signal.like(scratch.read_data)
        with m.If(sequencer.step):
            m.d.sync += activations.eq(scratch.read_data)
        if self.spec.stripes > 1:
            m.submodules.neighbours = neighbours = Neighbours(self.spec)
            m.d.comb += [
                neighbours.read.eq(activations),
                neighbours.before.eq(sequencer.before),
                neighbours.after.eq(sequencer.after),
                neighbours.edge.eq(packets.layer.edge),
                self._results.every_lane.eq(packets.layer.every_lane),
            ]
            activations = neighbours.word
        m.d.comb += [
            sequencer.layer.eq(packets.layer),
            sequencer.tile.eq(buffer.tile),
            # Sums of a hidden layer must not be read through an emitting one.
            sequencer.forget.eq(packets.layer_begin),
            buffer.read_index.eq(sequencer.index),
            buffer.read_step.eq(sequencer.step),
            buffer.read_final.eq(sequencer.final),
            offset_read.addr.eq(sequencer.index),
            offset_read.en.eq(sequencer.step),
            sequencer.offset.eq(offset_read.data),
            decode.code.eq(buffer.read_code),
            decode.plain.eq(packets.layer.plain),
            decode.step.eq(sequencer.step),
            sequencer.digits.eq(decode.digits),
            scratch.read_addr.eq(sequencer.read_addr),
            scratch.read.eq(sequencer.step),
        ]
        # Written a clock after the fold, which is early enough: nothing reads the word so soon.
        m.d.sync += [
            scratch.write_addr.eq(sequencer.write_addr),
            scratch.write_data.eq(self._lanes(m, activations)),
            scratch.write.eq(sequencer.store),
        ]
        sweeps = self._sweep.active if self._sweep else C(0)
        with m.If(packets.act_write | sweeps):  # only while no tile runs: the depacketiser waits for `idle`
            m.d.sync += [
                scratch.write_addr.eq(packets.act_addr),
                scratch.write_data.eq(packets.act_data),
                scratch.write.eq(1),
            ]

    def _lanes(self, m: Module, activations: data.View) -> Value:
        """L lanes, each with its fold; gives the folded activations of all lanes."""
        packets, sequencer = self._packets, self._sequencer
        folded = []
        for index in range(self.spec.lanes):
            m.submodules[f"lane{index}"] = lane = Lane(self.spec, self._options)
            m.submodules[f"fold{index}"] = fold = Fold(self.spec, self._options)
            m.d.comb += [
                lane.x.eq(activations[index]),
                lane.exponent.eq(sequencer.exponent),
                lane.negative.eq(sequencer.negative),
                lane.zero.eq(sequencer.zero),
                lane.load.eq(sequencer.load),
                lane.accumulate.eq(sequencer.accumulate),
                lane.origin.eq(sequencer.origin),
                fold.acc.eq(lane.acc),
                fold.shift.eq(packets.layer.shift),
                self._results.accs[index].eq(lane.acc),
            ]
            folded.append(fold.act)
        return Cat(*folded)

    def _unlocked(self, m: Module, parts: Parts) -> None:
        """The unlocked twin: codes pass straight to the buffer."""
        parts.codes_as_they_come(m)
        m.d.comb += [
            self._results.lock_state.no_locks.eq(1),
            self._control.keys_ready.eq(1),
        ]
