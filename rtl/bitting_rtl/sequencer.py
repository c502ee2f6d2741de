"""The loops of a tile: positions by codes by digits, one MAC cycle a clock, and the clock count of the tile."""

from itertools import pairwise

from amaranth import Module, Signal, unsigned
from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bitting.spec import ADDRESS_FIELD_BITS, UnitSpec
from bitting_rtl.layouts import digits_layout, layer_layout, tile_layout

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
    1 gather      code and offset arrive; the code addresses the bitting table
    2 decode      value index and activation address; they address digit ROM and scratch
    3 digit       digits and activations; one digit a clock enters the lanes
    4 accumulate  the lanes' term register is added
    5 fold        the accumulators of a position are final (`write`); they are folded and written (`store`), unless the layer
                  is linear or the next tile goes on with them
    ============  ==========================================================================

    `step` moves stages 0 to 3 on: it is low while a code has more digits. `start` begins a tile whose fields are on `tile` and
    stay there until `done`, which is high in the last cycle of the tile. `cycles` counts the clocks from the one after `start`
    up to and including `done`; it holds until the next `start`. Nothing in between can stall.
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
                "step": Out(1),
                # gather and decode
                "offset": In(unsigned(ADDRESS_FIELD_BITS)),
                "read_addr": Out(address),
                # digit
                "digits": In(digits_layout(spec)),
                "exponent": Out(Shape.cast(range(spec.max_exponent + 1))),
                "negative": Out(1),
                "zero": Out(1),
                # accumulate
                "accumulate": Out(1),
                "load": Out(1),
                # fold
                "write": Out(1),
                "store": Out(1),
                "write_addr": Out(address),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        base, fetched = self._fetch(m)
        digit_stage = self._carry(m, base, fetched)
        self._finish(m, *self._digit(m, digit_stage))
        self._count(m)
        return m

    def _fetch(self, m: Module) -> tuple[Signal, data.View]:
        """Stage 0, three nested counters: the base address of the current position, and what is known about the code."""
        layer, tile = self.layer, self.tile
        known = Signal(_FLAGS)
        base = Signal(ADDRESS_FIELD_BITS + 1)
        row_base = Signal(ADDRESS_FIELD_BITS + 1)
        x = Signal(ADDRESS_FIELD_BITS)
        y = Signal(ADDRESS_FIELD_BITS)
        fetching = Signal()
        m.d.comb += [
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

    def _carry(self, m: Module, base: Signal, fetched: data.View) -> data.View:
        """Stages 1 to 3 carry along what stage 0 knew; stage 2 has the activation's address."""
        stages = [fetched, *(Signal(_FLAGS, name=f"stage{number}") for number in (1, 2, 3))]
        base1 = Signal.like(base)
        address2 = Signal(ADDRESS_FIELD_BITS + 2)
        with m.If(self.step):
            m.d.sync += [after.eq(before) for before, after in pairwise(stages)]
            m.d.sync += [base1.eq(base), address2.eq(base1 + self.offset)]
        with m.If(self.halt):
            m.d.sync += [stage.valid.eq(0) for stage in stages[1:]]
        m.d.comb += self.read_addr.eq(address2)
        with m.If(stages[2].valid & address2[len(self.read_addr) :].any()):
            m.d.comb += self.bad_address.eq(1)
        return stages[3]

    def _digit(self, m: Module, stage: data.View) -> tuple[data.View, Signal, Signal]:
        """Stage 3: the digits of a code, one a clock. Gives the stage, and whether the digit is its code's first and last."""
        digit_index = Signal.like(self.digits.last)
        first_digit = Signal()
        last_digit = Signal()
        digit = self.digits.digits[digit_index]
        m.d.comb += [
            first_digit.eq(digit_index == 0),
            last_digit.eq(digit_index == self.digits.last),
            self.step.eq(~stage.valid | last_digit),
            self.exponent.eq(digit.exponent),
            self.negative.eq(digit.negative),
            self.zero.eq(self.digits.zero),
        ]
        with m.If(stage.valid):
            m.d.sync += digit_index.eq(digit_index + 1)
            with m.If(last_digit):
                m.d.sync += digit_index.eq(0)
        return stage, first_digit, last_digit

    def _finish(self, m: Module, stage: data.View, first_digit: Signal, last_digit: Signal) -> None:
        """Stages 4 and 5: accumulate, fold and write. From here nothing waits."""
        last4 = Signal()
        final4 = Signal()
        final5 = Signal()
        write_address = Signal(ADDRESS_FIELD_BITS + 1)
        row_address = Signal(ADDRESS_FIELD_BITS + 1)
        x = Signal(ADDRESS_FIELD_BITS)
        held = Signal()  # the last tile left its sums in the lanes
        m.d.sync += [
            self.accumulate.eq(stage.valid),
            self.load.eq(stage.first & first_digit & ~(self.tile.resume & held)),
            last4.eq(stage.valid & stage.last & last_digit),
            final4.eq(stage.final),
            self.write.eq(last4),
            final5.eq(final4),
        ]
        m.d.comb += [self.write_addr.eq(write_address), self.done.eq(self.write & final5)]
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
