"""The engine on AXI: command and result streams as AXI4-Stream, control and status as AXI4-Lite."""

from amaranth import C, Cat, ClockDomain, DomainRenamer, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.protocol import WORD_BITS
from bitting.unit.spec import UnitSpec
from bitting_rtl.board.engine_instance import EngineInstance
from bitting_rtl.board.registers import REGISTERS, Control, Register, constants
from bitting_rtl.engine.top import FUSE_PORTS
from bitting_rtl.lib.layouts import result_word_layout
from bitting_rtl.lib.ports import Port, Ports
from bitting_rtl.lib.register_slice import RegisterSlice
from bitting_rtl.lib.verilog import to_verilog

#: Name of the wrapper's module.
TOP = "bitting_axi"
_ADDRESS_BITS = 6
_OKAY, _SLVERR = 0, 2  # AXI (IHI 0022), RRESP and BRESP

_MOVES = "moves in a clock with valid and ready"
_LITE = {
    "awaddr": Port(In(_ADDRESS_BITS), "register to write, a byte address", "with AWVALID"),
    "awprot": Port(In(3), "without effect", "with AWVALID"),
    "awvalid": Port(In(1), "there is a write address", "until AWREADY"),
    "awready": Port(Out(1), "it is taken, with the data", _MOVES),
    "wdata": Port(In(WORD_BITS), "what to write", "with WVALID"),
    "wstrb": Port(In(WORD_BITS // 8), "which of its bytes", "with WVALID"),
    "wvalid": Port(In(1), "there is write data", "until WREADY"),
    "wready": Port(Out(1), "it is taken, with the address", _MOVES),
    "bresp": Port(Out(2), "answer to a write: OKAY or SLVERR", "with BVALID"),
    "bvalid": Port(Out(1), "there is an answer", "until BREADY"),
    "bready": Port(In(1), "it is taken", _MOVES),
    "araddr": Port(In(_ADDRESS_BITS), "register to read, a byte address", "with ARVALID"),
    "arprot": Port(In(3), "without effect", "with ARVALID"),
    "arvalid": Port(In(1), "there is a read address", "until ARREADY"),
    "arready": Port(Out(1), "it is taken", _MOVES),
    "rdata": Port(Out(WORD_BITS), "what was read", "with RVALID"),
    "rresp": Port(Out(2), "answer to a read: OKAY or SLVERR", "with RVALID"),
    "rvalid": Port(Out(1), "there is an answer", "until RREADY"),
    "rready": Port(In(1), "it is taken", _MOVES),
}


class AxiEngine(wiring.Component):
    """`s_axis` takes command words, `m_axis` gives result words, TLAST ends each packet; `s_axil` holds the registers.

    `aresetn` is synchronous to `aclk`. A reset by CONTROL resets the engine, not the buses: a result packet that it cuts short
    is ended by a word of zeros with TLAST, so that TVALID never falls and no packet runs into the next; until that word is
    taken the engine stays in reset. Registers that do not exist, and writing to one that can only be read, answer SLVERR.
    """

    def __init__(self, spec: UnitSpec, fused: bool = True):
        self._spec = spec
        self._fused = fused
        super().__init__(
            Ports(
                {
                    "aclk": Port(In(1), "clock of the buses and of the engine"),
                    "aresetn": Port(In(1), "synchronous reset, active low", "at least two clocks"),
                    **(FUSE_PORTS if fused else {}),
                    "lock_now": Port(In(1), "wipe all keys and stop with error LOCKED"),
                    "s_axis_tdata": Port(In(WORD_BITS), "command word", "with TVALID"),
                    "s_axis_tvalid": Port(In(1), "there is a command word", "until TREADY"),
                    "s_axis_tready": Port(Out(1), "it is taken", _MOVES),
                    "m_axis_tdata": Port(Out(WORD_BITS), "result word", "with TVALID"),
                    "m_axis_tvalid": Port(Out(1), "there is a result word", "until TREADY"),
                    "m_axis_tready": Port(In(1), "it is taken", _MOVES),
                    "m_axis_tlast": Port(Out(1), "it is the last of its packet", "with TVALID"),
                    **{f"s_axil_{name}": port for name, port in _LITE.items()},
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = bus = ClockDomain(local=True)
        m.domains.engine = inner = ClockDomain(local=True)
        self._resetting = Signal()
        m.d.comb += [
            bus.clk.eq(self.aclk),
            bus.rst.eq(~self.aresetn),
            inner.clk.eq(self.aclk),
            inner.rst.eq(~self.aresetn | self._resetting),
        ]
        self._engine = EngineInstance(self._fused)
        m.submodules.unit = DomainRenamer("engine")(self._engine)
        if self._fused:
            m.d.comb += [self.fuse_address.eq(self._engine.fuse_address), self._engine.fuse_data.eq(self.fuse_data)]
        self._counts = {name: Signal(WORD_BITS, name=name.name.lower()) for name in Register if name >= Register.COMMANDS}
        self._locks = Signal()
        reset = self._registers(m)
        self._streams(m, reset)
        m.d.comb += self._engine.lock_now.eq(self.lock_now | self._locks)
        return m

    def _streams(self, m: Module, reset: Value) -> None:
        """The engine between the streams; `reset`: begin a reset."""
        engine, resetting = self._engine, self._resetting
        m.submodules.out_slice = out = RegisterSlice(result_word_layout())
        inside = Signal()  # of a result packet
        held = Signal()  # in reset for a second clock, which the engine wants
        taken = Signal()
        given = Signal()
        m.d.comb += [
            engine.cmd_data.eq(self.s_axis_tdata),
            engine.cmd_valid.eq(self.s_axis_tvalid & ~resetting),
            self.s_axis_tready.eq(engine.cmd_ready & ~resetting),
            taken.eq(self.s_axis_tvalid & self.s_axis_tready),
            out.i.valid.eq(Mux(resetting, inside, engine.result_valid)),
            out.i.payload.data.eq(Mux(resetting, 0, engine.result_data)),
            out.i.payload.last.eq(resetting | engine.result_last),
            engine.result_ready.eq(out.i.ready & ~resetting),
            given.eq(out.i.valid & out.i.ready),
            self.m_axis_tdata.eq(out.o.payload.data),
            self.m_axis_tlast.eq(out.o.payload.last),
            self.m_axis_tvalid.eq(out.o.valid),
            out.o.ready.eq(self.m_axis_tready),
        ]
        m.d.sync += held.eq(resetting)
        with m.If(given):
            m.d.sync += inside.eq(~out.i.payload.last)
        with m.If(reset):
            m.d.sync += resetting.eq(1)
        with m.Elif(held & ~inside):
            m.d.sync += resetting.eq(0)
        events = {Register.COMMANDS: taken, Register.RESULTS: given & ~resetting, Register.CLOCKS: engine.busy}
        for register, event in events.items():
            m.d.sync += self._counts[register].eq(Mux(resetting, 0, self._counts[register] + event))

    def _registers(self, m: Module) -> Value:
        """Both sides of the AXI4-Lite bus; gives whether a reset is asked for."""
        contents = {
            **{register: C(value, WORD_BITS) for register, value in constants(self._spec).items()},
            Register.STATUS: self._status(),
            Register.CONTROL: C(0, WORD_BITS),
            **self._counts,
        }
        with m.If(self.s_axil_rready):
            m.d.sync += self.s_axil_rvalid.eq(0)
        m.d.comb += self.s_axil_arready.eq(~self.s_axil_rvalid)
        with m.If(self.s_axil_arvalid & self.s_axil_arready):
            m.d.sync += [self.s_axil_rvalid.eq(1), self.s_axil_rdata.eq(0), self.s_axil_rresp.eq(_SLVERR)]
            with m.Switch(self.s_axil_araddr[2:]):
                for register, value in contents.items():
                    with m.Case(register >> 2):
                        m.d.sync += [self.s_axil_rdata.eq(value), self.s_axil_rresp.eq(_OKAY)]

        # Address and data may come in any order: each is taken when both are there, and the last answer has gone.
        write = Signal()
        wanted = Signal(len(Control))
        ours = self.s_axil_awaddr[2:] == Register.CONTROL >> 2
        m.d.comb += [
            write.eq(self.s_axil_awvalid & self.s_axil_wvalid & ~self.s_axil_bvalid),
            self.s_axil_awready.eq(write),
            self.s_axil_wready.eq(write),
            wanted.eq(Mux(write & ours & self.s_axil_wstrb[0], self.s_axil_wdata, 0)),
        ]
        with m.If(self.s_axil_bready):
            m.d.sync += self.s_axil_bvalid.eq(0)
        with m.If(write):
            m.d.sync += [self.s_axil_bvalid.eq(1), self.s_axil_bresp.eq(Mux(ours, _OKAY, _SLVERR))]
        m.d.comb += self._locks.eq((wanted & Control.LOCK_NOW).any())
        return (wanted & Control.RESET).any()

    def _status(self) -> Value:
        """Each field of STATUS in its place."""
        values = {"BUSY": self._engine.busy, "RESETTING": self._resetting, "ERROR": self._engine.error}
        status = Cat()
        for field in REGISTERS[Register.STATUS].fields:
            status = Cat(status, C(0, field.low - len(status)), values[field.name])
        return status


def axi_verilog(spec: UnitSpec, fused: bool = True) -> str:
    """The wrapper without the engine's own module."""
    return to_verilog(AxiEngine(spec, fused), TOP)
