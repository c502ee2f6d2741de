"""How the vault `ascon` is connected: sealed packets pass through it, a challenge and its answers end in it."""

from amaranth import Module, Signal

from bitting.unit.protocol import WORD_BITS, TransformCode
from bitting_rtl.engine.parts import Parts
from bitting_rtl.engine.sweep import Sweep
from bitting_rtl.unlock.ascon_vault import AsconVault


def connect_sealed(m: Module, parts: Parts, sweep: Sweep) -> AsconVault:
    """Add the vault; the caller connects the fuses."""
    m.submodules.vault = vault = AsconVault(parts.spec, parts.options.ecp5)
    parts.table_for(m, vault)
    parts.codes_as_they_come(m)
    packets, intake = parts.packets, parts.intake
    # What the parser makes of a packet shows late, so vault and intake are told a clock later.
    admit, challenge = Signal(), Signal()
    m.d.sync += [admit.eq(packets.admit), challenge.eq(packets.challenge)]
    m.d.comb += [
        intake.admit.eq(admit),
        intake.absorbing.eq(vault.absorbing),
        intake.opened.eq(vault.opened),
        intake.checked.eq(vault.checked),
        intake.authentic.eq(vault.authentic),
        vault.sealed.payload.eq(intake.sealed.payload),
        vault.sealed.valid.eq(intake.sealed.valid),
        intake.sealed.ready.eq(vault.sealed.ready),
        vault.tag_valid.eq(intake.tag.valid),
        intake.tag.ready.eq(vault.tag_ready),
        vault.empty.eq(intake.empty),
        # Whether a word is taken shows late in the clock. The vault keeps the last one, and that is the header.
        vault.header.eq(~intake.busy),
        vault.open.eq(admit & intake.is_sealed),
        vault.challenge.eq(challenge),
        packets.absorbing.eq(vault.absorbing),
        packets.is_sealed.eq(intake.is_sealed),
        packets.keyed.eq(vault.keyed),
        packets.can_unlock.eq(vault.absorbing | vault.keyed),
        packets.can_challenge.eq(~vault.challenged),
    ]
    m.d.sync += vault.wipe.eq(parts.control.halt)  # through a register: it reaches every bit of every key
    _absorb(m, parts, vault, sweep)
    _nonce(m, parts, vault)
    _tell(m, parts, vault)
    return vault


def _absorb(m: Module, parts: Parts, vault: AsconVault, sweep: Sweep) -> None:
    """Words of a challenge and of its answers; never both at once, for a packet of a challenge waits for an idle engine."""
    packets, intake, results, control = parts.packets, parts.intake, parts.results, parts.control
    halted, sweeps, unlock = Signal(), Signal(), Signal()
    # What the answers are made of shows late in a clock, so each waits in a register.
    answer, waits = Signal(WORD_BITS, reset_less=True), Signal()
    # What a challenge has written must be gone before a program is. `unlock` shows late in its clock, so this begins a clock
    # later; no packet comes sooner.
    unlocks = packets.unlock & vault.absorbing
    m.d.sync += [halted.eq(control.halt), unlock.eq(packets.unlock), sweeps.eq((control.halt & ~halted) | unlocks)]
    # Whether the vault is ready shows late too, so the intake sees it a clock later. It is ready still, unless it takes an
    # answer or a command in between, or one of the intake's own words, of which none comes in the clock after another. Nor
    # does the intake ask for it after it has begun a sealed packet.
    m.d.sync += intake.vault_ready.eq(vault.ready & ~(waits | vault.challenge | unlock))
    with m.If(~waits):
        m.d.sync += [answer.eq(results.absorb.payload), waits.eq(results.absorb.valid)]
    with m.Elif(vault.absorb.ready):
        m.d.sync += waits.eq(0)
    with m.If(control.halt):  # a wiped vault takes no answer, and what it writes over its keys is what is on its bus
        m.d.sync += waits.eq(0)
    m.d.comb += [
        vault.absorb.valid.eq(waits),
        vault.absorb.payload.eq(answer),
        # A wiped vault takes nothing more; the packet that is diverted must end all the same, for a FAULT follows it.
        results.absorb.ready.eq(~waits | control.halt),
        intake.idle.eq(control.idle & ~waits),
        vault.absorb_command.eq(intake.absorb),
        results.divert.eq(vault.absorbing),
        control.diverted.eq(vault.absorbing),
        vault.unlock.eq(unlock),
        control.keys_ready.eq(vault.ready & ~unlock & ~sweep.active),
        control.restart.eq(parts.packets.unlock),
        packets.sweep.eq(sweep.active),
        packets.sweep_begins.eq(sweep.start),
        sweep.item.eq(packets.item_index),
        sweep.word.eq(packets.act_addr),
        sweep.start.eq(sweeps),
    ]


def _nonce(m: Module, parts: Parts, vault: AsconVault) -> None:
    """Place in the program, and for `sealed-clocked` the cycles of all tiles before the last one.

    The last tile may still run while the packet is taken, so it can not be counted. What has been counted is kept when it is
    the next to run, and until another one is.
    """
    earlier, begins = Signal(WORD_BITS), Signal()
    m.d.sync += begins.eq(parts.packets.unlock | (parts.packets.transform != TransformCode.SEALED_CLOCKED))
    with m.If(parts.control.between & parts.buffer.full):
        m.d.sync += earlier.eq(parts.control.total_cycles)
    with m.If(begins):
        m.d.sync += earlier.eq(0)
    m.d.comb += [vault.number.eq(parts.packets.number), vault.cycles.eq(earlier)]


def _tell(m: Module, parts: Parts, vault: AsconVault) -> None:
    """A sealed device tells tiles and cycles only of layers that ask for it, and those of a challenge never."""
    results = parts.results
    m.d.comb += [
        results.untold.eq(vault.sealed_device & (~parts.packets.layer.report | vault.absorbing)),
        results.fingerprint.eq(parts.packets.fingerprint),
        results.lock_state.booted.eq(vault.booted),
        results.lock_state.challenge.eq(vault.absorbing),
        results.lock_state.keyed.eq(vault.keyed),
        results.lock_state.sealed.eq(vault.sealed_device),
    ]
