"""How the vault `aes` is connected: keystream between parser and tile buffer, fingerprints into the vault."""

from amaranth import C, Cat, Module, Mux, Signal, Value

from bitting.unit.protocol import CYCLE_COUNT_BITS, WORD_BITS, LayerFlag, TransformCode
from bitting_rtl.engine.parts import Parts
from bitting_rtl.unlock.unlocker import Unlocker
from bitting_rtl.unlock.vault import Vault

#: Codes are unlocked in groups of 2 to this power: one block has keystream for the draws of one, or for the bytes of two.
_GROUP_BITS = 3


def connect_aes(m: Module, parts: Parts) -> Vault:
    """Add the vault and the unlocker, which stands between parser and tile buffer; the caller connects the fuses."""
    m.submodules.vault = vault = Vault(parts.spec, parts.options.compact)
    _unlocking(m, parts, vault)
    _fingerprint(m, parts, vault)
    return vault


def _unlocking(m: Module, parts: Parts, vault: Vault) -> None:
    """Every code meets the keystream; the vault also fills the bitting table at boot."""
    packets, buffer = parts.packets, parts.buffer
    parts.table_for(m, vault)
    m.submodules.unlocker = unlocker = Unlocker(parts.spec)
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
    ]


def _fingerprint(m: Module, parts: Parts, vault: Vault) -> None:
    """What the vault is told of the tiles: their results while it absorbs, their numbers and cycles while it unlocks."""
    packets, buffer, sequencer = parts.packets, parts.buffer, parts.sequencer
    results, control = parts.results, parts.control
    held = Signal()  # a word waits for the vault
    number = Signal(32)  # of the tile to come, since UNLOCK
    cycles = Signal(CYCLE_COUNT_BITS)  # of all tiles since UNLOCK
    earlier = Signal(CYCLE_COUNT_BITS)  # the same without the last
    absorbed = Signal(WORD_BITS)  # on its way to the vault, if `held`: a register between two long paths
    # Never at the same time: a CHALLENGE packet waits for an idle engine.
    with m.If(control.halt):
        m.d.sync += [held.eq(0), absorbed.eq(0)]
    with m.Elif(~held):
        m.d.sync += [
            held.eq(packets.absorb.valid | results.absorb.valid),
            absorbed.eq(Mux(results.absorb.valid, results.absorb.payload, packets.absorb.payload)),
        ]
    with m.Elif(vault.absorb.ready):
        m.d.sync += held.eq(0)
    layer = packets.layer
    flags = Mux(layer.emits, LayerFlag.EMIT.value, 0) | Mux(layer.plain, LayerFlag.PLAIN_WEIGHTS.value, 0)
    m.d.comb += [
        results.divert.eq(vault.absorbing),
        results.fingerprint.eq(packets.fingerprint),
        results.lock_state.booted.eq(vault.booted),
        results.lock_state.challenge.eq(vault.absorbing),
        results.lock_state.keyed.eq(vault.keyed),
        control.diverted.eq(vault.absorbing),
        control.keys_ready.eq(vault.ready & ~held),
        vault.absorb.valid.eq(held),
        vault.absorb.payload.eq(absorbed),
        packets.absorb.ready.eq(~held),
        results.absorb.ready.eq(~held),
        vault.challenge.eq(packets.challenge),
        vault.unlock.eq(packets.unlock),
        packets.can_unlock.eq(vault.absorbing | vault.keyed),
        vault.counter.tile.eq(number),
        vault.counter.layer.eq(Cat(Value.cast(layer.last_code) | C(0, 16), flags | C(0, 8), layer.shift)),
    ]
    m.d.sync += vault.wipe.eq(control.halt)  # through a register: it reaches every bit of every key
    with m.If(packets.transform == TransformCode.AES_CLOCKED):
        # The cycles up to the last tile but one. Whether the last one has ended yet depends on how fast the host is.
        m.d.comb += vault.counter.cycles.eq(Mux(buffer.full, cycles, earlier))
    with m.If(control.ended):
        m.d.sync += [earlier.eq(cycles), cycles.eq(cycles + sequencer.cycles)]
    with m.If(packets.tile_start):
        m.d.sync += number.eq(number + 1)
    with m.If(packets.unlock):
        m.d.sync += [number.eq(0), cycles.eq(0), earlier.eq(0)]
