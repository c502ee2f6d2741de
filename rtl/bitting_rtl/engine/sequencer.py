"""The loops of a tile: over positions, codes and digits, one MAC cycle a clock. It also counts the clocks of the tile."""

from itertools import pairwise

from amaranth import Module, Mux, Signal, Value, signed, unsigned
from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.spec import UnitSpec
from bitting_rtl.lib.layouts import digit_layout, digits_layout, layer_layout, tile_layout
from bitting_rtl.lib.ports import Port, Ports

#: Width of the cycle count of one tile.
CYCLE_BITS = 32

#: Clocks that a tile takes beyond its MAC cycles: a code enters the first stage when the last is this far ahead.
TILE_OVERHEAD = 8

#: Where lanes share samples: whose activation a lane takes.
_SIDES = {
    "before": Port(Out(1), "the activation is that of the lane before", "stage 6"),
    "after": Port(Out(1), "the activation is that of the next lane", "stage 6"),
}

#: What travels with a code: whether there is one, whether it is the first or last code of its position, and whether that
#: position is the last of the tile.
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
                  emits them or the next tile goes on with them
    ============  ==========================================================================

    A block RAM is slow by itself, so what it gives goes straight into a register wherever that is possible.

    `step` moves stages 0 to 6 on. It is low while the code in stage 6 has more digits. Nothing else can stall a tile, so it
    takes the cycles of all its codes, times its positions, and `TILE_OVERHEAD` more.

    A tile whose `resume` is set begins with the sums of the tile before, if that tile's `hold` was set and no `forget` came
    between; otherwise with its bias.
    """

    def __init__(self, spec: UnitSpec):
        self.spec = spec
        # With bands an address may lie before its band, and below 0.
        self._base = signed(spec.address_bits + 2) if spec.stripes > 1 else unsigned(spec.address_bits + 1)
        address = Shape.cast(range(spec.scratch_words))
        super().__init__(
            Ports(
                {
                    "layer": Port(In(layer_layout(spec)), "the layer", "from `start` to `done`"),
                    "tile": Port(In(tile_layout(spec)), "addresses, bias and flags of the tile", "from `start` to `done`"),
                    "forget": Port(In(1), "what the last tile held is not to be resumed", "one clock, while no tile runs"),
                    "start": Port(In(1), "begin the tile", "one clock, while no tile runs"),
                    "halt": Port(In(1), "abandon the tile"),
                    "running": Port(Out(1), "a tile runs", "from the clock after `start` to `done`"),
                    "done": Port(Out(1), "the tile's last cycle", "one clock"),
                    "cycles": Port(
                        Out(unsigned(CYCLE_BITS)),
                        "clocks from the one after `start` to `done`",
                        "from `done` to the next `start`",
                    ),
                    "bad_address": Port(Out(1), "an address lies outside the scratch memory", "stage 4 or 8"),
                    "index": Port(Out(Shape.cast(range(spec.tile_codes))), "code and offset to fetch", "stage 0, with `step`"),
                    "step": Port(Out(1, init=1), "stages 0 to 6 move on"),
                    "final": Port(Out(1), "the code at `index` is fetched for the last time", "stage 0"),
                    "offset": Port(In(unsigned(spec.address_bits)), "gather offset of the code", "stage 1"),
                    "read_addr": Port(Out(address), "address of the code's activation", "stage 4"),
                    "digits": Port(In(digits_layout(spec)), "digits of the code", "stage 5"),
                    "exponent": Port(Out(Shape.cast(range(spec.max_exponent + 1))), "the digit is 2^exponent", "stage 6"),
                    "negative": Port(Out(1), "the digit is -2^exponent", "stage 6"),
                    "zero": Port(Out(1), "the digit is 0", "stage 6"),
                    "accumulate": Port(Out(1), "the lanes take their term into the sum", "stage 7"),
                    "load": Port(Out(1), "the sum begins from `origin`", "stage 7"),
                    "origin": Port(Out(unsigned(spec.acc_bits)), "the bias with `load`, else all ones", "stage 7"),
                    "write": Port(Out(1), "the sums of a position are final", "stage 8"),
                    "store": Port(Out(1), "they are folded and written to the scratch memory", "stage 8"),
                    "write_addr": Port(Out(address), "where to", "stage 8, with `store`"),
                    **(_SIDES if spec.stripes > 1 else {}),
                }
            )
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
        base = Signal(self._base)
        row_base = Signal(self._base)
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
        """Stages 1 to 6 carry along what stage 0 knew. The activation's address is made on the way, and used in stage 4."""
        stages = [fetched, *(Signal(_FLAGS, name=f"stage{number}") for number in range(1, 7))]
        bases = [base, *(Signal.like(base, name=f"base{number}") for number in (1, 2))]
        offset2 = Signal.like(self.offset)
        wide = Shape(self._base.width + 1, self._base.signed)
        address3, address4 = (Signal(wide, name=f"address{number}") for number in (3, 4))
        with m.If(self.step):
            m.d.sync += [after.eq(before) for line in (stages, bases) for before, after in pairwise(line)]
            m.d.sync += [offset2.eq(self.offset), address3.eq(bases[2] + offset2), address4.eq(address3)]
        if self.spec.stripes > 1:
            self._choose_lane(m, bases[1], offset2, address3, address4)
        with m.If(self.halt):
            m.d.sync += [stage.valid.eq(0) for stage in stages[1:]]
        m.d.comb += self.read_addr.eq(address4)
        with m.If(stages[4].valid & address4[len(self.read_addr) :].any()):
            m.d.comb += self.bad_address.eq(1)
        return stages[5:]

    def _choose_lane(self, m: Module, base1: Signal, offset2: Signal, address3: Signal, address4: Signal) -> None:
        """An address before the band is one of the band of the lane before, one after it of the next.

        Whether it is shows in stage 3 beside it, from distances that were made on the way: between stages 3 and 4 there is time
        for the address of the neighbour, but for nothing before it.
        """
        layer, spec = self.layer, self.spec
        end = Signal(spec.address_bits + 1)  # settles long before a tile can start
        from_start, from_end = (Signal(signed(spec.address_bits + 3), name=name) for name in ("from_start2", "from_end2"))
        before = [Signal(name=f"before{number}") for number in (3, 4, 5)]
        after = [Signal(name=f"after{number}") for number in (3, 4, 5)]
        m.d.sync += end.eq(layer.band_start + layer.band_words)
        with m.If(self.step):
            m.d.sync += [from_start.eq(base1 - layer.band_start), from_end.eq(base1 - end)]
            m.d.sync += before[0].eq(layer.banded & (from_start + offset2)[-1])
            m.d.sync += after[0].eq(layer.banded & ~(from_end + offset2)[-1])
            for line in ([*before, self.before], [*after, self.after]):
                m.d.sync += [later.eq(earlier) for earlier, later in pairwise(line)]
            with m.If(before[0]):
                m.d.sync += address4.eq(address3 + layer.band_words)
            with m.If(after[0]):
                m.d.sync += address4.eq(address3 - layer.band_words)

    def _digit(self, m: Module, coming: data.View) -> tuple[Signal, Signal]:
        """Stage 6: the digits of a code, one a clock. Returns whether the digit is its code's first, and whether its last.

        What goes to the lanes, and `step`, comes from registers. Each of them drives so much that no time is left in its clock
        to compute it.
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
        """Stages 7 and 8: accumulate, fold and write. These do not wait for `step`."""
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
        m.d.comb += self.store.eq(self.write & ~self.layer.emits & ~self.tile.hold)
        with m.If(self.store & write_address[len(self.write_addr) :].any()):
            m.d.comb += self.bad_address.eq(1)

    def _count(self, m: Module) -> None:
        """Count the clocks from the one after `start` to `done`."""
        with m.If(self.running):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        with m.If(self.done | self.halt):
            m.d.sync += self.running.eq(0)
        with m.If(self.start):
            m.d.sync += [self.running.eq(1), self.cycles.eq(0)]
