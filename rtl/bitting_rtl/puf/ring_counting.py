"""Counts the edges of two ring oscillators, each in its own clock, and hands the counts over without metastability.

What crosses between clocks is four bits in all: the window, into each ring's clock, through two registers. Either may take one
value or the other while the window changes, so a count may be one more or less; nothing can take half of a change. The counts
come back when their clock has stopped: the window was closed and `settle` clocks long the ring ran on, so that the counter took
notice and holds; then the ring was stopped, and again `settle` clocks later nothing moves that the system's clock could read in
mid-change. A ring that is cut off may end with too short a pulse. By then the registers it clocks get what they hold already.
"""

from __future__ import annotations

from amaranth import Cat, ClockDomain, ClockSignal, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from bitting.unit.puf_spec import PufSpec
from bitting_rtl.lib.ports import Port, Ports
from bitting_rtl.puf.counting import Schedule, counting_ports
from bitting_rtl.puf.rings import ENABLE_COLUMNS, Rings

#: Bits of a count that change in one clock of a ring.
SEGMENT = 5


class EdgeCounter(wiring.Component):
    """Rising edges of a clock while a window is open. Everything in it is clocked by what it counts.

    A carry waits in a register between parts of the count, for the clock is fast; so the count is complete when the clock has
    run on for as many edges as there are parts.
    """

    def __init__(self, puf: PufSpec):
        super().__init__(
            Ports(
                {
                    "ring_clock": Port(In(1), "what is counted", "a clock; stands still while `clear` ends"),
                    "clear": Port(In(1), "the count is zero", "asynchronous, from a register"),
                    "gate": Port(In(1), "edges count", "from a register of any other clock"),
                    "count": Port(Out(puf.count_bits), "edges so far", "of `ring_clock`; readable once it stands still"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.ring_clock = ClockDomain("ring_clock", async_reset=True, local=True)
        m.d.comb += [ClockSignal("ring_clock").eq(self.ring_clock), ResetSignal("ring_clock").eq(self.clear)]
        seen = Signal(2)
        m.d.ring_clock += seen.eq(Cat(self.gate, seen[0]))
        carry = seen[1]
        for low in range(0, self.count.shape().width, SEGMENT):
            part = self.count[low : low + SEGMENT]
            carried = Signal(name=f"carry{low}")
            m.d.ring_clock += Cat(part, carried).eq(part + carry)
            carry = carried
        return m


class RingCounting(wiring.Component):
    """Counts of the rings on the chip. Its ports are those of every counter of pairs; `read` is for recorded ones only."""

    def __init__(self, puf: PufSpec, family: str):
        """`family`: see `Rings`."""
        self._puf = puf
        self.rings = Rings(puf, family)
        super().__init__(Ports(counting_ports(puf)))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        puf = self._puf
        m.submodules.schedule = schedule = Schedule(puf)
        m.submodules.rings = rings = self.rings
        m.d.comb += [schedule.start.eq(self.start), schedule.wipe.eq(self.wipe), self.done.eq(schedule.done)]
        # Columns change while no row is enabled; so one register changes when rings start, and one when they stop.
        column_bits = exact_log2(ENABLE_COLUMNS)
        column, row = self.pair[:column_bits], self.pair[column_bits:]
        m.d.sync += [
            rings.column.eq(Cat(column == index for index in range(ENABLE_COLUMNS))),
            rings.row.eq(Mux(schedule.run & ~self.wipe, Cat(row == index for index in range(len(rings.row))), 0)),
        ]
        # The name `ring_clock` survives synthesis: nextpnr reports each clock by it (bitting.fpga.flow).
        for name, count in (("first", self.first), ("second", self.second)):
            m.submodules[f"{name}_counter"] = counter = EdgeCounter(puf)
            m.d.comb += [
                counter.ring_clock.eq(getattr(rings, f"ring_clock_{name}")),
                counter.clear.eq(schedule.clear),
                counter.gate.eq(schedule.gate),
                count.eq(counter.count),
            ]
        return m
