"""The whole engine: one command stream in, one result stream out."""

from collections.abc import Sequence
from typing import Any

from amaranth import C, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from bitting.unit.protocol import CYCLE_COUNT_BITS, WORD_BITS, ErrorCode, LayerFlag, TransformCode
from bitting.unit.spec import UnitSpec
from bitting_rtl.engine.decode import Decode
from bitting_rtl.engine.depacketise import Depacketise
from bitting_rtl.engine.fold import Fold
from bitting_rtl.engine.mac import Lane
from bitting_rtl.engine.results import TILE_COUNT_BITS, Results
from bitting_rtl.engine.scratch import Scratch
from bitting_rtl.engine.sequencer import Sequencer
from bitting_rtl.engine.tile_buffer import TileBuffer
from bitting_rtl.lib.build_options import PORTABLE, BuildOptions
from bitting_rtl.lib.layouts import UNCHECKED, result_word_layout
from bitting_rtl.unlock.aes import BLOCK_BITS
from bitting_rtl.unlock.unlocker import Unlocker
from bitting_rtl.unlock.vault import Vault

#: Codes are unlocked in groups of 2 to this power: one block has keystream for the draws of one, or for the bytes of two.
_GROUP_BITS = 3

#: What STATUS tells of the unlocked twin.
LOCKLESS = 0b1000


class Engine(wiring.Component):
    """Stream processor for layer programs, packets as in `bitting.unit.protocol`.

    L lanes hold L samples and step together; one unlocked code feeds them all. While a tile runs the next one is filled. A
    tile's cycles follow `bitting.unit.timing`; the engine waits between tiles only, for codes or for the result stream.

    After the first error (`error` is not NONE) the engine stops, wipes its keys, sends one FAULT packet after the packet in
    progress, swallows all further commands and sends nothing more until reset. `lock_now` is an error like any other.

    Boot, after reset, reads the root secret from `fuse` and derives all keys and the bitting table from it.
    """

    def __init__(self, spec: UnitSpec, table: Sequence[int] | None = None, options: BuildOptions = PORTABLE):
        """
        Args:
            table: a fixed bitting table, code -> value index, for an engine without any lock (the unlocked twin).
        """
        self.spec = spec
        self._table = table
        self._options = options
        super().__init__(
            {
                "fuse": In(BLOCK_BITS),
                "lock_now": In(1),
                "cmd": In(stream.Signature(unsigned(WORD_BITS))),
                "result": Out(stream.Signature(result_word_layout())),
                "error": Out(ErrorCode),
                "busy": Out(1),
            }
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
        connect(m, flipped(self.cmd), self._packets.cmd)
        connect(m, self._results.result, flipped(self.result))

        self._halt = Signal()
        self._held = Signal()  # a word waits for the vault
        self._counted = Signal()  # the tile that has just run is counted in this clock
        self._loading(m)
        self._running(m)
        self._vault = self._unlocking(m) if locks else None
        if self._vault:
            self._fingerprint(m, self._vault)
        else:
            self._unlocked(m)
        self._control(m)
        self._first_error(m)
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
            # Sums of a hidden layer must not be read through a linear one.
            sequencer.forget.eq(packets.layer_begin),
            buffer.read_index.eq(sequencer.index),
            buffer.read_step.eq(sequencer.step),
            buffer.read_final.eq(sequencer.final),
            offset_read.addr.eq(sequencer.index),
            offset_read.en.eq(sequencer.step),
            sequencer.offset.eq(offset_read.data),
            decode.code.eq(buffer.read_code),
            decode.binary.eq(packets.layer.binary),
            decode.step.eq(sequencer.step),
            sequencer.digits.eq(decode.digits),
            scratch.read_addr.eq(sequencer.read_addr),
            scratch.read.eq(sequencer.step),
        ]
        # A clock later than the fold: nothing reads so soon after.
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
            self._results.lock_state.eq(LOCKLESS),
        ]

    def _unlocking(self, m: Module) -> Vault:
        """The vault, and the unlocker between packets and tile buffer; the vault also fills the bitting table at boot."""
        packets, buffer, decode = self._packets, self._buffer, self._decode
        m.submodules.vault = vault = Vault(self.spec, self._options.compact)
        m.submodules.unlocker = unlocker = Unlocker(self.spec)
        keyed = vault.keyed & ~packets.layer.public
        # Codes come in groups that one block of keystream serves. The last group's block is there when its first code has been
        # taken, so the next tile's may be made, unless they wait for the tiles before.
        last_group = Signal()
        ahead = Signal()  # they are under way
        in_last = packets.item_index[_GROUP_BITS:] == packets.layer.last_code[_GROUP_BITS:]
        m.d.sync += last_group.eq(packets.code_valid & packets.code_ready & in_last)
        shuffles = Signal()  # compared a clock ahead: what follows has a long way to go
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
        packets, buffer, sequencer, results = self._packets, self._buffer, self._sequencer, self._results
        number = Signal(32)  # of the tile to come, since UNLOCK
        cycles = Signal(CYCLE_COUNT_BITS)  # of all tiles since UNLOCK
        earlier = Signal(CYCLE_COUNT_BITS)  # the same without the last
        absorbed = Signal(WORD_BITS)  # on its way to the vault, if `held`: both ends are slow
        # Never at the same time: a CHALLENGE packet waits for an idle engine.
        with m.If(self._halt):
            m.d.sync += [self._held.eq(0), absorbed.eq(0)]
        with m.Elif(~self._held):
            m.d.sync += [
                self._held.eq(packets.absorb.valid | results.absorb.valid),
                absorbed.eq(Mux(results.absorb.valid, results.absorb.payload, packets.absorb.payload)),
            ]
        with m.Elif(vault.absorb.ready):
            m.d.sync += self._held.eq(0)
        layer = packets.layer
        flags = Mux(layer.linear, LayerFlag.EMIT.value, 0) | Mux(layer.binary, LayerFlag.PLAIN_WEIGHTS.value, 0)
        m.d.comb += [
            results.divert.eq(vault.absorbing),
            results.fingerprint.eq(packets.fingerprint),
            results.lock_state.eq(Cat(vault.booted, vault.absorbing, vault.keyed)),
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
        m.d.sync += vault.wipe.eq(self._halt)  # through a register: it reaches every bit of every key
        with m.If(packets.transform == TransformCode.AES_CLOCKED):
            # Through the tile before the one before: the one before may have ended already, if the host was late.
            m.d.comb += vault.counter.cycles.eq(Mux(buffer.full, cycles, earlier))
        with m.If(self._counted):
            m.d.sync += [earlier.eq(cycles), cycles.eq(cycles + sequencer.cycles)]
        with m.If(packets.tile_start):
            m.d.sync += number.eq(number + 1)
        with m.If(packets.unlock):
            m.d.sync += [number.eq(0), cycles.eq(0), earlier.eq(0)]

    def _control(self, m: Module) -> None:
        """Start tiles, send results, and count."""
        packets, buffer, sequencer, results = self._packets, self._buffer, self._sequencer, self._results
        tiles = Signal(TILE_COUNT_BITS)
        total_cycles = Signal(CYCLE_COUNT_BITS)
        idle = Signal()
        halt = self._halt
        emits = packets.layer.linear & ~buffer.tile.hold
        vault_ready = self._vault.ready & ~self._held if self._vault else 1
        diverted = self._vault.absorbing if self._vault else 0
        m.d.comb += [
            packets.halt.eq(halt),
            sequencer.halt.eq(halt),
            results.linear.eq(emits),
            results.tile_index.eq(tiles),
            results.cycles.eq(sequencer.cycles),
            results.total_cycles.eq(total_cycles),
            results.error.eq(self.error),
        ]
        # A clock late: it comes from everywhere and decides what the keys' registers do. What a packet starts is seen in time,
        # for the header of the next lies between its effect and its barrier.
        m.d.sync += packets.idle.eq(idle)
        with m.FSM(name="control") as fsm:
            m.d.comb += [
                idle.eq(fsm.ongoing("WAIT") & ~buffer.full & ~results.busy & ~packets.status_request & vault_ready),
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
                    results.send_tile.eq(emits | packets.layer.report | diverted),
                    self._counted.eq(1),
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

    def _first_error(self, m: Module) -> None:
        """The first error stays."""
        # `halt` is a register of its own, though it says no more than `error` does: it reaches far, and late in a clock.
        with m.If(~self._halt):
            m.d.sync += self._halt.eq((self._packets.error != ErrorCode.NONE) | self._sequencer.bad_address | self.lock_now)
            with m.If(self._packets.error != ErrorCode.NONE):
                m.d.sync += self.error.eq(self._packets.error)
            with m.Elif(self._sequencer.bad_address):
                m.d.sync += self.error.eq(ErrorCode.BAD_ADDRESS)
            with m.Elif(self.lock_now):
                m.d.sync += self.error.eq(ErrorCode.LOCKED)
