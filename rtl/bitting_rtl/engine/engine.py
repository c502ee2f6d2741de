"""The whole engine: one command stream in, one result stream out."""

from collections.abc import Sequence
from typing import Any

from amaranth import C, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from bitting.unit.protocol import CYCLE_COUNT_BITS, WORD_BITS, ErrorCode, LayerFlag, TransformCode
from bitting.unit.spec import UnitSpec
from bitting_rtl.engine.control import Control
from bitting_rtl.engine.decode import Decode
from bitting_rtl.engine.depacketise import Depacketise
from bitting_rtl.engine.fold import Fold
from bitting_rtl.engine.mac import Lane
from bitting_rtl.engine.results import Results
from bitting_rtl.engine.scratch import Scratch
from bitting_rtl.engine.sequencer import Sequencer
from bitting_rtl.engine.tile_buffer import TileBuffer
from bitting_rtl.lib.build_options import PORTABLE, BuildOptions
from bitting_rtl.lib.layouts import UNCHECKED, result_word_layout
from bitting_rtl.lib.ports import Port, Ports
from bitting_rtl.unlock.aes import BLOCK_BITS
from bitting_rtl.unlock.unlocker import Unlocker
from bitting_rtl.unlock.vault import Vault

#: Codes are unlocked in groups of 2 to this power: one block has keystream for the draws of one, or for the bytes of two.
_GROUP_BITS = 3


class Engine(wiring.Component):
    """Stream processor for layer programs, packets as in `bitting.unit.protocol`.

    L lanes hold L samples and step together; one unlocked code feeds them all. While a tile runs, the tile buffer is filled
    with the next one. A tile's cycles follow `bitting.unit.timing`: nothing can stall a tile that runs. The engine waits only
    between tiles, for codes or for the result stream.

    After the first error (`error` is not NONE) the engine stops and wipes its keys. It finishes the result packet it is
    sending, sends one FAULT packet, and then takes and drops every command and sends nothing until reset. `lock_now` is an
    error like any other.

    Boot, after reset, reads the root secret from `fuse` and derives all keys and the bitting table from it.

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
                    "fuse": Port(In(BLOCK_BITS), "root secret, byte 0 uppermost", "the first clock after reset"),
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
        m.submodules.tile_buffer = self._buffer = TileBuffer(spec, locks)
        m.submodules.sequencer = self._sequencer = Sequencer(spec)
        m.submodules.decode = self._decode = self._decoder(self._table)
        m.submodules.results = self._results = Results(spec)
        m.submodules.control = self._control = Control()
        connect(m, flipped(self.cmd), self._packets.cmd)
        connect(m, self._results.result, flipped(self.result))

        self._held = Signal()  # a word waits for the vault
        self._loading(m)
        self._running(m)
        self._controlling(m)
        if locks:
            self._fingerprint(m, self._unlocking(m))
        else:
            self._unlocked(m)
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
            offset_write.addr.eq(packets.item_index),
            offset_write.data.eq(packets.offset_data),
            offset_write.en.eq(packets.offset_write),
        ]

    def _controlling(self, m: Module) -> None:
        """What control is told and what it decides."""
        packets, buffer, sequencer = self._packets, self._buffer, self._sequencer
        results, control = self._results, self._control
        m.d.comb += [
            control.packet_error.eq(packets.error),
            control.packet_busy.eq(packets.busy),
            control.status_request.eq(packets.status_request),
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
        with m.If(packets.act_write):  # only while no tile runs: the depacketiser waits for `idle`
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
            m.submodules[f"lane{index}"] = lane = Lane(self.spec, self._options.ecp5)
            m.submodules[f"fold{index}"] = fold = Fold(self.spec)
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

    def _unlocked(self, m: Module) -> None:
        """The unlocked twin: codes pass straight to the buffer."""
        m.d.comb += [
            self._buffer.write.eq(self._packets.code_valid),
            self._buffer.write_place.eq(self._packets.item_index),
            self._buffer.write_code.eq(self._packets.code_data),
            self._packets.code_ready.eq(1),
            self._results.lock_state.no_locks.eq(1),
            self._control.keys_ready.eq(1),
        ]

    def _unlocking(self, m: Module) -> Vault:
        """The vault, and the unlocker between packets and tile buffer; the vault also fills the bitting table at boot."""
        packets, buffer, decode = self._packets, self._buffer, self._decode
        m.submodules.vault = vault = Vault(self.spec, self._options.compact)
        m.submodules.unlocker = unlocker = Unlocker(self.spec)
        keyed = vault.keyed & ~packets.layer.constant
        # Codes come in groups that one block of keystream serves. Once the first code of the last group has been taken, the
        # tile needs no further block. Then the blocks of the next tile may be made, unless they depend on the cycles of the
        # tiles before it.
        last_group = Signal()
        ahead = Signal()  # the blocks of the next tile are under way
        in_last = packets.item_index[_GROUP_BITS:] == packets.layer.last_code[_GROUP_BITS:]
        m.d.sync += last_group.eq(packets.code_valid & packets.code_ready & in_last)
        shuffles = Signal()  # compared a clock ahead, for a long path of logic follows
        m.d.sync += shuffles.eq(packets.transform == TransformCode.SHUFFLE)
        with m.If(packets.tile_start | packets.layer_begin | packets.unlock):
            m.d.sync += ahead.eq(0)
        with m.Elif(vault.tile_ahead):
            m.d.sync += ahead.eq(1)
        m.d.comb += [
            unlocker.keyed.eq(keyed),
            unlocker.shuffles.eq(shuffles),
            unlocker.valid.eq(packets.code_valid),
            unlocker.code.eq(packets.code_data),
            unlocker.index.eq(packets.item_index),
            packets.code_ready.eq(unlocker.ready),
            unlocker.available.eq(vault.available),
            unlocker.byte.eq(vault.byte),
            unlocker.draw.eq(vault.draw),
            vault.tile_start.eq(keyed & packets.tile_start & ~ahead),
            vault.tile_next.eq(keyed & packets.tile_start & ahead),
            vault.tile_ahead.eq(keyed & last_group & ~ahead & (packets.transform != TransformCode.AES_CLOCKED)),
            vault.draws.eq(shuffles),
            vault.take.eq(unlocker.take),
            buffer.write.eq(unlocker.write),
            buffer.write_code.eq(unlocker.write_code),
            buffer.write_place.eq(unlocker.place),
            decode.owned.eq(vault.table_owned),
            decode.addr.eq(vault.table_addr),
            vault.table_read.eq(decode.index),
            decode.write.eq(vault.table_write),
            decode.write_addr.eq(vault.table_write_addr),
            decode.write_data.eq(vault.table_data),
        ]
        return vault

    def _fingerprint(self, m: Module, vault: Vault) -> None:
        """What the vault is told of the tiles: their results while it absorbs, their numbers and cycles while it unlocks."""
        packets, buffer, sequencer = self._packets, self._buffer, self._sequencer
        results, control = self._results, self._control
        number = Signal(32)  # of the tile to come, since UNLOCK
        cycles = Signal(CYCLE_COUNT_BITS)  # of all tiles since UNLOCK
        earlier = Signal(CYCLE_COUNT_BITS)  # the same without the last
        absorbed = Signal(WORD_BITS)  # on its way to the vault, if `held`: a register between two long paths
        # Never at the same time: a CHALLENGE packet waits for an idle engine.
        with m.If(self._control.halt):
            m.d.sync += [self._held.eq(0), absorbed.eq(0)]
        with m.Elif(~self._held):
            m.d.sync += [
                self._held.eq(packets.absorb.valid | results.absorb.valid),
                absorbed.eq(Mux(results.absorb.valid, results.absorb.payload, packets.absorb.payload)),
            ]
        with m.Elif(vault.absorb.ready):
            m.d.sync += self._held.eq(0)
        layer = packets.layer
        flags = Mux(layer.emits, LayerFlag.EMIT.value, 0) | Mux(layer.plain, LayerFlag.PLAIN_WEIGHTS.value, 0)
        m.d.comb += [
            results.divert.eq(vault.absorbing),
            results.fingerprint.eq(packets.fingerprint),
            results.lock_state.booted.eq(vault.booted),
            results.lock_state.challenge.eq(vault.absorbing),
            results.lock_state.keyed.eq(vault.keyed),
            control.diverted.eq(vault.absorbing),
            control.keys_ready.eq(vault.ready & ~self._held),
            vault.absorb.valid.eq(self._held),
            vault.absorb.payload.eq(absorbed),
            packets.absorb.ready.eq(~self._held),
            results.absorb.ready.eq(~self._held),
            vault.fuse.eq(self.fuse),
            vault.challenge.eq(packets.challenge),
            vault.unlock.eq(packets.unlock),
            packets.can_unlock.eq(vault.absorbing | vault.keyed),
            vault.counter.tile.eq(number),
            vault.counter.layer.eq(Cat(Value.cast(layer.last_code) | C(0, 16), flags | C(0, 8), layer.shift)),
        ]
        m.d.sync += vault.wipe.eq(self._control.halt)  # through a register: it reaches every bit of every key
        with m.If(packets.transform == TransformCode.AES_CLOCKED):
            # The cycles up to the last tile but one. Whether the last one has ended yet depends on how fast the host is.
            m.d.comb += vault.counter.cycles.eq(Mux(buffer.full, cycles, earlier))
        with m.If(self._control.ended):
            m.d.sync += [earlier.eq(cycles), cycles.eq(cycles + sequencer.cycles)]
        with m.If(packets.tile_start):
            m.d.sync += number.eq(number + 1)
        with m.If(packets.unlock):
            m.d.sync += [number.eq(0), cycles.eq(0), earlier.eq(0)]
