"""When tiles start, what is sent, what is counted, and what the first error does."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.protocol import CYCLE_COUNT_BITS, ErrorCode
from bitting_rtl.engine.results import TILE_COUNT_BITS
from bitting_rtl.engine.sequencer import CYCLE_BITS
from bitting_rtl.lib.ports import Port, Ports

#: Clocks between two tiles that belong to neither, if the next one is there: it is started, then it is reported and counted.
TILE_GAP = 3


class Control(wiring.Component):
    """One tile after another: start it, wait for its end, send what is to be sent, count it.

    After the first error no tile starts any more: a FAULT packet follows the packet that is being sent, then silence.
    """

    def __init__(self) -> None:
        super().__init__(
            Ports(
                {
                    "packet_error": Port(In(ErrorCode), "a packet's mistake", "one clock"),
                    "bad_address": Port(In(1), "a tile's address lies outside the scratch memory", "one clock"),
                    "lock_now": Port(In(1), "stop with error LOCKED"),
                    "error": Port(Out(ErrorCode), "the first error", "from the clock after it until reset"),
                    "halt": Port(Out(1), "there is an error: everything stops", "as `error`"),
                    "tile_waits": Port(In(1), "the tile buffer has a tile to run, or one that runs"),
                    "start": Port(Out(1), "start the tile", "one clock"),
                    "done": Port(In(1), "the tile's last cycle", "one clock"),
                    "cycles": Port(In(unsigned(CYCLE_BITS)), "the tile's cycles", "from `done` to the next start"),
                    "between": Port(Out(1), "no tile runs, and those that ran are counted in `total_cycles`"),
                    "ended": Port(Out(1), "the tile has ended: its codes are not needed any more", "one clock, after `done`"),
                    "emits": Port(In(1), "the layer emits its accumulators"),
                    "report": Port(In(1), "the layer's tiles are reported"),
                    "hold": Port(In(1), "the next tile goes on with this one's accumulators", "from start to `ended`"),
                    "diverted": Port(In(1), "a challenge: tiles' results go to the vault"),
                    "status_request": Port(In(1), "send a STATUS_REPLY", "one clock"),
                    "results_busy": Port(In(1), "a result packet is being sent"),
                    "send_tile": Port(Out(1), "send a TILE_DONE", "one clock"),
                    "send_status": Port(Out(1), "send a STATUS_REPLY", "one clock"),
                    "send_fault": Port(Out(1), "send a FAULT", "one clock"),
                    "send_sums": Port(Out(1), "the TILE_DONE carries the accumulators", "with `send_tile`"),
                    "tiles": Port(
                        Out(unsigned(TILE_COUNT_BITS)), "tiles since reset or `restart`", "holds while a result is sent"
                    ),
                    "total_cycles": Port(Out(unsigned(CYCLE_COUNT_BITS)), "their cycles", "holds while a result is sent"),
                    "restart": Port(In(1), "count tiles and cycles anew", "one clock, while `idle`"),
                    "keys_ready": Port(In(1), "the vault waits for a command"),
                    "packet_busy": Port(In(1), "a packet is being parsed"),
                    "idle": Port(Out(1), "no tile waits or runs, no result leaves, the vault waits", "a clock later"),
                    "busy": Port(Out(1), "something is in progress, or there was an error"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        idle = Signal()
        sends = Signal()  # the tile's sums are final, and its layer emits them
        m.d.comb += [sends.eq(self.emits & ~self.hold), self.send_sums.eq(sends)]
        # A clock late, because it is computed from all over the engine and decides what the keys' registers do. That is early
        # enough: between the effect of a packet and the barrier of the next one lies the clock of the next one's header.
        m.d.sync += self.idle.eq(idle)
        with m.FSM(name="control") as fsm:
            waits = fsm.ongoing("WAIT") & ~self.tile_waits & ~self.results_busy & ~self.status_request
            m.d.comb += [idle.eq(waits & self.keys_ready), self.busy.eq(~idle | self.packet_busy)]
            m.d.comb += self.between.eq(fsm.ongoing("WAIT") | fsm.ongoing("COUNT"))
            with m.State("WAIT"):
                with m.If(self.halt):
                    m.next = "FAULT"
                with m.Elif(self.tile_waits & ~self.results_busy):
                    m.d.comb += self.start.eq(1)
                    m.next = "RUN"
                m.d.comb += self.send_status.eq(self.status_request)
            with m.State("RUN"):
                with m.If(self.halt):
                    m.next = "FAULT"
                with m.Elif(self.done):
                    m.next = "REPORT"
            with m.State("REPORT"):
                # The lanes and the cycle count hold still until the packet has left.
                m.d.sync += self.total_cycles.eq(self.total_cycles + self.cycles)
                m.d.comb += [self.ended.eq(1), self.send_tile.eq(sends | self.report | self.diverted)]
                m.next = "COUNT"
            with m.State("COUNT"), m.If(~self.results_busy):
                m.d.sync += self.tiles.eq(self.tiles + 1)
                m.next = "WAIT"
            with m.State("FAULT"):
                m.d.comb += self.send_fault.eq(~self.results_busy)
                with m.If(~self.results_busy):
                    m.next = "SILENT"
            with m.State("SILENT"):
                pass
        with m.If(self.restart):
            m.d.sync += [self.tiles.eq(0), self.total_cycles.eq(0)]
        self._first_error(m)
        return m

    def _first_error(self, m: Module) -> None:
        """The first error stays."""
        # `halt` says no more than `error` does. It is a register of its own because it drives logic all over the engine.
        with m.If(~self.halt):
            m.d.sync += self.halt.eq((self.packet_error != ErrorCode.NONE) | self.bad_address | self.lock_now)
            with m.If(self.packet_error != ErrorCode.NONE):
                m.d.sync += self.error.eq(self.packet_error)
            with m.Elif(self.bad_address):
                m.d.sync += self.error.eq(ErrorCode.BAD_ADDRESS)
            with m.Elif(self.lock_now):
                m.d.sync += self.error.eq(ErrorCode.LOCKED)
