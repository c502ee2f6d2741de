"""The response: every pair is counted a few times, and the sum of the differences compared with a constant of that pair."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth import C, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from bitting.unit.puf_spec import PufSpec
from bitting_rtl.lib.ports import Port, Ports
from bitting_rtl.puf.counting import RecordedCounting, counting_ports, recorded_ports
from bitting_rtl.puf.ring_counting import RingCounting

#: A bit of the response.
RESPONSE = data.StructLayout({"bit": 1, "last": 1})


def response_ports(puf: PufSpec) -> dict[str, Port]:
    """What a measurement takes and gives."""
    return {
        "measure": Port(In(1), "measure all pairs", "one clock, while `busy` is low"),
        "forget": Port(In(1), "stop, and clear every register that depends on a count"),
        "busy": Port(Out(1), "a measurement runs"),
        "bits": Port(Out(stream.Signature(RESPONSE)), f"the response, one bit for each of {puf.pairs} pairs, pair 0 first"),
        "sum": Port(Out(signed(puf.sum_bits)), "first less second of that pair, in counts of all reads", "with `bits.valid`"),
    }


class Measurement(wiring.Component):
    """Asks for count after count, pair by pair; bit i is 1 where the sum of first less second is above the constant of pair i.

    How many clocks it takes depends on nothing that was counted: `PufSpec.clocks`, and those in which a bit waits to be taken.
    """

    def __init__(self, puf: PufSpec, constants: Sequence[int] = ()):
        """`constants`: of each pair, signed, in counts of all reads; public, the same on every device. Without any, zeros.

        Raises:
            SpecError: if there are not as many as pairs, or one does not fit.
        """
        self._puf = puf
        self._constants = puf.check_constants(constants or [0] * puf.pairs)
        counter = {name: Port(port.member.flip(), port.meaning, port.timing) for name, port in counting_ports(puf).items()}
        super().__init__(Ports({**response_ports(puf), **counter}))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        puf = self._puf
        total = self.sum
        m.d.comb += [
            self.wipe.eq(self.forget),
            self.bits.payload.bit.eq(total > self._constant(m)),
            self.bits.payload.last.eq(self.pair == puf.pairs - 1),
        ]
        idle, asks, sends = (Signal(init=name == "idle", name=name) for name in ("idle", "asks", "sends"))
        m.d.comb += [self.busy.eq(~idle), self.start.eq(asks), self.bits.valid.eq(sends)]
        with m.If(idle & self.measure):
            m.d.sync += [idle.eq(0), asks.eq(1)]
        with m.If(asks):
            m.d.sync += asks.eq(0)
        with m.If(self.done):
            last_read = self.read == puf.reads - 1
            m.d.sync += [
                total.eq(total + self.first - self.second),
                self.read.eq(Mux(last_read, 0, self.read + 1)),
                asks.eq(~last_read),
                sends.eq(last_read),
            ]
        with m.If(sends & self.bits.ready):
            m.d.sync += [total.eq(0), sends.eq(0), asks.eq(~self.bits.payload.last), idle.eq(self.bits.payload.last)]
            m.d.sync += self.pair.eq(Mux(self.bits.payload.last, 0, self.pair + 1))
        with m.If(self.forget):
            m.d.sync += [register.eq(0) for register in (total, self.pair, self.read, asks, sends)]
            m.d.sync += idle.eq(1)
        return m

    def _constant(self, m: Module) -> Value:
        """Of the pair that is measured."""
        if not any(self._constants):
            return C(0, 1)
        m.submodules.constants = rom = Memory(shape=signed(self._puf.sum_bits), depth=self._puf.pairs, init=self._constants)
        port = rom.read_port()
        m.d.comb += port.addr.eq(self.pair)
        return port.data


class Response(wiring.Component):
    """A measurement and what counts for it: the rings of a chip, or recorded frequencies, whose memory's ports come out."""

    def __init__(self, puf: PufSpec, family: str | None, constants: Sequence[int] = ()):
        """`family`: of the rings (`bitting_rtl.puf.rings`); none in a simulation. `constants`: see `Measurement`.

        Raises:
            SpecError: see `Measurement`.
            ValueError: see `bitting_rtl.puf.rings.Rings`.
        """
        self._puf = puf
        self._counting = RingCounting(puf, family) if family else RecordedCounting(puf)
        self._measurement = Measurement(puf, constants)
        #: Ports of recorded frequencies, which rings have not.
        self.recorded = {} if family else recorded_ports(puf)
        super().__init__(Ports({**response_ports(puf), **self.recorded}))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.measurement, m.submodules.counting = measurement, counting = self._measurement, self._counting
        for name, port in counting_ports(self._puf).items():
            driver, driven = (measurement, counting) if port.member.flow is In else (counting, measurement)
            m.d.comb += getattr(driven, name).eq(getattr(driver, name))
        m.d.comb += [getattr(counting, name).eq(getattr(self, name)) for name in self.recorded]
        m.d.comb += [measurement.measure.eq(self.measure), measurement.forget.eq(self.forget)]
        m.d.comb += [self.busy.eq(measurement.busy), self.sum.eq(measurement.sum)]
        connect(m, measurement.bits, flipped(self.bits))
        return m
