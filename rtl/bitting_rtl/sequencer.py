"""The loops of a tile: positions by codes by digits, one MAC cycle a clock, and the clock count of the tile."""

from amaranth import Module, Signal, unsigned
from amaranth.hdl import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitting.spec import ADDRESS_FIELD_BITS, UnitSpec
from bitting_rtl.layouts import digits_layout, layer_layout, tile_layout

#: Width of the cycle count of one tile.
CYCLE_BITS = 32


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
    5 fold        the accumulators of a position are final; they are folded and written
    ============  ==========================================================================

    `step` moves stages 0 to 3 on: it is low while a code has more digits. `start` begins a tile whose fields are on `tile` and
    stay there until `done`, which is high in the last cycle of the tile. `cycles` counts the clocks from the one after `start`
    up to and including `done`; it holds until the next `start`. Nothing in between can stall.
    `bad_address` is high when a gathered or written address lies outside the scratch memory; `halt` abandons the tile.
    """

    def __init__(self, spec: UnitSpec):
        self.spec = spec
        address = Shape.cast(range(spec.scratch_words))
        super().__init__(
            {
                "layer": In(layer_layout(spec)),
                "tile": In(tile_layout(spec)),
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
                "write_addr": Out(address),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layer, tile = self.layer, self.tile
        address_bits = len(self.read_addr)

        # Stage 0: three nested counters. `base` is the scratch address of the current position.
        fetching = Signal()
        base = Signal(ADDRESS_FIELD_BITS + 1)
        row_base = Signal(ADDRESS_FIELD_BITS + 1)
        x = Signal(ADDRESS_FIELD_BITS)
        y = Signal(ADDRESS_FIELD_BITS)
        last_code = Signal()
        last_position = Signal()
        m.d.comb += [
            last_code.eq(self.index == layer.last_code),
            last_position.eq((x == layer.last_x) & (y == layer.last_y)),
        ]
        with m.If(self.step & fetching):
            m.d.sync += self.index.eq(self.index + 1)
            with m.If(last_code):
                m.d.sync += [self.index.eq(0), x.eq(x + 1), base.eq(base + layer.stride_x)]
                with m.If(x == layer.last_x):
                    row = row_base + layer.stride_y
                    m.d.sync += [x.eq(0), y.eq(y + 1), row_base.eq(row), base.eq(row)]
                with m.If(last_position):
                    m.d.sync += fetching.eq(0)

        # Stages 1 to 3 carry what stage 0 knew about the code: is it there, first or last of its position, last of the tile.
        valid = [fetching, Signal(name="valid1"), Signal(name="valid2"), Signal(name="valid3")]
        first = [self.index == 0, Signal(name="first1"), Signal(name="first2"), Signal(name="first3")]
        last = [last_code, Signal(name="last1"), Signal(name="last2"), Signal(name="last3")]
        final = [last_position, Signal(name="final1"), Signal(name="final2"), Signal(name="final3")]
        base1 = Signal.like(base)
        address2 = Signal(ADDRESS_FIELD_BITS + 2)
        with m.If(self.step):
            for flags in (valid, first, last, final):
                m.d.sync += [flags[stage + 1].eq(flags[stage]) for stage in range(3)]
            m.d.sync += [base1.eq(base), address2.eq(base1 + self.offset)]
        m.d.comb += self.read_addr.eq(address2)

        # Stage 3: the digits of a code, one a clock.
        digit_index = Signal.like(self.digits.last)
        last_digit = Signal()
        digit = self.digits.digits[digit_index]
        m.d.comb += [
            last_digit.eq(digit_index == self.digits.last),
            self.step.eq(~valid[3] | last_digit),
            self.exponent.eq(digit.exponent),
            self.negative.eq(digit.negative),
            self.zero.eq(self.digits.zero),
        ]
        with m.If(valid[3]):
            m.d.sync += digit_index.eq(digit_index + 1)
            with m.If(last_digit):
                m.d.sync += digit_index.eq(0)

        # Stages 4 and 5: from here nothing waits.
        final4 = Signal()
        last4 = Signal()
        final5 = Signal()
        write_address = Signal(ADDRESS_FIELD_BITS + 1)
        m.d.sync += [
            self.accumulate.eq(valid[3]),
            self.load.eq(first[3] & (digit_index == 0)),
            last4.eq(valid[3] & last[3] & last_digit),
            final4.eq(final[3]),
            self.write.eq(last4),
            final5.eq(final4),
        ]
        m.d.comb += [self.write_addr.eq(write_address), self.done.eq(self.write & final5)]
        with m.If(self.write):
            m.d.sync += write_address.eq(write_address + 1)

        outside_read = valid[2] & address2[address_bits:].any()
        outside_write = self.write & ~layer.linear & write_address[address_bits:].any()
        m.d.comb += self.bad_address.eq(self.running & (outside_read | outside_write))

        with m.If(self.running):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        with m.If(self.done):
            m.d.sync += self.running.eq(0)
        with m.If(self.start):
            m.d.sync += [
                self.running.eq(1),
                fetching.eq(1),
                self.cycles.eq(0),
                self.index.eq(0),
                x.eq(0),
                y.eq(0),
                base.eq(tile.in_base),
                row_base.eq(tile.in_base),
                write_address.eq(tile.out_base),
            ]
        with m.If(self.halt):
            m.d.sync += [self.running.eq(0), fetching.eq(0), valid[1].eq(0), valid[2].eq(0), valid[3].eq(0)]
        return m
