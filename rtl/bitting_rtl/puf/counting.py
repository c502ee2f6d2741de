"""How the oscillators of a pair are counted: the schedule that all counters keep, and a counter of recorded frequencies.

The rings themselves (`bitting_rtl.puf.rings`) exist on a chip only. In simulations `RecordedCounting` stands in their place: it
has the same ports, takes the same clocks, and counts frequencies that a memory holds, in integers.
"""

from __future__ import annotations

from itertools import pairwise

from amaranth import C, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bitting.unit.puf_spec import FRACTION_BITS, PufSpec
from bitting_rtl.lib.ports import Port, Ports

#: Of a count, in order: a register each.
_STEPS = ("idle", "clearing", "starting", "open", "closing", "stopping")


def counting_ports(puf: PufSpec) -> dict[str, Port]:
    """What every counter of pairs takes and gives."""
    count = f"{puf.count_clocks} clocks after `start`, until the next one"
    return {
        "start": Port(In(1), "count the edges of a pair", "one clock, while nothing is counted"),
        "pair": Port(In(range(puf.pairs)), "which one", "from `start` to `done`"),
        "read": Port(In(range(max(puf.reads, 2))), "how often it was read before: recorded frequencies differ", "as `pair`"),
        "wipe": Port(In(1), "stop, and forget the counts"),
        "done": Port(Out(1), "the counts are there", f"one clock, {puf.count_clocks} after `start`"),
        "first": Port(Out(puf.count_bits), "edges of the pair's first oscillator in the window", count),
        "second": Port(Out(puf.count_bits), "edges of its second one", count),
    }


def recorded_ports(puf: PufSpec) -> dict[str, Port]:
    """What a simulation has beside them, for a memory of recorded frequencies in the place of oscillators."""
    increment = increment_bits(puf)
    return {
        "load": Port(In(1), "write a word of the memory", "while nothing is counted"),
        "load_address": Port(In(range(puf.pairs * puf.reads)), "pair times reads, plus read", "with `load`"),
        "load_first": Port(In(increment), "increment of the pair's first oscillator in that read", "with `load`"),
        "load_second": Port(In(increment), "of its second one", "with `load`"),
    }


class Schedule(wiring.Component):
    """When oscillators run and when they are counted: always in the same clocks after `start`.

    A pause follows each step, long enough for everything that the slowest oscillator clocks (`PufSpec.settle`): clear the
    counters, run, open the window, close it, stop. All outputs are registers: nothing that starts a ring or clears a counter
    may glitch.
    """

    def __init__(self, puf: PufSpec):
        self._puf = puf
        super().__init__(
            Ports(
                {
                    "start": Port(In(1), "begin", "one clock, while nothing is counted"),
                    "wipe": Port(In(1), "stop at once; `clear` stays until the next count"),
                    "clear": Port(Out(1, init=1), "counters are held at zero", "while no oscillator runs, or after `wipe`"),
                    "run": Port(Out(1), "the oscillators of the pair run"),
                    "gate": Port(Out(1), "their edges count", f"{puf.window} clocks amid `run`"),
                    "done": Port(Out(1), "the counters have stopped", f"one clock, {puf.count_clocks} after `start`"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        idle, clearing, starting, open_, closing, stopping = steps = [Signal(name=name, init=name == "idle") for name in _STEPS]
        left = Signal(range(max(self._puf.window, self._puf.settle)))
        over = Signal()
        m.d.comb += over.eq(left == 0)
        with m.If(idle):
            m.d.sync += left.eq(self._puf.settle - 1)
            with m.If(self.start):
                m.d.sync += [idle.eq(0), clearing.eq(1), self.clear.eq(1)]
        with m.Elif(over):
            m.d.sync += [after.eq(before) for before, after in pairwise([C(0), *steps[1:]])]
            m.d.sync += [idle.eq(stopping), left.eq(Mux(starting, self._puf.window, self._puf.settle) - 1)]
            with m.If(clearing):
                m.d.sync += self.clear.eq(0)
        with m.Else():
            m.d.sync += left.eq(left - 1)
        # Registers of their own, a clock later.
        m.d.sync += [
            self.run.eq(starting | open_ | closing),
            self.gate.eq(open_),
            self.done.eq(stopping & over),
        ]
        with m.If(self.wipe):
            m.d.sync += [step.eq(step is idle) for step in steps]
            m.d.sync += [self.clear.eq(1), self.run.eq(0), self.gate.eq(0), self.done.eq(0)]
        return m


class RecordedCounting(wiring.Component):
    """Counts of recorded frequencies, for simulators: each oscillator is a phase that advances by its increment every clock.

    An increment is the oscillator's frequency in frequencies of the system clock, with `FRACTION_BITS` bits behind the point;
    the count is the integer part of the phase. `bitting.puf.counting` computes the same in one multiplication. The memory
    stands for silicon: no reset and no `wipe` clears it.
    """

    def __init__(self, puf: PufSpec):
        self._puf = puf
        super().__init__(Ports({**counting_ports(puf), **recorded_ports(puf)}))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        puf, increment = self._puf, increment_bits(self._puf)
        m.submodules.schedule = schedule = Schedule(puf)
        m.submodules.memory = memory = Memory(shape=2 * increment, depth=puf.pairs * puf.reads, init=[])
        written, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            schedule.start.eq(self.start),
            schedule.wipe.eq(self.wipe),
            self.done.eq(schedule.done),
            written.en.eq(self.load),
            written.addr.eq(self.load_address),
            written.data.eq(Cat(self.load_first, self.load_second)),
            read.addr.eq(self.pair * puf.reads + self.read),
        ]
        counts = ((self.first, read.data[:increment]), (self.second, read.data[increment:]))
        for count, advance in counts:
            phase = Signal(puf.count_bits + FRACTION_BITS)
            with m.If(schedule.clear):
                m.d.sync += phase.eq(0)
            with m.Elif(schedule.gate):
                m.d.sync += phase.eq(phase + advance)
            m.d.comb += count.eq(phase[FRACTION_BITS:])
        return m


def increment_bits(puf: PufSpec) -> int:
    """Of an increment: up to the frequency `PufSpec.fastest`, and no further."""
    return FRACTION_BITS + puf.fastest.bit_length()
