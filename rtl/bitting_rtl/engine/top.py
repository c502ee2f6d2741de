"""The module that is exported: the engine with flat ports."""

from collections.abc import Sequence

from amaranth import Array, C, ClockDomain, Module, Signal, unsigned
from amaranth.hdl import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from bitting.unit.protocol import FUSE_WORDS, WORD_BITS, ErrorCode
from bitting.unit.spec import UnitSpec
from bitting_rtl.engine.engine import Engine
from bitting_rtl.engine.puf_engine import PUF_PORTS, PufEngine
from bitting_rtl.lib.build_options import PORTABLE, BuildOptions
from bitting_rtl.lib.layouts import result_word_layout
from bitting_rtl.lib.ports import Port, Ports
from bitting_rtl.lib.register_slice import RegisterSlice

#: Name of the exported module.
TOP = "bitting_engine"

#: Clocks that `rst` must be high.
RESET_CLOCKS = 2

#: Clocks that `fuse_address` keeps the number of a word that is read, at least; one that goes sooner means nothing.
FUSE_ADDRESS_CLOCKS = 2

#: `fuse_data` is that word from this many clocks after it on.
FUSE_DATA_AFTER = 1

#: `busy` or `error` tells of a command word at the latest this many clocks after the clock in which it moved.
BUSY_AFTER_WORD = 2

#: The error of a packet may show this many clocks after `busy` has fallen.
ERROR_AFTER_BUSY = 1

#: This many clocks after `error` has risen `busy` is high, and it stays high until reset.
BUSY_AFTER_ERROR = 1

_MOVES = "a word moves in a clock with valid and ready"

#: Every port the module can have.
PORTS = {
    "clk": Port(In(1), "clock; everything happens on its rising edge"),
    "rst": Port(In(1), "synchronous reset, active high; the only way out of an error", f"at least {RESET_CLOCKS} clocks"),
    "fuse_address": Port(
        Out(range(FUSE_WORDS)),
        "which word of the fuses is wanted: 0 to 3 the root secret, 4 flags, of which bit 0 is `sealed`",
        f"at boot, each for at least {FUSE_ADDRESS_CLOCKS} clocks",
    ),
    "fuse_data": Port(
        In(WORD_BITS),
        "that word; byte 0 of the secret is the lowest of word 0",
        "at the latest a clock after its address, until that changes",
    ),
    "lock_now": Port(In(1), "wipe all keys and stop with error LOCKED (a tamper switch)", "one clock is enough"),
    "cmd_data": Port(In(WORD_BITS), "command word (AXI4-Stream TDATA)", "with `cmd_valid`, until it moves"),
    "cmd_valid": Port(In(1), "command word is there (TVALID)", "until it moves"),
    "cmd_ready": Port(Out(1), "command word is taken (TREADY)", _MOVES),
    "result_data": Port(Out(WORD_BITS), "result word (TDATA)", "with `result_valid`, until it moves"),
    "result_last": Port(Out(1), "last word of a result packet (TLAST)", "with `result_valid`, until it moves"),
    "result_valid": Port(Out(1), "result word is there (TVALID)", "until it moves"),
    "result_ready": Port(In(1), "result word is taken (TREADY)", _MOVES),
    "error": Port(Out(Shape.cast(ErrorCode)), "code of the first error, 0 while all is well", "until reset"),
    "busy": Port(
        Out(1), "a packet, a tile or a result is in progress, or there is an error", f"{BUSY_AFTER_WORD} clocks after a word"
    ),
}

#: Those for the fuses: an engine with its secret baked in, or without locks, has none of them.
FUSE_PORTS = {name: PORTS[name] for name in ("fuse_address", "fuse_data")}


def ports(fused: bool, puf: bool = False) -> dict[str, Port]:
    """Ports of the top; `fused`: with those for the fuses; `puf`: with what there is if silicon makes the root secret."""
    return {name: port for name, port in PORTS.items() if fused or name not in FUSE_PORTS} | (PUF_PORTS if puf else {})


class Top(wiring.Component):
    """The engine with flat, single-underscore port names; every input is registered before anything else sees it.

    `cmd_ready`, `result_valid`, `result_data` and `result_last` come straight from registers too. Reset takes effect one
    clock after `rst` rises and ends one clock after it falls; hold it for at least `RESET_CLOCKS`.

    Args:
        spec: of the unit.
        fuses: words to bake in instead of the ports `fuse_address` and `fuse_data` (`bitting.unit.protocol.fuse_words`).
        table: makes an unlocked twin. At most one of both.
        options: of the build; they change no packet and no tile's cycles.
        engine: another one in its place: without locks, or with a PUF.
    """

    def __init__(
        self,
        spec: UnitSpec,
        *,
        fuses: Sequence[int] | None = None,
        table: Sequence[int] | None = None,
        options: BuildOptions = PORTABLE,
        engine: Engine | PufEngine | None = None,
    ):
        self._engine = engine or Engine(spec, table, options)
        self._fuses = fuses
        self._options = options
        puf = isinstance(engine, PufEngine)
        self._recorded = engine.recorded if isinstance(engine, PufEngine) else {}
        super().__init__(Ports(ports(fuses is None and table is None and engine is None, puf) | self._recorded))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # One clock, two domains: `sync` is what the engine sees, reset by a register.
        m.domains.sync = engine_domain = ClockDomain(local=True)
        m.domains.pins = pins = ClockDomain(local=True, reset_less=True)
        m.d.comb += [pins.clk.eq(self.clk), engine_domain.clk.eq(self.clk)]
        m.d.pins += engine_domain.rst.eq(self.rst)

        m.submodules.engine = engine = self._engine
        cmd, result = engine.cmd, engine.result
        awake = ~engine_domain.rst  # or a word would be lost in the last clock of a reset
        if not self._options.compact:
            m.submodules.cmd_slice = cmd_slice = RegisterSlice(unsigned(WORD_BITS))
            m.submodules.result_slice = result_slice = RegisterSlice(result_word_layout())
            connect(m, cmd_slice.o, engine.cmd)
            connect(m, engine.result, result_slice.i)
            cmd, result, awake = cmd_slice.i, result_slice.o, C(1)
        if isinstance(engine, PufEngine):
            m.d.comb += [getattr(engine, name).eq(getattr(self, name)) for name in (*PUF_PORTS, *self._recorded)]
        elif self._fuses is not None:
            m.d.comb += engine.fuse_data.eq(Array(self._fuses)[engine.fuse_address])
        elif "fuse_data" in self.signature.members:
            m.d.comb += [self.fuse_address.eq(engine.fuse_address), engine.fuse_data.eq(self.fuse_data)]
        lock_now = Signal()
        m.d.pins += lock_now.eq(self.lock_now)
        m.d.comb += engine.lock_now.eq(lock_now)
        m.d.comb += [
            cmd.payload.eq(self.cmd_data),
            cmd.valid.eq(self.cmd_valid & awake),
            self.cmd_ready.eq(cmd.ready & awake),
            self.result_data.eq(result.payload.data),
            self.result_last.eq(result.payload.last),
            self.result_valid.eq(result.valid),
            result.ready.eq(self.result_ready),
            self.error.eq(engine.error),
            self.busy.eq(engine.busy | result.valid),
        ]
        return m
