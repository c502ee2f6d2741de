"""A conventional engine to compare with: int8 weights, a multiplier a lane, saturating sums, ReLU. No locks.

Packets, buffers, gather loops and results are those of the engine; what differs is what bitting replaces.
"""

from collections.abc import Sequence

from amaranth import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.spec import SLOT_BITS, UnitSpec
from bitting_rtl.engine import decode
from bitting_rtl.engine.engine import Engine
from bitting_rtl.engine.top import TOP, Top
from bitting_rtl.lib.layouts import digits_layout
from bitting_rtl.lib.ports import Port, Ports
from bitting_rtl.lib.verilog import to_verilog


def _clipped(value: Value, low: int, high: int) -> Value:
    return Mux(value > high, high, Mux(value < low, low, value))


class MultiplyLane(wiring.Component):
    """`acc <- clip((load ? bias : acc) + x * weight)`; ports and latency as `bitting_rtl.engine.mac.Lane`."""

    def __init__(self, spec: UnitSpec):
        self.spec = spec
        super().__init__(
            Ports(
                {
                    "x": Port(In(signed(spec.act_bits)), "the activation"),
                    "weight": Port(In(signed(SLOT_BITS)), "the weight"),
                    "load": Port(In(1), "begin the sum from `bias`", "a clock after its weight"),
                    "accumulate": Port(In(1), "take the product into the sum", "a clock after its weight"),
                    "bias": Port(In(signed(spec.acc_bits)), "where sums begin", "a clock after its weight"),
                    "acc": Port(Out(signed(spec.acc_bits)), "the sum, saturated", "two clocks after its weight"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        half = 1 << (self.spec.acc_bits - 1)
        product = Signal(signed(self.spec.act_bits + SLOT_BITS), reset_less=True)
        total = Signal(signed(self.spec.acc_bits + 1))
        m.d.sync += product.eq(self.x * self.weight)
        m.d.comb += total.eq(Mux(self.load, self.bias, self.acc) + product)
        with m.If(self.accumulate):
            m.d.sync += self.acc.eq(_clipped(total, -half, half - 1))
        return m


class Relu(wiring.Component):
    """`act = clip(acc >> (acc_bits - act_bits - shift), 0..act_max)`: `Fold`'s window of the accumulator."""

    def __init__(self, spec: UnitSpec):
        self.spec = spec
        super().__init__(
            Ports(
                {
                    "acc": Port(In(signed(spec.acc_bits)), "the accumulator"),
                    "shift": Port(In(Shape.cast(range(spec.max_shift + 1))), "left shift of the layer"),
                    "act": Port(Out(signed(spec.act_bits)), "the activation, 0 or more", "the same clock"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec = self.spec
        shifted = Signal(signed(spec.act_bits + spec.max_shift))
        m.d.comb += shifted.eq((self.acc << self.shift) >> (spec.acc_bits - spec.act_bits))
        m.d.comb += self.act.eq(_clipped(shifted, 0, spec.act_max))
        return m


class PlainWeights(wiring.Component):
    """In the place of `Decode`: a code is its own weight, of one cycle."""

    def __init__(self, spec: UnitSpec):
        super().__init__(
            Ports(
                {
                    "code": Port(In(unsigned(spec.slot_bits)), "the weight in two's complement", "with `step`"),
                    "plain": Port(In(1), "without effect: all codes are plain weights"),
                    "step": Port(In(1), "without effect: a code takes one cycle, so every clock is a step"),
                    "digits": Port(Out(digits_layout(spec)), "always 0: the only cycle of a code is its last"),
                    "weight": Port(Out(signed(SLOT_BITS)), "the weight", "when its cycle reaches the lanes"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line = [self.code, *(Signal(SLOT_BITS, name=f"weight{index}") for index in range(decode.LATENCY)), self.weight]
        m.d.sync += [after.eq(before) for before, after in zip(line, line[1:], strict=False)]
        return m


class Int8Engine(Engine):
    """The engine with multipliers. The spec must have 8-bit codes; its digits are not used."""

    def __init__(self, spec: UnitSpec):
        if spec.slot_bits != SLOT_BITS:
            raise ValueError(f"an int8 engine wants codes of {SLOT_BITS} bits, spec {spec.name} has {spec.slot_bits}")
        super().__init__(spec, table=range(spec.codes))

    def _decoder(self, table: Sequence[int] | None) -> PlainWeights:
        return PlainWeights(self.spec)

    def _lanes(self, m: Module, activations: data.View) -> Value:
        packets, sequencer = self._packets, self._sequencer
        acts = []
        for index in range(self.spec.lanes):
            m.submodules[f"lane{index}"] = lane = MultiplyLane(self.spec)
            m.submodules[f"relu{index}"] = relu = Relu(self.spec)
            m.d.comb += [
                lane.x.eq(activations[index]),
                lane.weight.eq(self._decode.weight),
                lane.load.eq(sequencer.load),
                lane.accumulate.eq(sequencer.accumulate),
                lane.bias.eq(self._buffer.tile.bias),
                relu.acc.eq(lane.acc),
                relu.shift.eq(packets.layer.shift),
                self._results.accs[index].eq(lane.acc),
            ]
            acts.append(relu.act)
        return Cat(*acts)


def baseline_verilog(spec: UnitSpec) -> str:
    """The conventional engine, with the ports of `bitting_engine`."""
    return to_verilog(Top(spec, engine=Int8Engine(spec)), TOP)
