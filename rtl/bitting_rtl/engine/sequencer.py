"""The loops of a tile: positions by codes by digits, one MAC cycle a clock, and the clock count of the tile."""

from itertools import pairwise

from amaranth import Module, Mux, Signal, Value, unsigned
from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.spec import UnitSpec
from bitting_rtl.lib.layouts import digit_layout, digits_layout, layer_layout, tile_layout

#: Width of the cycle count of one tile.
CYCLE_BITS = 32

#: What travels with a code: is there one, is it the first or last of its position, is the position the last of the tile.
_FLAGS = data.StructLayout({"valid": 1, "first": 1, "last": 1, "final": 1})


class Sequencer(wiring.Component):
    """Walk a tile through the pipeline.

    ============  ==========================================================================
    stage         what is there
    ============  ==========================================================================
    0 fetch       `index` addresses the code and the offset
    1 gather      code and offset arrive
    2 look up     the code, registered, addresses the bitting table; base plus offset
    3 decode      value index; it addresses the digit ROM
    4 read        digits arrive; the activation's address reaches the scratch memory
    5 register    digits, registered; activations arrive
    6 digit       activations, registered, and one digit a clock enter the lanes
    7 accumulate  the lanes' term register is added
    8 fold        the accumulators of a position are final (`write`); they are folded and written (`store`), unless the layer
                  is linear or the next tile goes on with them
    ============  ==========================================================================

    What a block RAM gives goes straight into a register wherever it can, for a block RAM is slow by itself.

    `step` moves stages 0 to 6 on: it is low while a code has more digits. `start` begins a tile whose fields are on `tile` and
    stay there until `done`, which is high in the last cycle of the tile. `cycles` counts the clocks from the one after `start`
    up to and including `done`; it holds until the next `start`. Nothing in between can stall.
    `origin` is where the sums begin, for the lanes: the bias in a clock with `load`, else all ones.
    A tile that resumes goes on with the sums of the tile before, if that one held them and no `forget` came between.
    `bad_address` is high when a gathered or written address lies outside the scratch memory; `halt` abandons the tile.
    """

    def __init__(self, spec: UnitSpec):
        self.spec = spec
        address = Shape.cast(range(spec.scratch_words))
        super().__init__(
            {
                "layer": In(layer_layout(spec)),
                "tile": In(tile_layout(spec)),
                "forget": In(1),
                "start": In(1),
                "halt": In(1),
                "running": Out(1),
                "done": Out(1),
                "cycles": Out(unsigned(CYCLE_BITS)),
                "bad_address": Out(1),
                # fetch
                "index": Out(Shape.cast(range(spec.tile_codes))),
                "step": Out(1, init=1),
                "final": Out(1),
                # gather and decode
                "offset": In(unsigned(spec.address_bits)),
                "read_addr": Out(address),
                # digit
                "digits": In(digits_layout(spec)),
                "exponent": Out(Shape.cast(range(spec.max_exponent + 1))),
                "negative": Out(1),
                "zero": Out(1),
                # accumulate
                "accumulate": Out(1),
                "load": Out(1),
                "origin": Out(unsigned(spec.acc_bits)),
                # fold
                "write": Out(1),
                "store": Out(1),
                "write_addr": Out(address),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        base, fetched = self._fetch(m)
        coming, digit_stage = self._carry(m, base, fetched)
        self._finish(m, digit_stage, *self._digit(m, coming))
        self._count(m)
        return m

    def _fetch(self, m: Module) -> tuple[Signal, data.View]:
        """Stage 0, three nested counters: the base address of the current position, and what is known about the code."""
        layer, tile = self.layer, self.tile
        known = Signal(_FLAGS)
        base = Signal(self.spec.address_bits + 1)
        row_base = Signal(self.spec.address_bits + 1)
        x = Signal(self.spec.address_bits)
        y = Signal(self.spec.address_bits)
        fetching = Signal()
        m.d.comb += [
            self.final.eq(known.valid & known.final),
            known.valid.eq(fetching),
            known.first.eq(self.index == 0),
            known.last.eq(self.index == layer.last_code),
            known.final.eq((x == layer.last_x) & (y == layer.last_y)),
        ]
        with m.If(self.step & fetching):
            m.d.sync += self.index.eq(self.index + 1)
            with m.If(known.last):
                m.d.sync += [self.index.eq(0), x.eq(x + 1), base.eq(base + layer.stride_x)]
                with m.If(x == layer.last_x):
                    row = row_base + layer.stride_y
                    m.d.sync += [x.eq(0), y.eq(y + 1), row_base.eq(row), base.eq(row)]
                with m.If(known.final):
                    m.d.sync += fetching.eq(0)
        with m.If(self.start):
            m.d.sync += [
                fetching.eq(1),
                self.index.eq(0),
                x.eq(0),
                y.eq(0),
                base.eq(tile.in_base),
                row_base.eq(tile.in_base),
            ]
        with m.If(self.halt):
            m.d.sync += fetching.eq(0)
        return base, known

    def _carry(self, m: Module, base: Signal, fetched: data.View) -> list[data.View]:
        """Stages 1 to 6 carry along what stage 0 knew; stage 4 has the activation's address."""
        stages = [fetched, *(Signal(_FLAGS, name=f"stage{number}") for number in range(1, 7))]
        bases = [base, *(Signal.like(base, name=f"base{number}") for number in (1, 2))]
        offset2 = Signal.like(self.offset)
        address3, address4 = (Signal(self.spec.address_bits + 2, name=f"address{number}") for number in (3, 4))
        with m.If(self.step):
            m.d.sync += [after.eq(before) for line in (stages, bases) for before, after in pairwise(line)]
            m.d.sync += [offset2.eq(self.offset), address3.eq(bases[2] + offset2), address4.eq(address3)]
        with m.If(self.halt):
            m.d.sync += [stage.valid.eq(0) for stage in stages[1:]]
        m.d.comb += self.read_addr.eq(address4)
        with m.If(stages[4].valid & address4[len(self.read_addr) :].any()):
            m.d.comb += self.bad_address.eq(1)
        return stages[5:]

    def _digit(self, m: Module, coming: data.View) -> tuple[Signal, Signal]:
        """Stage 6: the digits of a code, one a clock. Gives whether the digit is its code's first and last.

        All that goes to the lanes, and `step`, comes from registers: they drive too much to be computed in the same clock.
        """
        rest = Signal.like(self.digits.digits)
        left = Signal.like(self.digits.last)
        first_digit = Signal()
        last_digit = Signal()
        digit = data.View(digit_layout(self.spec), Mux(self.step, Value.cast(self.digits.digits[0]), Value.cast(rest[0])))
        after = Mux(self.step, Value.cast(self.digits.digits), Value.cast(rest))
        m.d.comb += last_digit.eq(left == 0)
        m.d.sync += [
            self.step.eq(Mux(self.step, ~coming.valid | (self.digits.last == 0), left == 1)),
            left.eq(Mux(self.step, self.digits.last, left - 1)),
            first_digit.eq(self.step),
            rest.eq(after >> len(Value.cast(digit))),
            self.exponent.eq(digit.exponent),
            self.negative.eq(digit.negative),
        ]
        with m.If(self.step):
            m.d.sync += self.zero.eq(self.digits.zero)
        return first_digit, last_digit

    def _finish(self, m: Module, stage: data.View, first_digit: Signal, last_digit: Signal) -> None:
        """Stages 7 and 8: accumulate, fold and write. From here nothing waits."""
        last7 = Signal()
        final7 = Signal()
        final8 = Signal()
        write_address = Signal(self.spec.address_bits + 1)
        row_address = Signal(self.spec.address_bits + 1)
        x = Signal(self.spec.address_bits)
        held = Signal()  # the last tile left its sums in the lanes
        load = Signal()
        m.d.comb += load.eq(stage.first & first_digit & ~(self.tile.resume & held))
        m.d.sync += [
            self.accumulate.eq(stage.valid),
            self.load.eq(load),
            self.origin.eq(self.tile.bias | ~load.replicate(len(self.origin))),
            last7.eq(stage.valid & stage.last & last_digit),
            final7.eq(stage.final),
            self.write.eq(last7),
            final8.eq(final7),
        ]
        m.d.comb += [self.write_addr.eq(write_address), self.done.eq(self.write & final8)]
        with m.If(self.write):
            m.d.sync += [write_address.eq(write_address + self.layer.out_stride_x), x.eq(x + 1)]
            with m.If(x == self.layer.last_x):
                row = row_address + self.layer.out_stride_y
                m.d.sync += [x.eq(0), write_address.eq(row), row_address.eq(row)]
        with m.If(self.start):
            m.d.sync += [x.eq(0), write_address.eq(self.tile.out_base), row_address.eq(self.tile.out_base)]
        with m.If(self.done):
            m.d.sync += held.eq(self.tile.hold)
        with m.If(self.forget):
            m.d.sync += held.eq(0)
        m.d.comb += self.store.eq(self.write & ~self.layer.linear & ~self.tile.hold)
        with m.If(self.store & write_address[len(self.write_addr) :].any()):
            m.d.comb += self.bad_address.eq(1)

    def _count(self, m: Module) -> None:
        """Clocks from the one after `start` to `done`."""
        with m.If(self.running):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        with m.If(self.done | self.halt):
            m.d.sync += self.running.eq(0)
        with m.If(self.start):
            m.d.sync += [self.running.eq(1), self.cycles.eq(0)]
