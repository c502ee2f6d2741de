"""The double buffer: one tile is filled while another runs. Unlocked codes are kept nowhere else."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bitting.unit.spec import UnitSpec
from bitting_rtl.lib.layouts import UNCHECKED, tile_layout
from bitting_rtl.lib.ports import Port, Ports


class TileBuffer(wiring.Component):
    """Two halves. Each holds a tile's fixed fields and up to `tile_codes` codes.

    Codes are written one after another, number 0 first, into the half that is being filled. `write_place` is where a code
    goes, and the code that was there moves to `write_index`: a step of the inside-out shuffle. For codes in order, place and
    index are the same. Writing and committing are allowed only while `free` is high.

    The half committed first is read until it is released. Each of its codes must be read with `read_final` before that.
    """

    def __init__(self, spec: UnitSpec, shuffles: bool = True):
        """`shuffles`: know how to move codes; without, `write_place` is `write_index`."""
        self.spec = spec
        self._shuffles = shuffles
        index = Shape.cast(range(spec.tile_codes))
        code = unsigned(spec.slot_bits)
        super().__init__(
            Ports(
                {
                    "write": Port(In(1), "write a code", "while `free`"),
                    "write_index": Port(In(index), "number of the code; what was at `write_place` moves here", "with `write`"),
                    "write_place": Port(In(index), "where the code goes, 0 to `write_index`", "with `write`"),
                    "write_code": Port(In(code), "the code", "with `write`"),
                    "write_tile": Port(In(tile_layout(spec)), "fixed fields of the tile", "with `commit`"),
                    "sweep": Port(In(1), "write 0 at `write_index` in both halves; of a buffer that does not shuffle"),
                    "commit": Port(
                        In(1), "the half is complete: hand it over", "while `free`, two clocks after the last `write`"
                    ),
                    "free": Port(Out(1), "there is a half to fill"),
                    "full": Port(Out(1), "there is a tile to read"),
                    "tile": Port(Out(tile_layout(spec)), "its fixed fields", "while `full`"),
                    "read_index": Port(In(index), "number of the code to read", "with `read_step`"),
                    "read_step": Port(In(1), "read a code", "while `full`"),
                    "read_final": Port(In(1), "for the last time", "with `read_step`"),
                    "read_code": Port(Out(code), "the code that was read last", "from the clock after `read_step`"),
                    "release": Port(In(1), "the tile has been read: give its half back", "a clock after the last `read_step`"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        filling = Signal()
        running = Signal()
        occupied = Signal(2)
        tiles = Signal(data.ArrayLayout(tile_layout(self.spec), 2))
        # A half is read while it is occupied and runs, and written while it is neither.
        halves = [(ShuffledCodes if self._shuffles else Codes)(self.spec) for _ in range(2)]
        for number, half in enumerate(halves):
            filled, reading = self.free & (filling == number), self.full & (running == number) & ~self.sweep
            m.submodules[f"half{number}"] = half
            m.d.comb += [
                half.write.eq((filled & self.write) | self.sweep),
                half.index.eq(Mux(reading, self.read_index, self.write_index)),
                half.place.eq(self.write_place),
                half.code.eq(Mux(self.sweep, 0, self.write_code)),
                half.read.eq(reading & self.read_step),
                half.final.eq(self.read_final),
            ]
        m.d.comb += [
            self.free.eq(halves[0].ready & ~occupied.bit_select(filling, 1)),
            self.full.eq(occupied.bit_select(running, 1)),
            self.tile.eq(tiles[running]),
            self.read_code.eq(Mux(running, halves[1].read_code, halves[0].read_code)),
        ]
        with m.If(self.commit):
            m.d.sync += [
                occupied.bit_select(filling, 1).eq(1),
                tiles[filling].eq(self.write_tile),
                filling.eq(~filling),
            ]
        with m.If(self.release):
            m.d.sync += [occupied.bit_select(running, 1).eq(0), running.eq(~running)]
        return m


class Codes(wiring.Component):
    """Codes of one tile, in a memory of one read and one write port, as every FPGA has.

    Reading and writing never happen in the same clock, and neither happens before `ready`.
    """

    #: Whether the memory is swept after reset, so that `ready` takes a while.
    sweeps = False

    def __init__(self, spec: UnitSpec):
        self.spec = spec
        index = Shape.cast(range(spec.tile_codes))
        super().__init__(
            Ports(
                {
                    "index": Port(In(index), "number of the code", "with `write` or `read`"),
                    "place": Port(In(index), "where the code goes, 0 to `index`; in order: `index`", "with `write`"),
                    "code": Port(In(spec.slot_bits), "the code", "with `write`"),
                    "write": Port(In(1), "write a code"),
                    "read": Port(In(1), "read the code at `index`"),
                    "final": Port(In(1), "for the last time", "with `read`"),
                    "read_code": Port(Out(spec.slot_bits), "the code that was read last", "from the clock after `read`"),
                    "ready": Port(Out(1, init=not self.sweeps), "writing is allowed", "some clocks after reset, then for ever"),
                }
            )
        )

    def _memory(self, m: Module, name: str, bits: int) -> Memory:
        # What is read while it is written is never used, so the memory may give anything.
        m.submodules[name] = memory = Memory(shape=unsigned(bits), depth=self.spec.tile_codes, init=[], attrs=UNCHECKED)
        return memory

    def elaborate(self, platform: object) -> Module:
        m = Module()
        memory = self._memory(m, "codes", self.spec.slot_bits)
        read_port, write_port = memory.read_port(), memory.write_port()
        m.d.comb += [
            read_port.addr.eq(self.index),
            read_port.en.eq(self.read),
            write_port.addr.eq(self.index),
            write_port.data.eq(self.code),
            write_port.en.eq(self.write),
            self.read_code.eq(read_port.data),
        ]
        return m


class ShuffledCodes(Codes):
    """Codes that are shuffled while they arrive, by the inside-out form of Fisher and Yates.

    `write` stores `code` at `place`, and what was at `place` before at `index`. One code a clock; indices come in order.

    That is two writes a clock, and a memory has one write port. But one of the two always goes to the next index in order.
    These go to a first memory, `in_order`. The others go to a second, `displaced`, which has a bit more a place: whether
    the place is in use. If it is, its code counts, and what the first memory has there does not.

    Every tile must find the second memory unused. So the last reading of a code (`final`) marks its place as unused, and after
    reset a counter marks all places before `ready` rises.

    A code reaches the memories two clocks after it was written.
    """

    sweeps = True

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.spec.slot_bits
        first, second = self._memory(m, "in_order", bits), self._memory(m, "displaced", bits + 1)
        in_order, displaced = first.read_port(), second.read_port()
        order_write, place_write = first.write_port(), second.write_port()
        step = data.StructLayout(
            {"valid": 1, "index": self.index.shape(), "place": self.index.shape(), "code": bits, "moves": 1}
        )
        coming, looked_up, moved = (Signal(step, name=name) for name in ("coming", "looked_up", "moved"))
        stored = Signal(bits)  # what the memories say
        forwarded = Signal(bits)  # what goes to `index` if they do not have it yet, or if it is the code itself
        from_memory = Signal()
        ordered = Signal(bits)  # what goes to `index`, of the code in `moved`
        frees = Signal()  # the place read in the clock before is not in use any more
        swept = Signal.like(self.index)  # the place that the sweep has reached
        address = Mux(self.write, self.place, self.index)
        m.d.comb += [
            coming.eq(Cat(self.write, self.index, self.place, self.code, self.place != self.index)),
            in_order.addr.eq(address),
            in_order.en.eq(self.write | self.read),
            displaced.addr.eq(address),
            displaced.en.eq(self.write | self.read),
            stored.eq(Mux(displaced.data[-1], displaced.data, in_order.data)),
            self.read_code.eq(stored),
            order_write.addr.eq(moved.index),
            order_write.data.eq(ordered),
            order_write.en.eq(moved.valid),
            place_write.addr.eq(Mux(self.ready, moved.place, swept)),
            place_write.data.eq(Cat(moved.code, moved.valid & self.ready)),
            place_write.en.eq(~self.ready | (moved.valid & moved.moves) | frees),
        ]
        m.d.sync += [
            looked_up.eq(coming),
            moved.eq(looked_up),
            ordered.eq(Mux(from_memory, stored, forwarded)),
            frees.eq(self.read & self.final),
        ]
        with m.If(self.read):
            m.d.sync += moved.place.eq(self.index)
        with m.If(~self.ready):
            m.d.sync += [swept.eq(swept + 1), self.ready.eq(swept == self.spec.tile_codes - 1)]
        self._forward(m, coming, looked_up, moved, ordered, forwarded, from_memory)
        return m

    def _forward(
        self,
        m: Module,
        coming: data.View,
        looked_up: data.View,
        moved: data.View,
        ordered: Signal,
        forwarded: Signal,
        from_memory: Signal,
    ) -> None:
        """The two codes before this one have not reached the memories yet, but what they write may be what is at `place`."""
        by_place = Signal()  # the code before was stored at the place that is wanted
        by_index = Signal()  # so was it, or what it moved
        earlier = Signal.like(ordered)  # what the code before that stored there
        place = coming.place
        same_place = moved.moves & (place == moved.place)
        pending = looked_up.valid & ((looked_up.moves & (place == looked_up.place)) | (place == looked_up.index))
        older = moved.valid & (same_place | (place == moved.index))
        m.d.sync += [
            by_place.eq(looked_up.moves & (place == looked_up.place)),
            by_index.eq(pending),
            earlier.eq(Mux(same_place, moved.code, ordered)),
            from_memory.eq(coming.moves & ~pending & ~older),
        ]
        with m.If(~looked_up.moves):
            m.d.comb += forwarded.eq(looked_up.code)
        with m.Elif(by_index):
            m.d.comb += forwarded.eq(Mux(by_place, moved.code, ordered))
        with m.Else():
            m.d.comb += forwarded.eq(earlier)
